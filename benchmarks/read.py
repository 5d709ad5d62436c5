"""`read` to a pipe, beside airbyte-cdk's declarative manifest on the same pages."""

import time
import urllib.request
from functools import partial

from . import market, measure, report, scene

RUNS = 3
TICKERS_OF_THE_LONG_RUN = [f"T{number}" for number in range(1, 6)]
# Days (whole pages), sync mode and title of each stream of the manifest: so many
# that it runs about half a minute at most.
MANIFEST = {
    "as_sent": (1042, "full_refresh", "airbyte-cdk, rows as sent, no ticker, no cursor"),
    "incremental": (520, "incremental", "airbyte-cdk, rows as sent + ticker, incremental"),
    "bars": (104, "incremental", "airbyte-cdk, the same records as tapeline, incremental"),
    "by_field": (52, "incremental", "airbyte-cdk, the same, a template a field"),
}


def run():
    """Measures and writes the table."""
    with scene.server() as (base_url, server), scene.scratch() as folder:
        programs, rows = {}, {}
        programs["tapeline read"] = tapeline(folder, base_url, server, ["AAPL"], "one")
        rows["tapeline read"] = market.BARS
        for stream, (days, sync_mode, title) in MANIFEST.items():
            programs[title] = manifest(folder, base_url, server, stream, days, sync_mode)
            rows[title] = min(market.BARS, days * market.MINUTES_PER_DAY)
        long = f"tapeline read, {len(TICKERS_OF_THE_LONG_RUN)} tickers"
        programs[long] = tapeline(folder, base_url, server, TICKERS_OF_THE_LONG_RUN, "five")
        rows[long] = market.BARS * len(TICKERS_OF_THE_LONG_RUN)
        for name, program in programs.items():
            counted = program(reader=scene.COUNT).bytes_out
            if counted != rows[name]:
                raise measure.Failed(f"{name} emitted {counted} records, not {rows[name]}")
        medians = measure.rounds(programs, RUNS)
        fetched = curl(base_url)
    write(medians, rows, long, fetched)


def tapeline(folder, base_url, server, tickers, name):
    """Our program, reading to a pipe."""
    config = scene.write_json(folder / f"{name}.json", scene.source_config(base_url, tickers))
    catalog = scene.write_json(folder / f"{name}-catalog.json", scene.configured(scene.STREAM, "incremental"))
    command = [scene.TAPELINE, "read", "--config", config, "--catalog", catalog]
    return piped(command, folder / f"{name}.log", server)


def manifest(folder, base_url, server, stream, days, sync_mode):
    """A stream of the manifest, through the CDK's own program."""
    config = scene.source_config(base_url, ["AAPL"], market.DAYS[days - 1])
    config |= {"ticker": "AAPL"}
    path = scene.write_json(folder / f"{stream}.json", config)
    catalog = scene.write_json(folder / f"{stream}-catalog.json", scene.configured(stream, sync_mode))
    command = [scene.CDK, "read", "--config", path, "--catalog", catalog]
    command += ["--manifest-path", str(scene.PEERS / "cdk" / "manifest.yaml")]
    return piped(command, folder / f"{stream}.log", server)


def piped(command, log, server):
    """A function that runs the command once into a reader, by default one that only reads."""

    def go(reader=scene.DISCARD):
        return measure.once(command, log=log, reader=list(reader), server=server)

    return go


def curl(base_url):
    """Records a second that the server gives to a client that does nothing with them."""
    page = f"{base_url}/v2/aggs/ticker/AAPL/range/1/minute/{market.FIRST_DAY}/{market.LAST_DAY}?limit=50000"
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        with urllib.request.urlopen(page) as answer:
            for _ in iter(partial(answer.read, 1 << 20), b""):
                pass
        seconds.append(time.perf_counter() - begun)
    return market.PAGE_ROWS_MAX / sorted(seconds)[5]


def write(medians, rows, long, fetched):
    """The table, with ratios to ours."""
    ours = rows["tapeline read"] / medians["tapeline read"].seconds
    lines = []
    for name, run in medians.items():
        rate = rows[name] / run.seconds
        is_ours = name.startswith("tapeline")
        lines.append(
            [
                name,
                f"{rows[name]:,}",
                f"{run.seconds:.2f}",
                f"{rate:,.0f}",
                "" if is_ours else f"{ours / rate:,.0f} ×",
                f"{run.cpu / rows[name] * 1e6:.2f}",
                f"{run.peak_mb:.0f}",
            ]
        )
    lines.append(["the server alone, to a client that discards", "", "", f"{fetched:,.0f}", "", "", ""])
    heads = ["", "records", "seconds", "records/s", "tapeline is", "CPU s a million", "peak MB"]
    report.write("read", [report.table(heads, lines), report.disturbance(medians)])
