"""Runs the built program. Every run goes through here, so every run is scanned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.workspace import Workspace

# A guard against a hang, not a measurement: no run of the suites takes a tenth of it.
HANG_S = 600

Message = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one run left."""

    arguments: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def messages(self) -> list[Message]:
        """Every line of stdout as an Airbyte message; any other line is a failure."""
        return [parse_line(line) for line in self.stdout.splitlines()]

    def of_type(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]

    def succeeded(self) -> Outcome:
        assert self.code == 0, f"{self.describe()}\nended with {self.code}"
        return self

    def describe(self) -> str:
        tail = self.stdout[-2000:].decode(errors="replace")
        return f"{' '.join(self.arguments)}\nstdout …{tail}\nstderr {self.stderr[-4000:].decode(errors='replace')}"


def parse_line(line: bytes) -> Message:
    """One message. A number with a point is a Decimal, exactly as it was written; one without is an int."""
    try:
        message = json.loads(line, parse_float=Decimal)
    except ValueError as error:
        raise AssertionError(f"stdout has a line that is not JSON: {line[:300]!r}") from error
    assert isinstance(message, dict) and isinstance(message.get("type"), str), line[:300]
    return message


class Running:
    """A run under way. What it says is read as far as a test waits for it, and to the end by `ended`.

    Use as a context manager: who does not come to `ended` leaves no process behind.
    """

    def __init__(self, program: Program, process: subprocess.Popen[bytes], told_in: str, rest: Path) -> None:
        self._program, self._process, self._rest = program, process, rest
        self._told_in, self._told = told_in, b""
        # A guard against a hang: nobody waits for a process that is stopped or says nothing.
        self._guard = threading.Timer(HANG_S, process.kill)
        self._guard.daemon = True
        self._guard.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        # Also one that is stopped.
        self._process.kill()
        self._process.wait()
        self._lines.close()

    @property
    def _lines(self) -> Any:
        return self._process.stdout or self._process.stderr

    def until(self, *marks: bytes) -> Running:
        """Returns when each of the marks was in a line that it said."""
        left = {mark for mark in marks if mark not in self._told}
        while left:
            line = self._lines.readline()
            self._told += line
            assert line, f"it ended before it said {left}\n{self.ended().describe()}"
            left = {mark for mark in left if mark not in line}
        return self

    def signal(self, how: signal.Signals) -> Running:
        self._process.send_signal(how)
        return self

    def ended(self) -> Outcome:
        """Waits for its end."""
        self._told += self._lines.read()
        code = self._process.wait()
        other = "stdout" if self._told_in == "stderr" else "stderr"
        said = {self._told_in: self._told, other: self._rest.read_bytes()}
        outcome = Outcome(tuple(map(str, self._process.args[1:])), code, **said)  # type: ignore[index]
        self._program.scan(outcome)
        return outcome


class Program:
    def __init__(self, binary: Path, workspace: Workspace) -> None:
        self.binary = binary
        self.workspace = workspace
        self._folder = workspace.folder("runs")
        self._home = workspace.folder("home")

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The tests' own, with a home of its own, so that nothing is found there by chance."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("POLYGON_", "TAPELINE_"))}
        return {**kept, "HOME": str(self._home), "NO_PROXY": "127.0.0.1,localhost", **(extra or {})}

    def run(
        self,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes = b"",
        prefix: tuple[str, ...] = (),
    ) -> Outcome:
        """Runs it to its end; `prefix` is a command that runs the one after it."""
        command = [str(self.binary), *map(str, arguments)]
        done = subprocess.run(
            [*prefix, *command],
            input=stdin,
            capture_output=True,
            env=self.environment(env),
            cwd=cwd or self._folder,
            timeout=HANG_S,
            check=False,
        )
        outcome = Outcome(tuple(command[1:]), done.returncode, done.stdout, done.stderr)
        self.scan(outcome)
        return outcome

    def run_until(self, wanted: Callable[[Message], bool], *arguments: str | Path) -> Message | None:
        """Runs until the program prints a message that is `wanted`, then ends it.

        For a program that works slowly on purpose, as under a rate limit: the
        test need not wait until it is done. `None` when it ended without one.
        """
        command = [str(self.binary), *map(str, arguments)]
        error_log = self.workspace.folder("until") / "stderr"
        with error_log.open("wb") as errors, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=self.environment(), cwd=self._folder
        ) as process:
            assert process.stdout is not None
            try:
                return next(self._wanted(process.stdout, wanted), None)
            finally:
                process.kill()

    def _wanted(self, lines: Any, wanted: Callable[[Message], bool]) -> Iterator[Message]:
        for line in lines:
            self.workspace.scan("stdout of a run", line)
            message = parse_line(line)
            if wanted(message):
                yield message

    def begin(self, *arguments: str | Path, env: dict[str, str] | None = None, told_in: str = "stderr") -> Running:
        """Begins a run of which the test waits for lines of stdout or stderr."""
        rest = self.workspace.folder("begun") / "rest"
        with rest.open("wb") as kept:
            outputs: dict[str, Any] = {"stdout": kept, "stderr": kept, told_in: subprocess.PIPE}
            process = subprocess.Popen(
                [str(self.binary), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                env=self.environment(env),
                cwd=self._folder,
                **outputs,
            )
        return Running(self, process, told_in, rest)

    def scan(self, outcome: Outcome) -> None:
        what = outcome.arguments[0] if outcome.arguments else "the program"
        self.workspace.scan(f"stdout of {what}", outcome.stdout)
        self.workspace.scan(f"stderr of {what}", outcome.stderr)
        # Arguments are seen by every user of the machine.
        self.workspace.scan(f"the arguments of {what}", " ".join(outcome.arguments).encode())
