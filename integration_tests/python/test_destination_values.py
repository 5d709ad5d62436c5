"""Values and lines that are not what they should be: right, or kept and noted, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import values
from harness.destination import (
    AT,
    ID,
    SCHEMA,
    TEXT,
    Destination,
    catalog,
    echoed,
    record,
    records,
    state,
    status,
    stream,
)
from harness.program import Outcome

EXTRA = values.EXTRA


def write(destination: Destination, properties: dict[str, Any], *rows: object) -> Outcome:
    lines = [*records("s", rows), state("s", 1), status("s")]
    return destination.write(catalog(stream("s", properties)), lines).succeeded()


def notes(row: dict[str, Any]) -> values.Notes:
    changes = row["_airbyte_meta"]["changes"]
    told = {change["field"]: (change["change"], change["reason"]) for change in changes}
    assert len(told) == len(changes), changes
    return told


# Moments and dates.


@pytest.mark.parametrize(("kind", "table"), [(values.MOMENT, values.MOMENTS), (values.DAY, values.DAYS)])
def test_a_moment_is_the_right_one_or_kept_as_sent(
    destination: Destination, kind: dict[str, Any], table: dict[str, str | None]
) -> None:
    rows = [{"id": number, "at": sent} for number, sent in enumerate(table)]
    write(destination, {"id": ID, "at": kind}, *rows)
    found = destination.data("s")
    for (sent, stored), row, full in zip(table.items(), found, destination.rows("s"), strict=True):
        assert row.get("at") == stored, sent
        assert row.get(EXTRA, {}).get("at") == (None if stored else sent), sent
        assert notes(full) == ({} if stored else {"at": values.NULLED}), sent


FOREVER = "9999-12-31T23:59:59.999999Z"
CUT = ("TRUNCATED", "DESTINATION_FIELD_SIZE_LIMITATION")


# Of a column without a zone, which is in UTC.
NOW = "now() AT TIME ZONE 'UTC'"


def running(destination: Destination, now: str = NOW) -> list[int]:
    """What a person asks of a column of ends."""
    import duckdb

    with duckdb.connect(str(destination.database), read_only=True) as connection:
        found = connection.sql(f"SELECT id FROM {SCHEMA}.s WHERE valid_to > {now} ORDER BY id").fetchall()
    return [number for (number,) in found]


def test_what_ends_never_is_later_than_now(destination: Destination) -> None:
    properties = {"id": ID, "valid_to": values.MOMENT}
    ends = ["2024-06-28T09:30:00.25Z", FOREVER, "9999-12-31", "0001-01-01T00:00:00Z", None]
    write(destination, properties, *({"id": number, "valid_to": end} for number, end in enumerate(ends)))
    assert running(destination) == running(destination, "now()") == [1, 2]
    # In a run of its own: the column goes on, and what it does not hold to the last digit is kept in full.
    fine = "9999-12-31T23:59:59.9999999Z"
    write(destination, properties, {"id": 5, "valid_to": fine}, {"id": 6, "valid_to": "2024-06-28T09:30:00Z"})
    assert running(destination) == [1, 2, 5]
    rows = {row["id"]: row for row in destination.rows("s")}
    assert rows[5]["valid_to"] == FOREVER and rows[5][EXTRA] == {"valid_to": fine}
    assert {number: notes(row) for number, row in rows.items() if notes(row)} == {5: {"valid_to": CUT}}


def test_beside_nanoseconds_what_ends_never_is_kept_and_noted(destination: Destination) -> None:
    ends = ["2024-06-28T09:30:00.123456789Z", FOREVER, "2200-01-01T00:00:00.000000001Z"]
    write(
        destination,
        {"id": ID, "valid_to": values.MOMENT},
        *({"id": number, "valid_to": end} for number, end in enumerate(ends)),
    )
    rows = destination.rows("s")
    assert [row["valid_to"] for row in rows] == [ends[0], None, ends[2]]
    assert rows[1][EXTRA] == {"valid_to": FOREVER}
    assert [notes(row) for row in rows] == [{}, {"valid_to": values.NULLED}, {}]
    assert running(destination) == [2]


# Text and structure.


@pytest.mark.parametrize("what", values.STRUCTURES)
def test_what_not_every_sink_takes_is_kept_and_noted(destination: Destination, what: str) -> None:
    members, expected, told = values.STRUCTURES[what]
    write(destination, values.PROPERTIES, f'{{"id":1,{members}}}', {"id": 2, "text": "after"})
    first, second = destination.data("s")
    assert first == {"id": 1, **expected}
    assert second == {"id": 2, "text": "after"}
    assert [notes(row) for row in destination.rows("s")] == [told, {}]


def test_bytes_that_are_no_text_are_marked_where_they_are(destination: Destination) -> None:
    sent = record("s", {"id": 1, "text": "a?b", "object": {"k": "?"}, "u": "?"}).encode().replace(b"?", b"\xff")
    lines = b"\n".join([sent, record("s", {"id": 2, "text": "é"}).encode(), state("s", 1).encode(), status("s").encode()])
    destination.write_bytes(catalog(stream("s", values.PROPERTIES)), lines).succeeded()
    first, second = destination.data("s")
    assert first == {"id": 1, "text": "a\ufffdb", "object": {"k": "\ufffd"}, EXTRA: {"u": "\ufffd"}}
    assert second == {"id": 2, "text": "é"}
    told = dict.fromkeys(("text", "object", EXTRA), values.MENDED)
    assert [notes(row) for row in destination.rows("s")] == [told, {}]


def test_a_key_that_would_have_to_be_mended_merges_no_rows(destination: Destination) -> None:
    """Two halves of pairs are one replacement character."""
    dedup = catalog(stream("s", {"k": TEXT, "id": ID}), mode="append_dedup", key="k")
    halves = [record("s", r'{"k":"\ud800","id":1}'), record("s", r'{"k":"\ud801","id":2}')]
    lines = [*halves, state("s", 1), status("s")]
    destination.write(dedup, lines).succeeded()
    assert len(destination.rows("_tapeline_rejected")) == 2


def test_a_megabyte_of_nesting_is_read_in_a_moment(destination: Destination) -> None:
    deep = "[" * 500_000 + "]" * 500_000
    write(destination, values.PROPERTIES, f'{{"id":1,"object":{deep}}}')
    assert destination.data("s") == [{"id": 1, "object": deep}]


# Lines.

LINE = record("s", {"id": 1})


@pytest.mark.parametrize("line", [f"\ufeff{LINE}", f"{LINE}\r", f" \t{LINE} "])
def test_what_stands_around_a_record_loses_nothing(destination: Destination, line: str) -> None:
    destination.write(catalog(stream("s")), [line, record("s", {"id": 2}), state("s", 1), status("s")]).succeeded()
    destination.assert_is("s", [{"id": 1}, {"id": 2}])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"WARN something{LINE}", "other text before it"),
        (f"{LINE}WARN something", "something after its end"),
        (LINE + record("s", {"id": 2}), "something after its end"),
        (LINE[30:], "other text before it"),
        ("\0" * 100, "NUL bytes"),
        (LINE + "\0" * 100, "something after its end"),
        ("\0" * 100 + LINE, "NUL bytes"),
        (LINE.replace("RECORD", "record"), "neither RECORD nor STATE"),
        (LINE.replace('{"id": 1}', '{"id": }'), 'in the field "id"'),
        (LINE[:-20], "breaks off"),
        (LINE.encode("utf-16-le").decode("latin-1"), "not JSON"),
    ],
)
def test_a_line_that_may_hide_a_record_is_an_error(destination: Destination, line: str, says: str) -> None:
    lines = [record("s", {"id": 0}), state("s", 1), line, record("s", {"id": 2}), state("s", 2), status("s")]
    outcome = destination.write_bytes(catalog(stream("s")), "\n".join(lines).encode())
    assert outcome.code == 1, outcome.describe()
    [error] = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
    assert "line 3 of the input" in error["message"] and says in error["message"], error
    assert error["failure_type"] == "system_error"
    destination.assert_is("s", [{"id": 0}])


# Namespaces and states.


def test_a_namespace_that_is_left_out_is_that_of_the_only_stream(destination: Destination) -> None:
    staged = catalog(stream("s", namespace="stg"), stream("t", namespace="stg"), stream("t"))
    lines = [record("s", {"id": 1}), record("t", {"id": 2}), state("s", 1), state("t", 2), status("s"), status("t")]
    destination.write(staged, [*lines, status("t", namespace="stg")]).succeeded()
    destination.assert_is("s", [{"id": 1}], "stg")
    destination.assert_is("t", [{"id": 2}])
    destination.assert_is("t", [], "stg")


@pytest.mark.parametrize("line", [record("s", {"id": 1}), state("s", 1), status("s")])
def test_a_namespace_that_may_be_one_of_two_is_an_error(destination: Destination, line: str) -> None:
    outcome = destination.write(catalog(stream("s", namespace="a"), stream("s", namespace="b")), [line])
    assert outcome.code == 1, outcome.describe()
    assert b"line 1 of the input" in outcome.stdout and b"in several" in outcome.stdout, outcome.describe()


def test_a_state_of_a_stream_that_is_not_configured_is_echoed_in_its_order(destination: Destination) -> None:
    lines = [record("s", {"id": 1}), state("zz", 1), state("s", 2), state("zz", 3), status("zz"), status("s")]
    outcome = destination.write(catalog(stream("s")), lines).succeeded()
    told = [(each["stream"]["stream_state"], each["destinationStats"]["recordCount"]) for each in echoed(outcome)]
    assert told == [(1, 0), (2, 1), (3, 0)]
    logs = [message["log"]["message"] for message in outcome.of_type("LOG")]
    assert len([log for log in logs if '"zz"' in log and "line 2" in log]) == 1, logs
    destination.assert_is("s", [{"id": 1}])


def test_a_global_state_may_name_streams_that_are_not_configured(destination: Destination) -> None:
    unknown = {"stream_descriptor": {"name": "zz"}, "stream_state": {"n": 1}}
    of_all = {"type": "GLOBAL", "global": {"shared_state": {"lsn": 5}, "stream_states": [unknown]}}
    lines = [record("s", {"id": 1}), json.dumps({"type": "STATE", "state": of_all}), status("s")]
    [echo] = echoed(destination.write(catalog(stream("s")), lines).succeeded())
    assert echo == {**of_all, "destinationStats": {"recordCount": 1.0}}


# What was seen to go wrong, as it was.


@pytest.mark.parametrize(
    ("folder", "table", "expected"),
    [
        ("10_bom_first_record_lost", "a", [{"id": 1}, {"id": 2}]),
        ("11_depth_65", "b", [{"id": 1, "object": values.DEEP}]),
        ("13_state_of_unknown_stream", "a", [{"id": 1}]),
        ("14_emitted_at_microseconds", "at", [{"id": 1}]),
        ("17_namespace_dropped", "test_table_0", [{"id": 1}]),
        ("08_snowflake_duplicate_nested_keys", "dup", [{"id": 1, "j": {"a": 2}, EXTRA: {"u": 2}}]),
    ],
)
def test_a_fault_that_was_seen(
    destination: Destination, shared: Path, folder: str, table: str, expected: list[dict[str, Any]]
) -> None:
    place = shared / "faults" / folder
    configured = json.loads((place / "catalog.json").read_text())
    lines = (place / "messages.jsonl").read_bytes()
    destination.write_bytes(configured, lines).succeeded()
    if folder.startswith("11"):
        [row] = destination.data(table)
        assert isinstance(row["j"], str) and json.loads(row["j"]), row
        return
    destination.assert_is(table, expected, configured["streams"][0]["stream"]["namespace"] or "polygon")
    if folder.startswith("14"):
        assert [row["_airbyte_extracted_at"] for row in destination.rows(table)] == [AT * 1000]
