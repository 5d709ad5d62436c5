"""The simulated market: configurations for it, and what a perfect warehouse holds.

`GET /__truth?stream=…&as_of=…` answers with newline-delimited JSON, columns
named as in the catalogue. It is compared as a multiset of `canonical` rows.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Context, Decimal, Inexact
from email.message import Message
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]

NOW = "2024-06-28T21:00:00Z"
# More digits than any number has: rounding one would be an error.
EXACT = Context(prec=400, traps=[Inexact])
MOMENT = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)Z$")
NEW_YORK = ZoneInfo("America/New_York")
# A plain symbol and one with a character that paths must carry.
TICKERS = ["AAPL", "BRK.B"]

# Streams that are read for the configured tickers only.
OF_TICKERS = ("stock_bars_", "stock_trades", "ticker_details")
# By which column a row belongs to a day; streams that are missing are read whole.
DAY_COLUMN = {
    "stock_daily_bars": "date",
    "stock_bars": "timestamp",
    "stock_trades": "sip_timestamp",
    "splits": "execution_date",
    "dividends": "ex_dividend_date",
    "news": "published_utc",
}
# Fields that the catalogue does not know; no judge knows them either.
EXTRA_COLUMN = "additional_properties"


def config(base_url: str, api_key: str, start: str, end: str, **more: object) -> dict[str, object]:
    """A source configuration for the simulator. The limit is one that the tests never reach."""
    return {
        "api_key": api_key,
        "base_url": base_url,
        "plan": {"type": "paid"},
        "start_date": start,
        "end_date": end,
        "tickers": TICKERS,
        "bar_sizes": ["1minute", "1hour", "1day"],
        "adjusted": False,
        **more,
    }


def get(url: str, api_key: str | None = None, gzip: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body as the server sent them, errors included."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip" if gzip else "identity"})
    if api_key:
        request.add_header("Authorization", f"Bearer {api_key}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as response:
            return response.status, _headers(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, _headers(error.headers), error.read()


def post(url: str) -> None:
    """Asks the simulator for something beside the API."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, method="POST"), timeout=120) as response:
        assert response.status == 200, url


def _headers(headers: Message) -> dict[str, str]:
    """Their names mean the same in any case: here each word is capitalised."""
    return {name.title(): value for name, value in headers.items()}


def truth(
    base_url: str, stream: str, start: str, end: str, tickers: Iterable[str] = TICKERS, as_of: str = NOW
) -> list[Row]:
    """What a perfect warehouse holds of `stream` when it was asked for these days and tickers."""
    tickers = sorted(tickers)
    asked = {"stream": stream, "as_of": as_of, "tickers": ",".join(tickers)}
    # The API tells of coming holidays only; no warehouse of these tests was there before `as_of`.
    if stream != "market_holidays":
        asked |= {"start_date": start, "end_date": end}
    query = urllib.parse.urlencode(asked)
    status, _, body = get(f"{base_url}/__truth?{query}")
    assert status == 200, f"truth of {stream}: {status} {body[:300]!r}"
    rows = [json.loads(line, parse_float=Decimal) for line in body.splitlines() if line]
    return list(select(stream, rows, start, end, tickers))


def select(
    stream: str, rows: Iterable[Row], start: str, end: str, tickers: Iterable[str] = TICKERS
) -> Iterator[Row]:
    """The rows of the configured days and tickers."""
    chosen = set(tickers)
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    column = next((column for name, column in DAY_COLUMN.items() if stream.startswith(name)), None)
    for row in rows:
        if stream.startswith(OF_TICKERS) and row["ticker"] not in chosen:
            continue
        if column and not first <= day_of(row[column]) <= last:
            continue
        yield row


def day_of(value: str) -> date:
    """The day in New York of a date or of a moment."""
    if "T" not in value:
        return date.fromisoformat(value)
    # Nanoseconds are beyond datetime, and no day needs them.
    moment = datetime.fromisoformat(value[:19] + "+00:00")
    return moment.astimezone(NEW_YORK).date()


def canonical(row: Row, columns: Iterable[str] | None = None) -> str:
    """A row as text that equals another's exactly when every value does.

    Nulls and absent columns are the same; 5, 5.0 and 5.00 are the same number,
    and a number is never the same as a string.
    """
    kept = set(columns) if columns is not None else set(row) - {EXTRA_COLUMN}
    return json.dumps(
        {name: _plain(value) for name, value in row.items() if name in kept and value is not None},
        sort_keys=True,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # 18:30:00.500Z and 18:30:00.5Z are one moment.
        return MOMENT.sub(lambda found: found[1] + found[2].rstrip("0").rstrip(".") + "Z", value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
        return {"number": format(number.normalize(EXACT), "f") if number else "0"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items() if item is not None}


def assert_same_rows(got: Iterable[str], wanted: Iterable[str], what: str) -> None:
    """Compares as multisets, and shows a few rows of each side when they differ."""
    ours, theirs = Counter(got), Counter(wanted)
    if ours == theirs:
        return
    extra, missing = ours - theirs, theirs - ours
    raise AssertionError(
        f"{what}: {sum(extra.values())} rows too many, {sum(missing.values())} missing, "
        f"of {sum(theirs.values())}\n"
        + "".join(f"  extra   {row}\n" for row in sorted(extra)[:3])
        + "".join(f"  missing {row}\n" for row in sorted(missing)[:3])
    )
