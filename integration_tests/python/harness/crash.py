"""Crash campaigns: a command is killed and begun again, again and again, and in the end left alone.

The program ends itself at the n-th point that it passes (TAPELINE_KILL_AT): before and
after each write and each commit, and between any two statements of the sink. Nothing
is flushed or closed, as kill -9 would have it.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from datetime import datetime, timedelta

from harness import market, tables
from harness.program import Outcome

# abort() ends a process by this signal; kill -9 would by another one.
KILLED = -signal.SIGABRT
# A point that no run passes.
NEVER = 10**9
# A campaign that was not enough becomes so many times as long.
MORE = 10
# How many campaigns of the long kind there are, each with a seed of its own: one in `make test`.
CAMPAIGNS = int(os.environ.get("TAPELINE_CAMPAIGNS", "1"))

SLICED = ["stock_daily_bars", "stock_bars_1_hour", "stock_bars_1_minute", "dividends", "news"]
STREAMS = [*SLICED, *(name for name in tables.STREAMS if name not in SLICED)]

# The last day is under way, and dividends of later ones are announced.
START, YESTERDAY, END = tables.START, "2024-06-27", "2024-12-31"

# Every request fails in some way sooner or later, and none of them for ever: of wrong answers the
# third in a row ends a stream.
FAULTS = """
- {match: {path_prefix: /, every: 7, in_a_row: 2}, fault: {type: server_error, status: 503}}
- {match: {path_prefix: /, every: 11, in_a_row: 2}, fault: {type: truncated_json}}
- {match: {path_prefix: /, every: 13, in_a_row: 2}, fault: {type: reset}}
- {match: {path_prefix: /v2, every: 5, in_a_row: 2}, fault: {type: duplicate_row}}
- {match: {path_prefix: /, every: 23, in_a_row: 2}, fault: {type: rate_limited, retry_after: 0}}
- {match: {path_prefix: /, every: 6, in_a_row: 2}, fault: {type: two_members}}
- {match: {path_prefix: /, every: 17, in_a_row: 2}, fault: {type: fewer_rows}}
- {match: {path_prefix: /, every: 19, in_a_row: 2}, fault: {type: results_text}}
- {match: {path_prefix: /, every: 29, in_a_row: 2}, fault: {type: other_days}}
"""


def streams(mode: str) -> list[str]:
    """Streams without days are a new snapshot each run: added ones would add up."""
    return [name for name in STREAMS if mode != "append" or name in SLICED]


def truth(base_url: str, stream: str, mode: str) -> list[market.Row]:
    """What the table holds in the end: rows that are only added wait until their day is over."""
    return market.truth(base_url, stream, START, YESTERDAY if mode == "append" else END)


def pipeline(sink: dict[str, object], base_url: str, mode: str) -> str:
    """A pipeline of all streams that the mode allows, with a commit after each slice that has rows."""
    names = streams(mode)
    file = json.loads(tables.pipeline(sink, base_url, names, START, END))
    file["streams"] = [{"stream": name, "mode": mode} for name in names]
    file["commit"] = {"rows": 1}
    return json.dumps(file)


def run_killed(
    run: Callable[[dict[str, str]], Outcome],
    *,
    seed: int,
    rounds: int,
    longest: int,
    is_enough: Callable[[], bool] = lambda: True,
) -> list[Outcome]:
    """Runs `rounds` times, killed at one of the first `longest` points that a run passes, and once to its end.

    Streams are read at the same time, so that a point is another moment each time: where it
    is not `is_enough` for what a test wants to show, more rounds follow, `MORE` times as many at most.
    `run` is given the environment that does it. Returns every run, in order.
    """
    choose = random.Random(seed)
    now = datetime.fromisoformat(market.NOW)
    outcomes: list[Outcome] = []

    def once(kill_at: int) -> None:
        nonlocal now
        # Only a later run reads young days again.
        now += timedelta(seconds=1)
        outcomes.append(run({"TAPELINE_KILL_AT": str(kill_at), "TAPELINE_NOW": now.isoformat()}))
        if outcomes[-1].code != KILLED:
            # It passed fewer points.
            outcomes[-1].succeeded()

    while len(outcomes) < rounds or (len(outcomes) < MORE * rounds and not is_enough()):
        once(choose.randint(1, longest))
    kills, tries = sum(outcome.code == KILLED for outcome in outcomes), len(outcomes)
    once(NEVER)
    outcomes[-1].succeeded()
    assert kills >= tries // 2, f"only {kills} of {tries} runs were killed"
    return outcomes
