"""What an Airbyte platform does between a source and a destination.

It configures both, hands the source's messages to the destination, and hands the states
that came back to the source the next time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import airbyte
from harness.program import Message, Outcome, Program, parse_line
from harness.workspace import Workspace


@dataclass
class Connection:
    """A connection of the simulator's streams and a warehouse, and what is known of it."""

    program: Program
    workspace: Workspace
    # The destination's configuration.
    sink: dict[str, Any]
    streams: list[airbyte.Stream]
    sync_mode: str
    destination_mode: str
    # Counted by the platform; `minimum` is 0 as long as no rows are to go.
    generation: int = 1
    minimum: int = 0
    sync_id: int = 0
    # Of streams that are another generation than the others.
    generations: dict[str, int] = field(default_factory=dict)
    echoes: list[Message] = field(default_factory=list)

    def catalog(self) -> Path:
        catalog = airbyte.configured(
            self.streams,
            self.sync_mode,
            destination_sync_mode=self.destination_mode,
            sync_id=self.sync_id,
        )
        for stream in catalog["streams"]:
            generation = self.generations.get(stream["stream"]["name"], self.generation)
            stream["generation_id"] = generation
            stream["minimum_generation_id"] = generation if self.minimum else 0
        return self.workspace.input("catalog.json", catalog)

    def read(self, source: dict[str, Any], env: dict[str, str] | None = None) -> Outcome:
        """What the source says, asked from where the echoed states end."""
        state = self.workspace.input("state.json", airbyte.latest_states(self.echoes))
        config = self.workspace.input("source.json", source)
        return self.program.run("read", "--config", config, "--catalog", self.catalog(), "--state", state, env=env)

    def write(self, messages: bytes, env: dict[str, str] | None = None) -> Outcome:
        """Hands messages to the destination and keeps the states that it echoes."""
        config = self.workspace.input("destination.json", self.sink)
        arguments = ("destination", "write", "--config", config, "--catalog", self.catalog())
        outcome = self.program.run(*arguments, stdin=messages, env=env)
        self.echoes += echoed(outcome)
        return outcome

    def sync(self, source: dict[str, Any]) -> Outcome:
        """A sync as it should be: every state comes back, each with its count."""
        self.sync_id += 1
        messages = self.read(source).succeeded().stdout
        outcome = self.write(messages).succeeded()
        assert_all_echoed(messages, echoed(outcome))
        return outcome


def whole_lines(text: bytes) -> list[bytes]:
    """The lines that ended. Nobody acts on one before its end."""
    *lines, _cut = text.split(b"\n")
    return lines


def echoed(outcome: Outcome) -> list[Message]:
    messages = map(parse_line, whole_lines(outcome.stdout))
    return [message for message in messages if message["type"] == "STATE"]


def assert_all_echoed(sent: bytes, echoes: list[Message]) -> None:
    """The states that were sent came back in their order, with the number of records before each."""
    records: Counter[str] = Counter()
    expected = []
    for message in map(parse_line, whole_lines(sent)):
        if message["type"] == "RECORD":
            records[airbyte.name_of(message)] += 1
        elif message["type"] == "STATE":
            expected.append((message["state"], records.pop(airbyte.name_of(message), 0)))
    assert expected, "no state was sent: nothing is shown by none coming back"
    got = [
        (
            {name: value for name, value in message["state"].items() if name != "destinationStats"},
            message["state"]["destinationStats"]["recordCount"],
        )
        for message in echoes
    ]
    assert got == expected
