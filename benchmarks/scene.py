"""What the benchmarks share: the local server, a scratch folder, the programs' places."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import market

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
PYTHON = sys.executable
TAPELINE = os.environ["TAPELINE_BIN"]
CDK = str(Path(PYTHON).parent / "source-declarative-manifest")
# PyAirbyte pins packages that the other peers contradict.
PYAIRBYTE = str(Path(os.environ["TAPELINE_VENVS"]) / "pyairbyte" / "bin" / "python")
STREAM = "stock_bars_1_minute"
# Not a key of anything; the server takes any.
KEY = "benchmark-key-1"
# Reads as fast as a pipe gives, and says how much it was.
DISCARD = ["dd", "of=/dev/null", "bs=1M"]
COUNT = ["grep", "-c", '"type":"RECORD"']


@contextlib.contextmanager
def server():
    """The local server; yields its address and process id."""
    process = subprocess.Popen(
        [PYTHON, "-m", "benchmarks.server", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the local server did not start")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def scratch():
    """A folder for the run. On the cache's disk: /tmp may be in memory."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=market.cache_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_json(path, value):
    """Writes a file and returns its path as text."""
    path.write_text(json.dumps(value))
    return str(path)


def source_config(base_url, tickers, end_date=market.LAST_DAY):
    """Our source's configuration for the local server, without a limit that waits."""
    return {
        "api_key": KEY,
        "base_url": base_url,
        "plan": {"type": "custom", "requests_per_minute": 1_000_000},
        "start_date": str(market.FIRST_DAY),
        "end_date": str(end_date),
        "tickers": tickers,
        "bar_sizes": ["1minute"],
        "adjusted": False,
    }


def configured(stream, sync_mode):
    """A configured catalogue with one stream."""
    described = {
        "name": stream,
        "json_schema": {"type": "object"},
        "supported_sync_modes": ["full_refresh", "incremental"],
    }
    return {
        "streams": [
            {"stream": described, "sync_mode": sync_mode, "destination_sync_mode": "append", "primary_key": None}
        ]
    }
