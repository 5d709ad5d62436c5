"""Processes of one pipeline that want one DuckDB file at the same time: one has it, the others are told so.

In Snowflake, where several can write at once, it is test_takeover_snowflake.py.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from harness import market, sentence, tables
from harness.pipelines import Pipeline
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

DAYS = "stock_daily_bars"
# All days are over: rows that are only added are read once, and one too many would stay.
START, END = "2024-06-20", "2024-06-27"
# A request each half second: who has the file is still at it when it is stopped.
SLOWLY = {"plan": {"type": "custom", "requests_per_minute": 120}}


@pytest.mark.parametrize("how", [signal.SIGCONT, signal.SIGKILL], ids=["goes on", "is killed"])
@pytest.mark.parametrize("mode", ["append", "append_dedup", "overwrite"])
def test_who_has_the_file_keeps_it_and_every_row_is_there_once(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str, mode: str, how: signal.Signals
) -> None:
    database = workspace.folder("takeover") / "market.duckdb"
    sink = {"duckdb": {"path": str(database), "schema": "polygon"}}
    secrets, more = {"POLYGON_API_KEY": api_key}, {"commit": {"rows": 1}}
    streams: list[Any] = [{"stream": DAYS, "mode": mode}]
    pipeline = Pipeline(
        program, workspace, simulator, sink, secrets, "judged", streams, end=END, source=SLOWLY, more=more
    )
    with program.begin("sync", pipeline.file(), env=secrets) as first:
        first.until(f"{DAYS}: 6 slices to read".encode()).signal(signal.SIGSTOP)
        for _ in range(2):
            refused = pipeline.run("sync")
            assert refused.code == 3, refused.describe()
            [error] = sentence.on_stderr(refused)
            sentence.assert_clear(error, ["market.duckdb open (process ", "close it first"])
        outcome = first.signal(how).ended()
    if how == signal.SIGCONT:
        outcome.succeeded()
        assert_truth(simulator, database)
    else:
        assert outcome.code == -how, outcome.describe()
    # Whoever comes next goes on where it was.
    for _ in range(2):
        pipeline.sync()
        assert_truth(simulator, database)


def assert_truth(simulator: Simulator, database: Path) -> None:
    truth = market.truth(simulator.url, DAYS, START, END)
    tables.assert_table_is_truth(rows_of(database, DAYS), truth, DAYS)
