"""fakesnow, mended in four ways in which it differs from Snowflake.

1. MERGE works inside a transaction. fakesnow 0.12.1 rewrites MERGE with a
   temporary table and notes that table's (absent) comment in its global database;
   DuckDB lets a transaction write to one database only, so the MERGE fails.
   Nothing is noted here when there is no comment.
2. A client that was killed does not block the others for ever. Snowflake makes
   them wait for the lock and gives up the transaction of a client that is gone;
   fakesnow fails at once and keeps the transaction until it is stopped itself.
   Here a conflict gives up every transaction of its schema that was idle for a
   while, and those of others after longer: who works in another schema is more
   likely slow than gone. The statement is tried again where that is possible; so is
   the making of a stage that another session makes at the same moment, for fakesnow
   keeps the temporary stages of all sessions in one table.
3. What does not exist cannot be used. fakesnow takes any warehouse and creates
   any database at sign-in; with `--warehouse` only the named ones exist, and only
   databases that were created. Signing in succeeds all the same, as Snowflake has
   it; USE WAREHOUSE fails with its code and words.
4. A password can be wrong: one that begins with `wrong-` is refused at sign-in.

    python fakesnow_mended.py --port 18080 [--idle-seconds 1] [--warehouse LOADING]
"""

import argparse
import gzip
import json
import re
import threading
import time
from typing import Any

import duckdb

# The function: after it a module of the same name takes its place.
from fakesnow import info_schema
from fakesnow import server as serve
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.instance import FakeSnow
from fakesnow.server import app
from snowflake.connector.errors import ProgrammingError
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

# How long a statement waits for other transactions to end or to be given up.
LOCK_SECONDS = 20.0
# How much longer a transaction of another schema may be idle.
ELSEWHERE = 8

_insert_table_comment = info_schema.insert_table_comment_sql
_execute = FakeSnowflakeCursor.execute
_connect = FakeSnow.connect


class Transactions:
    """The explicit transactions of all sessions: statements so far, and when the last one ended."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._open: dict[Any, tuple[int, float]] = {}

    def statement(self, connection: Any, command: str) -> None:
        word = command.split(maxsplit=1)[0].upper() if command.strip() else ""
        with self._lock:
            if word in {"COMMIT", "ROLLBACK"}:
                self._open.pop(connection, None)
            elif word == "BEGIN" or connection in self._open:
                count, _ = self._open.get(connection, (0, 0.0))
                self._open[connection] = (count + 1, time.monotonic())

    def can_retry(self, connection: Any) -> bool:
        """Whether the failed statement was the first of its transaction; begins that anew."""
        with self._lock:
            count, _ = self._open.get(connection, (0, 0.0))
        if count > 1:
            return False
        if count == 1:
            connection._duck_conn.rollback()
            connection._duck_conn.begin()
        return True

    def give_up_idle(self, but: Any) -> None:
        now = time.monotonic()
        with self._lock:
            idle = [
                connection
                for connection, (_, last) in self._open.items()
                if connection is not but and now - last > self._patience(connection, but)
            ]
            for connection in idle:
                del self._open[connection]
        for connection in idle:
            connection._duck_conn.rollback()

    def _patience(self, connection: Any, other: Any) -> float:
        is_elsewhere = connection.schema != other.schema
        return self._idle_seconds * (ELSEWHERE if is_elsewhere else 1)


USE_WAREHOUSE = re.compile(r'\s*USE\s+WAREHOUSE\s+"?([^"\s;]+)"?', re.IGNORECASE)


def refuse_unknown(command: str, warehouses: list[str]) -> None:
    used = USE_WAREHOUSE.match(command)
    if warehouses and used and used[1].upper() not in warehouses:
        message = "SQL compilation error:\nObject does not exist, or operation cannot be performed."
        raise ProgrammingError(msg=message, errno=2043, sqlstate="02000")


async def refuse_wrong_passwords(request: Request, answer: RequestResponseEndpoint) -> Response:
    if request.url.path == "/session/v1/login-request":
        body = await request.body()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if str(json.loads(body)["data"].get("PASSWORD", "")).startswith("wrong-"):
            message = "Incorrect username or password was specified."
            return JSONResponse({"data": None, "code": "390100", "message": message, "success": False})
    return await answer(request)


def mend(idle_seconds: float, warehouses: list[str]) -> None:
    transactions = Transactions(idle_seconds)

    def insert_only_real_comments(catalog: str, schema: str, table: str, comment: str | None) -> str:
        return "SELECT 1" if comment is None else _insert_table_comment(catalog, schema, table, comment)

    def execute(cursor: FakeSnowflakeCursor, command: str, *args: Any, **kwargs: Any) -> Any:
        refuse_unknown(command, warehouses)
        connection = cursor._conn
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                result = _execute(cursor, command, *args, **kwargs)
                transactions.statement(connection, command)
                return result
            except (duckdb.TransactionException, duckdb.ConstraintException) as error:
                transactions.give_up_idle(but=connection)
                # The second is what is said of a stage.
                conflict = any(words in str(error) for words in ("onflict", "uplicate key"))
                if not conflict or time.monotonic() > until or not transactions.can_retry(connection):
                    raise
                time.sleep(0.1)

    def connect_to_what_exists(instance: FakeSnow, *args: Any, **kwargs: Any) -> Any:
        instance.create_database_on_connect = False
        return _connect(instance, *args, **kwargs)

    if warehouses:
        FakeSnow.connect = connect_to_what_exists
    app.add_middleware(BaseHTTPMiddleware, dispatch=refuse_wrong_passwords)
    info_schema.insert_table_comment_sql = insert_only_real_comments
    FakeSnowflakeCursor.execute = execute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--idle-seconds", type=float, default=1.0)
    parser.add_argument("--warehouse", action="append", default=[], type=str.upper)
    arguments = parser.parse_args()
    mend(arguments.idle_seconds, arguments.warehouse)
    with serve(port=arguments.port, host="127.0.0.1"):
        threading.Event().wait()


if __name__ == "__main__":
    main()
