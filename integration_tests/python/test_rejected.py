"""Rows without a key, of this source: kept apart, told, bounded, and in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness import airbyte, market, sentence, tables
from harness.pipelines import END, START, Pipeline
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

HOURS, SPLITS = "stock_bars_1_hour", "splits"
TICKERS = ["AAPL", "BRK.B"]
# Of each page the first three rows.
FAULTS = [
    {"match": {"path_prefix": path, "nth": [1]}, "fault": {"type": "keyless_rows"}}
    for path in ("/v2/aggs/ticker/AAPL/", "/stocks/v1/splits")
]
ABSENT = "`{}` of the primary key is absent or null"
MISFIT = "`{}` of the primary key is not of the type that the stream's schema says"
Make = Callable[..., Pipeline]


@pytest.fixture
def database(workspace: Workspace) -> Path:
    return workspace.folder("rejected") / "market.duckdb"


@pytest.fixture
def faulty(program: Program, workspace: Workspace) -> Iterator[Simulator]:
    with Simulator(program, faults=workspace.input("faults.yaml", json.dumps(FAULTS))) as simulator:
        yield simulator


@pytest.fixture
def make(program: Program, workspace: Workspace, faulty: Simulator, api_key: str, database: Path) -> Make:
    def make(streams: list[Any], **more: Any) -> Pipeline:
        sink = {"duckdb": {"path": str(database), "schema": "polygon"}}
        return Pipeline(
            program, workspace, faulty, sink, {"POLYGON_API_KEY": api_key}, "judged", streams,
            source={"tickers": TICKERS}, **more,
        )

    return make


def rejected(database: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        query = "SELECT pipeline, stream, shard, reason, record FROM polygon._tapeline_rejected ORDER BY ALL"
        return connection.sql(query).fetchall()


def truth(pipeline: Pipeline, stream: str) -> list[tables.Row]:
    return market.truth(pipeline.simulator.url, stream, START, pipeline.end, TICKERS)


def test_rows_without_a_key_are_kept_apart_and_told(make: Make, database: Path) -> None:
    pipeline = make([HOURS, {"stream": SPLITS, "mode": "append_dedup"}])
    outcome = pipeline.run("sync").succeeded()
    told = outcome.stderr.decode()
    assert f"{HOURS}: 3 rows have no primary key that tells them apart and are in _tapeline_rejected" in told, told
    assert f"{SPLITS}: " in told and told.count("the row goes into _tapeline_rejected") == 2, told
    assert "complete, 3 rejected" in outcome.stdout.decode(), outcome.describe()

    rows = rejected(database)
    of_hours = [row for row in rows if row[1] == HOURS]
    reasons = [ABSENT.format("timestamp")] * 2 + [MISFIT.format("timestamp")]
    assert [row[:4] for row in of_hours] == [("judged", HOURS, "AAPL", reason) for reason in reasons]
    # Bars come in the order of time: the first three of the ticker are not there, and all else is.
    first = sorted((row for row in truth(pipeline, HOURS) if row["ticker"] == "AAPL"), key=lambda row: row["timestamp"])[:3]
    there = [row for row in truth(pipeline, HOURS) if row not in first]
    tables.assert_table_is_truth(rows_of(database, HOURS), there, HOURS)
    kept = sorted(float(json.loads(row[4])["close"]) for row in of_hours)
    assert kept == sorted(float(row["close"]) for row in first)
    assert json.loads(of_hours[2][4])["additional_properties"] == {"t": {"none": True}}


def test_what_is_read_again_is_rejected_once_and_heals(make: Make, database: Path) -> None:
    pipeline = make([{"stream": HOURS, "mode": "append_dedup"}])
    pipeline.run("sync").succeeded()
    before = rejected(database)
    assert len(before) == 3
    # The fault has passed: what is read again has its keys.
    pipeline.run("reset", "--stream", HOURS, "--yes").succeeded()
    outcome = pipeline.run("sync", "--log-format", "json").succeeded()
    [told] = json.loads(outcome.stdout)["streams"]
    assert (told["outcome"], told["rejected"]) == ("complete", 0), told
    tables.assert_table_is_truth(rows_of(database, HOURS), truth(pipeline, HOURS), HOURS)
    assert rejected(database) == before


def test_more_than_may_be_fail_the_stream_and_lose_nothing(make: Make, database: Path) -> None:
    streams = [{"stream": HOURS, "rejected_max": 2}, {"stream": SPLITS, "mode": "append_dedup", "rejected_max": 3}]
    outcome = make(streams).run("sync")
    assert outcome.code == 2, outcome.describe()
    [error] = sentence.on_stderr(outcome)
    sentence.assert_clear(error, [f"{HOURS}: ", "`timestamp` of the primary key", "at most 2 may be rejected", "`rejected_max`"])
    assert [row[1] for row in rejected(database)] == [SPLITS] * len(rejected(database))
    # The next run reads what this one did not commit.
    pipeline = make(streams)
    pipeline.run("sync").succeeded()
    tables.assert_table_is_truth(rows_of(database, HOURS), truth(pipeline, HOURS), HOURS)


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_where_rows_are_added_they_are_rows(make: Make, database: Path, mode: str) -> None:
    pipeline = make([{"stream": HOURS, "mode": mode}])
    pipeline.run("sync").succeeded()
    assert rejected(database) == []
    assert len(rows_of(database, HOURS)) == len(truth(pipeline, HOURS))
    assert sum(row["timestamp"] is None for row in rows_of(database, HOURS)) == 3


@pytest.mark.parametrize(("streams", "more", "words"), [
    ([HOURS], {"rejected_max": 10_001}, ["`rejected_max` 10001 is more than 10000"]),
    ([{"stream": HOURS, "rejected_max": 10_001}], {}, ["`rejected_max` 10001 is more than 10000"]),
])
def test_a_bound_out_of_range_is_refused(make: Make, streams: list[Any], more: Any, words: list[str]) -> None:
    outcome = make(streams, more=more).run("sync")
    assert outcome.code == 2, outcome.describe()
    [error] = sentence.on_stderr(outcome)
    sentence.assert_clear(error, words)


def test_a_platform_gets_them_as_records(program: Program, workspace: Workspace, faulty: Simulator, api_key: str) -> None:
    """It is for the destination to judge what a key is."""
    config = market.config(faulty.url, api_key, START, END, tickers=TICKERS)
    file = workspace.input("config.json", json.dumps(config))
    catalog = airbyte.configured([airbyte.discover(program, file)[HOURS]], "incremental")
    outcome = program.run("read", "--config", file, "--catalog", workspace.input("catalog.json", catalog)).succeeded()
    records = airbyte.records(outcome.messages)[HOURS]
    assert sum("timestamp" not in row or row["timestamp"] is None for row in records) == 3
    assert len(records) == len(market.truth(faulty.url, HOURS, START, END, TICKERS))
