"""`read | destination write`, either half dying again and again, ends at the truth.

Each attempt is handed the STATEs that the ones before it echoed, as the platform
does, and the generations that it counts: a new one for each attempt at a stream
that cannot be resumed. The destination is killed at a point that it passes, around
its writes, commits and changes of tables; of a source that dies only the first
bytes arrive.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from harness import airbyte, crash, market
from harness.destination import Destination, Row, refresh
from harness.program import Outcome, parse_line
from harness.servers import Simulator

# A whole attempt passes some 170 points, most of them fewer: what is complete is not sent again.
ROUNDS, LONGEST = 14, {"append": 150, "append_dedup": 240, "overwrite": 240}


class Platform:
    """Runs attempts of one job until the destination has everything."""

    def __init__(self, destination: Destination, url: str, api_key: str, mode: str) -> None:
        # A commit after each STATE with rows: many points to be killed at.
        self._destination = replace(destination, commit_rows=1)
        self._program, self._workspace = destination.program, destination.workspace
        self._config = self._workspace.input("config.json", market.config(url, api_key, crash.START, crash.END))
        found = airbyte.discover(self._program, self._config)
        self.streams = {name: found[name] for name in crash.STREAMS}
        self._mode = mode
        self.attempts = 0
        self._states: dict[str, Any] = {}
        # Records that no echoed STATE covered when the destination was killed: they may be kept, and are sent again.
        self.again: dict[str, list[Row]] = {name: [] for name in self.streams}

    def catalog(self) -> dict[str, Any]:
        catalog = airbyte.configured(
            self.streams.values(),
            "full_refresh" if self._mode == "overwrite" else "incremental",
            destination_sync_mode=self._mode,
        )
        for configured in catalog["streams"]:
            configured["primary_key"] = configured["stream"]["source_defined_primary_key"]
            if self._mode == "overwrite" or not self.resumes(configured["stream"]["name"]):
                # A job is a generation; what cannot be resumed begins anew with each attempt.
                attempt = 0 if self.resumes(configured["stream"]["name"]) else self.attempts
                configured |= refresh(1 + attempt)
            else:
                configured |= refresh(1, minimum=0)
        return catalog

    def resumes(self, stream: str) -> bool:
        return bool(self.streams[stream]["is_resumable"])

    def attempt(self, kill_at: int, choose: random.Random | None = None) -> Outcome:
        """One of them; with `choose`, every second source dies."""
        catalog = self.catalog()
        self.attempts += 1
        arguments = ["--catalog", self._workspace.input("configured.json", catalog)]
        arguments += ["--state", self._workspace.input("state.json", list(self._states.values()))]
        # Only a later attempt reads young days again.
        now = (datetime.fromisoformat(market.NOW) + timedelta(seconds=self.attempts)).isoformat()
        read = self._program.run("read", "--config", self._config, *arguments, env={"TAPELINE_NOW": now})
        arrived = read.succeeded().stdout
        if choose and choose.random() < 0.5:
            cut = choose.randint(0, len(arrived))
            arrived = arrived[: choose.choice([cut, arrived.rfind(b"\n", 0, cut) + 1])]
        written = self._destination.write_bytes(catalog, arrived, env={"TAPELINE_KILL_AT": str(kill_at)})
        self._take(read, written)
        return written

    def _take(self, read: Outcome, written: Outcome) -> None:
        """What the platform keeps of an attempt: the STATEs whose line it got whole."""
        *lines, _ = written.stdout.split(b"\n")
        echoes = [message for message in map(parse_line, lines) if message["type"] == "STATE"]
        left = Counter(map(airbyte.name_of, echoes))
        for message in echoes:
            if self.resumes(airbyte.name_of(message)):
                self._states[airbyte.name_of(message)] = {"type": "STREAM", "stream": message["state"]["stream"]}
        if written.code != crash.KILLED:
            # It told of everything that it kept.
            return
        for message in read.messages:
            if message["type"] == "STATE":
                left[airbyte.name_of(message)] -= 1
            elif message["type"] == "RECORD" and left[name := airbyte.name_of(message)] <= 0:
                self.again[name].append(message["record"]["data"])


def assert_kept(destination: Destination, platform: Platform, name: str, truth: list[Row]) -> int:
    """Every row of the truth, and twice only what was sent again. Returns how many are."""
    assert truth, f"the truth of {name} is empty: nothing is shown by agreeing with it"
    rows = Counter(map(market.canonical, destination.data(name)))
    wanted = Counter(map(market.canonical, truth))
    again = Counter(map(market.canonical, platform.again[name]))
    assert not wanted - rows, (name, list((wanted - rows).elements())[:3])
    assert not rows - wanted - again, (name, list((rows - wanted - again).elements())[:3])
    return sum((rows - wanted).values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["append", "append_dedup", "overwrite"])
def test_a_write_that_is_killed_anywhere_ends_at_the_truth(
    destination: Destination, simulator: Simulator, api_key: str, mode: str, seed: int
) -> None:
    platform = Platform(destination, simulator.url, api_key, mode)
    choose = random.Random(seed)
    codes = []
    for _ in range(ROUNDS):
        codes.append(platform.attempt(choose.randint(1, LONGEST[mode]), choose).code)
    platform.attempt(crash.NEVER).succeeded()
    # Killed; or a source that died, in the middle of a message and between two.
    assert set(codes) <= {crash.KILLED, 0, 1, 3}, codes
    assert codes.count(crash.KILLED) >= ROUNDS // 4 and {1, 3} & set(codes), codes

    for name in platform.streams:
        twice = assert_kept(destination, platform, name, crash.truth(simulator.url, name, mode))
        assert mode == "append" or not twice, (name, twice)
