"""The source under load: against a server that answers at once, however many
tickers there are, and through latency on a plan with a limit.

Runs do not end by themselves: each is watched for some seconds while it reads
trades since 2003, thousands of slices a ticker, and then stopped as a person would.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from . import measure, report, scene

SERVER = Path(scene.TAPELINE).parent / "examples" / "quick_server"
TICKERS = (10, 200, 1_000, 12_000)
# Of so many tickers one does not exist.
UNKNOWN_EVERY = 3
FIRST_DAY, NOW = "2003-09-10", "2024-06-28T21:00:00Z"
TRADES, BARS = "stock_trades", "stock_bars_1_minute"
WARM_S, WATCHED_S = 0.5, 6
LATENCY_MS, LIMITED_S = 100, 20
# What the program lets go on a paid plan: the vendor asks to stay under 100 a second.
PAID_PER_SECOND = 95
RUNS = 3


@dataclass
class Watched:
    """What was seen of a run."""

    rate: float
    fullest_second: int
    share_of_trades: float
    first_s: float
    peak_mb: float


def run_scale():
    """Requests a second by the number of tickers, and the table.

    The cases take turns: a machine that is slower for a while is so for all of them.
    """
    cases = [(count, unknown) for unknown in (False, True) for count in TICKERS]
    seen = {case: [] for case in cases}
    with scene.scratch() as folder, server() as base_url:
        for _ in range(RUNS):
            for case in cases:
                plan = {"type": "custom", "requests_per_minute": 100_000_000}
                config = source(base_url, tickers(*case), plan)
                seen[case].append(watch(folder, base_url, read(folder, config, TRADES), WATCHED_S))
                print(f"  {named(*case)}: {seen[case][-1].rate:,.0f} requests/s", flush=True)
    middles = {case: middle(runs) for case, runs in seen.items()}
    lines = [
        [named(*case), f"{run.rate:,.0f}", f"{run.peak_mb:.0f}", f"{run.first_s:.2f}"] for case, run in middles.items()
    ]
    rates = [run.rate for run in middles.values()]
    lines.append(["the least of the greatest", f"{min(rates) / max(rates):.0%}", "", ""])
    lines.append(["at least, and at most", "80%", "100", "1"])
    heads = ["`read` of trades since 2003", "requests/s", "peak MB", "first request after, s"]
    report.write("scale", [report.table(heads, lines)])


def named(count, unknown):
    """A case in words."""
    return f"{count:,} tickers" + (", a third of them unknown" if unknown else "")


def run_latency():
    """What a paid plan reaches through latency, and the table."""
    lines = []
    with scene.scratch() as folder, server("--latency-ms", str(LATENCY_MS), "--rows", "100") as base_url:
        config = source(base_url, tickers(10, unknown=False), {"type": "paid"})
        programs = {
            "read": read(folder, config, TRADES),
            "read, two streams": read(folder, config, TRADES, BARS),
            "sync": sync(folder, config, TRADES),
            "sync, two streams": sync(folder, config, TRADES, BARS),
        }
        for name, command in programs.items():
            seen = watch(folder, base_url, command, LIMITED_S)
            lines.append(
                [
                    name,
                    f"{seen.rate:.1f}",
                    f"{seen.rate / PAID_PER_SECOND:.1%}",
                    f"{seen.fullest_second}",
                    f"{seen.share_of_trades:.0%}",
                    f"{seen.peak_mb:.0f}",
                ]
            )
            print("  " + ", ".join(lines[-1]), flush=True)
    heads = ["", "requests/s", f"of {PAID_PER_SECOND}", "in the fullest second", "of them for trades", "peak MB"]
    report.write("latency", [report.table(heads, lines)])


@contextlib.contextmanager
def server(*options):
    """The server; yields its address."""
    if not SERVER.exists():
        raise measure.Failed(f"{SERVER} is missing: scripts/cargo build --example quick_server")
    process = subprocess.Popen([SERVER, *options], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def tickers(count, unknown):
    """Names that look alike, as tickers do."""
    is_known = lambda number: not unknown or number % UNKNOWN_EVERY  # noqa: E731
    return [f"T{number:05}" if is_known(number) else f"T{number:05}.NONE" for number in range(count)]


def source(base_url, names, plan):
    """The source's configuration."""
    return {
        "api_key": scene.KEY,
        "base_url": base_url,
        "plan": plan,
        "start_date": FIRST_DAY,
        "tickers": names,
        "bar_sizes": ["1minute"],
    }


def read(folder, config, *streams):
    """The command of a `read`."""
    name = f"{len(config['tickers'])}-{'-'.join(streams)}"
    catalog = {"streams": [stream for name in streams for stream in scene.configured(name, "incremental")["streams"]]}
    config = scene.write_json(folder / f"{name}-config.json", config)
    catalog = scene.write_json(folder / f"{name}-catalog.json", catalog)
    return [scene.TAPELINE, "read", "--config", config, "--catalog", catalog]


def sync(folder, config, *streams):
    """The command of a `sync` into a fresh file."""
    name = f"sync-{len(streams)}"
    sink = {"duckdb": {"path": str(folder / f"{name}.duckdb"), "schema": "bench"}}
    pipeline = {"name": name, "source": {"polygon": config}, "sink": sink, "streams": list(streams)}
    return [scene.TAPELINE, "sync", scene.write_json(folder / f"{name}.yaml", pipeline)]


def watch(folder, base_url, command, seconds):
    """Runs the command for some seconds after its first request."""
    ask(base_url, "/__reset")
    log = folder / "watched.log"
    with measure.alone(), log.open("wb") as stderr:
        begun = time.time()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "TAPELINE_NOW": NOW},
        )
        try:
            before = after_first(base_url, process, log)
            time.sleep(WARM_S)
            at, before = time.time(), ask(base_url, "/__stats")
            peak = peak_mb(process.pid)
            # Few tickers are read before the time is over.
            while time.time() - at < seconds and process.poll() is None:
                time.sleep(0.05)
                peak = peak_mb(process.pid) or peak
            after = ask(base_url, "/__stats")
            took = min(after["last"], time.time()) - at
            # 2: there are tickers that do not exist.
            if process.poll() not in (None, 0, 2):
                raise measure.Failed(f"{command[1]} ended with {process.returncode}: {measure.tail(log)}")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    requests = after["requests"] - before["requests"]
    return Watched(
        rate=requests / took,
        fullest_second=after["fullest_second"],
        share_of_trades=(after["trades"] - before["trades"]) / max(requests, 1),
        first_s=after["first"] - begun,
        peak_mb=peak,
    )


def after_first(base_url, process, log):
    """What the server counted once it counted something."""
    until = time.monotonic() + 120
    while (stats := ask(base_url, "/__stats"))["requests"] == 0:
        if process.poll() is not None or time.monotonic() > until:
            raise measure.Failed(f"no request came: {measure.tail(log)}")
        time.sleep(0.01)
    return stats


def ask(base_url, path):
    """What the server says of itself."""
    with urllib.request.urlopen(base_url + path) as answer:
        return json.load(answer)


def peak_mb(pid):
    """The most that the process ever had in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def middle(runs):
    """The run with the median rate, and the worst of the rest."""
    median = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    return Watched(
        rate=median.rate,
        fullest_second=max(run.fullest_second for run in runs),
        share_of_trades=median.share_of_trades,
        first_s=max(run.first_s for run in runs),
        peak_mb=max(run.peak_mb for run in runs),
    )
