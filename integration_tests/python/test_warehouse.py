"""Snowflake's own connector finds in the warehouse exactly what the truth says.

The warehouse is fakesnow, which speaks Snowflake's wire protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import market, sentence, tables, warehouse
from harness.pipelines import Pipeline
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

Sync = Callable[[list[str], str, str], Outcome]


@pytest.fixture(scope="module")
def connection(fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(fakesnow) as connection:
        yield connection


@pytest.fixture
def secrets(connection: Any, api_key: str, snowflake_password: str) -> dict[str, str]:
    """What a pipeline needs for a schema that is empty at the beginning of each test."""
    warehouse.drop_schema(connection)
    return {"POLYGON_API_KEY": api_key, "SNOWFLAKE_PASSWORD": snowflake_password}


@pytest.fixture
def sync(
    program: Program, workspace: Workspace, simulator: Simulator, fakesnow: Fakesnow, secrets: dict[str, str]
) -> Sync:
    sink = warehouse.sink(fakesnow)

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


@pytest.fixture
def make(
    program: Program, workspace: Workspace, simulator: Simulator, fakesnow: Fakesnow, secrets: dict[str, str]
) -> Callable[..., Pipeline]:
    def make(name: str, streams: list[Any], **more: Any) -> Pipeline:
        return Pipeline(program, workspace, simulator, warehouse.sink(fakesnow), secrets, name, streams, **more)

    return make


def test_a_table_has_one_pipeline_unless_all_share_it(make: Callable[..., Pipeline], connection: Any) -> None:
    hours, days = "stock_bars_1_hour", "stock_daily_bars"
    shared = {"stream": hours, "mode": "append_dedup", "shared": True}
    first = make("first", [shared, days], source={"tickers": ["AAPL"]})
    second = make("second", [shared, days], source={"tickers": ["BRK.B"]})
    first.sync()
    before = warehouse.rows_of(connection, days)
    outcome = second.run("sync")
    assert outcome.code == 2, outcome.describe()
    [error] = sentence.on_stderr(outcome)
    sentence.assert_clear(error, [f"{days}: ", "is written by the pipeline first", "`table_prefix`"])
    assert warehouse.rows_of(connection, days) == before
    truth = market.truth(first.simulator.url, hours, tables.START, tables.END)
    tables.assert_table_is_truth(warehouse.rows_of(connection, hours), truth, hours, warehouse.DIGITS)
    second.more = {"table_prefix": "b_"}
    second.streams = [days]
    second.sync()
    truth = market.truth(first.simulator.url, days, tables.START, tables.END)
    tables.assert_table_is_truth(warehouse.rows_of(connection, f"b_{days}"), truth, days, warehouse.DIGITS)


def test_status_reset_and_check(make: Callable[..., Pipeline], connection: Any) -> None:
    hours, days = "stock_bars_1_hour", "stock_daily_bars"
    pipeline = make("judged", [hours, {"stream": days, "mode": "append"}, "exchanges"])
    assert [stream["exists"] for stream in pipeline.status().values()] == [False] * 3
    assert not warehouse.table_names(connection), "status creates nothing"
    told = pipeline.run("check").succeeded().stdout.decode()
    assert "rights: tables can be created" in told
    pipeline.sync()
    names = sorted(warehouse.table_names(connection))
    status = pipeline.status()
    assert (status[days]["reached"], status[hours]["shards"]) == (tables.END, 2)
    assert status[days]["rows"] == len(warehouse.rows_of(connection, days))
    assert status[days]["updated_at"].endswith("Z") and not status["exchanges"]["problems"]

    before = warehouse.rows_of(connection, days)
    gone = sum(row["date"] >= "2024-06-26" for row in before)
    outcome = pipeline.run("reset", "--stream", days, "--from", "2024-06-26")
    assert outcome.code == 2 and f"{gone:,} rows go" in outcome.stdout.decode(), outcome.describe()
    pipeline.run("reset", "--stream", days, "--from", "2024-06-26", "--yes").succeeded()
    assert len(warehouse.rows_of(connection, days)) == len(before) - gone
    pipeline.run("reset", "--stream", hours, "--ticker", "AAPL", "--yes").succeeded()
    status = pipeline.status()
    assert (status[days]["reached"], status[hours]["shards"]) == ("2024-06-25", 1)
    pipeline.run("check").succeeded()
    assert sorted(warehouse.table_names(connection)) == names, "check leaves nothing"
    pipeline.sync()
    for table in (hours, days):
        truth = market.truth(pipeline.simulator.url, table, tables.START, tables.END)
        tables.assert_table_is_truth(warehouse.rows_of(connection, table), truth, table, warehouse.DIGITS)
