"""Values that are not what they should be, into Snowflake: stored as DuckDB has them (test_destination_values.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
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
    """Writes rows of a schema, and returns what is stored by the number of the row."""
    warehouse.drop_schema(judge)
    config = workspace.input("destination.json", warehouse.destination(strict_fakesnow, snowflake_password))

    def written(properties: dict[str, Any], *rows: object) -> dict[int, dict[str, Any]]:
        configured = workspace.input("configured.json", catalog(stream("s", properties)))
        lines = [*records("s", rows), state("s", 1), status("s")]
        arguments = ("destination", "write", "--config", config, "--catalog", configured)
        program.run(*arguments, stdin="".join(f"{line}\n" for line in lines).encode()).succeeded()
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
