"""Minute bars as the vendor serves them, seeded, made once and kept in the cache.

The rows are kept as the text that goes over the wire, with an index, so that
the server only slices: it must never be what a benchmark measures.
"""

import os
import random
from array import array
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
FIRST_DAY = date(2020, 1, 2)
MINUTES_PER_DAY = 16 * 60  # extended trading, 04:00 to 20:00
BARS = 1_000_000
PAGE_ROWS_MAX = 50_000
SEED = 7
# A new version is a new file: raise it whenever the rows change.
VERSION = 1

# The exchange's closed weekdays over the years that the bars span.
HOLIDAYS = frozenset(
    date.fromisoformat(day)
    for day in """
    2020-01-20 2020-02-17 2020-04-10 2020-05-25 2020-07-03 2020-09-07 2020-11-26 2020-12-25
    2021-01-01 2021-01-18 2021-02-15 2021-04-02 2021-05-31 2021-07-05 2021-09-06 2021-11-25 2021-12-24
    2022-01-17 2022-02-21 2022-04-15 2022-05-30 2022-06-20 2022-07-04 2022-09-05 2022-11-24 2022-12-26
    2023-01-02 2023-01-16 2023-02-20 2023-04-07 2023-05-29 2023-06-19 2023-07-04 2023-09-04 2023-11-23 2023-12-25
    2024-01-01 2024-01-15 2024-02-19 2024-03-29
    """.split()
)


def trading_days(count):
    """The first `count` trading days since FIRST_DAY."""
    days, day = [], FIRST_DAY
    while len(days) < count:
        if day.weekday() < 5 and day not in HOLIDAYS:
            days.append(day)
        day += timedelta(days=1)
    return days


DAYS = trading_days(-(-BARS // MINUTES_PER_DAY))
LAST_DAY = DAYS[-1]


def open_ms(day):
    """The start of a day's extended trading, in Unix milliseconds."""
    return int(datetime.combine(day, time(4), NEW_YORK).timestamp()) * 1000


def rows():
    """Yields (start in ms, text) of each bar: a random walk with a vendor's digits."""
    draw = random.Random(SEED).random
    price, start = 74.06, 0
    for index in range(BARS):
        day, minute = divmod(index, MINUTES_PER_DAY)
        start = open_ms(DAYS[day]) if minute == 0 else start + 60_000
        opened = price
        price = max(5.0, price + (draw() - 0.5) * 0.12)
        high = max(opened, price) + draw() * 0.04
        low = min(opened, price) - draw() * 0.04
        # Most prices are whole cents, some hundredths of a cent.
        digits = 4 if draw() < 0.3 else 2
        o, c, h, l = (round(price, digits) for price in (opened, price, high, low))
        volume = int(draw() ** 4 * 400_000) + 1
        yield start, (
            f'{{"v":{volume}.0,"vw":{round((high + low) / 2, 4)},"o":{o},"c":{c},"h":{h},"l":{l},'
            f'"t":{start},"n":{volume // 90 + 1}}}'
        )


class Market:
    """The bars: their text, each row followed by a comma, and where each begins."""

    def __init__(self, folder):
        text, index = prepare(Path(folder))
        self.text = memoryview(text.read_bytes())
        numbers = array("q")
        numbers.frombytes(index.read_bytes())
        self.starts, self.offsets = numbers[:BARS], numbers[BARS:]

    def page(self, first, end, ticker, next_url):
        """The pieces of an answer with the rows from `first` to before `end`."""
        count = end - first
        head = (
            f'{{"ticker":"{ticker}","queryCount":{count},"resultsCount":{count},"adjusted":false,"results":['
        )
        tail = f'],"status":"OK","request_id":"bench{first:08d}","count":{count}'
        tail += f',"next_url":"{next_url}"}}' if next_url else "}"
        return head.encode(), self.text[self.offsets[first] : self.offsets[end] - 1], tail.encode()


def prepare(folder):
    """Makes the rows when the folder does not hold them. Returns both files."""
    text, index = (folder / f"bars-{BARS}-{SEED}-{VERSION}.{kind}" for kind in ("json", "index"))
    if not index.exists():
        starts, offsets, length = array("q"), array("q", [0]), 0
        part = text.with_suffix(".part")
        with part.open("wb", buffering=1 << 20) as out:
            for start, row in rows():
                length += out.write(row.encode() + b",")
                starts.append(start)
                offsets.append(length)
        part.rename(text)
        part.write_bytes((starts + offsets).tobytes())
        # Written last: an interrupted run starts again.
        os.rename(part, index)
    return text, index


def write_pages(folder, ticker):
    """Writes the answers to one long request as files, for a reader of files."""
    market = Market(cache_folder())
    for number, first in enumerate(range(0, BARS, PAGE_ROWS_MAX)):
        end = min(first + PAGE_ROWS_MAX, BARS)
        pieces = market.page(first, end, ticker, None)
        (Path(folder) / f"page-{number:03d}.json").write_bytes(b"".join(pieces))


def cache_folder():
    """Where the rows are kept."""
    folder = Path(os.environ["TAPELINE_CACHE"]) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
