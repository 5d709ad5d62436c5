"""`read | destination write`: DuckDB's own client finds in the tables exactly what the truth says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import airbyte, market, tables
from harness import destination as airbyte_destination
from harness.destination import Destination
from harness.program import Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace

# Splits and dividends of later days are announced.
START, END = "2024-06-20", "2024-12-31"
# Before the last two days of the market, and after them.
THEN, NOW = "2024-06-26T21:00:00Z", market.NOW
# Fields that the catalogue does not know come and go.
FAULTS = "- {match: {path_prefix: /, every: 2}, fault: {type: unknown_field}}"


@pytest.fixture
def moving_simulator(program: Program, workspace: Workspace) -> Iterator[Simulator]:
    """A market of its own whose time the test moves."""
    faults = workspace.input("faults.yaml", FAULTS)
    with Simulator(program, now=THEN, faults=faults) as simulator:
        yield simulator


def catalog_file(root: Path, name: str) -> dict[str, Any]:
    catalog: dict[str, Any] = json.loads((root / "catalogs" / f"{name}.json").read_text())
    return catalog


def names_of(catalog: dict[str, Any]) -> list[str]:
    return [configured["stream"]["name"] for configured in catalog["streams"]]


def read_into(
    destination: Destination, config: Path, catalog: dict[str, Any], states: list[dict[str, Any]], now: str
) -> tuple[Outcome, Outcome]:
    """One sync as a platform runs it; the source's and the destination's side."""
    arguments = ["--catalog", destination.workspace.input("configured.json", catalog)]
    arguments += ["--state", destination.workspace.input("state.json", states)]
    read = destination.program.run("read", "--config", config, *arguments, env={"TAPELINE_NOW": now})
    return read.succeeded(), destination.write_bytes(catalog, read.stdout).succeeded()


def key_of(catalog: dict[str, Any], name: str, row: tables.Row) -> str:
    [configured] = [each for each in catalog["streams"] if each["stream"]["name"] == name]
    return airbyte.key_of(configured["stream"], row)


def assert_tables(destination: Destination, truths: dict[str, list[tables.Row]]) -> None:
    for name, truth in truths.items():
        assert truth, f"the truth of {name} is empty: nothing is shown by agreeing with it"
        rows = destination.data(name)
        market.assert_same_rows(map(market.canonical, rows), map(market.canonical, truth), name)


def test_two_incremental_syncs_end_at_the_truth(
    destination: Destination, moving_simulator: Simulator, workspace: Workspace, api_key: str, root: Path
) -> None:
    url = moving_simulator.url
    catalog = catalog_file(root, "configured_incremental")
    config = workspace.input("config.json", market.config(url, api_key, START, END))

    def truth(name: str, now: str) -> list[tables.Row]:
        return market.truth(url, name, START, END, as_of=now)

    _, first = read_into(destination, config, catalog, [], THEN)
    before = {name: truth(name, THEN) for name in names_of(catalog)}
    assert_tables(destination, {name: rows for name, rows in before.items() if rows})

    market.post(f"{url}/__now?at={NOW}")
    read, _ = read_into(destination, config, catalog, airbyte.latest_states(first.messages), NOW)
    after = {name: truth(name, NOW) for name in names_of(catalog)}
    # The second sync read what is new, not everything.
    again = airbyte.records(read.messages)
    assert 0 < len(again["stock_bars_1_minute"]) < len(after["stock_bars_1_minute"])
    for configured in catalog["streams"]:
        name = configured["stream"]["name"]
        if configured["destination_sync_mode"] == "append_dedup":
            # The protocol cannot tell that a row is gone: it stays.
            kept = {key_of(catalog, name, row): row for row in before[name]}
            after[name] = list({**kept, **{key_of(catalog, name, row): row for row in after[name]}}.values())
    assert_tables(destination, after)
    assert all(set(row["additional_properties"]) == {"surprise"} for row in surprising(destination, catalog))


def surprising(destination: Destination, catalog: dict[str, Any]) -> list[tables.Row]:
    """The rows of all tables that have something beside their columns."""
    rows = [row for name in names_of(catalog) for row in destination.data(name) if "additional_properties" in row]
    assert rows, "no row came with a field that the catalogue does not know"
    return rows


@pytest.mark.parametrize("generations", [{}, airbyte_destination.refresh(4)], ids=["uncounted", "counted"])
def test_full_refreshes_are_the_records_and_the_truth(
    destination: Destination,
    moving_simulator: Simulator,
    workspace: Workspace,
    api_key: str,
    root: Path,
    generations: dict[str, int],
) -> None:
    url = moving_simulator.url
    catalog = catalog_file(root, "configured_full_refresh")
    for run, now in enumerate((THEN, NOW)):
        market.post(f"{url}/__now?at={now}")
        config = workspace.input("config.json", market.config(url, api_key, START, END))
        for configured in catalog["streams"]:
            configured |= {name: number + run for name, number in generations.items()}
        read, _ = read_into(destination, config, catalog, [], now)
        read_rows = airbyte.records(read.messages)
        for name in names_of(catalog):
            destination.assert_is(name, read_rows.get(name, []))
            truth = market.truth(url, name, START, END, as_of=now)
            market.assert_same_rows(
                map(market.canonical, destination.data(name)), map(market.canonical, truth), name
            )
    surprising(destination, catalog)


def test_each_row_has_the_moment_of_its_record(
    destination: Destination, simulator: Simulator, workspace: Workspace, api_key: str, root: Path
) -> None:
    catalog = catalog_file(root, "configured_incremental")
    catalog["streams"] = catalog["streams"][:1]
    config = workspace.input("config.json", market.config(simulator.url, api_key, "2024-06-27", END))
    read, _ = read_into(destination, config, catalog, [], NOW)
    emitted = {
        key_of(catalog, "stock_daily_bars", message["record"]["data"]): message["record"]["emitted_at"] * 1000
        for message in read.of_type("RECORD")
    }
    rows = destination.rows("stock_daily_bars")
    assert emitted == {key_of(catalog, "stock_daily_bars", row): row["_airbyte_extracted_at"] for row in rows}
    assert len({row["_airbyte_raw_id"] for row in rows}) == len(rows)
