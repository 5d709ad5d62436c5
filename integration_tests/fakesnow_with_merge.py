"""fakesnow, mended so that MERGE works inside a transaction, as it does in Snowflake.

fakesnow 0.12.1 rewrites MERGE with a temporary table and notes that table's
(absent) comment in its global database; DuckDB lets a transaction write to one
database only, so the MERGE fails. Nothing is noted here when there is no comment.

    python fakesnow_with_merge.py --port 18080
"""

import argparse
import threading

import fakesnow
from fakesnow import info_schema

_insert_table_comment = info_schema.insert_table_comment_sql


def _insert_only_real_comments(catalog: str, schema: str, table: str, comment: str | None) -> str:
    return "SELECT 1" if comment is None else _insert_table_comment(catalog, schema, table, comment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    info_schema.insert_table_comment_sql = _insert_only_real_comments
    with fakesnow.server(port=port, host="127.0.0.1"):
        threading.Event().wait()


if __name__ == "__main__":
    main()
