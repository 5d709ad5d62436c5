"""Progress that version 1 of the program stored in a DuckDB file is gone on with, and moved where it is now."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from harness import market, tables
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

LEFT = Path(__file__).parents[1] / "version_1" / "duckdb.sql"
# What it had read to, and the days after that.
STREAMS = {
    "stock_daily_bars": "append",
    "stock_bars_1_hour": "append_dedup",
    "exchanges": "overwrite",
    "dividends": "append_dedup",
}
UNFINISHED = "stock_bars_1_day"
NEXT, END = "2024-06-26", "2024-06-28"


@pytest.fixture
def database(workspace: Workspace) -> Path:
    path = workspace.folder("version_1") / "market.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(LEFT.read_text())
    return path


def key_of(row: tables.Row) -> tuple[str, str]:
    return str(row.get("ticker")), str(row.get("date") or row.get("timestamp"))


def test_a_sync_goes_on_where_version_1_stopped(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str, database: Path
) -> None:
    before = {table: rows_of(database, table) for table in STREAMS}
    sink: dict[str, object] = {"duckdb": {"path": str(database), "schema": "polygon"}}
    pipeline = json.loads(tables.pipeline(sink, simulator.url, [], "2024-06-20", END))
    modes = {**STREAMS, UNFINISHED: "overwrite"}
    pipeline["streams"] = [{"stream": stream, "mode": mode} for stream, mode in modes.items()]

    def sync() -> None:
        file = workspace.input("pipeline.yaml", json.dumps(pipeline))
        program.run("sync", file, env={"POLYGON_API_KEY": api_key}).succeeded()

    sync()
    # Rows that are only added are the old ones and those of the days after: nothing was read again.
    added = [row for row in rows_of(database, "stock_daily_bars") if key_of(row)[1] >= NEXT]
    truth = market.truth(simulator.url, "stock_daily_bars", NEXT, END)
    tables.assert_table_is_truth(added, truth, "stock_daily_bars")
    old = [row for row in rows_of(database, "stock_daily_bars") if key_of(row)[1] < NEXT]
    assert old == before["stock_daily_bars"]
    # Old days are settled, so their rows stay as they were; the young ones were replaced.
    hours = {key_of(row): row for row in rows_of(database, "stock_bars_1_hour")}
    assert all(hours[key_of(row)] == row for row in before["stock_bars_1_hour"])
    truth = market.truth(simulator.url, "exchanges", NEXT, END)
    tables.assert_table_is_truth(rows_of(database, "exchanges"), truth, "exchanges")
    # The killed run had read one ticker of two: it kept its rows and read the other.
    kept = {row["ticker"] for row in rows_of(database, UNFINISHED)}
    assert kept == {"AAPL", "BRK.B"}
    with duckdb.connect(str(database), read_only=True) as connection:
        left = connection.sql("SELECT progress_key FROM polygon._tapeline_progress_1").fetchall()
        shards = connection.sql("SELECT stream, shard FROM polygon._tapeline_progress ORDER BY ALL").fetchall()
    assert left == []
    assert shards == [
        ("dividends", ""),
        ("exchanges", ""),
        ("stock_bars_1_day", "AAPL"),
        ("stock_bars_1_day", "BRK.B"),
        ("stock_bars_1_hour", "AAPL"),
        ("stock_bars_1_hour", "BRK.B"),
        ("stock_daily_bars", ""),
    ]

    stored = {table: rows_of(database, table) for table in STREAMS}
    sync()
    assert {table: rows_of(database, table) for table in STREAMS} == stored
