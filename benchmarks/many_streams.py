"""`destination write` of many small streams into DuckDB: what a database with hundreds of tables sends.

Nothing but the number of streams and of STATEs is large, so what is measured is
the cost of a stream and of a commit, not of a row.
"""

import json
import subprocess
from dataclasses import dataclass

from . import measure, report, scene
from .sync import fresh

RUNS = 3
SCHEMA = "bench"
# Milliseconds, as the protocol has it: 28 June 2024, 13:30 UTC.
EMITTED_AT = 1_719_581_400_000
COUNT_STATES = ["grep", "-c", '"type":"STATE"']
# What version 1 took for the last one is more than the default.
TIMEOUT_S = 1_200
# The bounds that issue 8 sets for each of them.
GOAL_SECONDS, GOAL_MB = 8, 256


@dataclass(frozen=True)
class Load:
    """What is sent: each stream its records, a STATE after every `per_state` of them, then COMPLETE."""

    name: str
    streams: int
    records: int
    per_state: int

    @property
    def rows(self):
        """Records of all streams."""
        return self.streams * self.records

    @property
    def states(self):
        """STATEs of all streams."""
        return self.streams * -(-self.records // self.per_state)

    def stream_names(self):
        """The streams, in the order in which they are sent."""
        return [f"stream_{number:04}" for number in range(self.streams)]


LOADS = [
    Load("1,000 streams of 1 record, a STATE each", streams=1_000, records=1, per_state=1),
    Load("500 streams of 100 records, a STATE a stream", streams=500, records=100, per_state=100),
    Load("500 streams of 100 records, a STATE a record", streams=500, records=100, per_state=1),
]


def run():
    """Measures and writes the table."""
    with scene.scratch() as folder:
        medians = measure.rounds({load.name: program(load, folder) for load in LOADS}, RUNS)
    write(medians)


def program(load, folder):
    """A function that writes the load once into a database that is not there yet, and counts rows and STATEs."""
    place = folder / f"{load.streams}-{load.records}-{load.per_state}"
    place.mkdir()
    database, messages = place / "many.duckdb", place / "messages.jsonl"
    with messages.open("w") as file:
        file.writelines(f"{json.dumps(message, separators=(',', ':'))}\n" for message in sent(load))
    catalog = scene.write_json(place / "catalog.json", configured(load))
    sink = {"type": "duckdb", "path": str(database), "schema": SCHEMA}
    destination = scene.write_json(place / "destination.json", {"sink": sink})
    arguments = ["destination", "write", "--config", destination, "--catalog", catalog]
    # The shell opens the file and becomes the program, so that nothing else is measured.
    command = ["bash", "-c", 'exec "$0" "${@:2}" < "$1"', scene.TAPELINE, str(messages), *arguments]
    loaded = fresh(command, place / "run.log", database, load.rows, None, count, reader=COUNT_STATES, timeout=TIMEOUT_S)

    def go():
        run = loaded()
        # `bytes_out` is what the reader counted.
        if run.bytes_out != load.states:
            raise measure.Failed(f"{run.bytes_out} STATEs came back, not {load.states}: {load.name}")
        return run

    return go


def sent(load):
    """The messages, stream by stream."""
    for stream in load.stream_names():
        yield status(stream, "STARTED")
        for number in range(1, load.records + 1):
            data = {"id": number, "name": f"row {number} of {stream}", "price": number * 0.25, "is_open": number % 2 == 0}
            yield {"type": "RECORD", "record": {"stream": stream, "emitted_at": EMITTED_AT + number, "data": data}}
            if number % load.per_state == 0 or number == load.records:
                content = {"stream_descriptor": {"name": stream}, "stream_state": {"id": number}}
                yield {"type": "STATE", "state": {"type": "STREAM", "stream": content}}
        yield status(stream, "COMPLETE")


def status(stream, what):
    """What a source says at a stream's beginning and end."""
    told = {"stream_descriptor": {"name": stream}, "status": what}
    return {"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": EMITTED_AT, "stream_status": told}}


def configured(load):
    """The streams with their schema."""
    properties = {"id": "integer", "name": "string", "price": "number", "is_open": "boolean"}
    schema = {"type": "object", "properties": {name: {"type": ["null", kind]} for name, kind in properties.items()}}
    streams = [scene.configured(name, "incremental")["streams"][0] for name in load.stream_names()]
    for stream in streams:
        stream["stream"]["json_schema"] = schema
    return {"streams": streams}


def count(database):
    """Rows of all tables of streams, each told apart by its id; -1 when one is there twice."""
    code = (
        "import duckdb, sys\n"
        "connection = duckdb.connect(sys.argv[1], read_only=True)\n"
        "tables = 'FROM duckdb_tables() WHERE schema_name = ? AND starts_with(table_name, ?)'\n"
        f"listed = connection.execute(f'SELECT table_name {{tables}}', ['{SCHEMA}', 'stream_']).fetchall()\n"
        "of = lambda name: connection.sql("
        f"f'SELECT count(*), count(DISTINCT id) FROM \"{SCHEMA}\".\"{{name}}\"').fetchone()\n"
        "counts = [of(name) for (name,) in listed]\n"
        "print(sum(rows for rows, _ in counts) if all(rows == ids for rows, ids in counts) else -1)\n"
    )
    return int(subprocess.check_output([scene.PYTHON, "-c", code, str(database)], text=True))


def write(medians):
    """The table, with the goal in its last line."""
    lines = []
    for load in LOADS:
        run = medians[load.name]
        figures = [f"{load.rows:,}", f"{load.states:,}", f"{run.seconds:.2f}", f"{run.cpu:.2f}", f"{run.peak_mb:.0f}"]
        lines.append([load.name, *figures])
    lines.append(["at most", "", "", str(GOAL_SECONDS), "", str(GOAL_MB)])
    heads = ["", "records", "STATEs", "seconds", "CPU s", "peak MB"]
    report.write("many-streams", [report.table(heads, lines), report.disturbance(medians)])
