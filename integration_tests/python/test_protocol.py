"""What Airbyte's own suites leave open: the protocol's rules over whole reads.

Route C of three; `test_standard.py` has the other two, `test_resume.py` what
follows from a state.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from harness import airbyte, market
from harness.program import Message, Outcome, Program
from harness.servers import Simulator
from harness.workspace import Workspace

# Two weeks: several slices of every stream, and a holiday (19 June) among them.
START, END = "2024-06-17", "2024-06-28"
# An intraday stream in full is a hundred thousand rows; two days of it show the same.
INTRADAY_START, INTRADAY_END = "2024-06-27", "2024-06-28"
INTRADAY = ("stock_trades", "stock_bars_1_minute")


@pytest.fixture(scope="module")
def config(workspace: Workspace, simulator: Simulator, api_key: str) -> Path:
    return workspace.input("config.json", market.config(simulator.url, api_key, START, END))


@pytest.fixture(scope="module")
def intraday_config(workspace: Workspace, simulator: Simulator, api_key: str) -> Path:
    return workspace.input(
        "intraday.json", market.config(simulator.url, api_key, INTRADAY_START, INTRADAY_END)
    )


@pytest.fixture(scope="module")
def streams(program: Program, config: Path) -> dict[str, airbyte.Stream]:
    return airbyte.discover(program, config)


def read(
    program: Program, workspace: Workspace, config: Path, streams: list[airbyte.Stream], mode: str
) -> Outcome:
    catalog = workspace.input("catalog.json", airbyte.configured(streams, mode))
    return program.run("read", "--config", config, "--catalog", catalog).succeeded()


@pytest.fixture(scope="module", params=["full_refresh", "incremental"])
def outcome(
    request: pytest.FixtureRequest,
    program: Program,
    workspace: Workspace,
    config: Path,
    streams: dict[str, airbyte.Stream],
) -> Outcome:
    """One read of every stream but the intraday ones, in each mode."""
    chosen = [stream for name, stream in streams.items() if name not in INTRADAY]
    return read(program, workspace, config, chosen, request.param)


@pytest.fixture(scope="module")
def intraday(
    program: Program, workspace: Workspace, intraday_config: Path, streams: dict[str, airbyte.Stream]
) -> Outcome:
    return read(program, workspace, intraday_config, [streams[name] for name in INTRADAY], "incremental")


def validator(shared: Path) -> airbyte.Validator:
    return airbyte.strict_validator(shared / "airbyte" / "airbyte_protocol.yaml")


def assert_valid(outcome: Outcome, shared: Path, every: int = 1) -> None:
    judge = validator(shared)
    seen: Counter[str] = Counter()
    for message in outcome.messages:
        seen[message["type"]] += 1
        # Records differ in their data only, which the protocol leaves open.
        if message["type"] == "RECORD" and seen["RECORD"] % every:
            continue
        problems = judge.problems(message)
        assert not problems, (problems, message)


def test_the_judge_of_messages_rejects_what_it_should(shared: Path) -> None:
    good = {"type": "RECORD", "record": {"stream": "s", "data": {"any": {"thing": 1}}, "emitted_at": 1}}
    assert not validator(shared).problems(good)
    for bad in (
        {**good, "recrod": {}},
        {"type": "RECORD", "record": {**good["record"], "emited_at": 1}},
        {"type": "RECORD", "record": {"stream": "s", "data": {}}},
        {"type": "RECORDS", "record": good["record"]},
        {"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1, "stream_status": {"status": "DONE"}}},
        {"type": "STATE", "state": {"type": "STREAM", "stream": {"stream_descriptor": {"nam": "s"}}}},
    ):
        assert validator(shared).problems(bad), bad


def test_spec_check_and_discover_speak_the_protocol(program: Program, config: Path, shared: Path) -> None:
    for arguments, kind in (
        (("spec",), "SPEC"),
        (("check", "--config", config), "CONNECTION_STATUS"),
        (("discover", "--config", config), "CATALOG"),
    ):
        outcome = program.run(*arguments).succeeded()
        assert_valid(outcome, shared)
        assert len(outcome.of_type(kind)) == 1, outcome.describe()


def test_check_succeeds_and_a_wrong_key_fails_it(
    program: Program, workspace: Workspace, config: Path, simulator: Simulator, wrong_key: str
) -> None:
    [good] = program.run("check", "--config", config).succeeded().of_type("CONNECTION_STATUS")
    assert good["connectionStatus"]["status"] == "SUCCEEDED", good
    refused = workspace.input("refused.json", market.config(simulator.url, wrong_key, START, END))
    # A configuration that does not work is an answer, not a failure of the program.
    [bad] = program.run("check", "--config", refused).succeeded().of_type("CONNECTION_STATUS")
    assert bad["connectionStatus"]["status"] == "FAILED"
    assert "key" in bad["connectionStatus"]["message"].lower(), bad


def test_every_line_is_valid_without_unknown_fields(outcome: Outcome, shared: Path) -> None:
    assert_valid(outcome, shared)


def test_every_line_of_an_intraday_read_is_valid(intraday: Outcome, shared: Path) -> None:
    assert_valid(intraday, shared, every=50)


def test_statuses_begin_run_and_end(outcome: Outcome) -> None:
    sequences: dict[str, list[str]] = defaultdict(list)
    for message in outcome.messages:
        if airbyte.is_status(message):
            sequences[airbyte.name_of(message)].append(message["trace"]["stream_status"]["status"])
    configured = {airbyte.name_of(m) for m in outcome.messages if m["type"] in ("RECORD", "STATE")}
    assert set(sequences) == configured
    for name, sequence in sequences.items():
        assert sequence[0] == "STARTED" and sequence[-1] == "COMPLETE" and len(sequence) >= 3, (name, sequence)
        assert set(sequence[1:-1]) == {"RUNNING"}, (name, sequence)


def test_everything_of_a_stream_is_between_its_statuses(outcome: Outcome) -> None:
    open_streams: set[str] = set()
    for message in outcome.messages:
        if airbyte.is_status(message):
            status = message["trace"]["stream_status"]["status"]
            name = airbyte.name_of(message)
            assert (status == "STARTED") == (name not in open_streams), (name, status)
            open_streams.add(name)
            if status in ("COMPLETE", "INCOMPLETE"):
                open_streams.remove(name)
        elif message["type"] in ("RECORD", "STATE"):
            assert airbyte.name_of(message) in open_streams, message
    assert not open_streams


def test_states_count_the_records_since_the_last_one(outcome: Outcome, intraday: Outcome) -> None:
    for run in (outcome, intraday):
        pending: Counter[str] = Counter()
        for message in run.messages:
            if message["type"] == "RECORD":
                pending[airbyte.name_of(message)] += 1
            elif message["type"] == "STATE":
                name = airbyte.name_of(message)
                count = message["state"]["sourceStats"]["recordCount"]
                # "Should always have a decimal point".
                assert isinstance(count, Decimal), (name, count)
                assert count == pending[name], (name, count, pending[name])
                pending[name] = 0
        # A record after the last state would be read again by the next run.
        assert not +pending, pending


def test_every_stream_has_a_state_of_its_own_kind(outcome: Outcome) -> None:
    states = outcome.of_type("STATE")
    assert states
    assert {state["state"]["type"] for state in states} == {"STREAM"}
    named = {airbyte.name_of(state) for state in states}
    started = {airbyte.name_of(message) for message in outcome.messages if airbyte.is_status(message)}
    assert named == started
    assert all(state["state"]["stream"].get("stream_state") for state in states)


def test_no_state_is_repeated_after_records(outcome: Outcome, intraday: Outcome) -> None:
    """The platform fails a sync whose state stands still while records pass."""
    for run in (outcome, intraday):
        last: dict[str, object] = {}
        for state in run.of_type("STATE"):
            name, content = airbyte.name_of(state), state["state"]["stream"]["stream_state"]
            moved = state["state"]["sourceStats"]["recordCount"] > 0
            assert not (moved and last.get(name) == content), (name, content)
            last[name] = content


def test_a_long_read_has_several_checkpoints(intraday: Outcome) -> None:
    counts = Counter(airbyte.name_of(state) for state in intraday.of_type("STATE"))
    assert all(counts[name] >= 2 for name in INTRADAY), counts


def test_times_are_whole_milliseconds(outcome: Outcome) -> None:
    emitted = [message["record"]["emitted_at"] for message in outcome.of_type("RECORD")]
    # Between 2020 and 2100, which no second and no microsecond is.
    assert emitted and all(type(at) is int and 1_577_836_800_000 <= at < 4_102_444_800_000 for at in emitted)


def test_primary_keys_are_unique_present_and_scalar(
    outcome: Outcome, intraday: Outcome, streams: dict[str, airbyte.Stream]
) -> None:
    for name, rows in [*airbyte.records(outcome.messages).items(), *airbyte.records(intraday.messages).items()]:
        columns = [column for [column] in streams[name]["source_defined_primary_key"]]
        keys: Counter[tuple[object, ...]] = Counter()
        for row in rows:
            key = tuple(row.get(column) for column in columns)
            assert any(part is not None for part in key), (name, columns, row)
            assert all(part is None or isinstance(part, str | int | bool) for part in key), (name, key)
            keys[key] += 1
        repeated = [key for key, count in keys.items() if count > 1]
        assert not repeated, (name, repeated[:3])


def test_a_full_refresh_is_the_truth(
    outcome: Outcome, intraday: Outcome, simulator: Simulator, streams: dict[str, airbyte.Stream]
) -> None:
    for run, start, end in ((outcome, START, END), (intraday, INTRADAY_START, INTRADAY_END)):
        rows = airbyte.records(run.messages)
        read_streams = {airbyte.name_of(message) for message in run.messages if airbyte.is_status(message)}
        for name in sorted(read_streams):
            market.assert_same_rows(
                [market.canonical(row) for row in rows.get(name, [])],
                [market.canonical(row) for row in market.truth(simulator.url, name, start, end)],
                name,
            )


def test_two_full_refreshes_are_equal(
    program: Program, workspace: Workspace, config: Path, streams: dict[str, airbyte.Stream]
) -> None:
    chosen = [stream for name, stream in streams.items() if name not in INTRADAY]
    first, second = (
        airbyte.records(read(program, workspace, config, chosen, "full_refresh").messages) for _ in range(2)
    )
    assert first.keys() == second.keys()
    for name in first:
        market.assert_same_rows(
            [market.canonical(row) for row in second[name]], [market.canonical(row) for row in first[name]], name
        )


def test_estimates_are_of_streams(outcome: Outcome) -> None:
    estimates = [m["trace"]["estimate"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ESTIMATE"]
    assert estimates
    # The protocol forbids mixing estimates of streams with one of the sync.
    assert {estimate["type"] for estimate in estimates} == {"STREAM"}
    started = {airbyte.name_of(message) for message in outcome.messages if airbyte.is_status(message)}
    assert {estimate["name"] for estimate in estimates} <= started
    assert all(estimate.get("row_estimate", 0) >= 0 for estimate in estimates)


def test_a_limited_plan_shows_that_it_waits(
    program: Program,
    workspace: Workspace,
    limited_simulator: Simulator,
    api_key: str,
    streams: dict[str, airbyte.Stream],
) -> None:
    config = workspace.input(
        "free.json",
        market.config(limited_simulator.url, api_key, START, END, plan={"type": "free"}),
    )
    catalog = workspace.input("catalog.json", airbyte.configured([streams["stock_daily_bars"]], "incremental"))

    def waits(message: Message) -> bool:
        return airbyte.is_status(message) and bool(message["trace"]["stream_status"].get("reasons"))

    found = program.run_until(waits, "read", "--config", config, "--catalog", catalog)
    assert found is not None, "the read ended without a word about its rate limit"
    status = found["trace"]["stream_status"]
    assert status["status"] == "RUNNING"
    [reason] = status["reasons"]
    assert reason["type"] == "RATE_LIMITED"
    reset = reason.get("rate_limited", {}).get("quota_reset")
    assert reset is None or isinstance(reset, int), reason


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"name": "no_such_stream"}, "no_such_stream", id="a stream that does not exist"),
        pytest.param({"sync_mode": "INVALID"}, "INVALID", id="a mode that does not exist"),
    ],
)
def test_a_bad_catalogue_is_an_error_in_the_protocol(
    program: Program,
    workspace: Workspace,
    config: Path,
    streams: dict[str, airbyte.Stream],
    shared: Path,
    change: dict[str, str],
    named: str,
) -> None:
    stream = {**streams["exchanges"], "name": change.get("name", "exchanges")}
    catalog = airbyte.configured([stream], "full_refresh")
    catalog["streams"][0]["sync_mode"] = change.get("sync_mode", "full_refresh")
    outcome = program.run(
        "read", "--config", config, "--catalog", workspace.input("catalog.json", catalog)
    )
    assert_failed_in_protocol(outcome, shared, named)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"streams": 5}'])
def test_a_catalogue_that_is_none_is_an_error_in_the_protocol(
    program: Program, workspace: Workspace, config: Path, shared: Path, content: str
) -> None:
    outcome = program.run("read", "--config", config, "--catalog", workspace.input("catalog.json", content))
    assert_failed_in_protocol(outcome, shared, "catalog")


def assert_failed_in_protocol(outcome: Outcome, shared: Path, named: str) -> None:
    assert outcome.code != 0, outcome.describe()
    assert not outcome.of_type("RECORD") and not outcome.of_type("STATE"), outcome.describe()
    errors = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
    assert len(errors) == 1, outcome.describe()
    assert errors[0]["failure_type"] == "config_error"
    # One sentence that names what is wrong.
    assert re.search(named, errors[0]["message"], re.IGNORECASE), errors[0]
    assert_valid(outcome, shared)
