"""The vendor's OpenAPI description as a judge of responses.

Its 200 schemas become JSON Schema: `nullable` becomes a choice with null,
`allOf` is merged, and every struct is closed, so that a field which the vendor
does not name is a problem. What is known to differ is waived by name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

Schema = dict[str, Any]


@dataclass(frozen=True)
class Waiver:
    """A difference that is known: on paths that match, a problem that matches is none."""

    path: str
    problem: str
    reason: str

    def covers(self, path: str, problem: str) -> bool:
        return bool(re.search(self.path, path) and re.search(self.problem, problem))


class OpenApi:
    def __init__(self, file: Path) -> None:
        self.name = file.stem
        description = json.loads(file.read_text())
        self._schemas: dict[str, Draft202012Validator] = {}
        for path, methods in description["paths"].items():
            content = methods["get"]["responses"]["200"].get("content", {})
            if schema := content.get("application/json", {}).get("schema"):
                self._schemas[path] = Draft202012Validator(_translate(schema), format_checker=FORMATS)

    @property
    def paths(self) -> list[str]:
        """Every path with a schema for its good answer."""
        return list(self._schemas)

    def problems(self, path: str, body: Any) -> list[str]:
        """What is wrong with an answer, one line each; empty when nothing is."""
        return [
            f"{'/'.join('*' if isinstance(part, int) else part for part in error.absolute_path)}: {error.message[:200]}"
            for error in self._schemas[path].iter_errors(body)
        ]


def _moment(value: object) -> bool:
    if not isinstance(value, str):
        return True
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", value)
    if not found:
        return False
    datetime.fromisoformat(found[1])
    return True


FORMATS = FormatChecker(["date"])
FORMATS.checks("date-time", raises=ValueError)(_moment)


def _translate(schema: Schema) -> Schema:
    if "allOf" in schema:
        return _translate(_merged(schema))
    translated: Schema = {}
    for name, value in schema.items():
        match name:
            case "properties":
                translated[name] = {key: _translate(item) for key, item in value.items()}
            case "items":
                translated[name] = _translate(value)
            case "oneOf" | "anyOf":
                translated[name] = [_translate(item) for item in value]
            case "type" | "enum" | "required" | "format":
                translated[name] = value
    if "properties" in translated:
        translated["additionalProperties"] = False
    if schema.get("nullable"):
        return {"anyOf": [translated, {"type": "null"}]}
    return translated


def _merged(schema: Schema) -> Schema:
    """One struct of several that are to hold at once: closing each would forbid the others' fields."""
    merged: Schema = {"type": "object", "properties": {}, "required": []}
    for part in [*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}]:
        if "allOf" in part:
            part = _merged(part)
        merged["properties"].update(part.get("properties", {}))
        merged["required"] += part.get("required", [])
    return merged
