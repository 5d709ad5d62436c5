"""Snowflake's own connector finds in the warehouse exactly what the truth says.

The warehouse is fakesnow, which speaks Snowflake's wire protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import market, tables, warehouse
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

Sync = Callable[[list[str], str, str], Outcome]


@pytest.fixture(scope="module")
def connection(fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(fakesnow) as connection:
        yield connection


@pytest.fixture
def sync(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    fakesnow: Fakesnow,
    connection: Any,
    api_key: str,
    snowflake_password: str,
) -> Sync:
    """Runs a pipeline into a schema that is empty at the beginning of each test."""
    warehouse.drop_schema(connection)
    sink = warehouse.sink(fakesnow)
    secrets = {"POLYGON_API_KEY": api_key, "SNOWFLAKE_PASSWORD": snowflake_password}

    def run(streams: list[str], start: str, end: str) -> Outcome:
        file = workspace.input("pipeline.yaml", tables.pipeline(sink, simulator.url, streams, start, end))
        return program.run("sync", file, env=secrets).succeeded()

    return run


def test_tables_are_the_truth_after_every_sync(sync: Sync, connection: Any, simulator: Simulator) -> None:
    for end in ("2024-06-25", tables.END, tables.END):
        sync(tables.STREAMS, tables.START, end)
        for table in tables.STREAMS:
            truth = market.truth(simulator.url, table, tables.START, end)
            tables.assert_table_is_truth(warehouse.rows_of(connection, table), truth, table, warehouse.DIGITS)


def test_trades_keep_their_integers(sync: Sync, connection: Any, simulator: Simulator) -> None:
    day = tables.TRADES_DAY
    sync([tables.TRADES], day, day)
    truth = market.truth(simulator.url, tables.TRADES, day, day)
    rows = warehouse.rows_of(connection, tables.TRADES)
    tables.assert_table_is_truth(rows, truth, tables.TRADES, warehouse.DIGITS)
    assert any(row["sip_timestamp_ns"] % 1000 for row in rows), "no trade has nanoseconds to lose"


def test_nothing_of_the_password_is_in_the_warehouse(
    sync: Sync, connection: Any, workspace: Workspace
) -> None:
    """Progress is a table too, and what it holds is read by everyone who may read the schema."""
    sync(["exchanges"], tables.START, tables.END)
    names = warehouse.table_names(connection)
    assert names
    for name in names:
        place = f'{warehouse.DATABASE}.{warehouse.SCHEMA}."{name}"'
        rows = connection.cursor().execute(f"SELECT * FROM {place}").fetchall()
        workspace.scan(f"table {name}", repr(rows).encode())
