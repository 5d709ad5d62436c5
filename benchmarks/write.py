"""`read` into `destination write`, beside PyAirbyte reading the same source into its DuckDB cache."""

import json
import shlex
import subprocess

from . import market, measure, report, scene
from .sync import fresh

RUNS = 3
APPEND, DEDUP = "tapeline, append", "tapeline, append_dedup"
PYAIRBYTE = "PyAirbyte, into its DuckDB cache"
PEER = scene.PEERS / "pyairbyte_cache.py"


def run():
    """Measures and writes the table."""
    with scene.server() as (base_url, server), scene.scratch() as folder:
        config = scene.write_json(folder / "source.json", scene.source_config(base_url, ["AAPL"]))
        databases = {name: folder / f"{index}.duckdb" for index, name in enumerate((APPEND, DEDUP, PYAIRBYTE))}
        commands = {
            APPEND: pipe(folder, config, "append", databases[APPEND]),
            DEDUP: pipe(folder, config, "append_dedup", databases[DEDUP]),
            PYAIRBYTE: [scene.PYAIRBYTE, str(PEER), scene.TAPELINE, config, scene.STREAM, str(databases[PYAIRBYTE])],
        }
        programs = {
            name: fresh(command, folder / "run.log", databases[name], market.BARS, server)
            for name, command in commands.items()
        }
        medians = measure.rounds(programs, RUNS)
    write(medians)


def pipe(folder, config, mode, database):
    """Our source into our destination: what a platform does between two containers."""
    catalog = scene.write_json(folder / f"{mode}.json", configured(config, mode))
    sink = {"type": "duckdb", "path": str(database), "schema": "bench"}
    destination = scene.write_json(folder / f"{mode}-destination.json", {"sink": sink})
    read = [scene.TAPELINE, "read", "--config", config, "--catalog", catalog]
    write = [scene.TAPELINE, "destination", "write", "--config", destination, "--catalog", catalog]
    return ["bash", "-c", f"set -o pipefail; {shlex.join(read)} | {shlex.join(write)}"]


def configured(config, mode):
    """The source's own stream, with its schema and key."""
    lines = subprocess.check_output([scene.TAPELINE, "discover", "--config", config], text=True).splitlines()
    catalog = next(message["catalog"] for message in map(json.loads, lines) if message["type"] == "CATALOG")
    stream = next(stream for stream in catalog["streams"] if stream["name"] == scene.STREAM)
    key = stream["source_defined_primary_key"]
    configured = {"stream": stream, "sync_mode": "incremental", "destination_sync_mode": mode, "primary_key": key}
    return {"streams": [configured]}


def write(medians):
    """The table, with ratios to ours."""
    lines = []
    for name, run in medians.items():
        ratio = "" if name != PYAIRBYTE else f"{run.seconds / medians[DEDUP].seconds:.1f} ×"
        cost = [f"{run.cpu:.2f}", f"{run.peak_mb:.0f}"]
        lines.append([name, f"{run.seconds:.2f}", f"{market.BARS / run.seconds:,.0f}", ratio, *cost])
    heads = ["", "seconds", "records/s", "its time to tapeline's, append_dedup", "CPU s", "peak MB"]
    report.write("write", [report.table(heads, lines), report.disturbance(medians)])

