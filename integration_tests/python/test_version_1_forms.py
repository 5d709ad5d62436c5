"""Each form of progress that version 1 of the program could leave in a DuckDB file is gone on with.

What `version_1/duckdb.sql` holds is changed to what version 1 would have left in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness import crash, market, sentence, tables
from harness.destination import ID, TEXT, Destination, catalog, record, refresh, state, status, stream
from harness.pipelines import Pipeline
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of
from test_version_1 import LEFT

HOURS, BARS, DIVIDENDS, EXCHANGES = "stock_bars_1_hour", "stock_bars_1_day", "dividends", "exchanges"
NEXT_BARS = f"_tapeline_next_{BARS}"
# All days are over, so that rows that are only added are read once.
START, REACHED, END = "2024-06-20", "2024-06-25", "2024-06-27"
AS_OF = "2024-06-28T21:00:00Z"

Make = Callable[..., Pipeline]


def position(through: str) -> dict[str, str]:
    return {"as_of": AS_OF, "through": through, "from": START}


class Left:
    """A database as version 1 left it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.path)) as connection:
            for sql in statements:
                connection.execute(sql)

    def store(self, key: str, stored: object, *, staged: bool = False, generation: int = 0) -> None:
        """Progress of a stream as version 1 stored it; none is that of a run without a commit."""
        text = stored if stored is None else json.dumps(stored, separators=(",", ":"))
        with duckdb.connect(str(self.path)) as connection:
            place = "polygon._tapeline_progress"
            connection.execute(f"DELETE FROM {place} WHERE progress_key = ? AND staged = ?", [key, staged])
            connection.execute(f"INSERT INTO {place} VALUES (?, ?, ?, ?, now())", [key, staged, generation, text])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def beside(self) -> list[str]:
        """The tables of unfinished runs."""
        names = "SELECT table_name FROM information_schema.tables WHERE starts_with(table_name, '_tapeline_next_')"
        return [name for (name,) in self.rows(names)]

    def keys(self) -> list[str]:
        """Under which progress of version 1 is stored that nobody took over."""
        return [key for (key,) in self.rows("SELECT progress_key FROM polygon._tapeline_progress_1 ORDER BY 1")]


@pytest.fixture
def left(workspace: Workspace) -> Left:
    left = Left(workspace.folder("version_1") / "market.duckdb")
    left.execute(LEFT.read_text())
    return left


@pytest.fixture
def make(program: Program, workspace: Workspace, simulator: Simulator, api_key: str, left: Left) -> Make:
    def make(name: str = "judged", mode: str = "append_dedup", *streams: str, **more: Any) -> Pipeline:
        sink = {"duckdb": {"path": str(left.path), "schema": "polygon"}}
        chosen = [{"stream": stream, "mode": mode} for stream in streams]
        secrets = {"POLYGON_API_KEY": api_key}
        return Pipeline(program, workspace, simulator, sink, secrets, name, chosen, end=END, **more)

    return make


def assert_truth(simulator: Simulator, rows: list[tables.Row], stream: str, since: str = START, **more: Any) -> None:
    tables.assert_table_is_truth(rows, market.truth(simulator.url, stream, since, END, **more), stream)


def assert_goes_on(simulator: Simulator, rows: list[tables.Row], kept: list[tables.Row]) -> None:
    """The bars of both tickers: those that version 1 had of the first are not read again.

    The market that it read was another one, so its rows are known.
    """
    assert kept and [row for row in rows if row in kept] == kept
    anew = [row for row in rows if row not in kept]
    first = [row for row in anew if row["ticker"] == "AAPL"]
    assert_truth(simulator, first, BARS, "2024-06-26", tickers=["AAPL"])
    assert_truth(simulator, [row for row in anew if row not in first], BARS, tickers=["BRK.B"])


def test_tickers_that_were_ahead_go_on_where_each_of_them_was(make: Make, left: Left, simulator: Simulator) -> None:
    """A run that was stopped between two tickers: the floor is where all of them are."""
    ahead = {"position": position(REACHED), "partitions": ["AAPL"]}
    floor = {"floor": position("2024-06-21"), "partitions": ["BRK.B"], "ahead": [ahead]}
    left.store(f"judged/{HOURS}", {"version": 1, "options": {"adjusted": "false"}, **floor})
    before = rows_of(left.path, HOURS)
    make("judged", "append", HOURS).sync()
    # Nothing is read twice and nothing left out: of each ticker the days after its own.
    added = [row for row in rows_of(left.path, HOURS) if row not in before]
    assert len(added) == len(rows_of(left.path, HOURS)) - len(before)
    for ticker, since in (("AAPL", "2024-06-26"), ("BRK.B", "2024-06-22")):
        assert_truth(simulator, [row for row in added if row["ticker"] == ticker], HOURS, since, tickers=[ticker])
    assert f"judged/{HOURS}" not in left.keys()


def test_an_unfinished_run_replaces_what_an_earlier_one_left(make: Make, left: Left, simulator: Simulator) -> None:
    """Both have progress: of the table that readers see, and of the one that will replace it."""
    left.execute(
        f"CREATE TABLE polygon.{BARS} AS FROM polygon.{NEXT_BARS} LIMIT 1",
        f"UPDATE polygon.{BARS} SET ticker = 'OLD'",
        f"UPDATE polygon.{NEXT_BARS} SET _airbyte_generation_id = 2",
    )
    options, reached = {"adjusted": "false"}, {"floor": position(REACHED)}
    done, half = {"partitions": ["AAPL", "BRK.B"]}, {"partitions": ["AAPL"]}
    left.store(f"judged/{BARS}", {"version": 1, "options": options, **reached, **done}, generation=1)
    left.store(f"judged/{BARS}", {"version": 1, "options": options, **reached, **half}, staged=True, generation=2)
    kept = rows_of(left.path, NEXT_BARS)
    pipeline = make("judged", "overwrite", BARS)
    status = pipeline.status()[BARS]
    assert (status["unfinished"], status["rows"]) == (True, 1)
    pipeline.sync()
    rows = rows_of(left.path, BARS)
    assert_goes_on(simulator, rows, kept)
    assert {row["_airbyte_generation_id"] for row in rows} == {2}
    generations = f"SELECT generation, next_generation FROM polygon._tapeline_streams WHERE stream = '{BARS}'"
    assert left.rows(generations) == [(2, None)] and f"judged/{BARS}" not in left.keys()
    pipeline.sync()
    assert_truth(simulator, rows_of(left.path, BARS), BARS)
    assert left.rows(generations) == [(3, None)]


def test_a_run_that_was_killed_before_its_first_commit_begins_anew(
    make: Make, left: Left, simulator: Simulator
) -> None:
    """Version 1 made the table beside before it stored anything of it."""
    left.execute(
        f"DELETE FROM polygon._tapeline_progress WHERE progress_key = 'judged/{BARS}'",
        f"DELETE FROM polygon.{NEXT_BARS}",
    )
    make("judged", "overwrite", BARS).sync()
    assert_truth(simulator, rows_of(left.path, BARS), BARS)
    assert left.beside() == []


@pytest.mark.parametrize("mode", ["append_dedup", "overwrite"])
def test_a_run_that_ended_without_a_commit_left_nothing_to_go_on_with(
    make: Make, left: Left, simulator: Simulator, mode: str
) -> None:
    for table in (HOURS, EXCHANGES):
        left.execute(f"DELETE FROM polygon.{table}")
        left.store(f"judged/{table}", None, generation=4)
    make("judged", mode, HOURS, EXCHANGES).sync()
    for table in (HOURS, EXCHANGES):
        rows = rows_of(left.path, table)
        assert_truth(simulator, rows, table)
        # Runs are counted on from there.
        assert {row["_airbyte_generation_id"] for row in rows} == {5 if mode == "overwrite" else 4}, table
        assert f"judged/{table}" not in left.keys()


def test_progress_of_a_table_that_is_gone_is_void(make: Make, left: Left, simulator: Simulator) -> None:
    left.execute(f"DROP TABLE polygon.{HOURS}")
    make("judged", "append", HOURS).sync()
    assert_truth(simulator, rows_of(left.path, HOURS), HOURS)
    assert f"judged/{HOURS}" not in left.keys()


def test_each_pipeline_takes_over_its_own(make: Make, left: Left) -> None:
    key, theirs = "progress_key", f"second/{DIVIDENDS}"
    left.execute(f"UPDATE polygon._tapeline_progress SET {key} = '{theirs}' WHERE {key} = 'judged/{DIVIDENDS}'")
    before = {table: rows_of(left.path, table) for table in (HOURS, DIVIDENDS)}
    first, second = make("judged", "append", HOURS), make("second", "append", DIVIDENDS)
    # A table whose rows and progress are of another pipeline.
    for stranger, table in ((make("second", "append", HOURS), HOURS), (make("judged", "append", DIVIDENDS), DIVIDENDS)):
        outcome = stranger.run("sync")
        assert outcome.code == 2, outcome.describe()
        [error] = sentence.on_stderr(outcome)
        sentence.assert_clear(error, [f"{table}: ", "has rows that this stream is not known to have written"])
        assert rows_of(left.path, table) == before[table]
    first.sync()
    assert theirs in left.keys() and f"judged/{HOURS}" not in left.keys()
    second.sync()
    assert theirs not in left.keys()
    for pipeline, table in ((first, HOURS), (second, DIVIDENDS)):
        rows = rows_of(left.path, table)
        assert [row for row in rows if row in before[table]] == before[table]
        [owner] = pipeline.status()[table]["owners"]
        assert owner["pipeline"] == pipeline.name


def test_progress_of_other_options_is_refused_and_stays(make: Make, left: Left) -> None:
    before = rows_of(left.path, HOURS)
    adjusted = make("judged", "append", HOURS, source={"adjusted": True})
    for _ in range(2):
        outcome = adjusted.run("sync")
        assert outcome.code == 2, outcome.describe()
        [error] = sentence.on_stderr(outcome)
        sentence.assert_clear(error, [f"{HOURS}: ", "adjusted=false", "adjusted=true", "`tapeline reset`"])
        assert rows_of(left.path, HOURS) == before and f"judged/{HOURS}" in left.keys()
    make("judged", "append", HOURS).sync()
    after = rows_of(left.path, HOURS)
    assert [row for row in after if row in before] == before and len(after) > len(before)


def test_a_takeover_is_cut_anywhere(make: Make, left: Left, simulator: Simulator, workspace: Workspace) -> None:
    """Rows that are only added would be there twice, or not at all."""
    content, before, kept = left.path.read_bytes(), rows_of(left.path, HOURS), rows_of(left.path, NEXT_BARS)
    streams = [{"stream": HOURS, "mode": "append"}, {"stream": BARS, "mode": "overwrite"}]
    points = 0
    while True:
        points += 1
        copy = Left(workspace.folder("cut") / "market.duckdb")
        copy.path.write_bytes(content)
        pipeline = make()
        pipeline.sink, pipeline.streams = {"duckdb": {"path": str(copy.path), "schema": "polygon"}}, streams
        environment = {**pipeline.secrets, "TAPELINE_KILL_AT": str(points)}
        outcome = pipeline.program.run("sync", pipeline.file(), env=environment)
        assert outcome.code in (0, crash.KILLED), outcome.describe()
        # A run that had replaced the table is over; the next one is another.
        whole = copy.beside() == []
        pipeline.sync()
        after = rows_of(copy.path, HOURS)
        assert [row for row in after if row in before] == before, f"cut at {points}"
        assert_truth(simulator, [row for row in after if row not in before], HOURS, "2024-06-26")
        if whole:
            assert_truth(simulator, rows_of(copy.path, BARS), BARS)
        else:
            assert_goes_on(simulator, rows_of(copy.path, BARS), kept)
        if outcome.code == 0:
            break
    assert points > 15, f"{points} points"


# What a platform's connections had left: columns, rows and states as version 1 wrote them.
RECORDS, REFRESH = "records", "refresh"
COLUMNS = (
    "(id BIGINT, name VARCHAR, additional_properties JSON, _airbyte_raw_id UUID, "
    "_airbyte_extracted_at TIMESTAMP WITH TIME ZONE, _airbyte_meta JSON, _airbyte_generation_id BIGINT)"
)


def of_connection(left: Left) -> None:
    def table(name: str, rows: list[tuple[int, str]], generation: int) -> list[str]:
        meta = json.dumps({"sync_id": 10 + generation, "changes": []})
        values = [
            f"({key}, '{value}', NULL, uuid(), make_timestamptz(1795629493028000), '{meta}', {generation})"
            for key, value in rows
        ]
        return [f"CREATE TABLE polygon.{name} {COLUMNS}", f"INSERT INTO polygon.{name} VALUES {', '.join(values)}"]

    left.execute(
        *table(RECORDS, [(1, "one"), (2, "two")], 3),
        *table(REFRESH, [(7, "old")], 4),
        *table(f"_tapeline_next_{REFRESH}", [(1, "one"), (2, "two")], 5),
    )
    for name, staged, generation in ((RECORDS, False, 3), (REFRESH, False, 4), (REFRESH, True, 5)):
        told = json.loads(state(name, {"cursor": "1.10"}))["state"]
        left.store(f"airbyte:polygon/{name}", told, staged=staged, generation=generation)


def test_a_connection_goes_on_where_version_1_stopped(program: Program, workspace: Workspace, left: Left) -> None:
    of_connection(left)
    destination = Destination(program, workspace, left.path)
    streams = [stream(name, {"id": ID, "name": TEXT}) for name in (RECORDS, REFRESH)]
    configured = catalog(*streams, mode="append_dedup", key="id")
    for entry, more in zip(configured["streams"], (refresh(3, 0), refresh(5)), strict=True):
        entry.update(more)

    def write(*rows: dict[str, object], ends: bool) -> None:
        lines = []
        for name in (RECORDS, REFRESH):
            lines += [record(name, row) for row in rows] + [state(name, {"cursor": "2.0"})]
            lines += [status(name, "COMPLETE" if ends else "INCOMPLETE")]
        outcome = destination.write(configured, lines)
        assert (outcome.code == 0) == ends, outcome.describe()

    write({"id": 2, "name": "TWO"}, {"id": 3, "name": "three"}, ends=False)
    merged = [{"id": 1, "name": "one"}, {"id": 2, "name": "TWO"}, {"id": 3, "name": "three"}]
    destination.assert_is(RECORDS, merged)
    # The refresh is not at its end: readers keep what was there.
    destination.assert_is(REFRESH, [{"id": 7, "name": "old"}])
    assert not [key for key in left.keys() if key.startswith("airbyte:")]
    write({"id": 4, "name": "four"}, ends=True)
    for name in (RECORDS, REFRESH):
        destination.assert_is(name, [*merged, {"id": 4, "name": "four"}])
    assert all(key.startswith("judged/") for key in left.keys())


def test_a_new_refresh_gives_up_the_one_that_version_1_began(
    program: Program, workspace: Workspace, left: Left
) -> None:
    of_connection(left)
    destination = Destination(program, workspace, left.path)
    configured = catalog(stream(REFRESH, {"id": ID, "name": TEXT}), mode="append_dedup", key="id", **refresh(6))
    lines = [record(REFRESH, {"id": 9, "name": "new"}), state(REFRESH, {"cursor": "9"}), status(REFRESH)]
    destination.write(configured, lines).succeeded()
    destination.assert_is(REFRESH, [{"id": 9, "name": "new"}])
    assert {row["_airbyte_generation_id"] for row in destination.rows(REFRESH)} == {6}
