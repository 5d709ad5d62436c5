"""`sync` into DuckDB, beside dlt's rest_api source and DuckDB's own JSON reader."""

import json
import subprocess

from . import market, measure, report, scene

RUNS = 3
TICKER = "AAPL"
# Loads it as fast as it can be told to, and as it does when it is told nothing.
DLT_BEST, DLT_DEFAULT = "dlt rest_api, set for speed", "dlt rest_api, default settings"
READ_JSON = "DuckDB's read_json, files on disk"
OURS = "tapeline sync"
TICKERS_OF_THE_LONG_RUN = [f"T{number}" for number in range(1, 6)]
LONG = f"tapeline sync, {len(TICKERS_OF_THE_LONG_RUN)} tickers"


def run():
    """Measures and writes the table."""
    with scene.server() as (base_url, server), scene.scratch() as folder:
        pages = folder / "pages"
        pages.mkdir()
        # In a process of its own: this one stays small, see measure.
        subprocess.run(
            [scene.PYTHON, "-c", f"from benchmarks import market; market.write_pages({str(pages)!r}, {TICKER!r})"],
            cwd=scene.ROOT,
            check=True,
        )
        days = [str(market.FIRST_DAY), str(market.LAST_DAY)]
        python = lambda peer, *args: [scene.PYTHON, str(scene.PEERS / peer), *map(str, args)]  # noqa: E731
        database = folder / "peer.duckdb"
        commands = {
            OURS: ours(folder / "one.duckdb", base_url, [TICKER]),
            READ_JSON: (python("duckdb_read_json.py", pages, TICKER, database), database),
            DLT_BEST: (python("dlt_rest.py", "best", base_url, TICKER, *days, database), database),
            DLT_DEFAULT: (python("dlt_rest.py", "default", base_url, TICKER, *days, database), database),
            LONG: ours(folder / "five.duckdb", base_url, TICKERS_OF_THE_LONG_RUN),
        }
        programs = {
            name: fresh(command, folder / "run.log", written, rows(name), server)
            for name, (command, written) in commands.items()
        }
        medians = measure.rounds(programs, RUNS)
    write(medians)


def rows(name):
    """How many rows a program leaves."""
    return market.BARS * (len(TICKERS_OF_THE_LONG_RUN) if name == LONG else 1)


def ours(database, base_url, tickers):
    """Our command and the database that it writes; its pipeline is JSON, which is YAML."""
    path = database.with_suffix(".yaml")
    sink = {"duckdb": {"path": str(database), "schema": "bench"}}
    source = {"polygon": scene.source_config(base_url, tickers)}
    stream = {"stream": scene.STREAM, "mode": "append_dedup"}
    path.write_text(json.dumps({"name": "bench", "source": source, "sink": sink, "streams": [stream]}))
    return [scene.TAPELINE, "sync", str(path)], database


def fresh(command, log, database, wanted, server, counted=None, **more):
    """A function that runs the command once into a database that is not there yet, and counts the rows.

    `counted` says how, if not as in tables of bars; what is in `more` goes to `measure.once`.
    """

    def go():
        for leftover in database.parent.glob(f"{database.name}*"):
            leftover.unlink()
        run = measure.once(command, log=log, server=server, **more)
        found = (counted or count)(database)
        if found != wanted:
            raise measure.Failed(f"{command[1]} left {found} rows, not {wanted}")
        return run

    return go


def count(database):
    """Rows with distinct keys in the largest table of the database."""
    query = """
        import duckdb, sys
        connection = duckdb.connect(sys.argv[1], read_only=True)
        tables = connection.sql("SELECT schema_name, table_name FROM duckdb_tables() WHERE table_name LIKE '%bars%' AND schema_name NOT LIKE '%staging'").fetchall()
        names = [f'"{schema}"."{table}"' for schema, table in tables]
        columns = {row[0] for row in connection.sql(f"DESCRIBE {names[0]}").fetchall()}
        time = "t" if "t" in columns else "timestamp"
        total, distinct = connection.sql(f'SELECT count(*), count(DISTINCT (ticker, "{time}")) FROM {names[0]}').fetchone()
        print(total if total == distinct else -1)
    """
    code = "\n".join(line.strip() for line in query.splitlines())
    return int(subprocess.check_output([scene.PYTHON, "-c", code, str(database)], text=True))


def write(medians):
    """The table, with ratios to ours."""
    lines = []
    for name, run in medians.items():
        lines.append(
            [
                name,
                f"{run.seconds:.2f}",
                f"{rows(name) / run.seconds:,.0f}",
                "" if name in (OURS, LONG) else f"{run.seconds / medians[OURS].seconds:.2f} ×",
                f"{run.cpu:.2f}",
                f"{run.peak_mb:.0f}",
            ]
        )
    heads = ["", "seconds", "rows/s", "its time to tapeline's", "CPU s", "peak MB"]
    report.write("sync", [report.table(heads, lines), report.disturbance(medians)])
