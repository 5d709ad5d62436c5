"""Killed again and again, with a source that dies too, the destination's tables in Snowflake end equal to the truth.

Each attempt is handed what the source sends from where the echoed states end, as the
platform does it. Where rows replace those with the same key nothing is doubled; rows that
are only added are sent again when a kill fell between a commit and its echo, and only then.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from harness import airbyte, crash, market, platform, tables, warehouse
from harness.platform import Connection
from harness.program import Outcome, Program, parse_line
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

# Read by day, by ticker, by month, open to the future; and what cannot be resumed.
STREAMS = [*crash.SLICED, "tickers", "exchanges"]
PROGRESS = f'{warehouse.DATABASE}.{warehouse.SCHEMA}."_TAPELINE_PROGRESS"'
# A whole run of the destination passes 120 points when it appends, to fewer tables, 160 when it merges, 230 when
# tables are collected beside the old ones; a run that has less left to write passes fewer.
LONGEST = {"append": 60, "append_dedup": 140, "refresh": 160, "overwrite": 150}
ROUNDS = 6
# A whole read passes so many: about every third one is cut.
READ_POINTS = 90


@pytest.fixture(scope="module")
def judge(mended_fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(mended_fakesnow) as connection:
        yield connection


class Campaign:
    """Attempts of one sync, each killed somewhere."""

    def __init__(self, connection: Connection, source: dict[str, Any], judge: Any, seed: int) -> None:
        self.connection = connection
        self.source = source
        self._judge = judge
        self._choose = random.Random(seed)
        # How often each row was sent, and the streams of which a commit was not heard of.
        self.sent: dict[str, Counter[str]] = {stream["name"]: Counter() for stream in connection.streams}
        self.unheard: set[str] = set()
        self.resumed = 0

    def attempt(self, kill: dict[str, str]) -> Outcome:
        is_last = kill["TAPELINE_KILL_AT"] == str(crash.NEVER)
        self._next_attempt()
        self.resumed += bool(self.connection.echoes)
        now = {"TAPELINE_NOW": kill["TAPELINE_NOW"]}
        if not is_last and self._choose.random() < 1 / 3:
            now["TAPELINE_KILL_AT"] = str(self._choose.randint(1, READ_POINTS))
        read = self.connection.read(self.source, env=now)
        self._note_sent(read.stdout)
        written = self.connection.write(read.stdout, env=kill)
        self._note_unheard()
        if written.code == crash.KILLED or read.code == 0:
            return written
        # It told that the source was cut off.
        assert written.code != 0, written.describe()
        return read

    def _next_attempt(self) -> None:
        """A stream that cannot be resumed begins anew, as a new generation."""
        for stream in self.connection.streams:
            if not stream["is_resumable"]:
                name = stream["name"]
                self.connection.generations[name] = self.connection.generations.get(name, 0) + 1
                self.sent[name].clear()

    def _note_sent(self, messages: bytes) -> None:
        for name, rows in airbyte.records(map(parse_line, platform.whole_lines(messages))).items():
            self.sent[name].update(tables.comparable(row, warehouse.DIGITS) for row in rows)

    def _note_unheard(self) -> None:
        heard = {airbyte.name_of(echo): echo["state"]["stream"] for echo in self.connection.echoes}
        if "_TAPELINE_PROGRESS" not in warehouse.table_names(self._judge):
            return
        rows = self._judge.cursor().execute(f"SELECT STREAM, POSITION FROM {PROGRESS}")
        for key, progress in rows.fetchall():
            name = key.rpartition("/")[2]
            if heard.get(name) != json.loads(progress)["stream"]:
                self.unheard.add(name)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("mode", ["append_dedup", "refresh", "append", "overwrite"])
def test_what_is_killed_anywhere_ends_at_the_truth(
    program: Program,
    workspace: Workspace,
    failing_simulator: Simulator,
    mended_fakesnow: Fakesnow,
    judge: Any,
    api_key: str,
    snowflake_password: str,
    mode: str,
    seed: int,
) -> None:
    warehouse.drop_schema(judge)
    # Added again and again, a snapshot would add up.
    names = [name for name in STREAMS if mode != "append" or name in crash.SLICED]
    source = market.config(failing_simulator.url, api_key, crash.START, crash.END)
    catalog = airbyte.discover(program, workspace.input("source.json", source))
    connection = Connection(
        program,
        workspace,
        # A commit after each STATE with rows: many points to be killed at.
        {**warehouse.destination(mended_fakesnow, snowflake_password), "commit": {"rows": 1}},
        [catalog[name] for name in names],
        "full_refresh" if mode in ("refresh", "overwrite") else "incremental",
        "append_dedup" if mode == "refresh" else mode,
        minimum=int(mode in ("refresh", "overwrite")),
    )
    campaign = Campaign(connection, source, judge, seed)
    crash.run_killed(
        campaign.attempt,
        seed=seed,
        rounds=ROUNDS,
        longest=LONGEST[mode],
        is_enough=lambda: campaign.resumed > 1,
    )
    assert campaign.resumed > 1, "hardly an attempt went on where another one was killed"

    for table in names:
        rows = warehouse.rows_of(judge, table)
        truth = crash.truth(failing_simulator.url, table, mode)
        if mode in ("append", "overwrite") and table in campaign.unheard:
            rows = sent_once(rows, campaign.sent[table], table)
        tables.assert_table_is_truth(rows, truth, table, warehouse.DIGITS)
    left = [name for name in warehouse.table_names(judge) if "_NEXT_" in name]
    assert not left, left


def sent_once(rows: list[tables.Row], sent: Counter[str], table: str) -> list[tables.Row]:
    """One of each row, none of which may be there more often than it was sent."""
    by_text = {tables.comparable(row, warehouse.DIGITS): row for row in rows}
    there = Counter(tables.comparable(row, warehouse.DIGITS) for row in rows)
    more = [text for text, count in there.items() if count > sent[text]]
    assert not more, f"{table} has rows more often than they were sent: {more[:3]}"
    return list(by_text.values())
