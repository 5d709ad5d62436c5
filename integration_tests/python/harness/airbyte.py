"""Airbyte's messages: catalogues to configure, states to hand back, strict validation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from harness.program import Message, Program

Stream = dict[str, Any]


def discover(program: Program, config: Path) -> dict[str, Stream]:
    """The streams of the catalogue by name."""
    [message] = program.run("discover", "--config", config).succeeded().of_type("CATALOG")
    return {stream["name"]: stream for stream in message["catalog"]["streams"]}


def configured(streams: Iterable[Stream], sync_mode: str, **more: object) -> dict[str, Any]:
    """A configured catalogue, with every optional key present as null, as Airbyte's own code writes it."""
    optional = {
        "cursor_field": None,
        "primary_key": None,
        "generation_id": None,
        "minimum_generation_id": None,
        "sync_id": None,
        "include_files": None,
        "destination_object_name": None,
    }
    return {
        "streams": [
            {
                "stream": {"namespace": None, "is_file_based": None, **stream},
                "sync_mode": sync_mode if sync_mode in stream["supported_sync_modes"] else "full_refresh",
                "destination_sync_mode": "append_dedup",
                **optional,
                **more,
            }
            for stream in streams
        ]
    }


def name_of(message: Message) -> str:
    """The stream that a RECORD, a STATE or a stream's TRACE is about."""
    match message["type"]:
        case "RECORD":
            return message["record"]["stream"]
        case "STATE":
            return message["state"]["stream"]["stream_descriptor"]["name"]
        case _:
            return message["trace"]["stream_status"]["stream_descriptor"]["name"]


def is_status(message: Message) -> bool:
    return message["type"] == "TRACE" and message["trace"]["type"] == "STREAM_STATUS"


def records(messages: Iterable[Message]) -> dict[str, list[dict[str, Any]]]:
    """The data of the records by stream, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        if message["type"] == "RECORD":
            found.setdefault(name_of(message), []).append(message["record"]["data"])
    return found


def latest_states(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """What the platform hands back after these messages: each stream's last state."""
    last: dict[str, dict[str, Any]] = {}
    for message in messages:
        if message["type"] == "STATE":
            last[name_of(message)] = {"type": "STREAM", "stream": message["state"]["stream"]}
    return list(last.values())


def key_of(stream: Stream, data: dict[str, Any]) -> str:
    """The primary key of a record, as text."""
    return json.dumps([data.get(column) for [column] in stream["source_defined_primary_key"]])


class Validator:
    """The protocol's own schema with one change: a field that it does not name is an error.

    The protocol lets every struct have more fields, so that old platforms read
    new connectors; for a test that only hides typos.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import Draft7Validator, FormatChecker

        closed = _closed({**schema, "$ref": "#/definitions/AirbyteMessage", "properties": {}})
        # `$ref` hides its siblings, so the root is nothing but the message.
        self._validator = Draft7Validator(
            {"$ref": closed["$ref"], "definitions": closed["definitions"]}, format_checker=FormatChecker()
        )

    def problems(self, message: Message) -> list[str]:
        return [
            f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
            for error in self._validator.iter_errors(message)
        ]


@cache
def strict_validator(protocol: Path) -> Validator:
    import yaml

    return Validator(yaml.safe_load(protocol.read_text()))


def _closed(schema: Any) -> Any:
    """Forbids unknown fields in every struct; a blob (an object without fields) stays open."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: _closed(item) for name, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        copy["additionalProperties"] = False
    return copy
