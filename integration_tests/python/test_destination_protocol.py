"""What the destination says is the protocol's: every line is valid, and each STATE comes back once, as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness import airbyte
from harness.destination import (
    Destination,
    catalog,
    echoed,
    record,
    records,
    refresh,
    state,
    status,
    stream,
)
from harness.program import Message, Outcome, Program
from harness.workspace import Workspace

S, T = stream("s"), stream("t")
# What no number of a usual library is, and what none of them would write.
CONTENTS = [
    '{"n": 12345678901234567890, "price": 1.50}',
    '{"n":1e2,"m":-0.0,"tiny":1E-400}',
    '{ "spaces" : [ 1 ,2 ] , "escape":"\\u00e9\\/" , "text":"é😀" }',
    '{"z":1,"a":2,"z":3}',
    '{"deep":{"null":null,"list":[[],{}]}}',
    "null",
    "{}",
]


def validator(shared: Path) -> airbyte.Validator:
    return airbyte.strict_validator(shared / "airbyte" / "airbyte_protocol.yaml")


def assert_valid(outcome: Outcome, shared: Path) -> None:
    judge = validator(shared)
    assert outcome.messages, outcome.describe()
    for message in outcome.messages:
        problems = judge.problems(message)
        assert not problems, (problems, message)


def state_texts(outcome: Outcome) -> list[str]:
    """The lines of the STATEs, byte for byte, each without the destination's count."""
    count = re.compile(r',"destinationStats":\{"recordCount":\d+\.\d+\}')
    texts = []
    for line in outcome.stdout.decode().splitlines():
        if line.startswith('{"type":"STATE"'):
            assert len(count.findall(line)) == 1, line
            texts.append(count.sub("", line))
    return texts


def counts(outcome: Outcome) -> list[int]:
    """How many records each echoed STATE speaks of."""
    return [int(each["destinationStats"]["recordCount"]) for each in echoed(outcome)]


def test_spec_and_check_speak_the_protocol(
    destination: Destination, program: Program, workspace: Workspace, shared: Path
) -> None:
    spec = program.run("destination", "spec").succeeded()
    assert_valid(spec, shared)
    [message] = spec.messages
    modes = message["spec"]["supported_destination_sync_modes"]
    assert sorted(modes) == ["append", "append_dedup", "overwrite"]
    check = program.run("destination", "check", "--config", destination.config).succeeded()
    assert_valid(check, shared)
    [answer] = check.of_type("CONNECTION_STATUS")
    assert answer["connectionStatus"]["status"] == "SUCCEEDED", answer
    # A configuration that does not work is an answer, not a failure of the program.
    for sink in ({"type": "duckdb", "path": "/no/such/folder/x.duckdb"}, {"type": "duckdb"}, {"type": "sqlite"}, {}):
        config = workspace.input("refused.json", {"sink": sink})
        refused = program.run("destination", "check", "--config", config).succeeded()
        assert_valid(refused, shared)
        [answer] = refused.of_type("CONNECTION_STATUS")
        assert answer["connectionStatus"]["status"] == "FAILED" and answer["connectionStatus"]["message"], answer


def test_the_programs_name_is_its_role(program: Program, named_destination: Program, shared: Path) -> None:
    """A platform calls a connector with a verb alone."""
    alone = named_destination.run("spec").succeeded()
    assert alone.stdout == program.run("destination", "spec").stdout
    assert program.run("spec").stdout != alone.stdout
    assert_valid(alone, shared)


def test_every_line_of_a_write_is_valid(destination: Destination, shared: Path) -> None:
    lines = [*records("s", [{"id": 1}, {"id": "odd"}]), state("s", {"at": 1}), status("s")]
    whole = destination.write(catalog(S, **refresh(1)), lines).succeeded()
    assert_valid(whole, shared)
    assert {message["type"] for message in whole.messages} == {"STATE", "LOG"}
    for lines_ in (lines[:3] + [record("s", {"id": 2})], lines[:2] + ['{"type":"RECORD"'], lines + [record("t", {})]):
        failed = destination.write(catalog(S, **refresh(2)), lines_)
        assert failed.code != 0, failed.describe()
        assert_valid(failed, shared)
        assert errors(failed), failed.describe()


def errors(outcome: Outcome) -> list[Message]:
    return [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]


def test_states_come_back_once_in_order_and_byte_for_byte(destination: Destination) -> None:
    states = [state("s" if number % 2 else "t", content) for number, content in enumerate(CONTENTS)]
    lines = [line for each in states for line in (record("s", {"id": 1}), each)]
    outcome = destination.write(catalog(S, T), [*lines, status("s"), status("t")]).succeeded()
    assert state_texts(outcome) == states


def test_a_state_that_the_protocol_does_not_know_comes_back_whole(destination: Destination) -> None:
    """As a client sends it that knows more keys, one of them twice."""
    inner = (
        '"type":"STREAM",'
        '"stream":{"stream_descriptor":{"name":"s","namespace":null,"new":1},"stream_state":{"a":1.50}},'
        '"global_":null,"global_":{"x":[]},"data":null,"sourceStats":{"recordCount":2.0},"id":7'
    )
    text = f'{{"type":"STATE","state":{{{inner}}},"record":null,"log":null}}'
    outcome = destination.write(catalog(S), [text, status("s")]).succeeded()
    assert state_texts(outcome) == [f'{{"type":"STATE","state":{{{inner}}}}}']
    # A count of another destination is not ours.
    other = text.replace('"id":7', '"destinationStats":{"recordCount":99.0}')
    outcome = destination.write(catalog(S), [record("s", {"id": 1}), other, status("s")]).succeeded()
    assert counts(outcome) == [1]


@pytest.mark.parametrize(
    "inner",
    [
        '"type":"GLOBAL","global":{"shared_state":{"lsn":1.50},"stream_states":[{"stream_descriptor":{"name":"s"}}]}',
        '"type":"GLOBAL","global_":{"shared_state":{"lsn":1.50},"stream_states":[]},"global":null',
        '"type":"LEGACY","data":{"cursor":12345678901234567890}',
        '"data":{"cursor":1}',
    ],
    ids=["global", "global under another key", "legacy", "without a type"],
)
def test_a_state_of_all_streams_counts_the_records_of_all(destination: Destination, inner: str) -> None:
    text = f'{{"type":"STATE","state":{{{inner}}}}}'
    lines = [*records("s", [{"id": 1}, {"id": 2}]), record("t", {"id": 3}), text, record("t", {"id": 4}), text, text]
    outcome = destination.write(catalog(S, T), [*lines, status("s"), status("t")]).succeeded()
    assert state_texts(outcome) == [text] * 3
    assert counts(outcome) == [3, 1, 0]


def test_states_count_the_records_since_the_streams_last_one(destination: Destination) -> None:
    lines = [
        *records("s", [{"id": 1}, {"id": 2}]),
        state("t", 1),
        state("s", 1),
        *records("t", [{"id": 3}, {"id": "does not fit"}, {"id": 5}]),
        record("s", {"id": 6}),
        state("s", 2),
        state("t", 2),
        state("t", 3),
        status("s"),
        status("t"),
    ]
    outcome = destination.write(catalog(S, T), lines).succeeded()
    names = map(airbyte.name_of, outcome.of_type("STATE"))
    found = list(zip(names, counts(outcome), strict=True))
    assert found == [("t", 0), ("s", 2), ("s", 1), ("t", 3), ("t", 0)]
    # "Should always have a decimal point".
    assert b'"recordCount":2.0}' in outcome.stdout


def test_dedup_counts_records_and_not_rows(destination: Destination) -> None:
    lines = [*records("s", [{"id": 1}, {"id": 1}, {"id": 1}]), state("s", 1), status("s")]
    outcome = destination.write(catalog(S, mode="append_dedup", key="id"), lines).succeeded()
    assert counts(outcome) == [3]


def test_namespaces_are_told_apart(destination: Destination, shared: Path) -> None:
    streams = [stream("s", namespace=namespace) for namespace in ("a", "b")]
    lines = [
        record("s", {"id": 1}, namespace="a"),
        state("s", '{"n":1}', namespace="b"),
        state("s", '{"n":1}', namespace="a"),
        status("s", namespace="a"),
        status("s", namespace="b"),
    ]
    outcome = destination.write(catalog(*streams), lines).succeeded()
    assert state_texts(outcome) == lines[1:3] and counts(outcome) == [0, 1]
    assert_valid(outcome, shared)


def test_many_states_come_back(destination: Destination) -> None:
    states = [state("s", {"at": number}) for number in range(20_000)]
    outcome = destination.write(catalog(S), [*states, status("s")]).succeeded()
    assert state_texts(outcome) == states


def test_a_state_waits_for_its_records(destination: Destination, shared: Path) -> None:
    """A table that refuses them has no state come back, and says so in the protocol."""
    wide: dict[str, Any] = {"id": {"type": "integer"}}
    destination.write(catalog(stream("s", wide)), [record("s", {"id": 1}), state("s", 1), status("s")]).succeeded()
    other = stream("s", {"id": {"type": "boolean"}})
    lines = [record("s", {"id": True}), state("s", 2), status("s"), record("t", {"id": 1}), state("t", 1), status("t")]
    outcome = destination.write(catalog(other, T), lines)
    assert outcome.code == 2, outcome.describe()
    assert not echoed(outcome)
    [error] = errors(outcome)
    assert error["failure_type"] == "config_error" and "BIGINT" in error["message"], error
    assert_valid(outcome, shared)


def test_failures_name_no_value_of_the_data(destination: Destination) -> None:
    hidden = "4f7c0e51secret"
    for line in (
        f'{{"type":"RECORD","record":{{"stream":"s","data":{{"id":"{hidden}',
        f'{{"type":"RECORD","record":{{"stream":"s","data":{{"id":"{hidden}"}},"emitted_at":"{hidden}"}}}}',
        json.dumps({"type": "STATE", "state": {"type": "STREAM", "stream": hidden}}),
        record("s", {"id": hidden}),
    ):
        keyed = catalog(S, mode="append_dedup", key="id")
        outcome = destination.write(keyed, [line])
        assert outcome.code != 0, outcome.describe()
        assert hidden.encode() not in outcome.stdout + outcome.stderr, outcome.describe()
