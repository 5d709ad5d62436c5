"""The Airbyte destination into Snowflake: its own connector finds what the truth says.

The source is tapeline too, over the simulated market. The warehouse is fakesnow as
mended, where only one warehouse exists and passwords can be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from harness import airbyte, crash, market, platform, sentence, tables, warehouse
from harness.platform import Connection
from harness.program import Message, Outcome, Program, parse_line
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

OTHER_SCHEMA = "RAW_MARKET"
FIRST_END = "2024-06-25"
# One that is read by day, one by ticker, one whole.
FEW = ["stock_daily_bars", "stock_bars_1_hour", "exchanges"]


@pytest.fixture(scope="module")
def judge(strict_fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(strict_fakesnow) as connection:
        yield connection


@pytest.fixture(scope="module")
def catalog(
    program: Program, workspace: Workspace, simulator: Simulator, api_key: str
) -> dict[str, airbyte.Stream]:
    config = market.config(simulator.url, api_key, tables.START, tables.END)
    return airbyte.discover(program, workspace.input("source.json", config))


@dataclass
class World:
    """Connections into a warehouse whose schemas are empty at the beginning of each test."""

    program: Program
    workspace: Workspace
    simulator: Simulator
    api_key: str
    sink: dict[str, Any]
    catalog: dict[str, airbyte.Stream]
    judge: Any

    def connection(self, streams: list[str], sync_mode: str, destination_mode: str) -> Connection:
        chosen = [self.catalog[name] for name in streams]
        return Connection(self.program, self.workspace, self.sink, chosen, sync_mode, destination_mode)

    def source(self, end: str) -> dict[str, Any]:
        return market.config(self.simulator.url, self.api_key, tables.START, end)

    def truth(self, table: str, end: str) -> list[market.Row]:
        return market.truth(self.simulator.url, table, tables.START, end)

    def rows(self, table: str, schema: str = warehouse.SCHEMA) -> list[tables.Row]:
        return warehouse.rows_of(self.judge, table, schema)

    def assert_truth(self, streams: list[str], end: str, schema: str = warehouse.SCHEMA) -> None:
        for table in streams:
            tables.assert_table_is_truth(
                self.rows(table, schema), self.truth(table, end), table, warehouse.DIGITS
            )

    def assert_absent(self, part: str) -> None:
        left = [name for name in warehouse.table_names(self.judge) if part in name]
        assert not left, left


@pytest.fixture
def world(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    api_key: str,
    strict_fakesnow: Fakesnow,
    snowflake_password: str,
    catalog: dict[str, airbyte.Stream],
    judge: Any,
) -> World:
    warehouse.drop_schema(judge)
    warehouse.drop_schema(judge, OTHER_SCHEMA)
    sink = warehouse.destination(strict_fakesnow, snowflake_password)
    return World(program, workspace, simulator, api_key, sink, catalog, judge)


def until(messages: bytes, is_last: Callable[[Message], bool]) -> bytes:
    """The messages up to the first that is the last, without it."""
    kept = []
    for line in platform.whole_lines(messages):
        if is_last(parse_line(line)):
            return b"".join(line + b"\n" for line in kept)
        kept.append(line)
    raise AssertionError("no message is the last")


def is_complete(message: Message) -> bool:
    return airbyte.is_status(message) and message["trace"]["stream_status"]["status"] == "COMPLETE"


# What arrives.


@pytest.mark.parametrize("mode", ["append_dedup", "append"])
def test_tables_are_the_truth_after_every_sync(world: World, mode: str) -> None:
    """The second sync is asked from where the echoed states of the first one end."""
    # Streams without days would be added whole each time.
    streams = tables.STREAMS if mode == "append_dedup" else crash.SLICED
    connection = world.connection(streams, "incremental", mode)
    counts = []
    for end in (FIRST_END, tables.END, tables.END):
        outcome = connection.sync(world.source(end))
        world.assert_truth(streams, end)
        counts.append(sum(echo["state"]["destinationStats"]["recordCount"] for echo in platform.echoed(outcome)))
    assert counts[1] < counts[0], f"the second sync began anew: {counts}"


def test_an_overwritten_table_is_the_last_sync(world: World) -> None:
    connection = world.connection(tables.STREAMS, "full_refresh", "overwrite")
    connection.minimum = 1
    for end in (FIRST_END, tables.END):
        connection.echoes.clear()
        connection.sync(world.source(end))
        world.assert_truth(tables.STREAMS, end)
        generations = {row["_airbyte_generation_id"] for row in world.rows("news")}
        assert generations == {connection.generation}
        connection.generation += 1
    world.assert_absent("_NEXT_")


def test_a_row_tells_its_sync_and_when_it_was_read(world: World) -> None:
    connection = world.connection(["dividends"], "incremental", "append_dedup")
    connection.generation, connection.sync_id = 4, 70
    messages = connection.read(world.source(tables.END)).succeeded()
    connection.write(messages.stdout).succeeded()
    read_at = sorted(message["record"]["emitted_at"] for message in messages.of_type("RECORD"))
    rows = world.rows("dividends")
    assert {json.dumps(json.loads(row["_airbyte_meta"]), sort_keys=True) for row in rows} == {
        '{"changes": [], "sync_id": 70}'
    }
    assert {row["_airbyte_generation_id"] for row in rows} == {4}
    assert sorted(milliseconds(row["_airbyte_extracted_at"]) for row in rows) == read_at


def milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def test_a_namespace_is_a_schema(world: World) -> None:
    """The same stream twice, of a namespace and without one, neither of them in the other's table."""
    stream = world.catalog["stock_daily_bars"]
    both = world.connection(["stock_daily_bars"], "incremental", "append_dedup")
    plain = both.read(world.source(FIRST_END)).succeeded().stdout
    moved = in_namespace(both.read(world.source(tables.END)).succeeded().stdout, OTHER_SCHEMA.lower())
    both.streams.append({**stream, "namespace": OTHER_SCHEMA.lower()})
    outcome = both.write(plain + moved).succeeded()
    messages = map(parse_line, platform.whole_lines(plain + moved))
    sent = [message["state"]["stream"] for message in messages if message["type"] == "STATE"]
    assert [echo["state"]["stream"] for echo in platform.echoed(outcome)] == sent
    world.assert_truth(["stock_daily_bars"], FIRST_END)
    world.assert_truth(["stock_daily_bars"], tables.END, OTHER_SCHEMA)


def in_namespace(messages: bytes, namespace: str) -> bytes:
    """As a platform names streams that the user gave a namespace."""
    lines = []
    for line in platform.whole_lines(messages):
        message = json.loads(line)
        match message["type"]:
            case "RECORD":
                message["record"]["namespace"] = namespace
            case "STATE":
                message["state"]["stream"]["stream_descriptor"]["namespace"] = namespace
            case "TRACE" if message["trace"]["type"] == "STREAM_STATUS":
                message["trace"]["stream_status"]["stream_descriptor"]["namespace"] = namespace
        # The numbers of daily bars are short: a double gives them back as they were.
        lines.append(json.dumps(message).encode())
    return b"".join(line + b"\n" for line in lines)


# Refreshes.


@pytest.mark.parametrize("mode", ["append_dedup", "overwrite"])
def test_a_refresh_shows_nothing_before_it_is_complete(world: World, mode: str) -> None:
    table = "stock_bars_1_hour"
    connection = world.connection([table], "full_refresh", mode)
    connection.minimum = 1
    connection.sync(world.source(FIRST_END))
    connection.generation, connection.echoes = 2, []

    messages = connection.read(world.source(tables.END)).succeeded().stdout
    # The source dies before its second state, and then before it says that it is done.
    states = 0

    def is_second_state(message: Message) -> bool:
        nonlocal states
        states += message["type"] == "STATE"
        return states == 2

    for is_last in (is_second_state, is_complete):
        cut = connection.write(until(messages, is_last))
        assert cut.code != 0, cut.describe()
        world.assert_truth([table], FIRST_END)
        assert connection.echoes, "nothing of the unfinished refresh was kept"
        messages = connection.read(world.source(tables.END)).succeeded().stdout
    connection.write(messages).succeeded()
    world.assert_truth([table], tables.END)
    assert {row["_airbyte_generation_id"] for row in world.rows(table)} == {2}
    world.assert_absent("_NEXT_")


def test_an_unfinished_refresh_is_thrown_away_by_the_next(world: World) -> None:
    table = "stock_bars_1_hour"
    connection = world.connection([table], "full_refresh", "overwrite")
    connection.minimum = 1
    messages = connection.read(world.source(FIRST_END)).succeeded().stdout
    connection.write(until(messages, is_complete))
    assert connection.echoes and not world.rows(table)
    connection.generation, connection.echoes = 2, []
    connection.sync(world.source(tables.END))
    world.assert_truth([table], tables.END)


@pytest.mark.parametrize("minimum", [0, 1])
def test_rows_that_are_sent_again_are_there_once(world: World, minimum: int) -> None:
    """As when an attempt dies after a commit, and the platform never heard of it."""
    connection = world.connection(["stock_bars_1_hour"], "incremental", "append_dedup")
    connection.minimum = minimum
    messages = connection.read(world.source(tables.END)).succeeded().stdout
    connection.write(until(messages, is_complete))
    assert connection.echoes
    # Before its end, and after it.
    for _ in range(2):
        connection.echoes.clear()
        connection.sync(world.source(tables.END))
        world.assert_truth(["stock_bars_1_hour"], tables.END)


# What the warehouse refuses.


def test_no_state_comes_back_of_what_the_warehouse_refused(world: World) -> None:
    connection = world.connection(FEW, "incremental", "append_dedup")
    connection.sync(world.source(FIRST_END))
    # Nobody writes this column, and it must be written.
    place = f"{warehouse.DATABASE}.{warehouse.SCHEMA}.STOCK_BARS_1_HOUR"
    cursor = world.judge.cursor()
    cursor.execute(f"ALTER TABLE {place} ADD COLUMN BY_HAND VARCHAR DEFAULT ''")
    cursor.execute(f"ALTER TABLE {place} ALTER COLUMN BY_HAND DROP DEFAULT")
    cursor.execute(f"ALTER TABLE {place} ALTER COLUMN BY_HAND SET NOT NULL")
    outcome = connection.write(connection.read(world.source(tables.END)).succeeded().stdout)
    assert outcome.code == 3, outcome.describe()
    [error] = sentence.in_protocol(outcome, outcome.code)
    assert error["stream_descriptor"]["name"] == "stock_bars_1_hour"
    # The others are of no concern to it.
    echoed = {airbyte.name_of(echo) for echo in platform.echoed(outcome)}
    assert echoed == set(FEW) - {"stock_bars_1_hour"}
    cursor.execute(f"ALTER TABLE {place} DROP COLUMN BY_HAND")
    world.assert_truth(["stock_bars_1_hour"], FIRST_END)
    # And from the states that did come back nothing is missing.
    connection.sync(world.source(tables.END))
    world.assert_truth(FEW, tables.END)


@dataclass(frozen=True)
class Bad:
    """Fields of the configuration that are wrong, and what is said."""

    what: str
    sink: dict[str, str]
    says: tuple[str, ...]
    without: tuple[str, ...] = field(default=())


TABLE = [
    Bad("a wrong password", {"password": "wrong-"}, ("Incorrect username or password", "check `user` and `password`")),
    Bad(
        "a warehouse that does not exist",
        {"warehouse": "no_such"},
        ("`warehouse` NO_SUCH does not exist", "check `warehouse` and `role`"),
    ),
    Bad(
        "a database that does not exist",
        {"database": "no_such"},
        ("`database` NO_SUCH does not exist", "check `database` and `role`"),
    ),
    Bad("an empty database", {"database": ""}, ("`database` is empty", "write the name of the database")),
    Bad("a typo in a field", {"warehous": warehouse.WAREHOUSE}, ("unknown field `warehous`", "`warehouse`?"), without=("warehouse",)),
    Bad("no way to sign in", {}, ("neither `private_key` nor `password`",), without=("password",)),
    Bad("an unknown warehouse type", {"type": "snowflakes"}, ("`sink.type`", "`snowflakes`")),
]


def check(world: World, sink: dict[str, Any]) -> Outcome:
    config = world.workspace.input("destination.json", {"sink": sink})
    return world.program.run("destination", "check", "--config", config)


def test_a_good_configuration_is_said_to_be_so(world: World) -> None:
    [message] = check(world, world.sink["sink"]).succeeded().of_type("CONNECTION_STATUS")
    assert message["connectionStatus"]["status"] == "SUCCEEDED"


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.what) for bad in TABLE])
def test_a_bad_configuration_is_one_clear_sentence(world: World, wrong_password: str, bad: Bad) -> None:
    """`check` answers with it, and `write` fails with it before it touches anything."""
    sink = {name: value for name, value in {**world.sink["sink"], **bad.sink}.items() if name not in bad.without}
    if bad.sink.get("password"):
        sink["password"] = wrong_password
    sentence.assert_clear(sentence.in_check(check(world, sink)), bad.says)

    connection = world.connection(FEW, "incremental", "append_dedup")
    connection.sink = {"sink": sink}
    outcome = connection.write(b"")
    assert outcome.code == 2, outcome.describe()
    [told] = sentence.on_stderr(outcome)
    sentence.assert_clear(told, bad.says)
    [error] = sentence.in_protocol(outcome, outcome.code)
    sentence.assert_clear(error["message"], bad.says)
    assert not warehouse.table_names(world.judge)


@pytest.fixture(scope="session")
def wrong_password(workspace: Workspace) -> str:
    """One that the server refuses. As secret as a good one: it may be a typo away from it."""
    return "wrong-" + workspace.new_secret("the refused Snowflake password")
