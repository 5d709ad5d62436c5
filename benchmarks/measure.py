"""Runs a program once and says what it cost.

CPU time is what the kernel counted for the program and the children that it
waited for. Memory is the peak of the sum over its process tree, sampled, and at
least what the kernel counted for a single process. The kernel's figure starts
at this process's own size, so this process stays small: it imports nothing but
the standard library and holds no bars.
"""

import contextlib
import fcntl
import os
import signal
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_EVERY_S = 0.02
# A run is repeated when other programs took more of the machine than this.
FOREIGN_MAX = 0.05
ATTEMPTS_A_RUN = 4


@dataclass
class Run:
    """What one run cost."""

    seconds: float
    cpu: float
    peak_mb: float
    foreign: float
    bytes_out: int


class Failed(Exception):
    """A program under measurement did not do what it should."""


def children(pid):
    """The processes of the tree under `pid`, itself included."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                text = Path(f"/proc/{parent}/task/{task}/children").read_text()
                found.extend(int(child) for child in text.split())
    return found


def resident(pid):
    """Bytes of the process in memory."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0


def busy_seconds():
    """CPU seconds that the machine has been busy, or was not given to it."""
    user, nice, system, _idle, _wait, irq, soft, steal, *_ = Path("/proc/stat").read_text().split()[1:11]
    return sum(map(int, (user, nice, system, irq, soft, steal))) / TICKS


def own_seconds(server):
    """CPU seconds of this process, its finished children and the server."""
    usage = os.times()
    total = usage.user + usage.system + usage.children_user + usage.children_system
    if server:
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


@contextlib.contextmanager
def alone():
    """Holds the file that TAPELINE_BENCH_LOCK names, where builds take it as well."""
    path = os.environ.get("TAPELINE_BENCH_LOCK")
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Sampler(threading.Thread):
    """Watches the memory of a process tree."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()

    def run(self):
        while not self.done.wait(SAMPLE_EVERY_S):
            self.peak = max(self.peak, sum(map(resident, children(self.pid))))


def once(command, *, log, reader=None, env=None, cwd=None, timeout=300, server=None):
    """Runs `command`, its stdout piped into `reader` or thrown away, and waits for it."""
    busy, own, begun = busy_seconds(), own_seconds(server), time.perf_counter()
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if reader else subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    drain = None
    if reader:
        drain = subprocess.Popen(reader, stdin=process.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        process.stdout.close()
    sampler = Sampler(process.pid)
    sampler.start()
    # The whole group of the program that was started here, and only that.
    bound = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
    bound.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = drain.communicate()[0] if drain else b""
        seconds = time.perf_counter() - begun
    finally:
        bound.cancel()
        sampler.done.set()
        sampler.join()
    if process.returncode:
        raise Failed(f"{command[0]} ended with {process.returncode}: {tail(log)}")
    foreign = (busy_seconds() - busy) - (own_seconds(server) - own)
    return Run(
        seconds=seconds,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mb=max(sampler.peak, usage.ru_maxrss * 1024) / 1e6,
        foreign=max(0.0, foreign) / (seconds * os.cpu_count()),
        bytes_out=first_number(said),
    )


def tail(log):
    """The last words of a log."""
    return Path(log).read_text(errors="replace")[-2000:]


def first_number(text):
    """What `dd` (its last line) or `grep -c` counted."""
    lines = text.decode(errors="replace").strip().splitlines()
    digits = lines[-1].split()[0] if lines else "0"
    return int(digits) if digits.isdigit() else 0


def rounds(programs, count):
    """Runs the programs in turn until each has `count` quiet runs; the medians by name.

    In turn, so that whatever slows the machine down slows all of them. A run that
    other programs disturbed counts only when there are not enough others.
    """
    runs = {name: [] for name in programs}
    for attempt in range(count * ATTEMPTS_A_RUN):
        wanting = [name for name in programs if len(quiet(runs[name])) < count]
        if not wanting:
            break
        for name in wanting:
            with alone():
                run = programs[name]()
            runs[name].append(run)
            print(
                f"  {name}: {run.seconds:.2f} s, {run.cpu:.2f} CPU s, {run.peak_mb:.0f} MB"
                f" (others took {run.foreign:.0%})",
                flush=True,
            )
        if attempt >= count:
            time.sleep(2)
    return {name: median(sorted(runs[name], key=lambda run: run.foreign)[:count]) for name in programs}


def quiet(runs):
    """Those that nothing disturbed."""
    return [run for run in runs if run.foreign <= FOREIGN_MAX]


def median(runs):
    """The medians of runs, and the worst disturbance."""
    middle = lambda name: statistics.median(getattr(run, name) for run in runs)  # noqa: E731
    return Run(
        seconds=middle("seconds"),
        cpu=middle("cpu"),
        peak_mb=max(run.peak_mb for run in runs),
        foreign=max(run.foreign for run in runs),
        bytes_out=max(run.bytes_out for run in runs),
    )
