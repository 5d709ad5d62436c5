"""The table of bad input for Snowflake: a refusal is one clear sentence, and rows and progress stay as they were.

What does not concern the warehouse is in test_bad_input.py. The server is
fakesnow, where only one warehouse exists: see fakesnow_mended.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness import market, sentence, tables, warehouse
from harness.program import Outcome, Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

STREAMS = ["stock_bars_1_hour", "stock_daily_bars", "exchanges"]
PLACE = f"{warehouse.DATABASE}.{warehouse.SCHEMA}"
PROGRESS = "_TAPELINE_PROGRESS"


@dataclass(frozen=True)
class Bad:
    """Fields of the sink that are wrong, and what is said."""

    what: str
    sink: dict[str, str]
    says: tuple[str, ...]
    code: int = 2
    without: tuple[str, ...] = field(default=())


TABLE = [
    Bad(
        "a warehouse that does not exist",
        {"warehouse": "no_such"},
        ("`warehouse` NO_SUCH does not exist", "or the role may not use it", "check `warehouse` and `role`"),
    ),
    Bad(
        "a database that does not exist",
        {"database": "no_such"},
        ("`database` NO_SUCH does not exist", "check `database` and `role`"),
    ),
    Bad("a typo in a field", {"warehous": warehouse.WAREHOUSE}, ("sink.snowflake.warehous`", "`warehouse`?"), without=("warehouse",)),
    Bad("an empty warehouse", {"warehouse": " "}, ("`warehouse` is empty", "write the name of the warehouse")),
    Bad(
        "an account that is an address",
        {"account": "https://myorg.snowflakecomputing.com"},
        ("`account`", "a URL belongs into `host`"),
    ),
    Bad("two ways to sign in", {"private_key_file": "/no/such"}, ("more than one way to sign in", "exactly one of")),
    Bad("no way to sign in", {}, ("neither `private_key` nor `password`", "give `private_key`"), without=("password",)),
    Bad(
        "a key that is none",
        {"private_key": "ssh-ed25519 AAAA"},
        ("`private_key` is not a private key in PEM form", "openssl pkcs8"),
        without=("password",),
    ),
    Bad(
        "a file of a key that is not there",
        {"private_key_file": "/no/such/key.p8"},
        ("`private_key_file` /no/such/key.p8", "may read"),
        without=("password",),
    ),
    Bad(
        "a password that is not set",
        {"password": "${NO_SUCH_PASSWORD}"},
        ("`sink.snowflake.password`", "NO_SUCH_PASSWORD is not set"),
    ),
]


@pytest.fixture(scope="module")
def connection(strict_fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(strict_fakesnow) as connection:
        yield connection


@dataclass(frozen=True)
class World:
    program: Program
    workspace: Workspace
    url: str
    sink: dict[str, object]
    api_key: str
    password: str
    connection: Any

    def sync(self, end: str, bad: Bad | None = None) -> Outcome:
        sink = self.sink
        if bad:
            sink = {name: value for name, value in {**sink, **bad.sink}.items() if name not in bad.without}
        text = tables.pipeline({"snowflake": sink}, self.url, STREAMS, tables.START, end)
        secrets = {"POLYGON_API_KEY": self.api_key, "SNOWFLAKE_PASSWORD": self.password}
        return self.program.run("sync", self.workspace.input("pipeline.yaml", text), env=secrets)

    def stored(self) -> dict[str, list[str]]:
        """Every row of every table of every database, the progress among them."""
        cursor = self.connection.cursor()
        rows = {
            name: sorted(map(repr, cursor.execute(f'SELECT * FROM {PLACE}."{name}"').fetchall()))
            for name in warehouse.table_names(self.connection)
        }
        databases = [row[1] for row in cursor.execute("SHOW DATABASES").fetchall()]
        return {**rows, "databases": sorted(databases)}


@pytest.fixture
def world(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    strict_fakesnow: Fakesnow,
    connection: Any,
    api_key: str,
    snowflake_password: str,
) -> World:
    """After a good run into an empty schema."""
    warehouse.drop_schema(connection)
    sink = warehouse.sink(strict_fakesnow)["snowflake"]
    world = World(program, workspace, simulator.url, sink, api_key, snowflake_password, connection)
    world.sync("2024-06-25").succeeded()
    return world


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.what) for bad in TABLE])
def test_a_bad_warehouse_is_told_and_changes_nothing(bad: Bad, world: World) -> None:
    before = world.stored()
    assert before[PROGRESS] and before["STOCK_DAILY_BARS"]
    outcome = world.sync(tables.END, bad)
    assert outcome.code == bad.code, f"{outcome.describe()}\nended with {outcome.code}"
    told = sentence.on_stderr(outcome)
    assert len(told) == 1, outcome.describe()
    sentence.assert_clear(told[0], bad.says)
    assert world.stored() == before
    assert_goes_on(world)


def assert_goes_on(world: World) -> None:
    world.sync(tables.END).succeeded()
    for table in STREAMS:
        truth = market.truth(world.url, table, tables.START, tables.END)
        tables.assert_table_is_truth(warehouse.rows_of(world.connection, table), truth, table, warehouse.DIGITS)


def test_progress_from_another_version_fails_its_stream_only(world: World) -> None:
    cursor = world.connection.cursor()
    place, where = f"{PLACE}.{PROGRESS}", "WHERE STREAM = 'stock_daily_bars'"
    [[progress]] = cursor.execute(f"SELECT POSITION FROM {place} {where}").fetchall()
    other = json.dumps({**json.loads(progress), "version": 99})
    cursor.execute(f"UPDATE {place} SET POSITION = %s {where}", (other,))
    rows = world.stored()["STOCK_DAILY_BARS"]

    outcome = world.sync(tables.END)
    assert outcome.code == 2, outcome.describe()
    [told] = sentence.on_stderr(outcome)
    sentence.assert_clear(told, ("stock_daily_bars", "the state has version 99", "tapeline reset"))
    assert world.stored()["STOCK_DAILY_BARS"] == rows
    assert cursor.execute(f"SELECT POSITION FROM {place} {where}").fetchall() == [(other,)]

    cursor.execute(f"UPDATE {place} SET POSITION = %s {where}", (progress,))
    assert_goes_on(world)
