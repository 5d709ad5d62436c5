"""Killed again and again, with a server that fails, the tables of Snowflake end equal to the truth.

A kill may also fall inside a transaction: the warehouse is fakesnow as mended, which
gives up the transaction of a client that is gone, as Snowflake does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness import crash, tables, warehouse
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

# A whole run passes 320 points, and 400 where a table is collected beside the old one. Rows that are
# only added are never read again: short runs leave points for the next ones.
LONGEST = {"append": 60, "append_dedup": 320, "overwrite": 400}
ROUNDS = {"append": 12, "append_dedup": 6, "overwrite": 6}


@pytest.fixture(scope="module")
def connection(mended_fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(mended_fakesnow) as connection:
        yield connection


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("mode", ["append_dedup", "append", "overwrite"])
def test_a_run_that_is_killed_anywhere_ends_at_the_truth(
    program: Program,
    workspace: Workspace,
    failing_simulator: Simulator,
    mended_fakesnow: Fakesnow,
    connection: Any,
    api_key: str,
    snowflake_password: str,
    mode: str,
    seed: int,
) -> None:
    warehouse.drop_schema(connection)
    sink = warehouse.sink(mended_fakesnow)
    file = workspace.input("pipeline.yaml", crash.pipeline(sink, failing_simulator.url, mode))
    secrets = {"POLYGON_API_KEY": api_key, "SNOWFLAKE_PASSWORD": snowflake_password}

    def sync(kill: dict[str, str]) -> Outcome:
        return program.run("sync", file, env=secrets | kill)

    crash.run_killed(sync, seed=seed, rounds=ROUNDS[mode], longest=LONGEST[mode])
    for table in crash.streams(mode):
        truth = crash.truth(failing_simulator.url, table, mode)
        tables.assert_table_is_truth(warehouse.rows_of(connection, table), truth, table, warehouse.DIGITS)
