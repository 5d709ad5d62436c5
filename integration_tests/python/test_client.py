"""The vendor's own client gets from the simulator exactly what the truth says.

The simulator is judged by a client that is not ours: it asks the way it asks
the vendor, follows the pages its own way and decodes by its own names. What
each stream's columns are called there is written out below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from massive import RESTClient

from harness import market
from harness.servers import Simulator

Row = dict[str, Any]

# Intraday: two days. Daily: two weeks with a holiday. Rare: a year.
SHORT = ("2024-06-27", "2024-06-28")
WEEKS = ("2024-06-17", "2024-06-28")
YEAR = ("2023-07-03", "2024-06-28")


def same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


BAR = same("open", "high", "low", "close", "volume", "vwap", "transactions", "otc")
LISTING = same(
    "ticker",
    "name",
    "market",
    "locale",
    "primary_exchange",
    "type",
    "active",
    "currency_name",
    "cik",
    "composite_figi",
    "share_class_figi",
    "delisted_utc",
)
# The client's field -> our column.
COLUMNS: dict[str, dict[str, str]] = {
    "stock_bars": {**BAR, "timestamp": "timestamp", "ticker": "ticker"},
    "stock_daily_bars": {**BAR, "timestamp": "timestamp", "ticker": "ticker", "date": "date"},
    "tickers": {
        **LISTING,
        **same("currency_symbol", "base_currency_name", "base_currency_symbol", "last_updated_utc"),
    },
    "ticker_details": {
        **LISTING,
        **same(
            "ticker_root",
            "ticker_suffix",
            "market_cap",
            "share_class_shares_outstanding",
            "weighted_shares_outstanding",
            "total_employees",
            "phone_number",
            "address",
            "branding",
            "description",
            "homepage_url",
            "sic_code",
            "sic_description",
            "list_date",
        ),
    },
    "splits": same(
        "id",
        "ticker",
        "execution_date",
        "split_from",
        "split_to",
        "adjustment_type",
        "historical_adjustment_factor",
    ),
    "dividends": same(
        "id",
        "ticker",
        "ex_dividend_date",
        "declaration_date",
        "record_date",
        "pay_date",
        "cash_amount",
        "split_adjusted_cash_amount",
        "currency",
        "frequency",
        "distribution_type",
        "historical_adjustment_factor",
    ),
    "stock_trades": {
        **same("price", "size", "decimal_size", "exchange", "id", "sequence_number", "conditions"),
        **same("correction", "tape", "trf_id", "ticker"),
        "sip_timestamp": "sip_timestamp_ns",
        "participant_timestamp": "participant_timestamp_ns",
        "trf_timestamp": "trf_timestamp_ns",
    },
    "news": same(
        "id",
        "published_utc",
        "title",
        "author",
        "article_url",
        "tickers",
        "publisher",
        "description",
        "keywords",
        "image_url",
        "amp_url",
        "insights",
    ),
    "market_holidays": same("exchange", "date", "name", "status", "open", "close"),
    "exchanges": same(
        "id",
        "asset_class",
        "type",
        "locale",
        "name",
        "acronym",
        "mic",
        "operating_mic",
        "participant_id",
        "url",
    ),
}
# Columns that a row of the truth has and the client cannot show: fields newer
# than the client, and a moment beside its integer.
NOT_IN_THE_CLIENT = {
    "ticker_details": {"round_lot"},
    "stock_trades": {"sip_timestamp", "participant_timestamp", "trf_timestamp"},
}
# Decimals that the API sends as text.
TEXT_DECIMALS = {"decimal_size"}


class ExactJson:
    """Decodes numbers without rounding them, so that a difference in a last digit shows."""

    @staticmethod
    def loads(text: str) -> Any:
        return json.loads(text, parse_float=Decimal)


@pytest.fixture(scope="module")
def client(simulator: Simulator, api_key: str) -> RESTClient:
    return RESTClient(api_key=api_key, base=simulator.url, retries=0, read_timeout=120, custom_json=ExactJson)


def plain(value: Any) -> Any:
    """The client's objects as JSON."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if item is not None}
    if hasattr(value, "__dict__"):
        return {name: plain(item) for name, item in vars(value).items() if item is not None}
    return value


def row_of(stream: str, item: Any, **known: object) -> Row:
    """One of the client's objects by our column names; `known` is what the request says."""
    values = {**plain(item), **known}
    columns = COLUMNS[stream]
    unmapped = {name for name, value in values.items() if value is not None} - set(columns)
    assert not unmapped, f"{stream}: the client has fields without a column: {unmapped}"
    row = {columns[name]: value for name, value in values.items()}
    for name in TEXT_DECIMALS & row.keys():
        row[name] = Decimal(row[name])
    return row


def from_millis(at: int) -> str:
    moment = datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{at % 1000:03}Z"


def assert_truth(simulator: Simulator, name: str, rows: list[Row], days: tuple[str, str], **more: Any) -> None:
    stream = next(stream for stream in COLUMNS if name.startswith(stream))
    truth = market.truth(simulator.url, name, *days, **more)
    assert truth, f"the truth of {name} is empty: nothing is shown by agreeing with it"
    columns = set(COLUMNS[stream].values())
    beyond = {column for row in truth for column, value in row.items() if value is not None} - columns
    assert beyond <= NOT_IN_THE_CLIENT.get(stream, set()) | {market.EXTRA_COLUMN}, beyond
    market.assert_same_rows(
        [market.canonical(row, columns) for row in rows],
        [market.canonical(row, columns) for row in truth],
        name,
    )


def weekdays(days: tuple[str, str]) -> Iterator[str]:
    day, last = date.fromisoformat(days[0]), date.fromisoformat(days[1])
    while day <= last:
        if day.weekday() < 5:
            yield day.isoformat()
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "size", "days"),
    [
        ("stock_bars_1_minute", (1, "minute"), SHORT),
        ("stock_bars_1_hour", (1, "hour"), WEEKS),
        ("stock_bars_1_day", (1, "day"), YEAR),
    ],
)
def test_bars(
    client: RESTClient, simulator: Simulator, name: str, size: tuple[int, str], days: tuple[str, str]
) -> None:
    rows = [
        row_of("stock_bars", {**vars(bar), "timestamp": from_millis(bar.timestamp)}, ticker=ticker)
        for ticker in market.TICKERS
        # So small a limit that there are pages.
        for bar in client.list_aggs(ticker, *size, *days, adjusted=False, sort="asc", limit=100)
    ]
    assert_truth(simulator, name, rows, days)


def test_bars_of_awkward_tickers(client: RESTClient, simulator: Simulator) -> None:
    """Symbols with a dot, with lower case, and those that look like nothing at all."""
    listed = [item.ticker for item in client.list_tickers(market="stocks", active=True, limit=1000)]
    awkward = [ticker for ticker in listed if not ticker.isupper() or not ticker.isalpha() or ticker in ("NA", "NULL")]
    assert any("." in ticker for ticker in awkward) and any(not ticker.isupper() for ticker in awkward), awkward
    awkward = awkward[:12]
    rows = [
        row_of("stock_bars", {**vars(bar), "timestamp": from_millis(bar.timestamp)}, ticker=ticker)
        for ticker in awkward
        for bar in client.list_aggs(ticker, 1, "day", *WEEKS, adjusted=False, sort="asc", limit=50000)
    ]
    assert_truth(simulator, "stock_bars_1_day", rows, WEEKS, tickers=awkward)


def test_grouped_daily_bars(client: RESTClient, simulator: Simulator) -> None:
    rows = [
        row_of("stock_daily_bars", {**vars(bar), "timestamp": from_millis(bar.timestamp)}, date=day)
        for day in weekdays(WEEKS)
        for bar in client.get_grouped_daily_aggs(day, adjusted=False)
    ]
    assert_truth(simulator, "stock_daily_bars", rows, WEEKS)


def test_tickers(client: RESTClient, simulator: Simulator) -> None:
    rows = [
        row_of("tickers", item)
        for active in (True, False)
        for item in client.list_tickers(market="stocks", active=active, sort="ticker", order="asc", limit=7)
    ]
    assert_truth(simulator, "tickers", rows, YEAR)


def test_ticker_details(client: RESTClient, simulator: Simulator) -> None:
    rows = [row_of("ticker_details", client.get_ticker_details(ticker)) for ticker in market.TICKERS]
    assert_truth(simulator, "ticker_details", rows, YEAR)


# Corporate actions are announced for days to come.
ANNOUNCED = (YEAR[0], "2025-12-31")


def test_splits(client: RESTClient, simulator: Simulator) -> None:
    items = client.list_stocks_splits(
        execution_date_gte=YEAR[0], sort="execution_date.asc,ticker.asc", limit=2
    )
    assert_truth(simulator, "splits", [row_of("splits", item) for item in items], ANNOUNCED)


def test_dividends(client: RESTClient, simulator: Simulator) -> None:
    items = client.list_stocks_dividends(
        ex_dividend_date_gte=YEAR[0], sort="ex_dividend_date.asc,ticker.asc", limit=10
    )
    assert_truth(simulator, "dividends", [row_of("dividends", item) for item in items], ANNOUNCED)


def test_trades(client: RESTClient, simulator: Simulator) -> None:
    rows = [
        row_of("stock_trades", item, ticker=ticker)
        for ticker in market.TICKERS
        for day in weekdays(SHORT)
        # The API takes a date as the day in New York.
        for item in client.list_trades(ticker, timestamp=day, order="asc", sort="timestamp", limit=5000)
    ]
    assert_truth(simulator, "stock_trades", rows, SHORT)


def test_the_integers_of_trades_are_the_moments(simulator: Simulator) -> None:
    """The client shows the integers only: here the truth's other columns are held to them."""
    for row in market.truth(simulator.url, "stock_trades", *SHORT):
        for column in ("sip_timestamp", "participant_timestamp", "trf_timestamp"):
            nanos = row.get(f"{column}_ns")
            if nanos is None:
                assert row.get(column) is None
                continue
            seconds = datetime.fromtimestamp(nanos // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            whole = market.canonical({"at": f"{seconds}.{nanos % 10**9:09}Z"})
            assert market.canonical({"at": row[column]}) == whole, row


def test_news(client: RESTClient, simulator: Simulator) -> None:
    # A day more on both sides: the request is in UTC, the days are New York's.
    first, last = (date.fromisoformat(day) for day in WEEKS)
    items = client.list_ticker_news(
        published_utc_gte=f"{first - timedelta(days=1)}T00:00:00Z",
        published_utc_lt=f"{last + timedelta(days=2)}T00:00:00Z",
        order="asc",
        sort="published_utc",
        limit=5,
    )
    rows = list(market.select("news", [row_of("news", item) for item in items], *WEEKS))
    assert_truth(simulator, "news", rows, WEEKS)


def test_market_holidays(client: RESTClient, simulator: Simulator) -> None:
    rows = [row_of("market_holidays", item) for item in client.get_market_holidays()]
    assert_truth(simulator, "market_holidays", rows, YEAR)


def test_exchanges(client: RESTClient, simulator: Simulator) -> None:
    rows = [row_of("exchanges", item) for item in client.get_exchanges(asset_class="stocks", locale="us")]
    assert_truth(simulator, "exchanges", rows, YEAR)
