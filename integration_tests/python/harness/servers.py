"""The simulator and fakesnow as processes of their own.

A server that does not start is an error of every test that needs it, never a
skip. Nothing sleeps: the simulator says when it listens; fakesnow's port is
asked until it answers or the process has ended.
"""

from __future__ import annotations

import http.server
import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.program import Program

START_S = 60


class ServerFailed(RuntimeError):
    """A server did not start."""


class Simulator:
    """`tapeline simulate` on a free port. Use as a context manager."""

    LISTENING = "listening on "

    def __init__(
        self,
        program: Program,
        *,
        plan: str = "unlimited",
        now: str = "2024-06-28T21:00:00Z",
        seed: int = 7,
        tickers: int | None = None,
        faults: Path | None = None,
        replay: Path | None = None,
    ) -> None:
        self._program = program
        self._arguments = ["simulate", "--listen", "127.0.0.1:0", "--seed", str(seed), "--now", now, "--plan", plan]
        if tickers:
            self._arguments += ["--tickers", str(tickers)]
        if faults:
            self._arguments += ["--faults", str(faults)]
        if replay:
            self._arguments += ["--replay", str(replay)]
        self.url = ""

    def __enter__(self) -> Simulator:
        log = self._program.workspace.folder("simulator") / "stderr"
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(self._program.binary), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._program.environment(),
            )
        try:
            line = _first_line(self._process)
            if not line.startswith(self.LISTENING):
                raise ServerFailed(
                    f"the simulator said {line!r} instead of its address\n{log.read_text(errors='replace')}"
                )
        except BaseException:
            self._stop()
            raise
        self.url = line.removeprefix(self.LISTENING)
        # Nobody else reads on: a full pipe would stop the simulator.
        self._drain = threading.Thread(target=self._keep_stdout, args=(log.with_name("stdout"),), daemon=True)
        self._drain.start()
        return self

    def _keep_stdout(self, path: Path) -> None:
        assert self._process.stdout is not None
        with path.open("wb") as kept:
            shutil.copyfileobj(self._process.stdout, kept)

    def __exit__(self, *_: object) -> None:
        ended = self._process.poll()
        self._stop()
        self._drain.join()
        if ended is not None:
            raise ServerFailed(f"the simulator ended by itself with {ended}")

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """The first line of stdout, empty when the process ended without one."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(timeout=START_S):
            raise ServerFailed(f"no line from the simulator within {START_S} s")
    return process.stdout.readline().decode().rstrip("\n")


class WebPage:
    """Answers everything with a web page, as a proxy, a login page or a wrong address does."""

    def __init__(self, status: int) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>\n"
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> WebPage:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def closed_port() -> Iterator[str]:
    """An address at which nothing listens, and nothing else can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class Fakesnow:
    """Snowflake's wire protocol over an empty database in memory.

    `command` begins it and takes `--port`: fakesnow as it comes, or mended.
    """

    ACCOUNT = "fakesnow"

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Fakesnow:
        if not Path(self._command[0]).exists():
            raise ServerFailed(f"{self._command[0]} is not there: scripts/setup --tests installs it")
        self.port = _free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                # Refused at once while nothing listens there.
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise ServerFailed(f"fakesnow did not start\n{self._log.read_text(errors='replace')}") from None
            try:
                self._process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
