"""The table of bad input for the destination: one clear sentence, the right exit code, and nothing changed.

Every case begins after a good sync and breaks one thing. Then it is mended, and
the next sync goes on as if nothing had happened.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pytest

from harness import disks, sentence
from harness.bad import BadInput, Provoke
from harness.destination import AT, Destination, catalog, echoed, record, refresh, state, status, stream
from harness.program import Outcome

ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
SECRET = "4f7c0e51"


@dataclass
class World:
    """A sync after a good one, to be broken in one place."""

    destination: Destination
    config: Any = field(default_factory=dict)
    catalog: Any = field(default_factory=lambda: catalog(stream("s"), mode="append_dedup", key="id", **refresh(1, 0)))
    lines: list[str] = field(
        default_factory=lambda: [record("s", {"id": 3, "name": SECRET}), state("s", {"at": 3}), status("s")]
    )
    prefix: tuple[str, ...] = ()
    # Of each line.
    end: str = "\n"

    def __post_init__(self) -> None:
        sink = {"type": "duckdb", "path": str(self.destination.database), "schema": "polygon"}
        self.config = {"sink": sink}

    @property
    def stream(self) -> dict[str, Any]:
        configured: dict[str, Any] = self.catalog["streams"][0]
        return configured

    def run(self, verb: str) -> Outcome:
        workspace = self.destination.workspace
        arguments = ["destination", verb, "--config", workspace.input("destination.json", self.config)]
        if verb == "write":
            arguments += ["--catalog", workspace.input("configured.json", self.catalog)]
        stdin = "".join(f"{line}{self.end}" for line in self.lines).encode()
        return self.destination.program.run(*arguments, stdin=stdin, prefix=self.prefix)


@dataclass(frozen=True)
class Bad(BadInput):
    """As of a destination, where most is met by `write` alone."""

    meets: tuple[str, ...] = ("write",)


def sink(*without: str, **fields: Any) -> Provoke:
    """Fields of the sink are other ones."""

    def provoke(world: World) -> None:
        changed = {**world.config["sink"], **fields}
        world.config["sink"] = {name: value for name, value in changed.items() if name not in without}

    return provoke


def config(value: Any) -> Provoke:
    """The whole configuration is another one."""

    def provoke(world: World) -> None:
        world.config = value

    return provoke


def configured(**fields: Any) -> Provoke:
    """The stream is configured in another way."""

    def provoke(world: World) -> None:
        world.stream.update(fields)

    return provoke


def named(name: str) -> Provoke:
    def provoke(world: World) -> None:
        world.stream["stream"]["name"] = name

    return provoke


def catalogue(value: Any) -> Provoke:
    def provoke(world: World) -> None:
        world.catalog = value

    return provoke


def another(name: str) -> Provoke:
    """There is a second stream."""

    def provoke(world: World) -> None:
        world.catalog["streams"].append(copy.deepcopy(world.stream))
        world.catalog["streams"][1]["stream"]["name"] = name

    return provoke


def lines(*of: str) -> Provoke:
    """Other lines come on stdin."""

    def provoke(world: World) -> None:
        world.lines = list(of)

    return provoke


def torn(text: str) -> Provoke:
    """The last line has no end."""

    def provoke(world: World) -> None:
        world.lines, world.end = [text], ""

    return provoke


@contextmanager
def write_protected(world: World) -> Iterator[None]:
    world.destination.database.chmod(0o444)
    yield
    world.destination.database.chmod(0o644)


def on_a_read_only_disk(world: World) -> None:
    world.prefix = disks.read_only_disk(world.destination.database.parent)


def on_a_full_disk(world: World) -> None:
    world.prefix = disks.small_disk(world.destination.database.parent, 0)


def with_files_that_cannot_grow(world: World) -> None:
    world.prefix = disks.limited_files(world.destination.database.stat().st_size)
    world.lines = [record("s", {"id": number, "name": f"{number:0>4000}"}) for number in range(3000)]
    world.lines += [state("s", 1), status("s")]


def instead_of_the_table(*statements: str) -> Provoke:
    """The user has something of the name that the table would have."""

    @contextmanager
    def provoke(world: World) -> Iterator[None]:
        run(world.destination, "ALTER TABLE polygon.s RENAME TO kept", *statements)
        yield
        kind = "VIEW" if "VIEW" in statements[-1] else "TABLE"
        run(world.destination, f"DROP {kind} polygon.s", "ALTER TABLE polygon.kept RENAME TO s")

    return provoke


def run(destination: Destination, *statements: str) -> None:
    with duckdb.connect(str(destination.database)) as connection:
        for statement in statements:
            connection.execute(statement)


BOTH = ("check", "write")

TABLE = [
    # The configuration.
    Bad("no sink", config({}), 2, ("`sink` of the destination's configuration is missing",), BOTH),
    Bad("an unknown field", config({"skin": {}}), 2, ("`skin`", "`sink`?"), BOTH),
    Bad("a configuration that is none", config([]), 2, ("the destination's configuration",), BOTH),
    # For `check` a file that cannot be read is a mistake of its caller, as for the source.
    Bad("a configuration that is not JSON", config("{"), 2, ("the configuration", "not JSON")),
    Bad("no type", sink("type"), 2, ("`sink.type`", "is missing", "`snowflake`, `duckdb`"), BOTH),
    Bad("an unknown type", sink(type="duckbd"), 2, ("`sink.type`", "`duckbd`", "`duckdb`?"), BOTH),
    Bad("a type that is no text", sink(type=5), 2, ("`sink.type`",), BOTH),
    Bad("no path", sink("path"), 2, ("`path` of `sink`", "is missing"), BOTH),
    Bad("an empty path", sink(path=""), 2, ("path",), BOTH),
    Bad("a typo in a field of the sink", sink("path", pth="x"), 2, ("`pth`", "`path`?"), BOTH),
    Bad("a path in a folder that is not there", sink(path="/no/such/folder/x.duckdb"), 2, ("/no/such/folder",), BOTH),
    Bad("too little memory", sink(memory_limit_mb=1), 2, ("memory_limit_mb", "64"), BOTH),
    # The configured catalogue.
    Bad("a catalogue that is not JSON", catalogue("{"), 2, ("the configured catalogue", "not JSON")),
    Bad("an empty catalogue", catalogue(""), 2, ("the configured catalogue",)),
    Bad("a catalogue that is none", catalogue([]), 2, ("the configured catalogue",)),
    Bad("a catalogue without streams", catalogue({}), 2, ("`streams` of the configured catalogue is missing",)),
    Bad("streams that are none", catalogue({"streams": 5}), 2, ("`streams` of the configured catalogue",)),
    Bad("append_dedup without a key", configured(primary_key=None), 2, ("stream s", "append_dedup", "primary key")),
    Bad("a nested key", configured(primary_key=[["id", "deep"]]), 2, ("nested field `id.deep`", "top-level")),
    Bad("a key that is no column", configured(primary_key=[["no"]]), 2, ("`no` of the primary key of stream s",)),
    Bad("a hybrid refresh", configured(**refresh(5, 3)), 2, ("generation 3", "generation 5", "minimum_generation_id")),
    Bad("update", configured(destination_sync_mode="update"), 2, ('"update"', "use append, append_dedup or")),
    Bad("soft_delete", configured(destination_sync_mode="soft_delete"), 2, ('"soft_delete"', "use append")),
    Bad("a generation that is no number", configured(generation_id="one"), 2, ("generation_id",)),
    Bad("a stream without a name", named(""), 2, ("cannot be the name of a table", "another name")),
    Bad("a name of our own", named("_tapeline_progress"), 2, ("_tapeline_progress", "another name")),
    Bad("names that differ in case only", another("S"), 2, ("s and S would have the same table", "prefix")),
    Bad("a stream twice", another("s"), 2, ("would have the same table",)),
    # What is there.
    Bad("a read-only file", write_protected, 2, ("market.duckdb is read-only", "another `path`"), BOTH),
    Bad(
        "a view of the user's",
        instead_of_the_table("CREATE VIEW polygon.s AS SELECT 1 AS id"),
        2,
        ('"polygon"."s" is a view', "rename what is there"),
    ),
    Bad(
        "a table of the user's",
        instead_of_the_table("CREATE TABLE polygon.s (id BIGINT)"),
        2,
        ("was not made by tapeline", "rename what is there"),
    ),
    Bad(
        "a column of another type",
        configured(stream=stream("s", {"id": {"type": "boolean"}, "name": {"type": "string"}})),
        2,
        ("the column id", "BIGINT", "BOOLEAN", "ALTER TABLE"),
    ),
    Bad("a schema of DuckDB's own", sink(schema="information_schema"), 2, ("`schema`", "DuckDB's own"), BOTH),
    Bad("files that cannot grow", with_files_that_cannot_grow, 2, ("grow no further",)),
    # The input.
    Bad("a message that breaks off", lines('{"type":"RECORD","record":{"str'), 1, ("line 1", "breaks off")),
    Bad("a source that dies in a line", torn('{"type":"RECORD","record":{"str'), 3, ("line 1", "breaks off", "source's log")),
    Bad("a message that is not JSON", lines("", '{"type":RECORD}'), 1, ("line 2", "is not JSON at column")),
    Bad("a record without data", lines(record("s", {}).replace('"data"', '"date"')), 1, ("line 1", "`record.data`")),
    Bad("a record without a moment", lines(record("s", {}).replace(str(AT), "null")), 1, ("line 1", "emitted_at")),
    Bad("data that is no object", lines(record("s", [SECRET])), 1, ("line 1", "data of a record")),
    Bad("a stream that is not configured", lines(record("t", {})), 1, ('"t"', "the same configured catalogue")),
    Bad("no end of the stream", lines(), 3, ("stream s", "complete", "the source's log")),
    Bad("a stream that broke off", lines(status("s", "INCOMPLETE")), 3, ("stream s", "complete")),
]
if disks.can_mount():
    TABLE += [
        Bad("a read-only disk", on_a_read_only_disk, 2, ("no permission to write to", "`path`"), BOTH),
        Bad("a full disk", on_a_full_disk, 2, ("the disk is full", "free some space"), BOTH),
    ]

CASES = [pytest.param(bad, verb, id=f"{bad.what}, {verb}") for bad in TABLE for verb in bad.meets]


@pytest.mark.parametrize(("bad", "verb"), CASES)
def test_bad_input_is_told_and_changes_nothing(bad: Bad, verb: str, destination: Destination) -> None:
    good = World(destination)
    good.lines = [*(record("s", row) for row in ROWS), state("s", {"at": 2}), status("s")]
    good.run("write").succeeded()
    broken = World(destination)
    with ExitStack() as mended_at_the_end:
        if surroundings := bad.provoke(broken):
            mended_at_the_end.enter_context(surroundings)
        before = contents(destination)
        assert_told(bad, verb, broken.run(verb))
        assert contents(destination) == before
    World(destination).run("write").succeeded()
    destination.assert_is("s", [*ROWS, {"id": 3, "name": SECRET}])


def contents(destination: Destination) -> dict[str, Any]:
    """Every row of every table, the progress among them; of a view its text."""
    with duckdb.connect(str(destination.database), read_only=True) as connection:
        tables = connection.sql("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
        views = connection.sql("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal").fetchall()
        # Shown, a moment with a zone would need an extension.
        progress = connection.sql("SELECT pipeline, stream, staged, shard, position FROM polygon._tapeline_progress ORDER BY ALL")
        stored: dict[str, Any] = {"views": views, "progress": progress.fetchall()}
        for schema, name in tables:
            if name not in ("_tapeline_progress", "_tapeline_streams"):
                columns = connection.sql(f"DESCRIBE {schema}.{name}").fetchall()
                shown = ", ".join(f"epoch_us({c})" if "ZONE" in kind else c for c, kind, *_ in columns)
                stored[name] = connection.sql(f"SELECT {shown} FROM {schema}.{name} ORDER BY ALL").fetchall()
        return stored


def assert_told(bad: Bad, verb: str, outcome: Outcome) -> None:
    assert SECRET.encode() not in outcome.stdout + outcome.stderr, outcome.describe()
    if verb == "check" and bad.code == 2:
        sentence.assert_clear(sentence.in_check(outcome), bad.says)
        return
    assert outcome.code == bad.code, f"{outcome.describe()}\nended with {outcome.code}"
    [told] = sentence.on_stderr(outcome)
    sentence.assert_clear(told, bad.says)
    [error] = sentence.in_protocol(outcome, bad.code)
    sentence.assert_clear(error["message"], bad.says)
    assert not echoed(outcome), outcome.describe()
