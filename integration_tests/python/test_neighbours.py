"""Two pipelines in one DuckDB file, one of 1,000 tickers, each killed again and again, one after the other.

TAPELINE_CAMPAIGNS=20 makes twenty campaigns of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from harness import crash
from harness.neighbours import neighbours, wide
from harness.program import Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

MANY = 1000
# A run of all tickers passes some thousand points; that of the few others some dozens.
ROUNDS, LONGEST = 12, 150


@pytest.fixture(scope="module")
def wide_simulator(program: Program) -> Iterator[Simulator]:
    with wide(program, MANY) as simulator:
        yield simulator


@pytest.mark.parametrize("seed", range(crash.CAMPAIGNS))
def test_each_table_is_the_truth_of_its_own_pipeline(
    program: Program, workspace: Workspace, wide_simulator: Simulator, api_key: str, seed: int
) -> None:
    database = workspace.folder("neighbours") / "market.duckdb"
    sink, secrets = {"duckdb": {"path": str(database), "schema": "polygon"}}, {"POLYGON_API_KEY": api_key}
    both = neighbours(program, workspace, wide_simulator, sink, secrets, MANY)
    turns = itertools.cycle(both)

    def sync(kill: dict[str, str]) -> Outcome:
        return program.run("sync", next(turns).pipeline.file(), env=secrets | kill)

    crash.run_killed(sync, seed=seed, rounds=ROUNDS, longest=LONGEST)
    for neighbour in both:
        neighbour.pipeline.sync()
    for neighbour in both:
        neighbour.assert_truth(rows_of(database, neighbour.table))
