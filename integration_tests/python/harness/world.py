"""A pipeline into DuckDB and an Airbyte source over the same market, to be broken in one place at a time.

A `World` begins after a good run of both. What breaks it changes its fields; the
files of pipeline, configuration, catalogue and state are written by the run.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from harness import airbyte, market, tables
from harness.program import Outcome, Program
from harness.workspace import Workspace

# Read ticker by ticker, by day, and whole. What ends a run ends it in the first.
STREAMS = ["stock_bars_1_hour", "stock_daily_bars", "exchanges"]
START, FIRST_END, END = "2024-06-20", "2024-06-25", "2024-06-28"
SCHEMA, PROGRESS = "polygon", "_tapeline_progress"
# Says who has a stream open, which changes with each run.
OPENED = "_tapeline_streams"

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class World:
    program: Program
    workspace: Workspace
    url: str
    api_key: str
    catalog: dict[str, airbyte.Stream]
    database: Path
    states: list[dict[str, Any]]
    end: str = END
    source: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    streams: list[str] = field(default_factory=lambda: list(STREAMS))
    sink: dict[str, Any] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    # In place of what would be written.
    pipeline_text: str | None = None
    config_text: str | None = None
    state_text: str | None = None

    def copy(self) -> World:
        """Another one over the same database, to be broken."""
        shared = {id(value): value for value in (self.program, self.workspace, self.catalog)}
        return copy.deepcopy(self, shared)

    # What runs.

    def run(self, verb: str) -> Outcome:
        return self.sync() if verb == "sync" else self.airbyte(verb)

    def sync(self, *options: str) -> Outcome:
        text = self.pipeline_text if self.pipeline_text is not None else json.dumps(self.pipeline(), indent=2)
        file = self.workspace.input("pipeline.yaml", text)
        environment = {"POLYGON_API_KEY": self.api_key}
        return self.program.run("sync", file, *options, env=environment, prefix=self.prefix)

    def pipeline(self) -> dict[str, Any]:
        sink = {"duckdb": {"path": str(self.database), "schema": SCHEMA, **self.sink}}
        text = tables.pipeline(sink, self.url, self.streams, START, self.end)
        pipeline: dict[str, Any] = json.loads(text)
        pipeline["source"]["polygon"] = self._broken(pipeline["source"]["polygon"])
        return pipeline

    def airbyte(self, verb: str) -> Outcome:
        config = self._broken(market.config(self.url, self.api_key, START, self.end))
        text = self.config_text if self.config_text is not None else json.dumps(config)
        arguments: list[str | Path] = [verb, "--config", self.workspace.input("config.json", text)]
        if verb == "read":
            arguments += ["--catalog", self.workspace.input("catalog.json", self._configured())]
            state = self.state_text if self.state_text is not None else json.dumps(self.states)
            arguments += ["--state", self.workspace.input("state.json", state)]
        return self.program.run(*arguments)

    def _broken(self, source: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**source, **self.source}.items() if name not in self.without}

    def _configured(self) -> dict[str, Any]:
        # A stream that does not exist is configured like one that does.
        any_stream = self.catalog[STREAMS[0]]
        streams = [self.catalog.get(name, {**any_stream, "name": name}) for name in self.streams]
        return airbyte.configured(streams, "incremental")

    # What is stored.

    def stored(self) -> Rows:
        """Every row of every table, the progress among them, but not who had a stream open."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            names = connection.sql(
                f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{SCHEMA}'"
            ).fetchall()
            return {name: _rows(connection, name) for (name,) in names if name != OPENED}

    def rows_of(self, table: str) -> list[tables.Row]:
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return tables.of_duckdb(connection, SCHEMA, table)

    @contextmanager
    def progress(self, stream: str, change: Callable[[str], str]) -> Iterator[None]:
        """The stored progress of a stream is another one for as long as this lasts."""
        with duckdb.connect(str(self.database)) as connection:
            where = f"{SCHEMA}.{PROGRESS} WHERE stream = ?"
            before = dict(connection.execute(f"SELECT shard, position FROM {where}", [stream]).fetchall())
        self._store(stream, {shard: change(position) for shard, position in before.items()})
        try:
            yield
        finally:
            self._store(stream, before)

    def _store(self, stream: str, positions: dict[str, str]) -> None:
        with duckdb.connect(str(self.database)) as connection:
            for shard, position in positions.items():
                connection.execute(
                    f"UPDATE {SCHEMA}.{PROGRESS} SET position = ? WHERE stream = ? AND shard = ?",
                    [position, stream, shard],
                )

    def pass_state(self, stream: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """The state of a stream that the platform passes is another one."""
        for state in self.states:
            if state["stream"]["stream_descriptor"]["name"] == stream:
                state["stream"]["stream_state"] = change(state["stream"]["stream_state"])


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[Any, ...]]:
    columns = [
        # Shown, it would need an extension.
        f'epoch_us("{name}")' if kind == "TIMESTAMP WITH TIME ZONE" else f'"{name}"::VARCHAR'
        for name, kind, *_ in connection.sql(f'DESCRIBE {SCHEMA}."{table}"').fetchall()
    ]
    return connection.sql(f'SELECT {", ".join(columns)} FROM {SCHEMA}."{table}" ORDER BY ALL').fetchall()
