"""What becomes of rows that are there: modes and generations of the destination, and sources that die."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import pytest

from harness import crash
from harness import destination as airbyte
from harness.destination import Destination, catalog, echoed, record, records, refresh, state, status, stream
from harness.program import Outcome

S = stream("s")
# More bytes than are kept in memory for a stream.
LARGE = 12 << 20


def row(number: int, name: str = "first") -> dict[str, Any]:
    return {"id": number, "name": name}


def whole(rows: list[dict[str, Any]], name: str = "s") -> list[str]:
    """A stream that is read to its end."""
    return [*records(name, rows), state(name, {"at": len(rows)}), status(name)]


def transient(outcome: Outcome, named: str) -> None:
    """It failed, and says that the next sync may do better."""
    assert outcome.code == 3, outcome.describe()
    [error] = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
    assert error["failure_type"] == "transient_error" and named in error["message"], error


def test_append_adds_every_record(destination: Destination) -> None:
    rows = [row(1), row(2), row(1)]
    for _ in range(2):
        destination.write(catalog(S), whole(rows)).succeeded()
    destination.assert_is("s", rows * 2)


@pytest.mark.parametrize("generations", [{}, refresh(5, minimum=0)], ids=["uncounted", "counted"])
def test_append_dedup_keeps_the_last_record_of_a_key(
    destination: Destination, generations: dict[str, int]
) -> None:
    dedup = catalog(S, mode="append_dedup", key="id", **generations)
    first = [row(1, "a"), row(2, "b"), row(1, "c"), {"id": None, "name": "d"}, {"name": "e"}]
    destination.write(dedup, whole(first)).succeeded()
    # Those without a key are no rows of one another; they are kept apart.
    destination.assert_is("s", [row(1, "c"), row(2, "b")])
    assert len(destination.rows("_tapeline_rejected")) == 2
    # The same key in two batches of one run, and in another run.
    lines = [*records("s", [row(2, "f")]), state("s", 1), *whole([row(3, "g"), row(2, "h")])]
    destination.write(dedup, lines).succeeded()
    destination.assert_is("s", [row(1, "c"), row(2, "h"), row(3, "g")])


def test_a_key_of_two_fields(destination: Destination) -> None:
    keyed = stream("s", {"day": {"type": "string", "format": "date"}, "id": airbyte.ID, "n": airbyte.ID})
    dedup = catalog(keyed, mode="append_dedup")
    dedup["streams"][0]["primary_key"] = [["day"], ["id"]]
    day, other = "2024-06-27", "2024-06-28"
    rows = [{"day": day, "id": 1, "n": 1}, {"day": other, "id": 1, "n": 2}, {"day": day, "id": 1, "n": 3}]
    destination.write(dedup, whole(rows)).succeeded()
    destination.assert_is("s", rows[1:])


def test_the_key_that_the_source_defines_is_used_where_none_is_chosen(destination: Destination) -> None:
    own = {**S, "source_defined_primary_key": [["id"]]}
    destination.write(catalog(own, mode="append_dedup"), whole([row(1, "a"), row(1, "b")])).succeeded()
    destination.assert_is("s", [row(1, "b")])


@pytest.mark.parametrize("mode", ["overwrite", "append", "append_dedup"])
def test_a_new_generation_replaces_the_table_when_it_is_complete(destination: Destination, mode: str) -> None:
    def write(generation: int, lines: list[str]) -> Outcome:
        return destination.write(catalog(S, mode=mode, key="id", **refresh(generation)), lines)

    write(1, whole([row(1), row(2)])).succeeded()
    destination.assert_is("s", [row(1), row(2)])
    # Without its end the readers' table is the old one, whatever is kept of the new.
    half = [*records("s", [row(3)]), state("s", {"at": 3}), *records("s", [row(4)])]
    unfinished = write(2, half)
    transient(unfinished, "stream s is complete")
    assert len(echoed(unfinished)) == 1
    destination.assert_is("s", [row(1), row(2)])
    # The same generation goes on after its last state.
    write(2, whole([row(5)])).succeeded()
    destination.assert_is("s", [row(3), row(5)])
    assert {row["_airbyte_generation_id"] for row in destination.rows("s")} == {2}
    # Once it is complete, more of the same generation is added: a client that counts nothing says 1 always.
    write(2, whole([row(6)])).succeeded()
    destination.assert_is("s", [row(3), row(5), row(6)])


def test_an_unfinished_refresh_is_thrown_away_by_a_later_one(destination: Destination) -> None:
    def write(generation: int, lines: list[str]) -> Outcome:
        return destination.write(catalog(S, **refresh(generation)), lines)

    write(1, whole([row(1)])).succeeded()
    transient(write(2, [*records("s", [row(2)]), state("s", 2)]), "stream s")
    write(3, whole([row(3)])).succeeded()
    destination.assert_is("s", [row(3)])
    assert not [name for _, name in destination.tables() if name.startswith("_tapeline_next")]


def test_a_refresh_of_nothing_empties_the_table(destination: Destination) -> None:
    destination.write(catalog(S, **refresh(1)), whole([row(1)])).succeeded()
    destination.write(catalog(S, **refresh(2)), whole([])).succeeded()
    destination.assert_is("s", [])


def test_append_dedup_dedups_while_it_refreshes(destination: Destination) -> None:
    def write(generation: int, lines: list[str]) -> Outcome:
        return destination.write(catalog(S, mode="append_dedup", key="id", **refresh(generation)), lines)

    write(1, whole([row(1, "old"), row(9, "old")])).succeeded()
    rows = [row(1, "a"), row(1, "b"), row(2, "c")]
    transient(write(2, [*records("s", rows), state("s", 3)]), "stream s")
    write(2, whole([row(2, "d")])).succeeded()
    destination.assert_is("s", [row(1, "b"), row(2, "d")])


def test_an_append_after_a_refresh_keeps_its_rows(destination: Destination) -> None:
    destination.write(catalog(S, **refresh(1)), whole([row(1)])).succeeded()
    destination.write(catalog(S, **refresh(1, minimum=0)), whole([row(2)])).succeeded()
    destination.write(catalog(S, **refresh(2, minimum=0)), whole([row(3)])).succeeded()
    destination.assert_is("s", [row(1), row(2), row(3)])
    # Rows of several generations are no refresh that goes on.
    destination.write(catalog(S, **refresh(2)), whole([row(4)])).succeeded()
    destination.assert_is("s", [row(4)])


def test_overwrite_replaces_without_generations(destination: Destination) -> None:
    overwrite = catalog(S, mode="overwrite")
    for number in range(3):
        destination.write(overwrite, whole([row(number), row(number)])).succeeded()
        destination.assert_is("s", [row(number), row(number)])


def test_an_overwrite_that_died_and_is_read_anew_is_there_once(destination: Destination) -> None:
    """Whoever counts no generations reads an overwritten stream from its beginning."""
    overwrite = catalog(S, mode="overwrite")
    transient(destination.write(overwrite, [*records("s", [row(1)]), state("s", 1)]), "stream s")
    destination.write(overwrite, whole([row(1), row(2)])).succeeded()
    destination.assert_is("s", [row(1), row(2)])


@pytest.mark.parametrize("mode", ["overwrite", "append_dedup"])
def test_a_refresh_that_is_killed_anywhere_is_there_once(destination: Destination, mode: str) -> None:
    """Where the process died before it echoed the STATE, the records come again."""

    def write(generation: int, lines: list[str], **more: Any) -> Outcome:
        return destination.write(catalog(S, mode=mode, key="id", **refresh(generation)), lines, **more)

    rows = [row(1), row(2), row(3)]
    seen = []
    for kill_at in itertools.count(1):
        before, after = 2 * kill_at - 1, 2 * kill_at
        write(before, whole([row(9)])).succeeded()
        killed = write(after, whole(rows), env={"TAPELINE_KILL_AT": str(kill_at)})
        if killed.code != crash.KILLED:
            # It passed fewer points.
            killed.succeeded()
            break
        seen.append(destination.data("s") == [row(9)])
        if not seen[-1]:
            destination.assert_is("s", rows)
        write(after, [status("s")] if echoed(killed) else whole(rows)).succeeded()
        destination.assert_is("s", rows)
    # Readers saw the old rows up to the change, which is near the end.
    assert seen == sorted(seen, reverse=True) and sum(seen) > len(seen) // 2 > 5, seen


def test_another_mode_goes_on_with_the_same_table(destination: Destination) -> None:
    destination.write(catalog(S), whole([row(1, "a"), row(1, "b")])).succeeded()
    destination.write(catalog(S, mode="append_dedup", key="id"), whole([row(1, "c")])).succeeded()
    destination.assert_is("s", [row(1, "c")])
    destination.write(catalog(S, mode="overwrite"), whole([row(2)])).succeeded()
    destination.write(catalog(S), whole([row(2)])).succeeded()
    destination.assert_is("s", [row(2), row(2)])


def test_rows_say_which_run_they_are_of(destination: Destination) -> None:
    lines = whole([row(1)])
    destination.write(catalog(S, **refresh(3, minimum=0)), lines).succeeded()
    [stored] = destination.rows("s")
    assert stored["_airbyte_generation_id"] == 3
    assert stored["_airbyte_meta"] == {"sync_id": 13, "changes": []}


# Sources that die.


@pytest.mark.parametrize("end", [[], [status("s", "INCOMPLETE")]], ids=["silent", "incomplete"])
def test_records_after_the_last_state_are_not_kept(destination: Destination, end: list[str]) -> None:
    lines = [*records("s", [row(1)]), state("s", {"at": 1}), *records("s", [row(2), row(3)]), *end]
    outcome = destination.write(catalog(S), lines)
    transient(outcome, "stream s is complete")
    assert [each["stream"]["stream_state"] for each in echoed(outcome)] == [{"at": 1}]
    destination.assert_is("s", [row(1)])


def test_many_records_after_the_last_state_are_not_kept(destination: Destination) -> None:
    """More than waits in memory: they were in the warehouse's transaction already."""
    large = "x" * (1 << 16)
    many = [row(number, large) for number in range(LARGE // len(large))]
    lines = [*records("s", [row(1)]), state("s", {"at": 1}), *records("s", many)]
    transient(destination.write(catalog(S), lines), "stream s is complete")
    destination.assert_is("s", [row(1)])


def test_streams_side_by_side_do_not_disturb_each_other(destination: Destination) -> None:
    """Large, interleaved, one of them without its end, one replaced while another one is half written."""
    large = "x" * (1 << 16)
    many = [row(number, large) for number in range(LARGE // len(large))]
    streams = [stream(name) for name in "abc"]
    destination.write(catalog(*streams), [line for name in "abc" for line in whole([row(-1)], name)]).succeeded()
    mixed = catalog(*streams)
    mixed["streams"][0] |= {"destination_sync_mode": "overwrite"}
    mixed["streams"][1] |= {"destination_sync_mode": "append_dedup", "primary_key": [["id"]]}
    lines = [record(name, each) for each in many for name in "abc"]
    lines += [state("a", 1), status("a"), state("b", 1), *records("c", many), *records("b", [row(0, "last")])]
    lines += [status("b")]
    outcome = destination.write(mixed, lines)
    transient(outcome, "stream c is complete")
    assert [each["stream"]["stream_descriptor"]["name"] for each in echoed(outcome)] == ["a", "b"]
    destination.assert_is("a", many)
    destination.assert_is("b", [row(-1), row(0, "last"), *many[1:]])
    destination.assert_is("c", [row(-1)])


def test_a_stream_without_a_word_is_not_complete(destination: Destination) -> None:
    outcome = destination.write(catalog(S, stream("t")), whole([row(1)]))
    transient(outcome, "stream t is complete")
    destination.assert_is("s", [row(1)])


def test_no_input_is_no_success(destination: Destination) -> None:
    destination.write(catalog(S), whole([row(1)])).succeeded()
    transient(destination.write(catalog(S, **refresh(1)), []), "stream s")
    destination.assert_is("s", [row(1)])


LINES = [*records("s", [row(1)]), state("s", {"at": 1}), *records("s", [row(2)]), state("s", {"at": 2}), status("s")]
TEXT = "".join(f"{line}\n" for line in LINES).encode()
ENDS = [end for end, byte in enumerate(TEXT) if byte == ord("\n")]


@pytest.mark.parametrize("cut", sorted({*range(5, len(TEXT), 61), *ENDS, *(end + 1 for end in ENDS)} - {len(TEXT)}))
def test_an_input_that_is_cut_anywhere(destination: Destination, cut: int) -> None:
    outcome = destination.write_bytes(catalog(S), TEXT[:cut])
    # The last message is whole without its line feed.
    told = sum(end <= cut for end in ENDS)
    states = sum(line.startswith('{"type":"STATE"') for line in LINES[:told])
    assert [each["stream"]["stream_state"]["at"] for each in echoed(outcome)] == list(range(1, states + 1))
    if told == len(LINES):
        outcome.succeeded()
    elif cut in ENDS or cut - 1 in ENDS:
        transient(outcome, "stream s is complete")
    else:
        assert outcome.code == 3, outcome.describe()
        [error] = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
        assert f"line {told + 1} of the input" in error["message"] and "breaks off" in error["message"], error
    destination.assert_is("s", [row(number) for number in range(1, states + 1)])


def test_what_is_no_message_is_passed_over(destination: Destination) -> None:
    lines = [
        "Picked up JAVA_TOOL_OPTIONS: -Xmx1g",
        "",
        "[main] INFO starting {with braces}",
        json.dumps({"type": "LOG", "log": {"level": "INFO", "message": "hello"}, "record": None}),
        *whole([row(1)])[:1],
        "\u2028 not JSON \u00e9",
        *whole([row(1)])[1:],
        "the end",
    ]
    outcome = destination.write_bytes(catalog(S), "\r\n".join(lines).encode()).succeeded()
    assert len(echoed(outcome)) == 1
    destination.assert_is("s", [row(1)])


@pytest.mark.parametrize(
    "line",
    [record("t", row(1)), record("s", row(1), namespace="n")],
    ids=["a record", "a record of another namespace"],
)
def test_a_record_of_a_stream_that_is_not_configured_is_an_error(destination: Destination, line: str) -> None:
    outcome = destination.write(catalog(S), [*whole([row(1)]), line])
    assert outcome.code == 1, outcome.describe()
    [error] = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
    assert "the configured catalogue does not have" in error["message"], error
    # What was complete before is kept.
    destination.assert_is("s", [row(1)])
    assert Counter(name for _, name in destination.tables()) == {
        "s": 1, "_tapeline_progress": 1, "_tapeline_rejected": 1, "_tapeline_streams": 1
    }
