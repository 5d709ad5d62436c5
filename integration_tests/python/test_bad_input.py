"""The table of bad input: each gives one clear sentence and the right exit code, and leaves everything as it was.

Every case begins after a good run, breaks one thing, and looks at what each
command says that meets it. Then the thing is mended, and the next run goes on as
if nothing had happened. A Snowflake that refuses is in test_bad_warehouse.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pytest

from harness import airbyte, disks, market, sentence, tables
from harness.bad import BadInput, Provoke
from harness.program import Outcome, Program
from harness.servers import Simulator, WebPage, closed_port
from harness.workspace import Workspace
from harness.world import END, FIRST_END, PROGRESS, START, STREAMS, World

BARS, DAILY, EXCHANGES = STREAMS
DAY_S = 86_400
# Less than a commit of two months' trades needs.
ROOM = 48 << 10


@dataclass(frozen=True)
class Bad(BadInput):
    """As of a source, whose streams and tickers can fail one by one."""

    # The streams that fail while the others go on; none: nothing goes on.
    fails: tuple[str, ...] = ()
    # The ticker that fails while the others of its stream go on.
    ticker: str | None = None
    # Must be nowhere in what is printed.
    never: tuple[str, ...] = ()


def source(*without: str, **fields: Any) -> Provoke:
    """Fields of the source are other ones."""

    def provoke(world: World) -> None:
        world.source, world.without = fields, without

    return provoke


def other(**fields: Any) -> Provoke:
    """Other parts of the world are other ones."""

    def provoke(world: World) -> None:
        for name, value in fields.items():
            setattr(world, name, value)

    return provoke


def with_key_of(name: str) -> Provoke:
    def provoke(world: World) -> None:
        world.source = {"api_key": f"${{{name}}}"}

    return provoke


def refused_key(world: World) -> None:
    world.api_key = "invalid-" + world.workspace.new_secret("a refused API key")


def progress(change: Callable[[dict[str, Any]], Any]) -> Provoke:
    """The progress of a stream is another one, where it is stored and where it is passed."""

    def provoke(world: World) -> AbstractContextManager[None]:
        world.pass_state(DAILY, change)
        return world.progress(DAILY, lambda text: json.dumps(change(json.loads(text))))

    return provoke


@contextmanager
def unreachable(world: World) -> Iterator[None]:
    with closed_port() as url:
        # Each try would cost one of five requests a minute.
        world.source = {"base_url": url, "plan": {"type": "free"}}
        yield


def web_page(status: int) -> Provoke:
    @contextmanager
    def provoke(world: World) -> Iterator[None]:
        with WebPage(status) as page:
            world.source = {"base_url": page.url}
            # Where it is tried again, once is enough to wait for.
            world.streams = [EXCHANGES] if status >= 500 else STREAMS
            yield

    return provoke


def answers(kind: str, path: str = "/v", **fields: object) -> Provoke:
    """The answers to all requests of a path go wrong in one way."""

    @contextmanager
    def provoke(world: World) -> Iterator[None]:
        rule = {"match": {"path_prefix": path}, "fault": {"type": kind, **fields}}
        faults = world.workspace.input("faults.yaml", json.dumps([rule]))
        with Simulator(world.program, faults=faults) as market_with_faults:
            world.source = {**world.source, "base_url": market_with_faults.url}
            yield

    return provoke


def https(world: World) -> None:
    world.source = {"base_url": world.url.replace("http:", "https:")}


@contextmanager
def write_protected(world: World) -> Iterator[None]:
    world.database.chmod(0o444)
    yield
    world.database.chmod(0o644)


def on_a_read_only_disk(world: World) -> None:
    world.prefix = disks.read_only_disk(world.database.parent)


@contextmanager
def locked(world: World) -> Iterator[None]:
    # A lock is a process's: in this one it would end with the first look at the file.
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(world.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"\n"
        yield
        holder.communicate()


@contextmanager
def another_file(world: World) -> Iterator[None]:
    good = world.database.read_bytes()
    world.database.write_text("ticker,open\nAAPL,1.5\n" * 1000)
    yield
    world.database.write_bytes(good)


@contextmanager
def cut_short(world: World) -> Iterator[None]:
    good = world.database.read_bytes()
    world.database.write_bytes(good[: len(good) // 2])
    yield
    world.database.write_bytes(good)


def more_than_fits(world: World) -> None:
    """The first stream, which fails, has more rows than there is room for."""
    world.streams = ["stock_trades", *STREAMS]
    world.source = {"start_date": "2024-05-01"}


def on_a_full_disk(world: World) -> None:
    more_than_fits(world)
    world.prefix = disks.small_disk(world.database.parent, ROOM)


def with_files_that_cannot_grow(world: World) -> None:
    more_than_fits(world)
    # Writes within the file succeed, as on a full disk.
    world.prefix = disks.limited_files(world.database.stat().st_size)


SYNC, READ = ("sync",), ("read",)
# Those that ask the API, and those that look at the whole configuration.
ASKING = ("sync", "read", "check")
ALL = (*ASKING, "discover")

TABLE = [
    # The source.
    Bad("a wrong key", refused_key, 2, ("the API refuses `api_key`", "copy the key"), ASKING),
    Bad(
        "a variable that is not set",
        with_key_of("NO_SUCH_KEY"),
        2,
        ("`source.polygon.api_key`", "NO_SUCH_KEY is not set", "export NO_SUCH_KEY="),
        SYNC,
    ),
    Bad("a typo in a field", source("start_date", start_dat=START), 2, ("start_dat`", "`start_date`?"), ALL),
    Bad(
        "a start date in the future",
        source(start_date="2097-01-02", end_date=None),
        2,
        ("`start_date` 2097-01-02 is in the future", "past trading day"),
        ALL,
    ),
    Bad(
        "an end date before the start date",
        source(end_date="2024-06-01"),
        2,
        (f"`end_date` 2024-06-01 is before `start_date` {START}", "swap them"),
        ALL,
    ),
    Bad(
        "a bar size that does not exist",
        source(bar_sizes=["1fortnight"]),
        2,
        ('`bar_sizes` holds "1fortnight"', "such as 1minute"),
        ALL,
    ),
    Bad(
        "no requests per minute",
        source(plan={"type": "custom", "requests_per_minute": 0}),
        2,
        ("`plan.requests_per_minute` is 0", "1 or more"),
        ALL,
    ),
    Bad(
        "no tickers",
        source(tickers=[]),
        2,
        (f"`tickers` is empty, and {BARS} is read ticker by ticker", "`tickers: [AAPL]`"),
        ("sync", "read"),
    ),
    Bad(
        "a ticker that does not exist",
        source(tickers=[*market.TICKERS, "NOSUCH"]),
        2,
        ('`tickers` names "NOSUCH"', "does not exist", "case-sensitive"),
        ASKING,
        ticker="NOSUCH",
    ),
    Bad(
        "an API that cannot be reached",
        unreachable,
        3,
        ("the API cannot be reached at 127.0.0.1:", "check `base_url` and the network"),
        ASKING,
        never=("rate limit", "RATE_LIMITED", "rate_limited"),
    ),
    Bad("a web page in place of the API", web_page(200), 2, ("HTTP 200", "a web page", "check `base_url`"), ASKING),
    Bad("a web page that refuses", web_page(403), 2, ("HTTP 403", "a web page", "a firewall"), ASKING),
    Bad("a gateway that fails for ever", web_page(504), 3, ("HTTP 504", "try again later"), SYNC),
    Bad(
        "https to a port that does not speak it",
        https,
        2,
        ("`base_url` says https, and the port does not speak TLS", "write http://"),
        ASKING,
    ),
    Bad(
        "a clock that is ahead of the API's",
        answers("wrong_date", ahead_s=-90 * DAY_S),
        2,
        ("this machine's clock says", "and the API's says", "set the clock"),
        ASKING,
    ),
    Bad(
        "a clock that is behind the API's",
        answers("wrong_date", ahead_s=3_600),
        2,
        ("this machine's clock says", "and the API's says", "nothing was read"),
        ("sync", "read"),
    ),
    # Answers that are not what was asked for.
    *(
        Bad(f"answers with {kind}", answers(kind, "/v2/aggs/grouped"), 1, ("GET /v2/aggs/grouped", *says), ("sync", "read"), fails=(DAILY,))
        for kind, says in {
            "results_object": ("`results` is an object where rows are due", "nothing of it is kept"),
            "results_text": ("`results` is a text where rows are due",),
            "results_number": ("`results` is a number where rows are due",),
            "results_numbers": ("`results` holds a number where rows, which are objects, are due",),
            "results_twice": ("the answer has `results` twice",),
            "second_status": ("the answer has `status` twice",),
            "next_url_number": ("`next_url` is a number",),
            "next_url_object": ("`next_url` is an object",),
            "next_url_text": ("`next_url` is not a URL",),
            "next_url_elsewhere": ("`next_url` leads to /v3/quotes/AAPL, and /v2/aggs/grouped/locale/us/market/stocks/", "was asked for"),
            "other_days": ("a row of 2001-09-08, and 20", "was asked for"),
            "day_before": ("a row of 20", "was asked for"),
            "foreign_encoding": ("is packed as br, and gzip was asked for",),
        }.items()
    ),
    Bad(
        "answers with fewer rows than they say",
        answers("fewer_rows", "/v2/aggs/grouped"),
        1,
        ("GET /v2/aggs/grouped", "rows of the", "that its `resultsCount` says", "tried several times"),
        SYNC,
        fails=(DAILY,),
    ),
    # What is read, and how far it was.
    Bad(
        "a stream that does not exist",
        other(streams=[BARS, "splitz"]),
        2,
        ("splitz", "did you mean `splits`?"),
        ("sync", "read"),
    ),
    Bad(
        "a pipeline that is cut",
        other(pipeline_text='{"name": "judged", "source": {'),
        2,
        ("pipeline.yaml", "not valid YAML"),
        SYNC,
    ),
    Bad("an empty pipeline", other(pipeline_text=""), 2, ("pipeline.yaml", "the pipeline is empty", "`tapeline init`"), SYNC),
    Bad(
        "a key that occurs twice",
        other(pipeline_text="name: judged\nname: again\n"),
        2,
        ("pipeline.yaml:2:1", "`name` is there twice", "keep one"),
        SYNC,
    ),
    Bad(
        "two sinks",
        other(pipeline_text="name: judged\nsink:\n  duckdb: {path: a}\n  snowflake: {}\n"),
        2,
        ("pipeline.yaml:2:1", "`sink` of the pipeline names two: `duckdb` and `snowflake`", "a second pipeline"),
        SYNC,
    ),
    Bad(
        "a number that is a text",
        source(plan={"type": "custom", "requests_per_minute": "many"}),
        2,
        ("plan.requests_per_minute`", "a text stands where there should be a whole number", "without quotes"),
        ALL,
    ),
    Bad(
        "a key that is too short to hide",
        lambda world: setattr(world, "source", {"api_key": "stocks"}),
        2,
        ("`api_key` has fewer than 8 characters", "choose a longer one"),
        ALL,
    ),
    Bad(
        "a key among the tickers",
        lambda world: setattr(world, "source", {"tickers": ["AAPL", world.api_key.replace("/", "")], "api_key": world.api_key.replace("/", "")}),
        2,
        ("tickers[1]`", "holds the value of a key or password", "its own field only"),
        ALL,
    ),
    Bad("an empty configuration", other(config_text=" \n"), 2, ("config.json", "is empty", "a JSON object"), ("read", "discover")),
    Bad(
        "a pipeline for a configuration",
        other(config_text="name: judged\nsource:\n  polygon: {}\nsink:\n  duckdb: {path: a}\n"),
        2,
        ("config.json", "is a pipeline", "`tapeline sync` runs it"),
        ("read", "discover"),
    ),
    Bad(
        "a pipeline as JSON for a configuration",
        other(config_text='{"name": "judged", "source": {"polygon": {}}, "sink": {}}'),
        2,
        ("config.json", "is a pipeline", "`source.polygon` of it"),
        ("read", "discover"),
    ),
    Bad(
        "a configuration with a key twice",
        other(config_text='{"api_key": "aaaaaaaaaaaa",\n "api_key": "bbbbbbbbbbbb", "start_date": "2024-06-20"}'),
        2,
        ("config.json:2:10", "`api_key` is there twice", "keep one of the two"),
        ("read", "discover"),
    ),
    Bad(
        "a destination's configuration for a pipeline",
        other(pipeline_text='{"sink": {"type": "duckdb", "path": "a"}}'),
        2,
        ("pipeline.yaml:1:11", "`sink.type` of the pipeline", "`sink: {duckdb: {…}}`", "`tapeline destination` takes"),
        SYNC,
    ),
    Bad(
        "a plain catalogue",
        lambda world: setattr(world, "catalog_text", json.dumps({"type": "CATALOG", "catalog": {"streams": [{"name": BARS}]}})),
        2,
        ("catalog.json", "is a plain one, as `discover` prints it", '"sync_mode"', "catalogs/ has examples"),
        READ,
    ),
    Bad(
        "a primary key that the stream does not have",
        lambda world: setattr(world, "key", [["tickr"]]),
        2,
        ("`tickr` of the primary key of stream", "is no column of it", "`ticker`?"),
        READ,
    ),
    Bad("a configuration that is cut", other(config_text='{"api_key":'), 2, ("config.json", "not JSON"), ("read", "discover")),
    Bad("a state file that is cut", other(state_text='[{"type": '), 2, ("state.json", "not JSON", "pass the STATE"), READ),
    Bad(
        "progress that is cut",
        lambda world: world.progress(DAILY, lambda text: text[:20]),
        2,
        ("the state is not one that this program wrote", "not JSON", "read the stream anew"),
        SYNC,
        fails=(DAILY,),
    ),
    Bad(
        "a malformed state",
        progress(lambda state: {**state, "through": 5} if "through" in state else {**state, "floor": 5}),
        2,
        ("the state is not one that this program wrote", "another type", "read the stream anew"),
        ("sync", "read"),
        fails=(DAILY,),
    ),
    Bad(
        "a state from another version",
        progress(lambda state: {**state, "version": 99}),
        2,
        ("the state has version 99", "use the program that wrote it"),
        ("sync", "read"),
        fails=(DAILY,),
    ),
    Bad(
        "progress of a clock that was ahead",
        progress(lambda state: json.loads(json.dumps(state).replace('"as_of": "20', '"as_of": "21'))),
        2,
        ("the progress was made as of 21", "the clock of the machine that made it was ahead", "read the stream anew"),
        ("sync", "read"),
        fails=(DAILY,),
    ),
    Bad(
        "a state of other options",
        source(adjusted=True),
        2,
        ("the state was made with adjusted=false", "adjusted=true", "set the option back"),
        ("sync", "read"),
        fails=(BARS, DAILY),
    ),
    # The file.
    Bad("a typo in a field of the sink", other(sink={"pth": "x"}), 2, ("sink.duckdb.pth`", "`path`?"), SYNC),
    Bad("a read-only file", write_protected, 2, ("market.duckdb is read-only", "another `path`"), SYNC),
    Bad("a file of something else", another_file, 2, ("market.duckdb is not a DuckDB database", "`path`"), SYNC),
    Bad("a file that is cut short", cut_short, 2, ("database file is damaged or cut short", "restore it from a copy"), SYNC),
    Bad("a file that another process has", locked, 3, ("market.duckdb open (process ", "close it first"), SYNC),
    Bad(
        "files that cannot grow",
        with_files_that_cannot_grow,
        2,
        ("stock_trades", "grow no further", "everything up to the last commit is safe"),
        SYNC,
    ),
]
if disks.can_mount():
    TABLE += [
        Bad("a full disk", on_a_full_disk, 2, ("stock_trades", "the disk is full", "free some space"), SYNC),
        Bad("a read-only disk", on_a_read_only_disk, 2, ("no permission to write to", "another `path`"), SYNC),
    ]

CASES = [pytest.param(bad, verb, id=f"{bad.what}, {verb}") for bad in TABLE for verb in bad.meets]


@dataclass(frozen=True)
class After:
    """What the next run does when nothing happened: requests of `sync`, records of `read`."""

    requests: int
    records: Counter[str]


@pytest.fixture(scope="module")
def seed(program: Program, workspace: Workspace, simulator: Simulator, api_key: str) -> World:
    """The world after a good run of everything."""
    config = workspace.input("config.json", market.config(simulator.url, api_key, START, END))
    database = workspace.folder("seed") / "market.duckdb"
    catalog = airbyte.discover(program, config)
    world = World(program, workspace, simulator.url, api_key, catalog, database, states=[], end=FIRST_END)
    world.sync().succeeded()
    world.states = airbyte.latest_states(world.airbyte("read").succeeded().messages)
    world.end = END
    return world


def fresh(seed: World) -> World:
    world = seed.copy()
    world.database = seed.workspace.folder("bad") / "market.duckdb"
    shutil.copyfile(seed.database, world.database)
    return world


@pytest.fixture
def world(seed: World) -> World:
    return fresh(seed)


@pytest.fixture(scope="module")
def undisturbed(seed: World) -> After:
    return next_run(fresh(seed))


def next_run(world: World) -> After:
    summary = json.loads(world.sync("--log-format", "json").succeeded().stdout)
    records = airbyte.records(world.airbyte("read").succeeded().messages)
    return After(summary["requests"], Counter({stream: len(rows) for stream, rows in records.items()}))


@pytest.mark.parametrize(("bad", "verb"), CASES)
def test_bad_input_is_told_and_changes_nothing(bad: Bad, verb: str, world: World, undisturbed: After) -> None:
    broken = world.copy()
    with ExitStack() as mended_at_the_end:
        if surroundings := bad.provoke(broken):
            mended_at_the_end.enter_context(surroundings)
        before = contents(world)
        outcome = broken.run(verb)
        assert_told(bad, verb, outcome)
        assert_untouched(bad, verb, before, contents(world))
    if verb == "sync" and (bad.fails or bad.ticker):
        assert_others_went_on(bad, world)
        world.sync().succeeded()
    else:
        assert next_run(world) == undisturbed
    for stream in STREAMS:
        truth = market.truth(world.url, stream, START, END)
        tables.assert_table_is_truth(world.rows_of(stream), truth, stream)


def test_an_answer_of_another_ticker_fails_that_ticker_each_time_and_no_other(world: World) -> None:
    before = world.rows_of(BARS)
    for _ in range(2):
        broken = world.copy()
        with ExitStack() as mended_at_the_end:
            provoke = answers("other_ticker", "/v2/aggs/ticker/AAPL")
            if surroundings := provoke(broken):
                mended_at_the_end.enter_context(surroundings)
            outcome = broken.sync()
        assert outcome.code == 1, outcome.describe()
        told = sentence.on_stderr(outcome)
        assert len(told) == 1
        sentence.assert_clear(told[0], (BARS, "AAPL was asked for, and the answer is of ZZZZZ"))
    of = [[row for row in rows if row["ticker"] == "AAPL"] for rows in (before, world.rows_of(BARS))]
    assert of[0] == of[1]
    assert_others_went_on(Bad("", https, 1, (), (), fails=(BARS,)), world)
    world.sync().succeeded()
    tables.assert_table_is_truth(world.rows_of(BARS), market.truth(world.url, BARS, START, END), BARS)


def contents(world: World) -> dict[str, Any]:
    """The tables, or the bytes of a file that is not a database."""
    try:
        return dict(world.stored())
    except duckdb.Error:
        return {"the file": world.database.read_bytes()}


def assert_told(bad: Bad, verb: str, outcome: Outcome) -> None:
    for word in bad.never:
        assert word.encode() not in outcome.stdout + outcome.stderr, outcome.describe()
    if verb == "check" and bad.code == 2:
        sentence.assert_clear(sentence.in_check(outcome), bad.says)
        return
    assert outcome.code == bad.code, f"{outcome.describe()}\nended with {outcome.code}"
    told = sentence.on_stderr(outcome)
    assert len(told) == (max(len(bad.fails), 1) if verb == "sync" else 1), outcome.describe()
    for text in told:
        sentence.assert_clear(text, bad.says)
    if verb != "sync":
        errors = sentence.in_protocol(outcome, bad.code)
        assert len(errors) == max(len(bad.fails), 1), outcome.describe()
        for error in errors:
            sentence.assert_clear(error["message"], bad.says)
        named = {error["stream_descriptor"]["name"] for error in errors if error.get("stream_descriptor")}
        assert named >= set(bad.fails), outcome.describe()
        assert_nothing_emitted(bad, outcome)


def assert_nothing_emitted(bad: Bad, outcome: Outcome) -> None:
    """No record of what failed, and no state that would move past it."""
    emitted = [m for m in outcome.messages if m["type"] in ("RECORD", "STATE")]
    if bad.ticker:
        assert emitted and bad.ticker not in json.dumps(emitted, default=str), outcome.describe()
        return
    streams = {airbyte.name_of(message) for message in emitted}
    assert streams == (set(STREAMS) - set(bad.fails) if bad.fails else set()), outcome.describe()


def assert_untouched(bad: Bad, verb: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    if verb == "sync" and bad.ticker:
        assert bad.ticker not in repr(after)
        return
    streams_that_failed = bad.fails if verb == "sync" and bad.fails else None
    assert_same(of_streams(before, streams_that_failed), of_streams(after, streams_that_failed))


def of_streams(contents: dict[str, Any], streams: tuple[str, ...] | None) -> dict[str, Any]:
    """What concerns these streams; with none given, everything but tables without a row."""
    if streams is None:
        return {name: rows for name, rows in contents.items() if rows}
    kept = {name: rows for name, rows in contents.items() if name in streams}
    progress = [row for row in contents[PROGRESS] if row[1] in streams]
    return {**kept, PROGRESS: progress}


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"changed: {changed}"


def assert_others_went_on(bad: Bad, world: World) -> None:
    for stream in STREAMS:
        if stream not in bad.fails:
            truth = market.truth(world.url, stream, START, END)
            tables.assert_table_is_truth(world.rows_of(stream), truth, stream)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two\nlines (hint: do something)",
        "no hint at all",
        'Error { kind: Config, message: "x" } (hint: do something)',
        'Some("x") is wrong (hint: do something)',
        "Io(Custom { kind: Other }) (hint: do something)",
        "serde_json::Error (hint: do something)",
        "expected a nonzero u32 (hint: do something)",
        "thread 'main' panicked at src/main.rs:1 (hint: do something)",
        "x" * 500 + " (hint: do something)",
    ],
)
def test_the_judge_of_sentences_rejects_what_it_should(text: str) -> None:
    assert sentence.problems(text, ())
    good = "`start_date` 2097-01-02 is in the future (hint: choose a past trading day)"
    assert not sentence.problems(good, ("`start_date`",))
    assert sentence.problems(good, ("`end_date`",))


def test_the_read_only_file_is_read_only_for_everybody(world: World) -> None:
    """For root a mode forbids nothing: the program has to look at it."""
    with write_protected(world):
        assert os.stat(world.database).st_mode & 0o222 == 0
        before = world.database.read_bytes()
        assert world.sync().code == 2
        assert world.database.read_bytes() == before


def test_full_disks_are_real_where_they_can_be() -> None:
    names = {bad.what for bad in TABLE}
    assert {"files that cannot grow", "a read-only file"} <= names
    assert disks.can_mount() == ("a full disk" in names)
