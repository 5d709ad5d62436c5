"""Two streams under one key and one limit, of which one costs more in every way that a
stream can: how much of the limit each has while both have work.
"""

from dataclasses import dataclass

from . import quick, report, scene

WATCHED_S = 6
# So many that neither stream is read to its end meanwhile.
TICKERS, FEW_TICKERS = 1_000, 40
# Milliseconds before an answer, and its rows.
NEAR_MS, FAR_MS = 20, 400
SMALL_ROWS, LARGE_ROWS = 1, 2_000
# The bounds of each stream's share: within a tenth of half.
LEAST, MOST = 0.45, 0.55


@dataclass(frozen=True)
class Case:
    """What trades are like; an answer with bars has one row, after 20 ms."""

    name: str
    rows: int
    latency_ms: int
    tickers: int = TICKERS

    @property
    def options(self):
        """Those of the server."""
        options = {
            "--latency-ms": NEAR_MS,
            "--rows": SMALL_ROWS,
            "--trades-latency-ms": self.latency_ms,
            "--trades-rows": self.rows,
        }
        return [str(word) for option in options.items() for word in option]


CASES = [
    Case("alike", SMALL_ROWS, NEAR_MS),
    Case(f"trades: pages of {LARGE_ROWS:,} rows", LARGE_ROWS, NEAR_MS),
    Case(f"trades: {FAR_MS} ms away", SMALL_ROWS, FAR_MS),
    Case("trades: both", LARGE_ROWS, FAR_MS),
    Case(f"trades: both, {FEW_TICKERS} tickers", LARGE_ROWS, FAR_MS, FEW_TICKERS),
]


def run():
    """Measures and writes the table."""
    lines = []
    for case in CASES:
        for verb in (quick.read, quick.sync):
            lines.append(line(case, verb))
            print("  " + ", ".join(lines[-1]), flush=True)
    lines.append(["at least", "", "95%", f"{LEAST:.0%}", f"{LEAST:.0%}", ""])
    heads = ["", "requests/s", f"of {quick.PAID_PER_SECOND}", "for trades", "for bars", "peak MB"]
    report.write("fairness", [report.table(heads, lines)])


def line(case, verb):
    """What was seen of one case."""
    with scene.scratch() as folder, quick.server(*case.options) as base_url:
        config = quick.source(base_url, quick.tickers(case.tickers, unknown=False), {"type": "paid"})
        seen = quick.watch(folder, base_url, verb(folder, config, quick.TRADES, quick.BARS), WATCHED_S)
    return [
        f"{verb.__name__}, {case.name}",
        f"{seen.rate:.1f}",
        f"{seen.rate / quick.PAID_PER_SECOND:.1%}",
        f"{seen.share_of_trades:.1%}",
        f"{1 - seen.share_of_trades:.1%}",
        f"{seen.peak_mb:.0f}",
    ]
