"""Deletes of a source of change data, and which of two records with one key stays."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from harness import crash
from harness.destination import ID, TEXT, Destination, catalog, echoed, records, refresh, state, status, stream

WHEN = "2024-06-28T10:00:00.000000Z"
CHANGES = {"id": ID, "name": TEXT, "_ab_cdc_lsn": {"type": "number"}, "_ab_cdc_deleted_at": TEXT}


def row(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, **more}


def gone(number: int, **more: Any) -> dict[str, Any]:
    """A delete: all of the row that the log of a database need have is its key."""
    return {"id": number, "_ab_cdc_deleted_at": WHEN, **more}


def changes(*rows: dict[str, Any]) -> list[str]:
    return [*records("s", rows), state("s", {"at": len(rows)}), status("s")]


def dedup(**more: Any) -> dict[str, Any]:
    return catalog(stream("s", CHANGES), mode="append_dedup", key="id", **more)


def names(destination: Destination, table: str = "s") -> dict[int, str | None]:
    rows = destination.rows(table)
    found = {int(row["id"]): row["name"] for row in rows}
    assert len(found) == len(rows), rows
    return found


@pytest.mark.parametrize("generations", [{}, refresh(5, minimum=0), refresh(5)], ids=["none", "kept", "refresh"])
def test_a_delete_takes_its_row_and_the_last_of_a_key_counts(
    destination: Destination, generations: dict[str, int]
) -> None:
    first = [row(1, "a"), row(2, "b"), row(3, "c"), gone(3), gone(4), gone(5), row(5, "d")]
    destination.write(dedup(**generations), changes(*first)).succeeded()
    assert names(destination) == {1: "a", 2: "b", 5: "d"}
    # Of rows that another run wrote, in one batch and in two; one comes back, one was never there.
    more = [gone(1), row(2, "e"), gone(2), row(2, "f"), gone(9)]
    lines = [*records("s", more), state("s", 1), *changes(row(7, "g"), gone(5), gone(7))]
    destination.write(dedup(**generations), lines).succeeded()
    assert names(destination) == {2: "f"}


def test_soft_deletes_stay_with_their_time(destination: Destination) -> None:
    soft = replace(destination, cdc_deletion_mode="Soft delete")
    soft.write(dedup(), changes(row(1, "a"), gone(1), row(2, "b"))).succeeded()
    found = {int(row["id"]): (row["name"], row["_ab_cdc_deleted_at"]) for row in soft.rows("s")}
    assert found == {1: (None, WHEN), 2: ("b", None)}
    replace(destination, cdc_deletion_mode="Hard delete").write(dedup(), changes(gone(1))).succeeded()
    assert names(destination) == {2: "b"}


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_where_rows_are_added_a_delete_is_a_row(destination: Destination, mode: str) -> None:
    configured = catalog(stream("s", CHANGES), mode=mode, key="id")
    destination.write(configured, changes(row(1, "a"), gone(1))).succeeded()
    assert [row["_ab_cdc_deleted_at"] for row in destination.rows("s")] == [None, WHEN]


def test_a_delete_without_its_key_takes_nothing(destination: Destination) -> None:
    lost = {"_ab_cdc_deleted_at": WHEN}
    destination.write(dedup(), changes(row(1, "a"), lost, {"id": None, "name": "b", **lost})).succeeded()
    assert names(destination) == {1: "a"}
    assert len(destination.rows("_tapeline_rejected")) == 2


def test_the_highest_cursor_wins_and_of_equal_ones_the_last(destination: Destination) -> None:
    moment = {"type": ["null", "string"], "format": "date-time"}
    configured = catalog(
        stream("s", {"id": ID, "name": TEXT, "at": moment}), mode="append_dedup", key="id", cursor_field=["at"]
    )

    def at(number: int, name: str, hour: int | None) -> dict[str, Any]:
        return row(number, name, at=hour and f"2024-06-28T{hour:02}:00:00Z")

    first = [at(1, "a", 9), at(1, "b", 8), at(2, "c", 9), at(2, "d", 9), at(3, "e", None), at(4, "f", 9)]
    destination.write(configured, changes(*first)).succeeded()
    assert names(destination) == {1: "a", 2: "d", 3: "e", 4: "f"}
    # The offset is not what is compared.
    later = {"id": 1, "name": "g", "at": "2024-06-28T01:30:00-08:00"}
    lines = [*records("s", [at(2, "h", 8), at(3, "i", 1)]), state("s", 1), *changes(later, at(4, "j", None))]
    destination.write(configured, lines).succeeded()
    assert names(destination) == {1: "g", 2: "d", 3: "i", 4: "f"}


def test_a_delete_that_is_older_than_the_row_does_nothing(destination: Destination) -> None:
    configured = dedup(cursor_field=["_ab_cdc_lsn"])
    first = [row(1, "a", _ab_cdc_lsn=26_000_000_000_000_000_005), row(2, "b", _ab_cdc_lsn=6)]
    first += [gone(3, _ab_cdc_lsn=8), row(3, "c", _ab_cdc_lsn=7)]
    destination.write(configured, changes(*first)).succeeded()
    assert names(destination) == {1: "a", 2: "b"}
    again = [gone(1, _ab_cdc_lsn=26_000_000_000_000_000_004), gone(2, _ab_cdc_lsn=6)]
    destination.write(configured, changes(*again)).succeeded()
    assert names(destination) == {1: "a"}


# A part of a log that is too long to be kept in memory until its STATE comes: its rows wait in the database.
LONG = 200 * 1024
PARTS, LONGEST = 16, 40


class Log:
    """Changes of a table in the order of its database's log, in parts that a STATE ends each."""

    def __init__(self, choose: random.Random) -> None:
        self.parts: list[list[dict[str, Any]]] = []
        numbers = itertools.count(1)
        for part in range(PARTS):
            long = part % 8 == 3
            changes_of_part = []
            for _ in range(130 if long else choose.randint(1, 9)):
                at = {"_ab_cdc_lsn": next(numbers)}
                padding = "x" * LONG if long else ""
                which = choose.randint(1, 9)
                change = row(which, f"{at} {padding}", **at) if choose.random() < 0.6 else gone(which, **at)
                changes_of_part.append(change)
            self.parts.append(changes_of_part)

    def truth(self) -> dict[int, str]:
        last = {change["id"]: change for part in self.parts for change in part}
        return {number: change["name"] for number, change in last.items() if "_ab_cdc_deleted_at" not in change}


@pytest.mark.parametrize("seed", range(3))
def test_syncs_that_are_killed_anywhere_end_as_the_log_does(destination: Destination, seed: int) -> None:
    """One after another over one file: of two streams, of which one has a cursor, what is not echoed is sent again."""
    choose = random.Random(seed)
    killed = replace(destination, commit_rows=1)
    logs = {"s": Log(choose), "by_cursor": Log(choose)}
    configured = dedup()
    configured["streams"].append(
        catalog(stream("by_cursor", CHANGES), mode="append_dedup", key="id", cursor_field=["_ab_cdc_lsn"])["streams"][0]
    )
    sent = dict.fromkeys(logs, 0)
    codes = []
    for end in (PARTS // 2, PARTS):
        while min(sent.values()) < end:
            lines = [
                line
                for part in range(end)
                for name, log in logs.items()
                if sent[name] <= part
                for line in [*records(name, log.parts[part]), state(name, {"part": part})]
            ]
            env = {"TAPELINE_KILL_AT": str(choose.randint(1, LONGEST))}
            outcome = killed.write(configured, [*lines, *map(status, logs)], env=env)
            codes.append(outcome.code)
            for message in echoed(outcome):
                name = message["stream"]["stream_descriptor"]["name"]
                sent[name] = 1 + message["stream"]["stream_state"]["part"]
    assert set(codes) == {0, crash.KILLED}, codes
    assert codes.count(crash.KILLED) > 5, codes
    for name, log in logs.items():
        assert names(killed, name) == log.truth()
