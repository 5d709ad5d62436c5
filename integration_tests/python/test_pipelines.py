"""Whose a table is, how far it is, and what is read again: `status`, `reset`, `check` and two pipelines over one schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from harness import market, sentence, tables
from harness.destination import Destination, catalog, record, state, status, stream
from harness.pipelines import END, START, Pipeline
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace
from test_duckdb import rows_of

Make = Callable[..., Pipeline]
HOURS, DAYS, EXCHANGES = "stock_bars_1_hour", "stock_daily_bars", "exchanges"
FROM = "2024-06-26"


@pytest.fixture
def database(workspace: Workspace) -> Path:
    return workspace.folder("pipelines") / "market.duckdb"


@pytest.fixture
def make(program: Program, workspace: Workspace, simulator: Simulator, api_key: str, database: Path) -> Make:
    def make(name: str, streams: list[Any], **more: Any) -> Pipeline:
        sink = {"duckdb": {"path": str(database), "schema": "polygon"}}
        secrets = {"POLYGON_API_KEY": api_key}
        return Pipeline(program, workspace, simulator, sink, secrets, name, streams, **more)

    return make


def in_mode(stream: str, mode: str, **more: Any) -> dict[str, Any]:
    return {"stream": stream, "mode": mode, **more}


def assert_truth(pipeline: Pipeline, database: Path, stream: str, table: str = "", **more: Any) -> None:
    truth = market.truth(pipeline.simulator.url, stream, START, pipeline.end, **more)
    tables.assert_table_is_truth(rows_of(database, table or stream), truth, stream)


@pytest.mark.parametrize("mode", ["append", "append_dedup", "overwrite"])
def test_a_table_of_another_pipeline_is_refused_at_the_start(make: Make, database: Path, mode: str) -> None:
    first = make("first", [in_mode(HOURS, mode)])
    first.sync()
    before = rows_of(database, HOURS)
    for other in ["append", "append_dedup", "overwrite"]:
        second = make("second", [in_mode(HOURS, other), EXCHANGES])
        outcome = second.run("sync")
        assert outcome.code == 2, outcome.describe()
        [error] = sentence.on_stderr(outcome)
        words = [f"{HOURS}: ", f"polygon.{HOURS} is written by the pipeline first", "`table_prefix`", "`shared: true`"]
        sentence.assert_clear(error, words)
        assert rows_of(database, HOURS) == before
        assert "is written by the pipeline first" in second.status()[HOURS]["problems"][0]
    first.sync()
    assert_truth(first, database, HOURS)
    # The other stream went on, and belongs to who wrote it first.
    assert [owner["pipeline"] for owner in second.status()[EXCHANGES]["owners"]] == ["second"]


def test_a_connection_and_a_pipeline_do_not_write_one_table(
    program: Program, workspace: Workspace, make: Make, database: Path
) -> None:
    destination = Destination(program, workspace, database)
    lines = [record(HOURS, {"id": 1}), state(HOURS, 1), status(HOURS)]
    destination.write(catalog(stream(EXCHANGES), stream(HOURS)), [*lines, status(EXCHANGES)]).succeeded()
    [error] = sentence.on_stderr(make("first", [HOURS]).run("sync"))
    sentence.assert_clear(error, [f"polygon.{HOURS} is written by an Airbyte connection", "`table_prefix`"])
    # And the other way round. What to do is said in the words of the platform.
    first = make("first", [DAYS])
    first.sync()
    outcome = destination.write(catalog(stream(DAYS)), [record(DAYS, {"id": 1}), state(DAYS, 1), status(DAYS)])
    assert outcome.code == 2, outcome.describe()
    [told] = sentence.in_protocol(outcome, outcome.code)
    words = [f"polygon.{DAYS} is written by the pipeline first", "stream prefix for the connection"]
    sentence.assert_clear(told["message"], words)
    assert "`name`" not in told["message"]
    assert_truth(first, database, DAYS)


def test_a_prefix_gives_each_pipeline_tables_of_its_own(make: Make, database: Path) -> None:
    first = make("first", [in_mode(HOURS, "overwrite"), DAYS])
    second = make("second", [in_mode(HOURS, "append", table_prefix="b2_"), DAYS], more={"table_prefix": "B_"})
    for pipeline in (first, second, first):
        pipeline.sync()
    for prefix in (("", ""), ("b2_", "B_")):
        assert_truth(first, database, HOURS, f"{prefix[0]}{HOURS}")
        assert_truth(first, database, DAYS, f"{prefix[1]}{DAYS}")
    status = second.status()
    assert (status[HOURS]["table"], status[DAYS]["table"]) == (f"b2_{HOURS}", f"B_{DAYS}")
    # An error names the stream, not its table.
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"ALTER TABLE polygon.b2_{HOURS} ALTER close TYPE VARCHAR")
    [error] = sentence.on_stderr(second.run("sync"))
    assert error.startswith(f"{HOURS}: ")


def test_pipelines_that_both_say_so_share_a_table(make: Make, database: Path) -> None:
    shared = [in_mode(HOURS, "append_dedup", shared=True)]
    first = make("first", shared, source={"tickers": ["AAPL"]})
    second = make("second", shared, source={"tickers": ["BRK.B"]})
    for pipeline in (first, second, first, second):
        pipeline.sync()
    assert_truth(first, database, HOURS)
    owners = [(owner["pipeline"], owner["shared"]) for owner in first.status()[HOURS]["owners"]]
    assert owners == [("first", True), ("second", True)]
    assert "the pipeline second" in first.run("status").succeeded().stdout.decode()
    outcome = make("third", [HOURS]).run("sync")
    assert outcome.code == 2 and b"is written by the pipeline" in outcome.stderr


def test_tables_have_the_metadata_that_is_asked_for(make: Make, database: Path) -> None:
    def has(table: str) -> list[str]:
        query = "SELECT column_name FROM (DESCRIBE polygon.{}) WHERE starts_with(column_name, '_')"
        with duckdb.connect(str(database), read_only=True) as connection:
            return [name for (name,) in connection.execute(query.format(table)).fetchall()]

    airbyte = ["_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id"]
    streams = [in_mode(HOURS, "append_dedup", metadata="none"), in_mode(DAYS, "append", metadata="none")]
    first = make("first", [*streams, EXCHANGES])
    for _ in range(2):
        first.sync()
        assert (has(HOURS), has(DAYS), has(EXCHANGES)) == ([], [], airbyte)
        for table in (HOURS, DAYS):
            with duckdb.connect(str(database), read_only=True) as connection:
                (rows,) = connection.execute(f"SELECT count(*) FROM polygon.{table}").fetchone()
            assert rows == len(market.truth(first.simulator.url, table, START, first.end)), table
    assert first.status()[HOURS]["problems"] == []
    # Somebody who wants them later gets them.
    again = make("first", [HOURS, in_mode(DAYS, "append"), EXCHANGES])
    again.sync()
    assert (has(HOURS), has(DAYS)) == (airbyte, airbyte)


def test_status_tells_how_far_it_is_and_changes_nothing(make: Make, database: Path) -> None:
    streams = [HOURS, in_mode(DAYS, "append"), EXCHANGES]
    pipeline = make("judged", streams, end="2024-06-25")
    status = pipeline.status()
    assert not database.exists(), "status creates no file"
    assert [stream["exists"] for stream in status.values()] == [False] * 3
    assert status[DAYS]["due"]["slices"] == 4 and status[HOURS]["reached"] is None
    pipeline.sync()
    content = database.read_bytes()

    pipeline.end = END
    status = pipeline.status("--shards")
    assert database.read_bytes() == content, "status writes nothing"
    hours = status[HOURS]
    assert (hours["reached"], hours["shards"], hours["problems"]) == ("2024-06-25", 2, [])
    assert hours["rows"] == len(rows_of(database, HOURS)) and hours["updated_at"].endswith("Z")
    assert [(at["shard"], at["from"], at["through"]) for at in hours["progress"]] == [
        (ticker, START, "2024-06-25") for ticker in ("AAPL", "BRK.B")
    ]
    assert status[DAYS]["due"]["slices"] == 3
    text = pipeline.run("status", "--shards").succeeded().stdout.decode()
    for words in ("this pipeline", "2024-06-25, 2 shards", "3 slices", "each run reads all of it", "BRK.B"):
        assert words in text, text
    lines = [line for line in text.splitlines() if str(database) not in line]
    assert max(map(len, lines)) <= 80, text


def test_reset_reads_chosen_parts_again(make: Make, database: Path) -> None:
    pipeline = make("judged", [HOURS, in_mode(DAYS, "append"), in_mode("stock_bars_1_day", "append")])
    pipeline.sync()
    with duckdb.connect(str(database)) as connection:
        for table in (HOURS, DAYS, "stock_bars_1_day"):
            connection.execute(f"UPDATE polygon.{table} SET close = 1")
    wrong = {table: rows_of(database, table) for table in (HOURS, DAYS, "stock_bars_1_day")}
    content = database.read_bytes()

    def reset(*arguments: str) -> str:
        return pipeline.run("reset", *arguments).succeeded().stdout.decode()

    # Nobody can be asked here.
    outcome = pipeline.run("reset", "--stream", DAYS, "--from", FROM)
    assert outcome.code == 2 and "`--yes`" in sentence.on_stderr(outcome)[0]
    gone = sum(row["date"] >= FROM for row in wrong[DAYS])
    assert f"{gone:,} rows go" in outcome.stdout.decode() and "at least 3 requests" in outcome.stdout.decode()
    assert database.read_bytes() == content

    reset("--stream", DAYS, "--from", FROM, "--yes")
    assert len(rows_of(database, DAYS)) == len(wrong[DAYS]) - gone
    assert "no row goes" in reset("--stream", HOURS, "--ticker", "AAPL", "--yes")
    assert len(rows_of(database, HOURS)) == len(wrong[HOURS])
    reset("--stream", "stock_bars_1_day", "--ticker", "BRK.B", "--yes")
    assert pipeline.status()[HOURS]["shards"] == 1
    again = reset("--stream", HOURS, "--ticker", "AAPL", "--yes")
    assert "AAPL: no progress" in again and "nothing to reset" in again
    pipeline.sync()

    for table, is_again in {
        HOURS: lambda row: row["ticker"] == "AAPL",
        DAYS: lambda row: row["date"] >= FROM,
        "stock_bars_1_day": lambda row: row["ticker"] == "BRK.B",
    }.items():
        kept = [row for row in rows_of(database, table) if not is_again(row)]
        # The days before the last reading are read again anyway where rows replace each other.
        if table != HOURS:
            assert kept == [row for row in wrong[table] if not is_again(row)], table
        truth = [row for row in market.truth(pipeline.simulator.url, table, START, END) if is_again(row)]
        tables.assert_table_is_truth([row for row in rows_of(database, table) if is_again(row)], truth, table)


def test_reset_asks_who_sits_at_a_terminal(make: Make, database: Path) -> None:
    pipeline = make("judged", [in_mode(DAYS, "append")])
    pipeline.sync()
    rows = len(rows_of(database, DAYS))
    for answer in ("n", ""):
        code, said = pipeline.answer(answer, "reset", "--stream", DAYS)
        assert code == 130 and "go on? [y/N]" in said and "nothing was changed" in said, said
        assert len(rows_of(database, DAYS)) == rows
    code, said = pipeline.answer("y", "reset", "--stream", DAYS)
    assert code == 0 and "reads it again" in said, said
    assert rows_of(database, DAYS) == []


def test_an_unfinished_run_is_told_and_can_be_given_up(
    make: Make, database: Path, program: Program, workspace: Workspace
) -> None:
    failing = ["MSFT", "NVDA", "AMZN", "GOOG"]
    pipeline = make("judged", ["ticker_details"], source={"tickers": ["AAPL", *failing]})
    # What may pass keeps the run from its end: of fewer tickers it would be theirs alone.
    error = {"type": "server_error", "status": 503}
    rules = [{"match": {"path_prefix": f"/v3/reference/tickers/{ticker}"}, "fault": error} for ticker in failing]
    faults = workspace.input("faults.yaml", json.dumps(rules))
    healthy = pipeline.simulator
    with Simulator(program, faults=faults) as pipeline.simulator:
        assert pipeline.run("sync").code == 3
    pipeline.simulator = healthy
    status = pipeline.status()["ticker_details"]
    assert (status["unfinished"], status["due"]["slices"], status["shards"]) == (True, len(failing), 0)
    assert "unfinished" in pipeline.run("status").succeeded().stdout.decode()
    assert "given up" in pipeline.run("reset", "--stream", "ticker_details", "--yes").succeeded().stdout.decode()
    status = pipeline.status()["ticker_details"]
    assert (status["unfinished"], status["due"]["slices"]) == (False, 1 + len(failing))
    pipeline.source = {}
    pipeline.sync()
    assert_truth(pipeline, database, "ticker_details")


def test_reset_is_the_way_out_that_errors_name(make: Make, database: Path) -> None:
    """Bars adjusted for splits are other rows: progress of raw ones is refused, and `reset` begins anew."""
    streams = [HOURS, in_mode(DAYS, "append"), in_mode("stock_bars_1_day", "overwrite")]
    pipeline = make("judged", streams)
    pipeline.sync()
    pipeline.source = {"adjusted": True}
    outcome = pipeline.run("sync")
    assert outcome.code == 2 and len(sentence.on_stderr(outcome)) == 2, outcome.describe()
    assert all("`tapeline reset`" in error for error in sentence.on_stderr(outcome))
    assert [len(stream["problems"]) for stream in pipeline.status().values()] == [1, 1, 0]
    rows = len(rows_of(database, DAYS))
    told = pipeline.run("reset", "--stream", HOURS, "--stream", DAYS, "--yes").succeeded().stdout.decode()
    assert "in all: at least 9 requests" in told and f"{rows:,} rows go" in told, told
    assert rows_of(database, DAYS) == []
    pipeline.sync()
    assert len(rows_of(database, DAYS)) == rows


@pytest.mark.parametrize("mode", ["append_dedup", "append", "overwrite"])
def test_reset_mends_progress_of_a_clock_that_was_ahead(make: Make, database: Path, program: Program, mode: str) -> None:
    """Days that were not over count as read: nothing of such progress is believed, and the way out is one command."""
    pipeline = make("judged", [in_mode(HOURS, mode), in_mode(DAYS, "append_dedup")])
    healthy, secrets = pipeline.simulator, pipeline.secrets
    later = f"{date.today().year + 2}-01-05T21:00:00Z"
    with Simulator(program, now=later) as pipeline.simulator:
        pipeline.secrets = {**secrets, "TAPELINE_NOW": later}
        pipeline.sync()
    pipeline.simulator, pipeline.secrets = SimpleNamespace(url="http://127.0.0.1:9"), secrets
    # Without a request: nobody listens there.
    problems = [stream["problems"] for stream in pipeline.status().values()]
    assert [bool(told) for told in problems] == [mode != "overwrite", True]
    sentence.assert_clear(problems[1][0], [f"as of {later}", "the clock of the machine that made it was ahead", "`tapeline reset`"])
    pipeline.simulator = healthy
    assert pipeline.run("sync").code == 2
    outcome = pipeline.run("reset", "--stream", DAYS, "--from", FROM, "--yes")
    assert outcome.code == 2 and b"all of it" in outcome.stderr, outcome.describe()
    pipeline.run("reset", "--stream", HOURS, "--stream", DAYS, "--yes").succeeded()
    pipeline.sync()
    assert_truth(pipeline, database, HOURS)
    assert_truth(pipeline, database, DAYS)


def test_a_table_is_not_replaced_by_one_that_lacks_rows(
    make: Make, database: Path, program: Program, workspace: Workspace
) -> None:
    pipeline = make("judged", [in_mode(HOURS, "overwrite")], source={"tickers": ["AAPL", "BRK.B", "MSFT"]})
    pipeline.end = FROM
    pipeline.sync()
    before, pipeline.end = rows_of(database, HOURS), END
    rule = {"match": {"path_prefix": "/v2/aggs/ticker/BRK.B/"}, "fault": {"type": "results_text"}}
    faults = workspace.input("faults.yaml", json.dumps([rule]))
    healthy = pipeline.simulator
    with Simulator(program, faults=faults) as pipeline.simulator:
        for _ in range(2):
            outcome = pipeline.run("sync")
            assert outcome.code == 1, outcome.describe()
            said = outcome.stderr.decode()
            assert f"{HOURS}: not all of it could be read, so that nothing takes the place of what was there" in said
            assert "BRK.B" in sentence.on_stderr(outcome)[0]
            assert rows_of(database, HOURS) == before
    pipeline.simulator = healthy
    pipeline.sync()
    assert_truth(pipeline, database, HOURS, tickers=pipeline.source["tickers"])


@pytest.mark.parametrize(("fault", "code"), [("fewer_rows", 1), ("server_error", 3)])
def test_a_ticker_whose_answers_do_not_get_better_holds_up_no_other(
    make: Make, database: Path, program: Program, workspace: Workspace, fault: str, code: int
) -> None:
    pipeline = make("judged", [in_mode(HOURS, "append_dedup")], source={"tickers": ["AAPL", "BRK.B", "MSFT"]})
    rule = {"match": {"path_prefix": "/v2/aggs/ticker/AAPL/"}, "fault": {"type": fault}}
    faults = workspace.input("faults.yaml", json.dumps([rule]))
    healthy = pipeline.simulator
    truth = market.truth(healthy.url, HOURS, START, END, ["BRK.B", "MSFT"])
    with Simulator(program, faults=faults) as pipeline.simulator:
        outcome = pipeline.run("sync")
    assert outcome.code == code and "/AAPL/" in sentence.on_stderr(outcome)[0], outcome.describe()
    tables.assert_table_is_truth(rows_of(database, HOURS), truth, HOURS)
    pipeline.simulator = healthy
    pipeline.sync()
    assert_truth(pipeline, database, HOURS, tickers=pipeline.source["tickers"])


def test_what_is_not_there_is_refused_by_name(make: Make, database: Path) -> None:
    pipeline = make("judged", [HOURS, in_mode(DAYS, "append"), EXCHANGES])
    pipeline.sync()
    content = database.read_bytes()
    for arguments, words in (
        (["--stream", "stock_bars"], ["`--stream stock_bars`", "no such stream"]),
        (["--stream", HOURS, "--ticker", "AAPLE"], ["`--ticker AAPLE`", "`AAPL`"]),
        (["--stream", DAYS, "--ticker", "AAPL"], [DAYS, "is not read ticker by ticker"]),
        (["--stream", EXCHANGES, "--from", FROM], [EXCHANGES, "is overwritten as a whole"]),
        (["--stream", HOURS, "--from", "yesterday"], ["`--from yesterday`", "YYYY-MM-DD"]),
    ):
        outcome = pipeline.run("reset", *arguments, "--yes")
        assert outcome.code == 2, outcome.describe()
        [error] = sentence.on_stderr(outcome)
        sentence.assert_clear(error, words)
    assert "none is unfinished" in pipeline.run("reset", "--stream", EXCHANGES, "--yes").stdout.decode()
    # Rows after the end would go and not come back.
    pipeline.end = FROM
    outcome = pipeline.run("reset", "--stream", DAYS, "--yes")
    assert outcome.code == 2
    sentence.assert_clear(sentence.on_stderr(outcome)[0], [DAYS, "`end_date`", "would not come back"])
    assert database.read_bytes() == content


def test_check_tries_everything_and_leaves_nothing(
    make: Make, database: Path, wrong_key: str, simulator: Simulator
) -> None:
    pipeline = make("judged", [HOURS, DAYS])
    told = " ".join(pipeline.run("check").succeeded().stdout.decode().split())
    for words in ("pipeline: judged", "key: the API takes it", "sink: ", "rights: ", f"{DAYS}: the table {DAYS} is not"):
        assert words in told, told
    assert not database.exists(), "check leaves no file"
    pipeline.sync()
    content = database.read_bytes()
    told = " ".join(pipeline.run("check").succeeded().stdout.decode().split())
    assert f"the table {DAYS} can take its rows; it has" in told, told
    assert rows_of(database, DAYS) and len(database.read_bytes()) == len(content)

    pipeline.secrets = {"POLYGON_API_KEY": wrong_key}
    outcome = pipeline.run("check")
    assert outcome.code == 2 and "FAILED   key: " in outcome.stdout.decode(), outcome.describe()
    assert "rights: tables can be created" in outcome.stdout.decode()

    second = make("second", [HOURS])
    outcome = second.run("check")
    assert outcome.code == 2 and f"FAILED   {HOURS}: " in outcome.stdout.decode(), outcome.describe()
    second.sink = {"duckdb": {"path": str(database.parent / "nowhere" / "x.duckdb")}}
    outcome = second.run("check")
    assert outcome.code == 2 and "FAILED   sink: " in outcome.stdout.decode(), outcome.describe()
