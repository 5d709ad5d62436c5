"""Processes of one pipeline that write one stream into one schema at the same time: every row is there once.

The last one that opened the stream goes on; the others are told so at their next commit. A process that
is stopped where it is, and goes on when others have been there, meets that for certain.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from harness import market, sentence, tables, warehouse
from harness.pipelines import Pipeline
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

DAYS = "stock_daily_bars"
# All days are over: rows that are only added are read once, and one too many would stay.
START, END = "2024-06-20", "2024-06-27"
MODES = ["append", "append_dedup", "overwrite"]
# A request each half second: who opened the stream is still at it when it is stopped.
SLOWLY = {"plan": {"type": "custom", "requests_per_minute": 120}}
BEGUN = f"{DAYS}: 6 slices to read".encode()
TAKEN_OVER = [f"{DAYS}: ", "another process moved the progress of", "let only one process at a time write a stream"]

Make = Callable[..., Pipeline]


@pytest.fixture
def make(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    shared_fakesnow: Fakesnow,
    shared_connection: Any,
    api_key: str,
    snowflake_password: str,
) -> Make:
    """The pipeline; each process has a file of its own that says the same. It commits each day by itself."""
    warehouse.drop_schema(shared_connection)
    secrets = {"POLYGON_API_KEY": api_key, "SNOWFLAKE_PASSWORD": snowflake_password}

    def make(mode: str, end: str = END, **more: Any) -> Pipeline:
        sink, streams = warehouse.sink(shared_fakesnow), [{"stream": DAYS, "mode": mode}]
        made = Pipeline(program, workspace, simulator, sink, secrets, "judged", streams, end=end, **more)
        made.more = {"commit": {"rows": 1}}
        return made

    return make


def assert_truth(shared_connection: Any, simulator: Simulator, end: str) -> None:
    truth = market.truth(simulator.url, DAYS, START, end)
    tables.assert_table_is_truth(warehouse.rows_of(shared_connection, DAYS), truth, DAYS, warehouse.DIGITS)


def assert_taken_over(outcome: Outcome) -> None:
    assert outcome.code == 3, outcome.describe()
    [error] = sentence.on_stderr(outcome)
    sentence.assert_clear(error, TAKEN_OVER)


@pytest.mark.parametrize("mode", MODES)
def test_processes_that_were_stopped_find_that_another_one_took_over(
    make: Make, shared_connection: Any, simulator: Simulator, mode: str
) -> None:
    pipeline = make(mode, source=SLOWLY)
    stopped = []
    with ExitStack() as stack:
        for _ in range(2):
            running = pipeline.program.begin("sync", pipeline.file(), env=pipeline.secrets)
            stopped.append(stack.enter_context(running).until(BEGUN).signal(signal.SIGSTOP))
        pipeline.sync()
        assert_truth(shared_connection, simulator, END)
        before = warehouse.rows_of(shared_connection, DAYS)
        for running in reversed(stopped):
            assert_taken_over(running.signal(signal.SIGCONT).ended())
    assert warehouse.rows_of(shared_connection, DAYS) == before, "whoever was overtaken added or took away rows"
    pipeline.sync()
    assert_truth(shared_connection, simulator, END)


@pytest.mark.parametrize("mode", MODES)
def test_processes_at_the_same_time_leave_every_row_once(
    make: Make, shared_connection: Any, simulator: Simulator, mode: str
) -> None:
    for end in ("2024-06-21", "2024-06-25", END):
        pipeline = make(mode, end)
        with ThreadPoolExecutor(3) as threads:
            outcomes = list(threads.map(lambda _, of=pipeline: of.run("sync"), range(3)))
        for outcome in outcomes:
            if outcome.code != 0:
                assert_taken_over(outcome)
        assert any(outcome.code == 0 for outcome in outcomes), "the last one has nobody to give way to"
        assert_truth(shared_connection, simulator, end)
