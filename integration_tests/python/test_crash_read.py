"""A read that is killed again and again, with a server that fails, delivers the truth.

Each run is handed the last states that the ones before it printed whole, as the
platform does. A destination keeps what a state covers: records after a stream's
last state are gone with the crash, and so is what a stream that cannot be resumed
delivered to an earlier attempt. Of some killed runs only a part arrives, as when
the platform's end of the pipe dies too.
"""

from __future__ import annotations

import random

import pytest

from harness import airbyte, crash, market
from harness.program import Message, Outcome, Program, parse_line
from harness.servers import Simulator
from harness.workspace import Workspace

Streams = dict[str, airbyte.Stream]


class Destination:
    """What was delivered of each stream, in order."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._states: dict[str, Message] = {}
        # What a state covers, and everything: a destination that merges by key may hold more.
        self.kept: dict[str, list[market.Row]] = {name: [] for name in streams}
        self.seen: dict[str, list[market.Row]] = {name: [] for name in streams}
        # Records that no state covers, and runs of which something was kept and gone on from.
        self.lost = 0
        self.steps = 0

    @property
    def states(self) -> list[dict[str, object]]:
        return airbyte.latest_states(self._states.values())

    def take(self, messages: list[Message]) -> None:
        for name, stream in self._streams.items():
            if not stream["is_resumable"]:
                # Each attempt reads it from the beginning, into a new generation.
                self.kept[name].clear()
                self.seen[name].clear()
        pending: dict[str, list[market.Row]] = {}
        progressed = False
        for message in messages:
            if message["type"] == "RECORD":
                name, row = airbyte.name_of(message), message["record"]["data"]
                pending.setdefault(name, []).append(row)
                self.seen[name].append(row)
            elif message["type"] == "STATE":
                name = airbyte.name_of(message)
                self._states[name] = message
                rows = pending.pop(name, [])
                self.kept[name] += rows
                progressed |= bool(rows) and self._streams[name]["is_resumable"]
        self.steps += progressed
        self.lost += sum(map(len, pending.values()))

    def merged(self, rows: list[market.Row], name: str) -> list[market.Row]:
        """The last row of each key."""
        return list({airbyte.key_of(self._streams[name], row): row for row in rows}.values())


def arrived(outcome: Outcome, choose: random.Random) -> list[Message]:
    """The messages of a run, or of every second killed one those of its first bytes.

    Nobody acts on a line before its end.
    """
    output = outcome.stdout
    if outcome.code == crash.KILLED and choose.random() < 0.5:
        output = output[: choose.randint(0, len(output))]
    *lines, cut = output.split(b"\n")
    assert not cut or outcome.code == crash.KILLED, cut[:300]
    return [parse_line(line) for line in lines]


def assert_truth(rows: list[market.Row], truth: list[market.Row], what: str) -> None:
    assert truth, f"the truth of {what} is empty: nothing is shown by agreeing with it"
    market.assert_same_rows(map(market.canonical, rows), map(market.canonical, truth), what)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("sync_mode", "destination_mode"),
    [
        ("incremental", "append"),
        ("incremental", "append_dedup"),
        ("full_refresh", "overwrite"),
        ("full_refresh", "append"),
    ],
)
def test_what_the_states_cover_is_the_truth(
    program: Program,
    workspace: Workspace,
    failing_simulator: Simulator,
    api_key: str,
    sync_mode: str,
    destination_mode: str,
    seed: int,
) -> None:
    url = failing_simulator.url
    config = workspace.input("config.json", market.config(url, api_key, crash.START, crash.END))
    found = airbyte.discover(program, config)
    streams = {name: found[name] for name in crash.STREAMS}
    catalog = workspace.input(
        "catalog.json",
        airbyte.configured(streams.values(), sync_mode, destination_sync_mode=destination_mode),
    )
    destination = Destination(streams)
    choose = random.Random(seed)

    def read(kill: dict[str, str]) -> Outcome:
        state = workspace.input("state.json", destination.states)
        outcome = program.run("read", "--config", config, "--catalog", catalog, "--state", state, env=kill)
        destination.take(arrived(outcome, choose))
        return outcome

    def is_enough() -> bool:
        return destination.lost > 0 and destination.steps > 2

    # Days that are read once leave ever fewer points: short runs cut them at as many.
    longest = 90 if destination_mode == "append_dedup" else 16
    crash.run_killed(read, seed=seed, rounds=10, longest=longest, is_enough=is_enough)
    assert destination.lost, "no kill fell between records and their state"
    assert destination.steps > 2, "hardly a run went on where another one was killed"

    for name in streams:
        truth = crash.truth(url, name, destination_mode)
        kept = destination.kept[name]
        if destination_mode == "append_dedup":
            assert_truth(destination.merged(destination.seen[name], name), truth, f"{name}, with all records")
            kept = destination.merged(kept, name)
        assert_truth(kept, truth, name)
