"""Pipelines of several names over one place, as their owners run them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import tables
from harness.program import HANG_S, Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace

START, END = "2024-06-20", "2024-06-28"


@dataclass
class Pipeline:
    """A pipeline of the simulator's streams, under a name."""

    program: Program
    workspace: Workspace
    simulator: Simulator
    sink: dict[str, Any]
    secrets: dict[str, str]
    name: str
    streams: list[Any]
    end: str = END
    source: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def file(self) -> Path:
        pipeline = json.loads(tables.pipeline(self.sink, self.simulator.url, [], START, self.end))
        pipeline["source"]["polygon"].update(self.source)
        pipeline.update({"name": self.name, "streams": self.streams, **self.more})
        return self.workspace.input("pipeline.yaml", json.dumps(pipeline))

    def run(self, verb: str, *arguments: str) -> Outcome:
        return self.program.run(verb, self.file(), *arguments, env=self.secrets)

    def answer(self, answer: str, *arguments: str) -> tuple[int, str]:
        """Runs it at a terminal, where somebody types `answer`; its exit code and what it said."""
        typed, terminal = pty.openpty()
        command = [str(self.program.binary), arguments[0], str(self.file()), *arguments[1:]]
        try:
            os.write(typed, f"{answer}\n".encode())
            environment = self.program.environment(self.secrets)
            done = subprocess.run(
                command, stdin=terminal, capture_output=True, env=environment, timeout=HANG_S, check=False
            )
        finally:
            os.close(terminal)
            os.close(typed)
        self.program.scan(Outcome(arguments, done.returncode, done.stdout, done.stderr))
        return done.returncode, (done.stdout + done.stderr).decode()

    def sync(self) -> Outcome:
        return self.run("sync").succeeded()

    def status(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """What `status` says of each stream."""
        told = json.loads(self.run("status", "--format", "json", *arguments).succeeded().stdout)
        assert told["pipeline"] == self.name
        return {stream["stream"]: stream for stream in told["streams"]}
