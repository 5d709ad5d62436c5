"""The destination as a platform drives it: configured catalogues, messages on stdin, and what is stored.

Messages are text, so that a number or an order of keys can be what no library
would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness import airbyte, market
from harness.program import Message, Outcome, Program
from harness.workspace import Workspace

SCHEMA = "polygon"
# Milliseconds, as the protocol has it.
AT = 1_719_581_400_123
META = ["_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id"]

Catalog = dict[str, Any]
Row = dict[str, Any]

ID, TEXT = {"type": "integer"}, {"type": ["null", "string"]}


def text_of(value: object) -> str:
    """JSON text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def record(
    stream: str, data: object, *, at: float | str = AT, namespace: str | None = None, **more: object
) -> str:
    """A RECORD; `data` as JSON text is kept byte for byte."""
    head = json.dumps({"stream": stream, "namespace": namespace, "emitted_at": at, **more})
    return f'{{"type":"RECORD","record":{head[:-1]},"data":{text_of(data)}}}}}'


def records(stream: str, rows: Iterable[object], **more: Any) -> list[str]:
    return [record(stream, row, **more) for row in rows]


def _descriptor(stream: str, namespace: str | None) -> dict[str, str]:
    return {"name": stream} if namespace is None else {"name": stream, "namespace": namespace}


def state(stream: str, content: object, namespace: str | None = None) -> str:
    """A STATE of a stream; `content` as JSON text is kept byte for byte."""
    descriptor = json.dumps(_descriptor(stream, namespace))
    inner = f'{{"stream_descriptor":{descriptor},"stream_state":{text_of(content)}}}'
    return f'{{"type":"STATE","state":{{"type":"STREAM","stream":{inner}}}}}'


def status(stream: str, what: str = "COMPLETE", namespace: str | None = None) -> str:
    """A stream's status, with a moment that is no whole number, as some clients write it."""
    told = {"stream_descriptor": _descriptor(stream, namespace), "status": what}
    trace = {"type": "STREAM_STATUS", "emitted_at": AT + 0.5, "stream_status": told, "error": None}
    return json.dumps({"type": "TRACE", "trace": trace, "record": None, "state": None})


def stream(
    name: str, properties: dict[str, Any] | None = None, *, namespace: str | None = None
) -> airbyte.Stream:
    """A stream of any source."""
    properties = {"id": ID, "name": TEXT} if properties is None else properties
    return {
        "name": name,
        "namespace": namespace,
        "json_schema": {"type": "object", "properties": properties},
        "supported_sync_modes": ["full_refresh", "incremental"],
    }


def catalog(*streams: airbyte.Stream, mode: str = "append", key: str | None = None, **more: object) -> Catalog:
    """These streams, configured alike."""
    primary_key = [[key]] if key else None
    return airbyte.configured(
        streams, "incremental", destination_sync_mode=mode, primary_key=primary_key, **more
    )


def refresh(generation: int, minimum: int | None = None) -> dict[str, int]:
    """What a platform says of a run that replaces what is there, or of another one when `minimum` is given."""
    at_least = generation if minimum is None else minimum
    return {"generation_id": generation, "minimum_generation_id": at_least, "sync_id": 10 + generation}


def echoed(outcome: Outcome) -> list[Message]:
    """The STATEs on stdout, in order."""
    return [message["state"] for message in outcome.of_type("STATE")]


@dataclass(frozen=True)
class Destination:
    program: Program
    workspace: Workspace
    database: Path
    # As what numbers are kept; none leaves it to the program.
    numbers: str | None = None
    # Rows after which a commit follows; the default is more than tests write.
    commit_rows: int | None = None
    # What becomes of rows that are deleted at the source; none leaves it to the program.
    cdc_deletion_mode: str | None = None
    # Records of a stream that may be rejected; none leaves it to the program.
    rejected_max: int | None = None

    @property
    def config(self) -> Path:
        sink = {"type": "duckdb", "path": str(self.database), "schema": SCHEMA}
        if self.numbers:
            sink["numbers"] = self.numbers
        commit = {"commit": {"rows": self.commit_rows}} if self.commit_rows else {}
        deletes = {"cdc_deletion_mode": self.cdc_deletion_mode} if self.cdc_deletion_mode else {}
        rejected = {} if self.rejected_max is None else {"rejected_max": self.rejected_max}
        return self.workspace.input("destination.json", {"sink": sink, **commit, **deletes, **rejected})

    def write(self, catalog: Catalog, lines: Iterable[str], **more: Any) -> Outcome:
        """`write` of these lines."""
        return self.write_bytes(catalog, "".join(f"{line}\n" for line in lines).encode(), **more)

    def write_bytes(self, catalog: object, stdin: bytes, **more: Any) -> Outcome:
        """`write` of this input, as it is."""
        configured = self.workspace.input("configured.json", catalog)
        arguments = ["destination", "write", "--config", self.config, "--catalog", configured]
        return self.program.run(*arguments, stdin=stdin, **more)

    # What is stored, for environments that have DuckDB's client.

    def rows(self, table: str, schema: str = SCHEMA) -> list[Row]:
        """The rows of a table, each value as the truth writes it, in the order of writing."""
        import duckdb

        place = f"{quoted(schema)}.{quoted(table)}"
        with duckdb.connect(str(self.database), read_only=True) as connection:
            columns = connection.sql(f"DESCRIBE {place}").fetchall()
            shown = [f"{_shown(quoted(name), kind)} AS {quoted(name)}" for name, kind, *_ in columns]
            found = connection.sql(f"SELECT {', '.join(shown)} FROM {place} ORDER BY rowid").fetchall()
        return [
            {name: _value(kind, value) for (name, kind, *_), value in zip(columns, row, strict=True)}
            for row in found
        ]

    def data(self, table: str, schema: str = SCHEMA) -> list[Row]:
        """The rows without Airbyte's columns and without what is NULL."""
        return [
            {name: value for name, value in row.items() if name not in META and value is not None}
            for row in self.rows(table, schema)
        ]

    def tables(self) -> list[tuple[str, str]]:
        """Schemas and names of all tables, those of the program itself among them."""
        import duckdb

        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.sql(
                "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
            ).fetchall()

    def assert_is(self, table: str, rows: Iterable[Any], schema: str = SCHEMA) -> None:
        """The table holds these rows, what has no column among them, and nothing else."""
        kept = [json.loads(row, parse_float=Decimal) if isinstance(row, str) else row for row in rows]
        got = self.data(table, schema)
        market.assert_same_rows(map(whole, got), map(whole, kept), table)


def whole(row: Row) -> str:
    """A row as text, what has no column included."""
    return market.canonical(row, row)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _shown(column: str, kind: str) -> str:
    if kind in ("TIMESTAMP_NS", "TIMESTAMP"):
        # Python's datetime ends at microseconds; the text keeps all nine digits.
        return f"replace({column}::VARCHAR, ' ', 'T') || 'Z'"
    if kind == "TIMESTAMP WITH TIME ZONE":
        # Shown, it would need an extension.
        return f"epoch_us({column})"
    return f"{column}::VARCHAR" if kind in ("JSON", "UUID", "DATE") else column


def _value(kind: str, value: Any) -> Any:
    return json.loads(value, parse_float=Decimal) if kind == "JSON" and value is not None else value
