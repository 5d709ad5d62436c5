"""Killed again and again, with a server that fails, the tables end equal to the truth.

The program ends itself at chosen points (TAPELINE_KILL_AT): before and after each
write and each commit, without flushing or closing anything, as kill -9 would.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from harness import market, tables
from harness.program import Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

KILLED = -6
# Kills of one campaign; a run that needs more makes no progress.
KILLS_MAX = 400

STREAMS = [*tables.STREAMS, "stock_bars_1_minute"]

FAULTS = """
- {match: {path_prefix: /, every: 7}, fault: {type: server_error, status: 503}}
- {match: {path_prefix: /, every: 11}, fault: {type: truncated_json}}
- {match: {path_prefix: /, every: 13}, fault: {type: reset}}
- {match: {path_prefix: /v2, every: 5}, fault: {type: duplicate_row}}
- {match: {path_prefix: /, every: 23}, fault: {type: rate_limited, retry_after: 0}}
"""


@pytest.fixture(scope="module")
def failing_simulator(program: Program, workspace: Workspace) -> object:
    faults = workspace.input("faults.yaml", FAULTS)
    with Simulator(program, faults=faults) as simulator:
        yield simulator


def run_killed(program: Program, pipeline: Path, api_key: str, kill_at: int) -> Outcome:
    environment = {"POLYGON_API_KEY": api_key, "TAPELINE_KILL_AT": str(kill_at)}
    return program.run("sync", pipeline, env=environment)


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
    # Streams without days are a new snapshot each run: added ones would add up.
    streams = [name for name in STREAMS if mode != "append" or name.startswith("stock_")]
    pipeline = json.loads(
        tables.pipeline(sink, failing_simulator.url, streams, tables.START, tables.END)
    )
    pipeline["streams"] = [{"stream": name, "mode": mode} for name in streams]
    pipeline["commit"] = {"rows": 1}
    file = workspace.input("pipeline.yaml", json.dumps(pipeline))

    choose = random.Random(seed)
    # Streams without days begin anew in each run: some runs must get past all of them.
    longest = 12 if mode == "append" else 40
    kills = 0
    while (outcome := run_killed(program, file, api_key, choose.randint(1, longest))).code == KILLED:
        kills += 1
        assert kills < KILLS_MAX, outcome.describe()
    outcome.succeeded()
    assert kills > 1, "the campaign killed hardly anything"

    for table in streams:
        truth = market.truth(failing_simulator.url, table, tables.START, tables.END)
        tables.assert_table_is_truth(rows_of(database, table), truth, table)
