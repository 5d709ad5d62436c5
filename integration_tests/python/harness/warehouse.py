"""The schema of fakesnow that tapeline writes to, read back by Snowflake's own connector.

fakesnow keeps six digits of a second's fraction where Snowflake keeps nine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import tables
from harness.servers import Fakesnow

DIGITS = 6
DATABASE, SCHEMA, WAREHOUSE = "MARKET", "POLYGON", "LOADING"


def sink(fakesnow: Fakesnow) -> dict[str, dict[str, object]]:
    """The sink of a pipeline. Its password is in the environment, as SNOWFLAKE_PASSWORD."""
    return {
        "snowflake": {
            "account": fakesnow.ACCOUNT,
            "user": "loader",
            "password": "${SNOWFLAKE_PASSWORD}",
            "warehouse": WAREHOUSE,
            "database": DATABASE,
            "schema": SCHEMA,
            "host": fakesnow.url,
        }
    }


def destination(fakesnow: Fakesnow, password: str) -> dict[str, dict[str, object]]:
    """The same place as Airbyte's destination is configured."""
    return {"sink": {"type": "snowflake", **sink(fakesnow)["snowflake"], "password": password}}


@contextmanager
def connect(fakesnow: Fakesnow) -> Iterator[Any]:
    """A session of the judge, in a server that has the database."""
    import snowflake.connector

    with snowflake.connector.connect(
        account=fakesnow.ACCOUNT,
        user="judge",
        password="unused",
        host="127.0.0.1",
        port=fakesnow.port,
        protocol="http",
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    ) as connection:
        # The program writes to a database that exists.
        connection.cursor().execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        yield connection


def drop_schema(connection: Any, schema: str = SCHEMA) -> None:
    connection.cursor().execute(f"DROP SCHEMA IF EXISTS {DATABASE}.{schema}")


def table_names(connection: Any) -> list[str]:
    rows = connection.cursor().execute(
        f"SELECT table_name FROM {DATABASE}.information_schema.tables WHERE table_schema = '{SCHEMA}'"
    )
    return [name for (name,) in rows.fetchall()]


def rows_of(connection: Any, table: str, schema: str = SCHEMA) -> list[tables.Row]:
    cursor = connection.cursor()
    place = f"{DATABASE}.{schema}.{table.upper()}"
    cursor.execute(f"SELECT * FROM {place} LIMIT 0")
    names = [column.name for column in cursor.description]
    # fakesnow sends a moment that is NULL as 1970: the server is asked which ones are.
    nulls = ", ".join(f'"{name}" IS NULL' for name in names)
    cursor.execute(f"SELECT *, {nulls} FROM {place}")
    rows = [
        [None if is_null else value for value, is_null in zip(row[: len(names)], row[len(names) :], strict=True)]
        for row in cursor.fetchall()
    ]
    return tables.read_back(names, rows)
