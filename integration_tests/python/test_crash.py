"""Killed again and again, with a server that fails, the tables of DuckDB end equal to the truth."""

from __future__ import annotations

import pytest

from harness import crash, tables
from harness.program import Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["append_dedup", "append", "overwrite"])
def test_a_run_that_is_killed_anywhere_ends_at_the_truth(
    program: Program,
    workspace: Workspace,
    failing_simulator: Simulator,
    api_key: str,
    mode: str,
    seed: int,
) -> None:
    database = workspace.folder("crash") / f"{mode}-{seed}.duckdb"
    sink: dict[str, object] = {"duckdb": {"path": str(database), "schema": "polygon"}}
    file = workspace.input("pipeline.yaml", crash.pipeline(sink, failing_simulator.url, mode))

    def sync(kill: dict[str, str]) -> Outcome:
        return program.run("sync", file, env={"POLYGON_API_KEY": api_key, **kill})

    # A whole run passes more than 200 points, and 140 of rows that are only added. Those rows are
    # never read again: short runs leave points for the next ones.
    rounds, longest = (8, 40) if mode == "append" else (12, 280)
    crash.run_killed(sync, seed=seed, rounds=rounds, longest=longest)

    for table in crash.streams(mode):
        truth = crash.truth(failing_simulator.url, table, mode)
        tables.assert_table_is_truth(rows_of(database, table), truth, table)
