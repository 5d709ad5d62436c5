"""A stream whose answers do not come, or are wrong, holds up no other: the others are committed meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import airbyte, market, sentence, tables
from harness.pipelines import Pipeline
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

# The one that is held up comes first. All days are over, so that rows that are only added are read once.
HELD_UP, DAYS, EXCHANGES = "stock_bars_1_hour", "stock_daily_bars", "exchanges"
STREAMS = [HELD_UP, DAYS, EXCHANGES]
START, END = "2024-06-20", "2024-06-27"
# A byte a second: the first page would take a day.
DRIP = {"type": "slow_drip", "delay_ms": 1000}
SILENCE = {"type": "slow_headers", "delay_ms": 600_000}

Fault = dict[str, Any]
WithFault = Callable[[Fault], Simulator]


@pytest.fixture
def with_fault(program: Program, workspace: Workspace) -> Iterator[WithFault]:
    """A market in which every answer to the first stream has this fault."""
    begun: list[Simulator] = []

    def begin(fault: Fault) -> Simulator:
        rule = {"match": {"path_prefix": "/v2/aggs/ticker/"}, "fault": fault}
        faults = workspace.input("faults.yaml", json.dumps([rule]))
        begun.append(Simulator(program, faults=faults).__enter__())
        return begun[-1]

    yield begin
    for simulator in begun:
        simulator.__exit__()


@pytest.fixture
def database(workspace: Workspace) -> Path:
    return workspace.folder("slow") / "market.duckdb"


@pytest.fixture
def pipeline(program: Program, workspace: Workspace, simulator: Simulator, api_key: str, database: Path) -> Pipeline:
    """It commits when rows have waited a second: no stream needs the end of another one."""
    sink = {"duckdb": {"path": str(database), "schema": "polygon"}}
    streams = [{"stream": HELD_UP, "mode": "append"}, {"stream": DAYS, "mode": "append"}, EXCHANGES]
    secrets = {"POLYGON_API_KEY": api_key}
    more = {"commit": {"seconds": 1}}
    return Pipeline(program, workspace, simulator, sink, secrets, "judged", streams, end=END, more=more)


def assert_truth(pipeline: Pipeline, database: Path, *streams: str) -> None:
    for stream in streams:
        truth = market.truth(pipeline.simulator.url, stream, START, END)
        tables.assert_table_is_truth(rows_of(database, stream), truth, stream)


@pytest.mark.parametrize("fault", [DRIP, SILENCE], ids=["a byte at a time", "silence"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_streams_are_committed_while_another_one_waits_for_its_answer(
    pipeline: Pipeline, database: Path, with_fault: WithFault, fault: Fault, how: signal.Signals
) -> None:
    """Nothing but what was committed before is left by SIGKILL; SIGINT shows that nobody waits for the answer."""
    healthy, pipeline.simulator = pipeline.simulator, with_fault(fault)
    marks = [f"{stream}: finished".encode() for stream in (DAYS, EXCHANGES)]
    with pipeline.program.begin("sync", pipeline.file(), env=pipeline.secrets) as running:
        outcome = running.until(*marks).signal(how).ended()
    pipeline.simulator = healthy
    assert f"{HELD_UP}: finished" not in outcome.stderr.decode(), outcome.describe()
    if how == signal.SIGINT:
        assert outcome.code == 130, outcome.describe()
        assert b"stopped on request" in outcome.stderr and b"stopped" in outcome.stdout, outcome.describe()
    else:
        assert outcome.code == -how, outcome.describe()
    assert_truth(pipeline, database, DAYS, EXCHANGES)
    assert rows_of(database, HELD_UP) == []
    status = pipeline.status()
    assert (status[DAYS]["reached"], status[DAYS]["due"]["slices"]) == (END, 0)
    assert (status[HELD_UP]["reached"], status[EXCHANGES]["unfinished"]) == (None, False)
    # The next run reads what was held up, and no day a second time.
    pipeline.sync()
    assert_truth(pipeline, database, *STREAMS)


@pytest.fixture
def catalog(program: Program, workspace: Workspace, simulator: Simulator, api_key: str) -> dict[str, Any]:
    config = workspace.input("config.json", market.config(simulator.url, api_key, START, END))
    found = airbyte.discover(program, config)
    return airbyte.configured([found[stream] for stream in STREAMS], "incremental")


def reading(workspace: Workspace, simulator: Simulator, api_key: str, catalog: Any, states: Any) -> list[str | Path]:
    config = workspace.input("config.json", market.config(simulator.url, api_key, START, END))
    catalog, states = workspace.input("catalog.json", catalog), workspace.input("state.json", states)
    return ["read", "--config", config, "--catalog", catalog, "--state", states]


def assert_read(simulator: Simulator, records: dict[str, list[market.Row]], *streams: str) -> None:
    assert set(records) == set(streams)
    for stream in streams:
        truth = market.truth(simulator.url, stream, START, END)
        market.assert_same_rows(map(market.canonical, records[stream]), map(market.canonical, truth), stream)


def statuses(messages: list[Any]) -> dict[str, str]:
    """The last of each stream."""
    told = filter(airbyte.is_status, messages)
    return {airbyte.name_of(message): message["trace"]["stream_status"]["status"] for message in told}


@pytest.mark.parametrize("fault", [DRIP, SILENCE], ids=["a byte at a time", "silence"])
def test_a_read_tells_of_streams_while_another_one_waits_for_its_answer(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    api_key: str,
    catalog: dict[str, Any],
    with_fault: WithFault,
    fault: Fault,
) -> None:
    arguments = reading(workspace, with_fault(fault), api_key, catalog, [])
    # The last words of a stream: its records and its state came before.
    marks = [b'"name":"%s"},"status":"COMPLETE"' % stream.encode() for stream in (DAYS, EXCHANGES)]
    with program.begin(*arguments, told_in="stdout") as running:
        outcome = running.until(*marks).signal(signal.SIGINT).ended()
    assert outcome.code == 130, outcome.describe()
    messages = outcome.messages
    assert_read(simulator, airbyte.records(messages), DAYS, EXCHANGES)
    assert statuses(messages) == {HELD_UP: "INCOMPLETE", DAYS: "COMPLETE", EXCHANGES: "COMPLETE"}
    states = airbyte.latest_states(messages)
    after = program.run(*reading(workspace, simulator, api_key, catalog, states)).succeeded()
    # A snapshot is read anew each time.
    assert_read(simulator, airbyte.records(after.messages), HELD_UP, EXCHANGES)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param({"type": "server_error", "status": 500}, 3, id="500 for ever"),
        pytest.param({"type": "results_text"}, 1, id="answers that are none"),
    ],
)
def test_a_stream_that_fails_at_once_leaves_the_others_alone(
    program: Program,
    workspace: Workspace,
    simulator: Simulator,
    api_key: str,
    pipeline: Pipeline,
    database: Path,
    catalog: dict[str, Any],
    with_fault: WithFault,
    fault: Fault,
    code: int,
) -> None:
    pipeline.simulator = with_fault(fault)
    arguments = reading(workspace, pipeline.simulator, api_key, catalog, [])
    # Each tries for half a minute what may pass.
    with ThreadPoolExecutor(2) as threads:
        syncing, reads = threads.submit(pipeline.run, "sync"), threads.submit(program.run, *arguments)
        outcome, read = syncing.result(), reads.result()
    assert outcome.code == code, outcome.describe()
    told = sentence.on_stderr(outcome)
    assert told and all(error.startswith(f"{HELD_UP}: ") for error in told), outcome.describe()
    assert read.code == code, read.describe()
    assert statuses(read.messages) == {HELD_UP: "INCOMPLETE", DAYS: "COMPLETE", EXCHANGES: "COMPLETE"}
    assert_read(simulator, airbyte.records(read.messages), DAYS, EXCHANGES)
    assert sentence.in_protocol(read, code)

    pipeline.simulator = simulator
    assert_truth(pipeline, database, DAYS, EXCHANGES)
    assert rows_of(database, HELD_UP) == []
    pipeline.sync()
    assert_truth(pipeline, database, *STREAMS)
