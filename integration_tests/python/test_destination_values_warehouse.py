"""Values that are not what they should be, into Snowflake: stored as DuckDB has them (test_destination_values.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from harness import values, warehouse
from harness.destination import ID, catalog, records, state, status, stream
from harness.program import Program
from harness.servers import Fakesnow
from harness.workspace import Workspace

EXTRA = values.EXTRA


@pytest.fixture(scope="module")
def judge(strict_fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(strict_fakesnow) as connection:
        yield connection


@pytest.fixture
def write(program: Program, workspace: Workspace, strict_fakesnow: Fakesnow, snowflake_password: str, judge: Any) -> Any:
    """Writes rows of a schema, and returns what is stored by the number of the row.

    Bytes that are no text stand as `surrogateescape` has them.
    """
    warehouse.drop_schema(judge)

    def written(
        properties: dict[str, Any], *rows: object, numbers: str | None = None, **more: Any
    ) -> dict[int, dict[str, Any]]:
        config = warehouse.destination(strict_fakesnow, snowflake_password)
        if numbers:
            config["sink"]["numbers"] = numbers
        lines = [*records("s", rows), state("s", 1), status("s")]
        program.run(
            *("destination", "write", "--config", workspace.input("destination.json", config)),
            *("--catalog", workspace.input("configured.json", catalog(stream("s", properties), **more))),
            stdin="".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"),
        ).succeeded()
        return {row["id"]: row for row in stored(judge, properties)}

    return written


def stored(judge: Any, properties: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = judge.cursor()
    names = [*properties, EXTRA, "_airbyte_meta"]
    # As text: clients cut moments to what their own type holds.
    shown = [f'CAST("{name.upper()}" AS VARCHAR)' for name in names]
    cursor.execute(f"SELECT {', '.join(shown)} FROM MARKET.POLYGON.S")
    found = []
    for row in cursor.fetchall():
        cells = dict(zip(names, row, strict=True))
        cells["id"] = int(cells["id"])
        for name in (*(name for name, kind in properties.items() if kind == values.JSON), EXTRA, "_airbyte_meta"):
            cells[name] = None if cells[name] is None else json.loads(cells[name])
        found.append(cells)
    return found


def notes(row: dict[str, Any]) -> values.Notes:
    return {change["field"]: (change["change"], change["reason"]) for change in row["_airbyte_meta"]["changes"]}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_a_moment_is_the_right_one_or_kept_as_sent(write: Any) -> None:
    rows = write(
        {"id": ID, "at": values.MOMENT},
        *({"id": number, "at": sent} for number, sent in enumerate(values.MOMENTS)),
    )
    for number, (sent, expected) in enumerate(values.MOMENTS.items()):
        found = rows[number]["at"]
        assert (found is None) == (expected is None), (sent, found)
        if expected:
            assert moment(found) == moment(expected), (sent, found)
        assert (rows[number][EXTRA] or {}).get("at") == (None if expected else sent), sent
        assert notes(rows[number]) == ({} if expected else {"at": values.NULLED}), sent


def test_a_midnight_is_a_date(write: Any) -> None:
    rows = write({"id": ID, "at": values.DAY}, *({"id": number, "at": sent} for number, sent in enumerate(values.DAYS)))
    for number, (sent, expected) in enumerate(values.DAYS.items()):
        found = rows[number]["at"]
        assert (None if found is None else date.fromisoformat(found).isoformat()) == expected, sent
        assert notes(rows[number]) == ({} if expected else {"at": values.NULLED}), sent


def test_what_not_every_sink_takes_is_kept_and_noted(write: Any) -> None:
    structures = list(values.STRUCTURES.values())
    sent = (f'{{"id":{number},{members}}}' for number, (members, _, _) in enumerate(structures))
    rows = write(values.PROPERTIES, *sent)
    for (number, row), what in zip(sorted(rows.items()), values.STRUCTURES, strict=True):
        _, expected, told = structures[number]
        kept = {name: row[name] for name in (*values.PROPERTIES, EXTRA) if name != "id" and row[name] is not None}
        assert kept == expected, what
        assert notes(row) == told, what


def test_bytes_that_are_no_text_are_marked_where_they_are(write: Any) -> None:
    rows = write(values.PROPERTIES, '{"id":1,"text":"a\udcffb","u":"\udcff"}', '{"id":2,"text":"é"}')
    assert (rows[1]["text"], rows[1][EXTRA], rows[2]["text"]) == ("a\ufffdb", {"u": "\ufffd"}, "é")
    assert [notes(row) for row in rows.values()] == [dict.fromkeys(("text", EXTRA), values.MENDED), {}]


def test_doubles_are_there_where_a_person_chooses_them(write: Any) -> None:
    numbers = ["0.0012345678901234567", "1e20", "-1.7976931348623157e308", "5e-324", "1e-400", "1e400"]
    sent = (f'{{"id":{index},"number":{number}}}' for index, number in enumerate(numbers))
    rows = write(values.PROPERTIES, *sent, numbers="double")
    found = [rows[index]["number"] for index in range(len(numbers))]
    assert [None if number is None else float(number) for number in found[:4]] == [float(number) for number in numbers[:4]]
    for index in (4, 5):
        assert (found[index], rows[index][EXTRA]) == (None, {"number": numbers[index]})
        assert notes(rows[index]) == {"number": values.NULLED}


@pytest.mark.parametrize("numbers", [None, "double"])
def test_numbers_of_a_key_are_bounded_whatever_comes_before_them(write: Any, judge: Any, numbers: str | None) -> None:
    schema = {"id": ID, "number": values.NUMBER}
    keys = [*values.NO_KEYS, *values.KEYS]
    for order in (keys, list(reversed(keys))):
        sent = (f'{{"id":{keys.index(number)},"number":{number}}}' for number in order)
        rows = write(schema, *sent, mode="append_dedup", key="number", numbers=numbers)
        there = {index: Decimal(row["number"]) for index, row in rows.items()}
        assert there == {keys.index(number): Decimal(number) for number in values.KEYS}
    [(kept, reasons)] = judge.cursor().execute(
        "SELECT COUNT(*), COUNT(DISTINCT REASON) FROM MARKET.POLYGON._TAPELINE_REJECTED WHERE REASON LIKE '%more digits%'"
    ).fetchall()
    assert (kept, reasons) == (len(values.NO_KEYS), 1)
