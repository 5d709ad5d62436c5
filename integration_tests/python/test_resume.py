"""From every state that a read emits, the next read loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import airbyte, market
from harness.program import Message, Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace

START, END = "2024-06-20", "2024-06-28"
# Sliced by day, by ticker and day, by month, and not at all.
STREAMS = ["stock_daily_bars", "stock_bars_1_hour", "news", "dividends", "tickers", "exchanges"]


@pytest.fixture(scope="module")
def config(workspace: Workspace, simulator: Simulator, api_key: str) -> Path:
    return workspace.input("config.json", market.config(simulator.url, api_key, START, END))


@pytest.fixture(scope="module")
def streams(program: Program, config: Path) -> dict[str, airbyte.Stream]:
    return airbyte.discover(program, config)


def read(
    program: Program,
    workspace: Workspace,
    config: Path,
    catalog: dict[str, object],
    state: object | None = None,
) -> Outcome:
    arguments = ["read", "--config", config, "--catalog", workspace.input("catalog.json", catalog)]
    if state is not None:
        arguments += ["--state", workspace.input("state.json", state)]
    return program.run(*arguments)


def rows_by_key(messages: list[Message], streams: dict[str, airbyte.Stream]) -> dict[str, dict[str, str]]:
    """What a deduplicating destination holds after these messages: the last row of each key."""
    tables: dict[str, dict[str, str]] = {}
    for name, rows in airbyte.records(messages).items():
        table = tables.setdefault(name, {})
        for row in rows:
            table[airbyte.key_of(streams[name], row)] = market.canonical(row)
    return tables


@pytest.mark.parametrize("mode", ["incremental", "full_refresh"])
def test_resuming_from_every_checkpoint_loses_nothing(
    program: Program, workspace: Workspace, config: Path, streams: dict[str, airbyte.Stream], mode: str
) -> None:
    """A full refresh too: the platform hands the last state back when an attempt failed."""
    catalog = airbyte.configured([streams[name] for name in STREAMS], mode)
    messages = read(program, workspace, config, catalog).succeeded().messages
    everything = rows_by_key(messages, streams)
    checkpoints = [index for index, message in enumerate(messages) if message["type"] == "STATE"]
    assert len(checkpoints) > len(STREAMS), "too few checkpoints to say anything"
    for index in checkpoints:
        before = messages[: index + 1]
        # Only what a state covers was committed: the rest is gone with the crash.
        kept = committed(before)
        after = read(program, workspace, config, catalog, airbyte.latest_states(before)).succeeded().messages
        union = rows_by_key([*kept, *after], streams)
        assert union == everything, f"after checkpoint {index}, the state of {airbyte.name_of(messages[index])}"


def committed(messages: list[Message]) -> list[Message]:
    """The records that came before their stream's last state."""
    last = {airbyte.name_of(m): index for index, m in enumerate(messages) if m["type"] == "STATE"}
    return [
        message
        for index, message in enumerate(messages)
        if message["type"] == "RECORD" and index < last.get(airbyte.name_of(message), -1)
    ]


def test_a_finished_state_spares_the_work(
    program: Program, workspace: Workspace, config: Path, streams: dict[str, airbyte.Stream]
) -> None:
    """The days are long past every lookback: nothing of them is read a second time."""
    chosen = [streams["stock_daily_bars"], streams["stock_bars_1_hour"], streams["news"]]
    catalog = airbyte.configured(chosen, "incremental")
    first = read(program, workspace, config, catalog).succeeded()
    second = read(program, workspace, config, catalog, airbyte.latest_states(first.messages)).succeeded()
    assert first.of_type("RECORD") and not second.of_type("RECORD")
    # A stream without news still says where it stands.
    assert {airbyte.name_of(state) for state in second.of_type("STATE")} == {s["name"] for s in chosen}
    assert airbyte.latest_states(second.messages)


def test_a_state_of_more_days_than_configured_reads_nothing(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    api_key: str,
    config: Path,
    streams: dict[str, airbyte.Stream],
) -> None:
    """The future state: it covers all that this configuration asks for and more."""
    chosen = [streams["stock_daily_bars"], streams["stock_bars_1_day"]]
    catalog = airbyte.configured(chosen, "incremental")
    states = airbyte.latest_states(read(program, workspace, config, catalog).succeeded().messages)
    shorter = workspace.input(
        "shorter.json", market.config(simulator.url, api_key, START, "2024-06-24")
    )
    outcome = read(program, workspace, shorter, catalog, states).succeeded()
    assert not outcome.of_type("RECORD")
    assert {airbyte.name_of(state) for state in outcome.of_type("STATE")} == {s["name"] for s in chosen}


def test_later_days_are_all_that_is_read(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    api_key: str,
    config: Path,
    streams: dict[str, airbyte.Stream],
) -> None:
    catalog = airbyte.configured([streams["stock_daily_bars"]], "incremental")
    shorter = workspace.input("shorter.json", market.config(simulator.url, api_key, START, "2024-06-25"))
    first = read(program, workspace, shorter, catalog).succeeded()
    second = read(program, workspace, config, catalog, airbyte.latest_states(first.messages)).succeeded()
    days = {row["date"] for row in airbyte.records(second.messages)["stock_daily_bars"]}
    assert days == {"2024-06-26", "2024-06-27", "2024-06-28"}


@pytest.mark.parametrize("state", [[], ""], ids=["empty list", "empty file"])
def test_no_state_is_a_first_run(
    program: Program, workspace: Workspace, config: Path, streams: dict[str, airbyte.Stream], state: object
) -> None:
    """Airbyte's clients hand a state file over on the first run too."""
    outcome = read(program, workspace, config, airbyte.configured([streams["exchanges"]], "full_refresh"), state)
    assert outcome.succeeded().of_type("RECORD")


def test_states_of_other_streams_are_left_alone(
    program: Program, workspace: Workspace, config: Path, streams: dict[str, airbyte.Stream]
) -> None:
    state = [
        {
            "type": "STREAM",
            "stream": {"stream_descriptor": {"name": "gone", "namespace": None}, "stream_state": {"any": 1}},
        }
    ]
    outcome = read(program, workspace, config, airbyte.configured([streams["exchanges"]], "full_refresh"), state)
    assert outcome.succeeded().of_type("RECORD")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="cut"),
        pytest.param(lambda text: json.dumps([{"type": "STREAM", "stream": 5}]), id="another shape"),
        pytest.param(lambda text: text.replace('"version": 2', '"version": 999'), id="another version"),
    ],
)
def test_a_damaged_state_is_refused(
    program: Program, workspace: Workspace, config: Path, streams: dict[str, airbyte.Stream], damage: object
) -> None:
    """Never guessed at, never silently begun anew."""
    catalog = airbyte.configured([streams["stock_daily_bars"]], "incremental")
    states = airbyte.latest_states(read(program, workspace, config, catalog).succeeded().messages)
    text = json.dumps(states)
    damaged = damage(text)  # type: ignore[operator]
    assert damaged != text, "the damage changed nothing: the state's form is another"
    outcome = read(program, workspace, config, catalog, damaged)
    assert outcome.code != 0 and not outcome.of_type("RECORD"), outcome.describe()
    errors = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
    assert [error["failure_type"] for error in errors] == ["config_error"], outcome.describe()
    assert "state" in errors[0]["message"].lower()
