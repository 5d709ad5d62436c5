"""What a commit to DuckDB costs by the number of tickers whose progress is stored.

Two runs read the same rows, of which one commits them at once: what the other one takes
longer is its commits.
"""

import contextlib
import json
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass

from . import measure, quick, report, scene

RUNS = 3
SCHEMA = "bench"
STORED = (10, 1_000, 12_000)
# As of when a day, the next one, and 120 trading days after it are over.
FIRST_DAY = "2019-06-03"
SEEDED, NEXT_DAY, LATER = (f"{day}T12:00:00Z" for day in ("2019-06-04", "2019-06-05", "2019-11-22"))
# Tickers that a run with many days reads, and rows of a commit of all.
FEW, ALL = 10, 1_000_000
# The bound that issue 8 sets for STATE.
STATE_KB_MAX = 64
SAMPLE_EVERY_S = 0.002


@dataclass(frozen=True)
class Case:
    """A run over `stored` tickers that commits after so many rows, each of another slice."""

    stored: int
    per_commit: int
    is_daily: bool = False

    @property
    def moves(self):
        """Tickers that a commit moves: slices come ticker by ticker."""
        return self.per_commit if self.is_daily else 1

    @property
    def tickers(self):
        """Those that are read."""
        return quick.tickers(self.stored if self.is_daily else FEW, unknown=False)

    @property
    def now(self):
        """The moment of the run."""
        return NEXT_DAY if self.is_daily else LATER


CASES = [
    *(Case(stored, per_commit=1) for stored in STORED),
    *(Case(stored, per_commit=10, is_daily=True) for stored in STORED[1:]),
]


@dataclass(frozen=True)
class Stored:
    """What the warehouse has counted."""

    commits: int
    moves: int
    rows: int


def run():
    """Measures and writes the tables."""
    with scene.scratch() as folder, quick.server() as base_url:
        seeds = {stored: seed(folder, base_url, stored) for stored in STORED}
        lines = [line(case, folder, base_url, seeds[case.stored]) for case in CASES]
        states = [state_line(folder, base_url, stored) for stored in STORED]
    heads = ["tickers stored", "a commit moves", "commits", "rows of progress a commit", "bytes of log a commit"]
    heads += ["ms a commit", "CPU ms a commit"]
    states.append(["at most", "", str(STATE_KB_MAX)])
    report.write(
        "commit-cost",
        [report.table(heads, lines), report.table(["tickers", "rows", "STATE, KB"], states)],
    )


def seed(folder, base_url, stored):
    """A database in which the progress of so many tickers is stored."""
    database = folder / f"seed-{stored}.duckdb"
    tickers = quick.tickers(stored, unknown=False)
    command = sync(folder / "seed.yaml", base_url, database, tickers, ALL)
    measure.once(command, log=folder / "run.log", env={"TAPELINE_NOW": SEEDED})
    return database


def sync(path, base_url, database, tickers, rows_per_commit):
    """The command of a `sync` that commits after so many rows."""
    pipeline = {
        "name": "commits",
        "source": {"polygon": source(base_url, tickers)},
        "sink": {"duckdb": {"path": str(database), "schema": SCHEMA}},
        # Nothing is read again, so that no row of the table has to be looked for.
        "streams": [{"stream": quick.TRADES, "mode": "append"}],
        "commit": {"rows": rows_per_commit, "seconds": 3600},
    }
    return [scene.TAPELINE, "sync", scene.write_json(path, pipeline)]


def source(base_url, tickers):
    """The source's configuration, without a limit that waits."""
    plan = {"type": "custom", "requests_per_minute": 100_000_000}
    return {**quick.source(base_url, tickers, plan), "start_date": FIRST_DAY}


def line(case, folder, base_url, seeded):
    """What the commits of a case cost."""
    database, counted = folder / "run.duckdb", {}

    def program(per_commit):
        command = sync(folder / f"{per_commit}.yaml", base_url, database, case.tickers, per_commit)

        def go():
            shutil.copy(seeded, database)
            before = look(database)
            with log_size(database) as log:
                ran = measure.once(command, log=folder / "run.log", env={"TAPELINE_NOW": case.now})
            after = look(database)
            change = Stored(*(getattr(after, name) - getattr(before, name) for name in Stored.__annotations__))
            counted[per_commit] = change, log[0]
            return ran

        return go

    often, once = case.per_commit, ALL
    medians = measure.rounds({name: program(name) for name in (often, once)}, RUNS)
    (many, log), (few, _) = counted[often], counted[once]
    if many.rows != few.rows:
        raise measure.Failed(f"{many.rows} rows by many commits, {few.rows} by few")
    more = many.commits - few.commits
    each = lambda name: (getattr(medians[often], name) - getattr(medians[once], name)) / more * 1000  # noqa: E731
    cells = [
        f"{case.stored:,}",
        f"{case.moves} of them",
        f"{many.commits:,}",
        f"{many.moves / many.commits:.1f}",
        f"{log / many.commits:,.0f}",
        f"{each('seconds'):.2f}",
        f"{each('cpu'):.2f}",
    ]
    print("  " + ", ".join(cells), flush=True)
    return cells


@contextlib.contextmanager
def log_size(database):
    """The largest size of the database's log meanwhile, in a list: at its end it is gone."""
    log, largest, done = database.with_name(f"{database.name}.wal"), [0], threading.Event()

    def watch():
        while not done.wait(SAMPLE_EVERY_S):
            with contextlib.suppress(OSError):
                largest[0] = max(largest[0], log.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield largest
    finally:
        done.set()
        watcher.join()


def look(database):
    """Commits, moves of shards and rows so far: each commit adds one to its stream's version, each move to its shard's."""
    code = (
        "import duckdb, json, sys\n"
        "connection = duckdb.connect(sys.argv[1], read_only=True)\n"
        "ask = lambda what: connection.sql(f'SELECT {what}').fetchone()[0]\n"
        f"print(json.dumps([int(ask(f'{{what}} FROM {SCHEMA}.{{table}}')) for what, table in ["
        f"('sum(version)', '_tapeline_streams'), ('sum(version)', '_tapeline_progress'), ('count(*)', '{quick.TRADES}')]]))\n"
    )
    return Stored(*json.loads(subprocess.check_output([scene.PYTHON, "-c", code, str(database)], text=True)))


def state_line(folder, base_url, stored):
    """The size of the last STATE of a `read` of so many tickers that are level."""
    config = source(base_url, quick.tickers(stored, unknown=False))
    command = quick.read(folder, config, quick.TRADES)
    said = subprocess.check_output(command, text=True, env={**os.environ, "TAPELINE_NOW": NEXT_DAY})
    states = [text for text in said.splitlines() if '"type":"STATE"' in text]
    records = sum('"type":"RECORD"' in text for text in said.splitlines())
    return [f"{stored:,}", f"{records:,}", f"{len(states[-1].encode()) / 1000:.1f}"]
