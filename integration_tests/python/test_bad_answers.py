"""What a person sees of tickers that are delisted, unknown or answered wrongly, in every mode.

A ticker that fails for a reason that will not pass is reported by each run and
keeps no other from being read, and no stream from being finished.
"""

from __future__ import annotations

import json

import duckdb
import pytest

from harness import airbyte, market, sentence, tables
from harness.program import Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace

START, END = "2022-06-01", "2022-06-30"
# FB was delisted in June 2022; the API has no details of it as of now.
TICKERS = ["AAPL", "FB"]
DETAILS = "ticker_details"
SCHEMA = "polygon"


class Tickers:
    """A pipeline of `ticker_details` and bars for some tickers."""

    def __init__(self, program: Program, workspace: Workspace, url: str, api_key: str, mode: str) -> None:
        self._program, self._workspace, self._url, self._api_key = program, workspace, url, api_key
        self._mode = mode
        self._database = workspace.folder("tickers") / "market.duckdb"

    def sync(self, tickers: list[str]) -> Outcome:
        text = tables.pipeline(
            {"duckdb": {"path": str(self._database), "schema": SCHEMA}}, self._url, [DETAILS], START, END
        )
        pipeline = json.loads(text)
        pipeline["source"]["polygon"]["tickers"] = tickers
        pipeline["streams"] = [
            {"stream": DETAILS, "mode": self._mode},
            {"stream": "stock_bars_1_day", "mode": self._mode},
        ]
        pipeline["source"]["polygon"]["bar_sizes"] = ["1day"]
        file = self._workspace.input("pipeline.yaml", json.dumps(pipeline))
        return self._program.run("sync", file, env={"POLYGON_API_KEY": self._api_key})

    def rows(self, table: str) -> list[tables.Row]:
        with duckdb.connect(str(self._database), read_only=True) as connection:
            return tables.of_duckdb(connection, SCHEMA, table)

    def read_at(self) -> dict[str, object]:
        """When each ticker's details were fetched."""
        with duckdb.connect(str(self._database), read_only=True) as connection:
            [columns] = [connection.sql(f"SELECT * FROM {SCHEMA}.{DETAILS} LIMIT 0").columns]
            column = next(name for name in columns if "extracted_at" in name)
            rows = connection.sql(f'SELECT ticker, epoch_us("{column}") FROM {SCHEMA}.{DETAILS}').fetchall()
            return dict(rows)


@pytest.mark.parametrize("mode", ["overwrite", "append_dedup"])
def test_a_delisted_ticker_is_no_failure(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str, mode: str
) -> None:
    world = Tickers(program, workspace, simulator.url, api_key, mode)
    for _ in range(2):
        world.sync(TICKERS).succeeded()
        truth = market.truth(simulator.url, DETAILS, START, END, TICKERS)
        assert {row["ticker"] for row in truth} == set(TICKERS)
        tables.assert_table_is_truth(world.rows(DETAILS), truth, DETAILS)


# By its name the unknown one comes first, or last.
@pytest.mark.parametrize("unknown", ["AAA.NOSUCH", "ZZZ.NOSUCH"])
@pytest.mark.parametrize("mode", ["overwrite", "append_dedup"])
def test_a_ticker_that_does_not_exist_is_told_each_time_and_holds_nothing_up(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str, mode: str, unknown: str
) -> None:
    world = Tickers(program, workspace, simulator.url, api_key, mode)
    seen: list[dict[str, object]] = []
    for _ in range(3):
        outcome = world.sync([*TICKERS, unknown])
        assert outcome.code == 2, outcome.describe()
        told = sentence.on_stderr(outcome)
        assert len(told) == 2, outcome.describe()
        for text in told:
            sentence.assert_clear(text, (unknown, "does not exist", "case-sensitive"))
        truth = market.truth(simulator.url, DETAILS, START, END, TICKERS)
        tables.assert_table_is_truth(world.rows(DETAILS), truth, DETAILS)
        bars = market.truth(simulator.url, "stock_bars_1_day", START, END, TICKERS)
        tables.assert_table_is_truth(world.rows("stock_bars_1_day"), bars, "stock_bars_1_day")
        seen.append(world.read_at())
    # Each run read every ticker anew: the one that fails does not hold the pass open.
    for before, after in zip(seen, seen[1:], strict=False):
        assert all(after[ticker] > before[ticker] for ticker in TICKERS), seen  # type: ignore[operator]


def test_nothing_but_unknown_tickers_leaves_the_table_as_it_was(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str
) -> None:
    world = Tickers(program, workspace, simulator.url, api_key, "overwrite")
    world.sync(TICKERS).succeeded()
    before = world.rows(DETAILS)
    for _ in range(2):
        assert world.sync(["ZZZ.NOSUCH"]).code == 2
        assert world.rows(DETAILS) == before


def test_airbyte_is_told_that_the_stream_is_complete_and_what_is_missing(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str
) -> None:
    config = market.config(simulator.url, api_key, START, END, tickers=[*TICKERS, "ZZZ.NOSUCH"])
    file = workspace.input("config.json", json.dumps(config))
    catalog = airbyte.configured([airbyte.discover(program, file)[DETAILS]], "full_refresh")
    outcome = program.run("read", "--config", file, "--catalog", workspace.input("catalog.json", json.dumps(catalog)))
    assert outcome.code == 2, outcome.describe()
    records = airbyte.records(outcome.messages)[DETAILS]
    assert {row["ticker"] for row in records} == set(TICKERS)
    statuses = [
        message["trace"]["stream_status"]["status"]
        for message in outcome.of_type("TRACE")
        if message["trace"]["type"] == "STREAM_STATUS"
    ]
    assert statuses[-1] == "COMPLETE", statuses
    [error] = sentence.in_protocol(outcome, 2)
    sentence.assert_clear(error["message"], ("ZZZ.NOSUCH", "does not exist"))
