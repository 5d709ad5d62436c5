"""PyAirbyte, Airbyte's client library, reads the source offline into its own DuckDB cache."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness import market
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace

START, END = "2024-06-20", "2024-06-28"
# Every column of the key is a scalar in the cache as well.
INCREMENTAL = {
    "stock_daily_bars": ["ticker", "date"],
    "stock_bars_1_hour": ["ticker", "timestamp"],
    "news": ["id"],
}
FULL_REFRESH = {"exchanges": ["asset_class", "id", "name"], "ticker_details": ["ticker"]}


@pytest.fixture(scope="module")
def pyairbyte(workspace: Workspace) -> ModuleType:
    """The library, told before it is imported that there is no network and where it may write."""
    project = workspace.inputs / "pyairbyte"
    project.mkdir(exist_ok=True)
    os.environ.update(
        AIRBYTE_OFFLINE_MODE="1",
        DO_NOT_TRACK="1",
        AIRBYTE_PROJECT_DIR=str(project),
        AIRBYTE_LOGGING_ROOT=str(workspace.folder("pyairbyte-logs")),
    )
    import airbyte

    return airbyte


@pytest.fixture(scope="module")
def executable(program: Program, workspace: Workspace) -> Path:
    """The program under a name of its own, with a home of its own; what it prints is kept for the scan."""
    kept = workspace.folder("pyairbyte-runs")
    wrapper = workspace.inputs / "source-polygon"
    wrapper.write_text(
        "#!/usr/bin/env bash\n"
        "set -o pipefail\n"
        f'export HOME="{kept}"\n'
        f'{program.binary} "$@" 2> >(tee "{kept}/$$.stderr" >&2) | tee "{kept}/$$.stdout"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return wrapper


def source(airbyte: ModuleType, executable: Path, config: dict[str, object]) -> Any:
    source = airbyte.get_source(
        "source-polygon", config=config, local_executable=str(executable), install_if_missing=False
    )
    source.check()
    return source


def rows(result: Any, stream: str, key: list[str]) -> Counter[tuple[str, ...]]:
    """The keys in the cache, as text. Its timestamps have lost their zone and gained a space."""
    return Counter(tuple(key_text(row[column]) for column in key) for row in result[stream])


def key_text(value: object) -> str:
    return str(value).replace(" ", "T").removesuffix("+00:00").removesuffix("Z").removesuffix("T00:00:00")


def test_two_reads_into_a_cache(
    pyairbyte: ModuleType, executable: Path, workspace: Workspace, simulator: Simulator, api_key: str
) -> None:
    from airbyte.caches import DuckDBCache

    config = market.config(simulator.url, api_key, START, END)
    cache = DuckDBCache(db_path=workspace.folder("pyairbyte-cache") / "cache.duckdb")

    first = source(pyairbyte, executable, config)
    first.select_streams([*INCREMENTAL, *FULL_REFRESH])
    result = first.read(cache=cache)
    for stream, key in {**INCREMENTAL, **FULL_REFRESH}.items():
        truth = Counter(
            tuple(key_text(row[column]) for column in key)
            for row in market.truth(simulator.url, stream, START, END)
        )
        assert truth, stream
        assert rows(result, stream, key) == truth, stream

    # Another process of the same source: only the cache knows where it was.
    second = source(pyairbyte, executable, config)
    second.select_streams(list(INCREMENTAL))
    assert second.read(cache=cache).processed_records == 0


def test_later_days_arrive_with_the_second_read(
    pyairbyte: ModuleType, executable: Path, workspace: Workspace, simulator: Simulator, api_key: str
) -> None:
    from airbyte.caches import DuckDBCache

    cache = DuckDBCache(db_path=workspace.folder("pyairbyte-growing") / "cache.duckdb")
    processed = []
    for end in ("2024-06-25", END):
        reader = source(pyairbyte, executable, market.config(simulator.url, api_key, START, end))
        reader.select_streams(["stock_daily_bars"])
        result = reader.read(cache=cache)
        processed.append(result.processed_records)
    truth = market.truth(simulator.url, "stock_daily_bars", START, END)
    new = [row for row in truth if row["date"] > "2024-06-25"]
    assert processed == [len(truth) - len(new), len(new)]
    assert rows(result, "stock_daily_bars", ["ticker", "date"]) == Counter(
        (row["ticker"], row["date"]) for row in truth
    )


def test_a_wrong_key_is_an_error_that_names_it(
    pyairbyte: ModuleType, executable: Path, simulator: Simulator, wrong_key: str
) -> None:
    with pytest.raises(pyairbyte.exceptions.AirbyteConnectorCheckFailedError) as raised:
        source(pyairbyte, executable, market.config(simulator.url, wrong_key, START, END))
    assert "key" in str(raised.value).lower()
    assert wrong_key not in str(raised.value)
