"""Two pipelines of one stream over one warehouse: of many tickers, and of some others into a table with a prefix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness import market, tables
from harness.pipelines import START, Pipeline
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace

BARS = "stock_bars_1_day"
# All days are over: rows that are only added are read once.
END = "2024-06-27"
# Tickers of the second pipeline.
FEW = 25
# Some tickers' rows: a run has many commits to be killed at.
COMMIT = {"commit": {"rows": 20}}


def wide(program: Program, many: int) -> Simulator:
    """A market that lists as many tickers as two of them read, the first so `many`. Some are delisted."""
    return Simulator(program, tickers=2 * (many + FEW))


@dataclass
class Neighbour:
    pipeline: Pipeline
    tickers: list[str]
    table: str

    def assert_truth(self, rows: list[tables.Row], digits: int = 9) -> None:
        """Rows of the other one's tickers would be too many, as any others."""
        truth = market.truth(self.pipeline.simulator.url, BARS, START, END, self.tickers)
        tables.assert_table_is_truth(rows, truth, self.table, digits)


def neighbours(
    program: Program, workspace: Workspace, simulator: Simulator, sink: dict[str, Any], secrets: dict[str, str], many: int
) -> list[Neighbour]:
    """The first adds rows of so `many` tickers; the second replaces its table by each run."""
    listed = sorted({row["ticker"] for row in market.truth(simulator.url, "tickers", START, END)})
    assert len(listed) >= many + FEW, f"only {len(listed)} tickers are listed"

    def made(name: str, mode: str, tickers: list[str], prefix: str) -> Neighbour:
        streams: list[Any] = [{"stream": BARS, "mode": mode, **({"table_prefix": prefix} if prefix else {})}]
        source = {"tickers": tickers}
        pipeline = Pipeline(
            program, workspace, simulator, sink, secrets, name, streams, end=END, source=source, more=COMMIT
        )
        return Neighbour(pipeline, tickers, f"{prefix}{BARS}")

    return [made("many", "append", listed[:many], ""), made("few", "overwrite", listed[many : many + FEW], "few_")]
