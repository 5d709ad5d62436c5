"""PyAirbyte, Airbyte's client library, writes through the destination offline: from a source, and from its own cache.

It counts nothing: every run of it is sync 1 of generation 1, and asks to have
older generations gone.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness import market
from harness.destination import Destination
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_pyairbyte import END, START, executable, pyairbyte, source

# Fixtures of the source's suite.
__all__ = ["executable", "pyairbyte"]

STREAMS = ["stock_daily_bars", "stock_bars_1_hour", "exchanges"]


@pytest.fixture
def reader(pyairbyte: ModuleType, executable: Path, simulator: Simulator, api_key: str) -> Any:
    reader = source(pyairbyte, executable, market.config(simulator.url, api_key, START, END))
    reader.select_streams(STREAMS)
    return reader


@pytest.fixture
def writer(pyairbyte: ModuleType, named_destination: Program, destination: Destination) -> Any:
    sink = {"type": "duckdb", "path": str(destination.database), "schema": "polygon"}
    writer = pyairbyte.get_destination(
        "tapeline-destination", config={"sink": sink}, local_executable=str(named_destination.binary), install_if_missing=False
    )
    writer.check()
    return writer


def assert_truth(destination: Destination, simulator: Simulator, times: int = 1) -> None:
    for name in STREAMS:
        truth = market.truth(simulator.url, name, START, END)
        assert truth, f"the truth of {name} is empty: nothing is shown by agreeing with it"
        rows = destination.data(name)
        market.assert_same_rows(map(market.canonical, rows), map(market.canonical, truth * times), name)


def test_what_is_appended_twice_is_there_twice(
    pyairbyte: ModuleType, reader: Any, writer: Any, destination: Destination, simulator: Simulator
) -> None:
    for times in (1, 2):
        result = writer.write(
            reader, cache=False, state_cache=False, write_strategy=pyairbyte.strategies.WriteStrategy.APPEND
        )
        assert_truth(destination, simulator, times)
        assert result.processed_records == sum(len(destination.data(name)) for name in STREAMS) // times


@pytest.mark.parametrize("strategy", ["AUTO", "MERGE", "REPLACE"])
def test_what_is_merged_or_replaced_is_there_once(
    pyairbyte: ModuleType,
    reader: Any,
    writer: Any,
    destination: Destination,
    simulator: Simulator,
    strategy: str,
) -> None:
    chosen = pyairbyte.strategies.WriteStrategy[strategy]
    for _ in range(2):
        writer.write(reader, cache=False, state_cache=False, write_strategy=chosen)
        assert_truth(destination, simulator)


def test_its_cache_is_written(
    pyairbyte: ModuleType,
    reader: Any,
    writer: Any,
    destination: Destination,
    simulator: Simulator,
    workspace: Workspace,
) -> None:
    """Decimals arrive as text, moments in seconds and without a zone, and Airbyte's columns inside the data."""
    from airbyte.caches import DuckDBCache

    cache = DuckDBCache(db_path=workspace.folder("pyairbyte-cache") / "cache.duckdb")
    result = reader.read(cache=cache)
    for _ in range(2):
        # Its own store of states replaces a row within a transaction, which DuckDB's index refuses at times.
        writer.write(result, state_cache=False)
        assert_truth(destination, simulator)
    for name in STREAMS:
        for row in destination.rows(name):
            assert row["_airbyte_meta"]["changes"] == [] and row["additional_properties"] is None, row
            # Not 1970: it sends seconds where the protocol wants milliseconds.
            assert row["_airbyte_extracted_at"] > 1_577_836_800_000_000


def test_a_sync_through_its_cache(
    reader: Any, writer: Any, destination: Destination, simulator: Simulator, workspace: Workspace
) -> None:
    from airbyte.caches import DuckDBCache

    cache = DuckDBCache(db_path=workspace.folder("pyairbyte-through") / "cache.duckdb")
    writer.write(reader, cache=cache)
    assert_truth(destination, simulator)


def test_a_refused_configuration_is_an_error_that_names_it(pyairbyte: ModuleType, named_destination: Program) -> None:
    writer = pyairbyte.get_destination(
        "tapeline-destination",
        config={"sink": {"type": "duckdb", "path": "/no/such/folder/x.duckdb"}},
        local_executable=str(named_destination.binary),
        install_if_missing=False,
    )
    with pytest.raises(pyairbyte.exceptions.AirbyteConnectorCheckFailedError) as raised:
        writer.check()
    assert "/no/such/folder" in str(raised.value)
