"""A sync under the free plan's limit, against the simulator that enforces it.

It is about waiting neither too long nor too short: 26 requests, so that the
last one may go exactly five minutes after the first.
"""

import json
import subprocess
import time
import urllib.request

from . import measure, report, scene

# 26 trading days: stock_daily_bars asks for each of them once.
FIRST_DAY, LAST_DAY = "2024-05-21", "2024-06-27"
NOW = "2024-06-28T21:00:00Z"
PER_MINUTE = 5
TIMEOUT_S = 600


def run():
    """Measures and writes the table."""
    with scene.scratch() as folder:
        simulator = subprocess.Popen(
            [scene.TAPELINE, "simulate", "--listen", "127.0.0.1:0", "--plan", "free", "--now", NOW],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            base_url = simulator.stdout.readline().strip().rpartition(" ")[2]
            before = stats(base_url)["requests"]
            begun = time.perf_counter()
            subprocess.run(
                [scene.TAPELINE, "sync", str(pipeline(folder, base_url))],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=(folder / "sync.log").open("wb"),
                timeout=TIMEOUT_S,
            )
            seconds = time.perf_counter() - begun
            counted = stats(base_url)
        except subprocess.CalledProcessError as error:
            raise measure.Failed(f"sync ended with {error.returncode}: {measure.tail(folder / 'sync.log')}") from error
        finally:
            simulator.terminate()
            simulator.wait()
    write(seconds, counted["requests"] - before, counted["answered_429"])


def pipeline(folder, base_url):
    """A pipeline of the whole market's days."""
    path = folder / "pipeline.yaml"
    source = {
        "api_key": scene.KEY,
        "base_url": base_url,
        "plan": {"type": "free"},
        "start_date": FIRST_DAY,
        "end_date": LAST_DAY,
    }
    sink = {"duckdb": {"path": str(folder / "free.duckdb"), "schema": "bench"}}
    streams = ["stock_daily_bars"]
    path.write_text(json.dumps({"name": "free", "source": {"polygon": source}, "sink": sink, "streams": streams}))
    return path


def stats(base_url):
    """What the simulator counted."""
    with urllib.request.urlopen(f"{base_url}/__stats") as answer:
        return json.load(answer)


def write(seconds, requests, refused):
    """The table."""
    # The first five go at once, and five more each minute.
    least = (requests - 1) // PER_MINUTE * 60
    heads = ["", "requests", "answered 429", "least the limit allows, s", "took, s", "over"]
    line = [
        "tapeline sync, free plan",
        str(requests),
        str(refused),
        str(least),
        f"{seconds:.1f}",
        f"{seconds / least - 1:+.1%}",
    ]
    report.write("free-plan", [report.table(heads, [line])])
