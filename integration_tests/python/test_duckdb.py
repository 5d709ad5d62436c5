"""DuckDB's own Python client finds in the file exactly what the truth says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from harness import market, tables
from harness.program import Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace

Sync = Callable[[list[str], str, str], Outcome]


@pytest.fixture
def database(workspace: Workspace) -> Path:
    return workspace.folder("duckdb") / "market.duckdb"


@pytest.fixture
def sync(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str, database: Path
) -> Sync:
    def run(streams: list[str], start: str, end: str) -> Outcome:
        sink = {"duckdb": {"path": str(database), "schema": "polygon"}}
        file = workspace.input("pipeline.yaml", tables.pipeline(sink, simulator.url, streams, start, end))
        return program.run("sync", file, env={"POLYGON_API_KEY": api_key}).succeeded()

    return run


def rows_of(database: Path, table: str) -> list[tables.Row]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return tables.of_duckdb(connection, "polygon", table)


def test_tables_are_the_truth_after_every_sync(sync: Sync, database: Path, simulator: Simulator) -> None:
    for end in ("2024-06-25", tables.END, tables.END):
        sync(tables.STREAMS, tables.START, end)
        for table in tables.STREAMS:
            truth = market.truth(simulator.url, table, tables.START, end)
            tables.assert_table_is_truth(rows_of(database, table), truth, table)


def test_trades_keep_their_nanoseconds(sync: Sync, database: Path, simulator: Simulator) -> None:
    day = tables.TRADES_DAY
    sync([tables.TRADES], day, day)
    truth = market.truth(simulator.url, tables.TRADES, day, day)
    rows = rows_of(database, tables.TRADES)
    tables.assert_table_is_truth(rows, truth, tables.TRADES)
    assert any(row["sip_timestamp_ns"] % 1000 for row in rows), "no trade has nanoseconds to lose"
