"""DuckDB's own JSON reader over the same pages: `duckdb_read_json.py FOLDER TICKER DATABASE`.

The floor of what loading these bytes can cost: no network, no paging, no
progress, no key. The columns are those that our sink makes, Airbyte's four
included, so that both write the same table. The longest object it must hold is
a page, and said so, because the default of 16 MB a thread is not enough for
larger ones.
"""

import sys

import duckdb

LOAD = """
CREATE TABLE bars AS
SELECT
    $ticker AS ticker,
    make_timestamp_ns(r.t * 1000000) AS timestamp,
    r.o AS open, r.h AS high, r.l AS low, r.c AS close, r.v AS volume, r.vw AS vwap,
    r.n AS transactions,
    NULL::BOOLEAN AS otc,
    NULL::JSON AS additional_properties,
    uuidv7() AS _airbyte_raw_id,
    now() AS _airbyte_extracted_at,
    '{"sync_id":0,"changes":[]}'::JSON AS _airbyte_meta,
    0::BIGINT AS _airbyte_generation_id
FROM (
    SELECT unnest(results) AS r
    FROM read_json($pages, format = 'unstructured', maximum_object_size = 67108864, columns = {
        results: 'STRUCT(v DECIMAL(24,6), vw DECIMAL(18,9), o DECIMAL(18,9), c DECIMAL(18,9),
                         h DECIMAL(18,9), l DECIMAL(18,9), t BIGINT, n BIGINT)[]'
    })
)
"""


def main():
    """Loads the pages into a fresh file."""
    folder, ticker, database = sys.argv[1:]
    with duckdb.connect(database) as connection:
        connection.execute(LOAD, {"ticker": ticker, "pages": f"{folder}/*.json"})


if __name__ == "__main__":
    main()
