"""What `tapeline sync` wrote, read back by a warehouse's own client."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from harness import market

Row = dict[str, Any]

START, END = "2024-06-20", "2024-06-28"
# One of each kind: the whole market by day, by ticker, whole, open to the future.
STREAMS = [
    "stock_daily_bars",
    "stock_bars_1_hour",
    "tickers",
    "ticker_details",
    "dividends",
    "news",
    "exchanges",
    "market_holidays",
]
# A day of trades is as many rows as a week of all the others.
TRADES = "stock_trades"
TRADES_DAY = "2024-06-28"

# Columns that hold JSON, which clients give as text.
JSON_COLUMNS = {"address", "branding", "tickers", "publisher", "keywords", "insights", "conditions"}
AIRBYTE_PREFIX = "_airbyte_"


def pipeline(sink: dict[str, object], base_url: str, streams: list[str], start: str, end: str) -> str:
    """A pipeline file. Its secrets are in the environment; JSON is YAML too."""
    source = market.config(base_url, "${POLYGON_API_KEY}", start, end)
    return json.dumps(
        {"name": "judged", "source": {"polygon": source}, "sink": sink, "streams": streams}, indent=2
    )


def value_of(column: str, value: Any) -> Any:
    """A client's value as the truth writes it."""
    if value is not None and column in JSON_COLUMNS:
        return json.loads(value, parse_float=Decimal) if isinstance(value, str) else value
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    return value


def read_back(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[Row]:
    names = [column.lower() for column in columns]
    return [
        {name: value_of(name, value) for name, value in zip(names, row, strict=True)} for row in rows
    ]


def of_duckdb(connection: Any, schema: str, table: str) -> list[Row]:
    """The rows of a table of DuckDB, each value as the truth writes it."""
    columns = [
        # Python's datetime ends at microseconds; the text keeps all nine digits.
        f"""replace("{name}"::VARCHAR, ' ', 'T') || 'Z' AS "{name}\""""
        if kind in ("TIMESTAMP_NS", "TIMESTAMP")
        else f'"{name}"'
        for name, kind, *_ in connection.sql(f'DESCRIBE {schema}."{table}"').fetchall()
    ]
    # A moment with a zone needs an extension to be shown; that it is there is enough.
    columns = [
        'epoch_us("_airbyte_extracted_at") AS "_airbyte_extracted_at"' if "extracted_at" in name else name
        for name in columns
    ]
    found = connection.sql(f'SELECT {", ".join(columns)} FROM {schema}."{table}"')
    return read_back(found.columns, found.fetchall())


def assert_table_is_truth(rows: list[Row], truth: list[Row], table: str, digits: int = 9) -> None:
    """The table and the truth are equal, and each row has Airbyte's columns.

    `digits` is how many of a second's fraction the client or its server keeps.
    """
    assert truth, f"the truth of {table} is empty: nothing is shown by agreeing with it"
    ids = [row[f"{AIRBYTE_PREFIX}raw_id"] for row in rows]
    assert len(set(ids)) == len(ids) and None not in ids, table
    assert all(row[f"{AIRBYTE_PREFIX}extracted_at"] is not None for row in rows), table
    market.assert_same_rows(
        [comparable(row, digits) for row in rows], [comparable(row, digits) for row in truth], table
    )


def comparable(row: Row, digits: int) -> str:
    return market.canonical(
        {
            name: cut(value, digits)
            for name, value in row.items()
            if not name.startswith(AIRBYTE_PREFIX) and name != market.EXTRA_COLUMN
        }
    )


def cut(value: Any, digits: int) -> Any:
    if isinstance(value, str) and (found := market.MOMENT.match(value)):
        return f"{found[1]}{found[2][: digits + 1]}Z"
    return value
