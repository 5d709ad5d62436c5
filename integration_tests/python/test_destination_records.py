"""Records of any source in the tables: names, namespaces, types, and what no column can hold."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness import values
from harness.destination import (
    AT,
    ID,
    SCHEMA,
    TEXT,
    Destination,
    Row,
    catalog,
    record,
    records,
    refresh,
    state,
    status,
    stream,
)
from harness.program import Outcome

EXTRA = "additional_properties"


def write(destination: Destination, properties: dict[str, Any], *rows: object, **more: Any) -> Outcome:
    """The rows as a stream of this schema."""
    lines = [*records("s", rows), state("s", 1), status("s")]
    return destination.write(catalog(stream("s", properties), **more), lines).succeeded()


def kept(destination: Destination) -> list[dict[str, Any]]:
    return destination.data("s")


def changes(destination: Destination) -> list[list[tuple[str, str, str]]]:
    """What `_airbyte_meta` of each row says was changed: field, what, and why."""
    return [
        [(change["field"], change["change"], change["reason"]) for change in row["_airbyte_meta"]["changes"]]
        for row in destination.rows("s")
    ]


CAST = "DESTINATION_TYPECAST_ERROR"

NAMES = ['say "hi"', "two  words", "UPPER", "größe", "価格", "😀", "select", "1st", "\t"]
NAMES += ["a.b", "a-b", "x'y", "%s", "$1", "a;b--", "a\\b"]


# Namespaces and the names of tables.


def test_a_namespace_is_a_schema(destination: Destination) -> None:
    """Also of two streams with the same name; an empty namespace is none."""
    places = {"left": "left", "right": "right", None: SCHEMA}
    streams = [stream("s", namespace=namespace) for namespace in places]
    lines = [record("s", {"id": place}, namespace=name) for place, name in enumerate(places)]
    lines += [state("s", place, namespace=name) for place, name in enumerate(places)]
    lines += [status("s", namespace=name) for name in places]
    destination.write(catalog(*streams), lines).succeeded()
    for number, schema in enumerate(places.values()):
        destination.assert_is("s", [{"id": number}], schema)
    # Each has a progress of its own: one of them is refreshed.
    lines = [record("s", {"id": 7}, namespace="left"), state("s", 7, "left"), status("s", namespace="left")]
    destination.write(catalog(streams[0], **refresh(1)), lines).succeeded()
    for rows, schema in (([{"id": 7}], "left"), ([{"id": 1}], "right"), ([{"id": 2}], SCHEMA)):
        destination.assert_is("s", rows, schema)


@pytest.mark.parametrize("namespace", [SCHEMA, SCHEMA.upper()])
def test_a_namespace_that_is_the_schema_is_no_second_table(destination: Destination, namespace: str) -> None:
    streams = catalog(stream("s"), stream("s", namespace=namespace))
    outcome = destination.write(streams, [])
    assert outcome.code == 2 and b"would have the same table" in outcome.stdout, outcome.describe()


def test_names_that_only_look_alike_are_two_tables(destination: Destination) -> None:
    """A slash in a name is no border between namespace and name."""
    streams = [stream("c", namespace="a/b"), stream("b/c", namespace="a")]
    configured = catalog(*streams, **refresh(1))
    for number in range(2):
        lines = []
        for each in streams:
            name, namespace = each["name"], each["namespace"]
            lines += [record(name, {"id": number}, namespace=namespace), status(name, namespace=namespace)]
        destination.write(configured, lines).succeeded()
        # The first of them is finished once more than the other one.
        only = catalog(streams[0], **refresh(2 + number))
        lines = [record("c", {"id": 5}, namespace="a/b"), status("c", namespace="a/b")]
        destination.write(only, lines).succeeded()
        destination.assert_is("c", [{"id": 5}], "a/b")
        destination.assert_is("b/c", [{"id": done} for done in range(number + 1)], "a")


@pytest.mark.parametrize("name", [*NAMES, "x" * 200])
def test_any_name_of_a_stream_a_schema_and_a_column(destination: Destination, name: str) -> None:
    streams = catalog(stream(name, {"id": ID, name: TEXT}, namespace=name), mode="append_dedup", key=name)
    rows = [{"id": 1, name: "a"}, {"id": 2, name: "b"}, {"id": 3, name: "a"}]
    lines = [*records(name, rows, namespace=name), state(name, 1, name), status(name, namespace=name)]
    for generations in ({}, refresh(1)):
        for configured in streams["streams"]:
            configured |= generations
        destination.write(streams, lines).succeeded()
        destination.assert_is(name, rows[1:], name)


def test_the_destinations_own_name_of_a_table_is_used(destination: Destination) -> None:
    renamed = catalog(stream("s"), destination_object_name="t")
    destination.write(renamed, [record("s", {"id": 1}), state("s", 1), status("s")]).succeeded()
    destination.assert_is("t", [{"id": 1}])
    assert (SCHEMA, "s") not in destination.tables()


# Columns.


def test_awkward_columns(destination: Destination) -> None:
    row = {name: f"{name}!" for name in NAMES}
    write(destination, {name: TEXT for name in NAMES}, row)
    assert kept(destination) == [row]


def test_many_columns(destination: Destination) -> None:
    properties = {f"c{number}": ID if number % 3 else TEXT for number in range(300)}
    rows = [
        {name: value if kind is ID else str(value) for value, (name, kind) in enumerate(properties.items())},
        {"c298": 5},
        dict(reversed({"c0": "first", "c1": 2}.items())),
    ]
    write(destination, properties, *rows)
    destination.assert_is("s", rows)


def test_columns_that_differ_in_case_only(destination: Destination) -> None:
    """The first is the column, the others are kept beside."""
    write(destination, {"Id": ID, "ID": TEXT, "id": TEXT}, {"Id": 1, "ID": "b", "id": "c"}, {"id": "d"})
    assert kept(destination) == [{"Id": 1, EXTRA: {"ID": "b", "id": "c"}}, {EXTRA: {"id": "d"}}]


def test_a_stream_without_a_schema(destination: Destination) -> None:
    rows = [{"a": 1, "b": [1, {"c": 1.50}]}, {}]
    write(destination, {}, *rows)
    assert kept(destination) == [{EXTRA: rows[0]}, {}]


def test_airbytes_columns_in_the_data_are_not_the_rows_own(destination: Destination) -> None:
    theirs = {
        "_airbyte_raw_id": "x",
        "_airbyte_extracted_at": "1999-01-01T00:00:00Z",
        "_airbyte_meta": {"changes": [1]},
        "_airbyte_generation_id": 99,
    }
    properties = {"id": ID, **{name: TEXT for name in theirs}}
    write(destination, properties, {"id": 1, **theirs}, **refresh(4))
    [row] = destination.rows("s")
    assert row["_airbyte_raw_id"] != "x" and row["_airbyte_extracted_at"] == AT * 1000
    assert row["_airbyte_meta"] == {"sync_id": 14, "changes": []} and row["_airbyte_generation_id"] == 4
    assert kept(destination) == [{"id": 1}]


def test_new_columns_are_added_and_old_ones_stay(destination: Destination) -> None:
    write(destination, {"id": ID, "old": TEXT}, {"id": 1, "old": "a"})
    write(destination, {"id": ID, "new": TEXT}, {"id": 2, "new": "b", "old": "c"})
    assert kept(destination) == [{"id": 1, "old": "a"}, {"id": 2, "new": "b", EXTRA: {"old": "c"}}]


# Values.


def test_every_type_as_it_was_sent(destination: Destination) -> None:
    moment = {"type": "string", "format": "date-time"}
    properties = {
        "text": {"type": "string"},
        "whole": {"type": ["null", "integer"]},
        "price": {"type": ["null", "number"]},
        "yes": {"type": "boolean"},
        "day": {"type": "string", "format": "date"},
        "at": {**moment, "airbyte_type": "timestamp_with_timezone"},
        "local": {**moment, "airbyte_type": "timestamp_without_timezone"},
        "clock": {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"},
        "either": {"type": ["string", "integer"]},
        "one_of": {"oneOf": [{"type": "object"}, {"type": "array"}]},
        "nested": {"type": "object"},
        "list": {"type": "array"},
    }
    sent = {
        "text": 'a\u0000b "quoted" \\ \u2028 😀',
        "whole": -9223372036854775808,
        "price": Decimal("12345678901234567890.000000000000000001"),
        "yes": False,
        "day": "1582-10-05",
        "at": "2024-06-28T09:30:00.123456789-04:00",
        "local": "2024-06-28 09:30:00",
        "clock": "09:30:00",
        "either": 7,
        "one_of": [1, "b", None],
        "nested": {"price": Decimal("1.50"), "deep": [[[]]]},
        "list": [],
    }
    exact = {"price": "12345678901234567890.000000000000000001", "nested": '{"price": 1.50, "deep": [[[]]]}'}
    text = "{" + ",".join(f'"{name}":{exact.get(name) or json.dumps(value)}' for name, value in sent.items()) + "}"
    write(destination, properties, text, json.dumps(dict.fromkeys(sent)))
    stored = {**sent, "at": "2024-06-28T13:30:00.123456789Z", "local": "2024-06-28T09:30:00Z"}
    [row, empty] = kept(destination)
    assert row == stored and empty == {}
    assert changes(destination) == [[], []]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ({"type": "integer"}, "9223372036854775808"),
        ({"type": "integer"}, "-12345678901234567890"),
        ({"type": "integer"}, "1.5"),
        ({"type": "integer"}, '"one"'),
        ({"type": "integer"}, "{}"),
        ({"type": "number"}, "0." + 39 * "1"),
        ({"type": "number"}, 39 * "1"),
        ({"type": "number"}, "true"),
        ({"type": "number"}, '"NaN"'),
        ({"type": "boolean"}, '"yes"'),
        ({"type": "string", "format": "date"}, '"2024-02-30"'),
        ({"type": "string", "format": "date-time"}, '"yesterday"'),
        ({"type": "string", "format": "date-time"}, "1719581400"),
    ],
)
def test_a_value_that_does_not_fit_is_kept_beside(
    destination: Destination, kind: dict[str, str], value: str
) -> None:
    write(destination, {"id": ID, "odd": kind}, f'{{"id": 1, "odd": {value}}}', '{"id": 2, "odd": null}')
    first, second = kept(destination)
    assert first == {"id": 1, EXTRA: {"odd": json.loads(value, parse_float=Decimal)}}
    assert second == {"id": 2}
    assert changes(destination) == [[("odd", "NULLED", CAST)], []]


# As programs print doubles, from the tables of indicators to the edges of the type.
DOUBLES = ["5e-05", "0.0012345678901234567", "1.2345678901234567e-08", "1e20", "5.000000000000001e-05", "0.30000000000000004", "-1E-20"]


@pytest.mark.parametrize("number", DOUBLES)
def test_an_ordinary_double_is_there_exactly(destination: Destination, number: str) -> None:
    row, half = f'{{"id": 1, "v": {number}}}', '{"id": 2, "v": 0.5}'
    for mode in ("append", "overwrite"):
        write(destination, {"id": ID, "v": {"type": "number"}}, row, half, mode=mode)
        assert kept(destination)[-2:] == [{"id": 1, "v": Decimal(number)}, {"id": 2, "v": Decimal("0.5")}]
    assert changes(destination) == [[], []]


def test_numbers_that_no_decimal_holds_together_are_told_and_doubles_hold_them(destination: Destination) -> None:
    numbers = [*DOUBLES, "1.7976931348623157e308", "2.5"]
    rows = [f'{{"id": {index}, "v": {number}}}' for index, number in enumerate(numbers)]
    told = write(destination, {"id": ID, "v": {"type": "number"}}, *rows)
    beside = [EXTRA in row for row in kept(destination)]
    assert beside == [number in ("1e20", "1.7976931348623157e308") for number in numbers]
    [warning] = [m["log"]["message"] for m in told.of_type("LOG") if m["log"]["level"] == "WARN"]
    assert "`numbers: double`" in warning and "column=v" in warning and "table=s" in warning

    doubles = replace(destination, database=destination.database.with_name("doubles.duckdb"), numbers="double")
    write(doubles, {"id": ID, "v": {"type": "number"}}, *rows)
    assert [row["v"] for row in kept(doubles)] == [float(number) for number in numbers]


def test_what_is_not_text_is_text_in_a_column_of_text(destination: Destination) -> None:
    """A number or an object in it is told apart by nothing; that it is there is enough."""
    write(destination, {"id": ID, "text": TEXT}, {"id": 1, "text": 5}, {"id": 2, "text": {"a": [1]}})
    for row, sent in zip(kept(destination), (5, {"a": [1]}), strict=True):
        found = row.get("text", row.get(EXTRA, {}).get("text"))
        assert found in (sent, json.dumps(sent), json.dumps(sent, separators=(",", ":"))), row


def test_the_sources_own_changes_are_kept(destination: Destination) -> None:
    theirs = {"field": "name", "change": "TRUNCATED", "reason": "SOURCE_RECORD_SIZE_LIMITATION"}
    lines = [
        record("s", {"id": 1}, meta={"changes": [theirs]}),
        record("s", '{"id": 99999999999999999999}', meta={"changes": [theirs]}),
        record("s", {"id": 2}, meta={"changes": []}),
        record("s", {"id": 3}, meta=None),
        record("s", {"id": 4}, meta={"changes": None}),
        state("s", 1),
        status("s"),
    ]
    destination.write(catalog(stream("s")), lines).succeeded()
    own = ("name", "TRUNCATED", "SOURCE_RECORD_SIZE_LIMITATION")
    assert changes(destination) == [[own], [own, ("id", "NULLED", CAST)], [], [], []]


def test_dedup_keeps_the_changes_and_the_moment_of_the_record_that_stays(destination: Destination) -> None:
    theirs = {"field": "name", "change": "NULLED", "reason": "SOURCE_RETRIEVAL_ERROR"}
    lines = [
        record("s", {"id": 1, "name": "a"}, at=AT, meta={"changes": [theirs]}),
        record("s", {"id": 2, "name": "b"}, at=AT + 1),
        record("s", {"id": 1, "name": "c"}, at=AT + 2),
        record("s", {"id": 2}, at=AT + 3, meta={"changes": [theirs]}),
        record("s", {"id": 3, "name": {"not": "text"}}, at=AT + 4),
        state("s", 1),
        status("s"),
    ]
    destination.write(catalog(stream("s"), mode="append_dedup", key="id"), lines).succeeded()
    rows = {row["id"]: row for row in destination.rows("s")}
    moments = {number: row["_airbyte_extracted_at"] for number, row in rows.items()}
    assert moments == {1: (AT + 2) * 1000, 2: (AT + 3) * 1000, 3: (AT + 4) * 1000}
    assert [len(rows[number]["_airbyte_meta"]["changes"]) for number in (1, 2)] == [0, 1]


@pytest.mark.parametrize(
    ("at", "milliseconds"),
    [
        (AT, AT),
        (1_719_581_400, 1_719_581_400_000),
        (1_719_581_400.25, 1_719_581_400_250),
        (float(AT), AT),
        (AT * 1000 + 456, AT),
        (AT * 1_000_000 + 456_789, AT),
        (0, 0),
        (-1, -1000),
        (2**63 - 1, 9_223_372_036_854),
        (str(AT), AT),
        ("2024-06-28T09:30:00.123-04:00", AT),
    ],
)
def test_the_moment_of_a_record(destination: Destination, at: float | str, milliseconds: int) -> None:
    lines = [record("s", {"id": 1}, at=at), state("s", 1), status("s")]
    destination.write(catalog(stream("s")), lines).succeeded()
    assert [row["_airbyte_extracted_at"] for row in destination.rows("s")] == [milliseconds * 1000]


def test_a_record_of_several_megabytes(destination: Destination) -> None:
    large = {"id": 1, "name": "é" * (8 << 20)}
    write(destination, {"id": ID, "name": TEXT}, {"id": 0}, large, {"id": 2})
    destination.assert_is("s", [{"id": 0}, large, {"id": 2}])


def test_deep_data(destination: Destination) -> None:
    deep: Any = []
    for _ in range(60):
        deep = [deep]
    write(destination, {"id": ID}, {"id": 1, "deep": deep})
    assert kept(destination) == [{"id": 1, EXTRA: {"deep": deep}}]


@pytest.mark.parametrize("field", ['"\\ud800"', '"\\u0000"', '"\\/"', '"\\u00e9"'])
def test_any_escape_in_a_string(destination: Destination, field: str) -> None:
    """Half of a surrogate stands for no text, but it loses neither its record nor the next one."""
    write(destination, {"id": ID, "name": TEXT}, f'{{"id": 1, "name": {field}}}', {"id": 2, "name": "b"})
    first, second = kept(destination)
    assert second == {"id": 2, "name": "b"} and first["id"] == 1
    if "d800" not in field:
        assert first["name"] == json.loads(field)


@pytest.mark.parametrize("data", ["5", "[]", "null", '"text"'])
def test_data_that_is_no_object_is_an_error(destination: Destination, data: str) -> None:
    good = [record("s", {"id": 1}), state("s", 1)]
    outcome = destination.write(catalog(stream("s")), [*good, record("s", data), status("s")])
    assert outcome.code == 1 and b"line 3 of the input" in outcome.stdout, outcome.describe()
    destination.assert_is("s", [{"id": 1}])


def rejected(destination: Destination) -> list[tuple[str, Row]]:
    """The records that were kept apart, and why."""
    rows = destination.rows("_tapeline_rejected")
    assert {(row["pipeline"], row["stream"]) for row in rows} <= {("airbyte", "polygon/s"), ("airbyte", "polygon/splits")}
    return [(row["reason"], json.loads(row["record"])) for row in rows]


def test_records_whose_key_is_none_are_kept_apart(destination: Destination) -> None:
    """As NULL it would be the key of other rows."""
    dedup = catalog(stream("s"), mode="append_dedup", key="id")
    bad = [record("s", '{"id": 99999999999999999999}'), record("s", {"name": "a"}), record("s", {"id": None, "name": "b"})]
    lines = [record("s", {"id": 1}), state("s", 1), *bad, state("s", 2), *bad, status("s")]
    outcome = destination.write(dedup, lines).succeeded()
    assert b"99999" not in outcome.stdout, "what is in a row is no business of a log"
    assert b"6 rows have no primary key that tells them apart" in outcome.stdout, outcome.describe()
    destination.assert_is("s", [{"id": 1}])
    misfit = "`id` of the primary key is not of the type that the stream's schema says"
    absent = "`id` of the primary key is absent or null"
    rows = [{"additional_properties": {"id": 99999999999999999999}}, {"name": "a"}, {"name": "b"}]
    # They came twice, and are there once.
    assert rejected(destination) == list(zip([misfit, absent, absent], rows, strict=True))
    again = replace(destination, rejected_max=2).write(dedup, lines)
    assert again.code == 2 and b"at most 2 may be rejected" in again.stdout, again.describe()
    assert len(rejected(destination)) == 3


@pytest.mark.parametrize("numbers", [None, "double"])
def test_numbers_of_a_key_are_bounded_whatever_comes_before_them(destination: Destination, numbers: str | None) -> None:
    """No column holds all of them together, and which came first must not matter. They are no doubles: keys would round alike."""
    destination = replace(destination, numbers=numbers)
    schema = {"v": values.NUMBER, "x": values.NUMBER}
    dedup = catalog(stream("s", schema), mode="append_dedup", key="v")
    for order in (values.KEYS, list(reversed(values.KEYS))):
        rows = [f'{{"v":{number},"x":0.5}}' for number in order]
        destination.write(dedup, [*records("s", rows), state("s", 1), status("s")]).succeeded()
        assert {row["v"] for row in destination.data("s")} == {Decimal(number) for number in values.KEYS}
        assert len(destination.rows("s")) == len(values.KEYS)
    beyond = [f'{{"v":{number}}}' for number in values.NO_KEYS]
    destination.write(dedup, [*records("s", beyond), state("s", 2), status("s")]).succeeded()
    reason = "`v` of the primary key has more digits than a number in a key can have: 20 before the point and 18 after it"
    assert {told for told, _ in rejected(destination)} == {reason}
    assert len(rejected(destination)) == len(values.NO_KEYS)
    assert len(destination.rows("s")) == len(values.KEYS)


def test_rows_without_a_key_of_the_fault_that_was_seen(destination: Destination, shared: Path) -> None:
    folder = shared / "faults" / "18_missing_key"
    catalog = json.loads((folder / "catalog.json").read_text())
    destination.write_bytes(catalog, (folder / "messages.jsonl").read_bytes()).succeeded()
    assert {row["id"] for row in destination.data("splits")} == {"E1", "E2"}
    assert len(rejected(destination)) == 2


@pytest.mark.parametrize("at", ["1e300", "-1e300", "99999999999999999999", '"soon"', "{}"])
def test_a_moment_that_is_none_is_an_error(destination: Destination, at: str) -> None:
    line = record("s", {"id": 1}).replace(str(AT), at)
    outcome = destination.write(catalog(stream("s")), ["", line, state("s", 1), status("s")])
    assert outcome.code == 1, outcome.describe()
    for part in (b"line 2 of the input", b"`record.emitted_at`", b"milliseconds"):
        assert part in outcome.stdout, outcome.describe()
