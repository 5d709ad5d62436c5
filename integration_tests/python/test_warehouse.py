"""Snowflake's own connector finds in the warehouse exactly what the truth says.

The warehouse is fakesnow, which speaks Snowflake's wire protocol; it keeps six
digits of a second's fraction where Snowflake keeps nine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector

from harness import market, tables
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

DIGITS = 6
DATABASE, SCHEMA = "MARKET", "POLYGON"

Sync = Callable[[list[str], str, str], Outcome]


@pytest.fixture(scope="module")
def connection(fakesnow: Fakesnow) -> Iterator[Any]:
    with snowflake.connector.connect(
        account=fakesnow.ACCOUNT,
        user="judge",
        password="unused",
        host="127.0.0.1",
        port=fakesnow.port,
        protocol="http",
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    ) as connection:
        # The program writes to a database that exists.
        connection.cursor().execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        yield connection


@pytest.fixture(scope="module")
def password(workspace: Workspace) -> str:
    return workspace.new_secret("the Snowflake password")


@pytest.fixture
def sync(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    fakesnow: Fakesnow,
    connection: Any,
    api_key: str,
    password: str,
) -> Iterator[Sync]:
    """Runs a pipeline into a schema that is empty at the beginning of each test."""
    connection.cursor().execute(f"DROP SCHEMA IF EXISTS {DATABASE}.{SCHEMA}")

    def run(streams: list[str], start: str, end: str) -> Outcome:
        sink = {
            "snowflake": {
                "account": fakesnow.ACCOUNT,
                "user": "loader",
                "password": "${SNOWFLAKE_PASSWORD}",
                "warehouse": "LOADING",
                "database": DATABASE,
                "schema": SCHEMA,
                "host": fakesnow.url,
            }
        }
        file = workspace.input("pipeline.yaml", tables.pipeline(sink, simulator.url, streams, start, end))
        secrets = {"POLYGON_API_KEY": api_key, "SNOWFLAKE_PASSWORD": password}
        return program.run("sync", file, env=secrets).succeeded()

    yield run


def rows_of(connection: Any, table: str) -> list[tables.Row]:
    cursor = connection.cursor()
    place = f"{DATABASE}.{SCHEMA}.{table.upper()}"
    cursor.execute(f"SELECT * FROM {place} LIMIT 0")
    names = [column.name for column in cursor.description]
    # fakesnow sends a moment that is NULL as 1970: the server is asked which ones are.
    nulls = ", ".join(f'"{name}" IS NULL' for name in names)
    cursor.execute(f"SELECT *, {nulls} FROM {place}")
    rows = [
        [None if is_null else value for value, is_null in zip(row[: len(names)], row[len(names) :], strict=True)]
        for row in cursor.fetchall()
    ]
    return tables.read_back(names, rows)


def test_tables_are_the_truth_after_every_sync(sync: Sync, connection: Any, simulator: Simulator) -> None:
    for end in ("2024-06-25", tables.END, tables.END):
        sync(tables.STREAMS, tables.START, end)
        for table in tables.STREAMS:
            truth = market.truth(simulator.url, table, tables.START, end)
            tables.assert_table_is_truth(rows_of(connection, table), truth, table, DIGITS)


def test_trades_keep_their_integers(sync: Sync, connection: Any, simulator: Simulator) -> None:
    day = tables.TRADES_DAY
    sync([tables.TRADES], day, day)
    truth = market.truth(simulator.url, tables.TRADES, day, day)
    rows = rows_of(connection, tables.TRADES)
    tables.assert_table_is_truth(rows, truth, tables.TRADES, DIGITS)
    assert any(row["sip_timestamp_ns"] % 1000 for row in rows), "no trade has nanoseconds to lose"


def test_nothing_of_the_password_is_in_the_warehouse(
    sync: Sync, connection: Any, workspace: Workspace
) -> None:
    """Progress is a table too, and what it holds is read by everyone who may read the schema."""
    sync(["exchanges"], tables.START, tables.END)
    cursor = connection.cursor()
    names = cursor.execute(
        f"SELECT table_name FROM {DATABASE}.information_schema.tables WHERE table_schema = '{SCHEMA}'"
    ).fetchall()
    assert names
    for (name,) in names:
        rows = cursor.execute(f'SELECT * FROM {DATABASE}.{SCHEMA}."{name}"').fetchall()
        workspace.scan(f"table {name}", repr(rows).encode())
