"""Two pipelines in one schema of Snowflake at the same time, each killed again and again.

TAPELINE_CAMPAIGNS=20 makes twenty campaigns of it, of 1,000 tickers.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness import crash, warehouse
from harness.neighbours import Neighbour, neighbours, wide
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

MANY = 1000 if crash.CAMPAIGNS > 1 else 60
ROUNDS, LONGEST = 5, 120


@pytest.fixture(scope="module")
def wide_simulator(program: Program) -> Iterator[Simulator]:
    with wide(program, MANY) as simulator:
        yield simulator


@pytest.mark.parametrize("seed", range(crash.CAMPAIGNS))
def test_each_table_is_the_truth_of_its_own_pipeline(
    program: Program,
    workspace: Workspace,
    wide_simulator: Simulator,
    shared_fakesnow: Fakesnow,
    shared_connection: Any,
    api_key: str,
    snowflake_password: str,
    seed: int,
) -> None:
    warehouse.drop_schema(shared_connection)
    secrets = {"POLYGON_API_KEY": api_key, "SNOWFLAKE_PASSWORD": snowflake_password}
    both = neighbours(program, workspace, wide_simulator, warehouse.sink(shared_fakesnow), secrets, MANY)

    def campaign(neighbour: Neighbour) -> None:
        file = neighbour.pipeline.file()

        def sync(kill: dict[str, str]) -> Outcome:
            return program.run("sync", file, env=secrets | kill)

        # Each is cut at points of its own.
        crash.run_killed(sync, seed=2 * seed + both.index(neighbour), rounds=ROUNDS, longest=LONGEST)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(campaign, both))
    for neighbour in both:
        neighbour.assert_truth(warehouse.rows_of(shared_connection, neighbour.table), warehouse.DIGITS)
