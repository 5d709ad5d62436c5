"""Each answer of the simulator is one that the vendor's OpenAPI description allows."""

from __future__ import annotations

import copy
import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import market
from harness.openapi import OpenApi, Waiver
from harness.servers import Simulator

# What stands in for the variables of a path.
VARIABLES = {
    "ticker": "AAPL",
    "stocksTicker": "AAPL",
    "stockTicker": "AAPL",
    "underlyingAsset": "AAPL",
    "id": "AAPL",
    "optionsTicker": "O:AAPL240719C00200000",
    "options_ticker": "O:AAPL240719C00200000",
    "optionContract": "O:AAPL240719C00200000",
    "cryptoTicker": "X:BTCUSD",
    "fxTicker": "C:EURUSD",
    "forexTicker": "C:EURUSD",
    "indicesTicker": "I:SPX",
    "multiplier": "1",
    "timespan": "day",
    "from": "2024-06-17",
    "to": "2024-06-28",
    "date": "2024-06-27",
    "direction": "gainers",
}

AGGS = "/v2/aggs/ticker/{stocksTicker}/range/{multiplier}/{timespan}/{from}/{to}"
GROUPED = "/v2/aggs/grouped/locale/us/market/stocks/{date}"
TRADES = "/v3/trades/{stockTicker}"
TICKERS = "/v3/reference/tickers"
SPLITS = "/stocks/v1/splits"
DIVIDENDS = "/stocks/v1/dividends"
NEWS = "/v2/reference/news"

# What the ten streams read, and ways to ask for it: path, variables, query.
ASKED: list[tuple[str, dict[str, str], dict[str, str]]] = [
    (GROUPED, {}, {"adjusted": "false"}),
    (GROUPED, {"date": "2024-06-19"}, {}),  # a holiday
    (GROUPED, {"date": "2024-06-22"}, {}),  # a Saturday
    (AGGS, {}, {"limit": "3"}),
    (AGGS, {"timespan": "minute", "from": "2024-06-27", "to": "2024-06-27"}, {"limit": "50", "sort": "asc"}),
    (AGGS, {"timespan": "hour", "stocksTicker": "BRK.B"}, {"limit": "50000"}),
    (AGGS, {"timespan": "week", "from": "2024-01-02"}, {}),
    (AGGS, {"timespan": "month", "from": "2023-01-03"}, {"adjusted": "false"}),
    (AGGS, {"stocksTicker": "NOSUCH"}, {}),
    (TRADES, {}, {"timestamp": "2024-06-27", "limit": "50"}),
    (TRADES, {"stockTicker": "BRK.B"}, {"timestamp.gte": "2024-06-27", "order": "asc", "limit": "50"}),
    (TRADES, {}, {"timestamp": "2024-06-22"}),
    (TRADES, {"stockTicker": "NOSUCH"}, {}),
    (TICKERS, {}, {}),
    (TICKERS, {}, {"market": "stocks", "active": "false", "limit": "3"}),
    (TICKERS, {}, {"market": "stocks", "active": "true", "limit": "5", "order": "desc"}),
    ("/v3/reference/tickers/{ticker}", {}, {}),
    ("/v3/reference/tickers/{ticker}", {"ticker": "BRK.B"}, {}),
    (SPLITS, {}, {"limit": "2", "sort": "execution_date.asc,ticker.asc"}),
    (SPLITS, {}, {"execution_date.gte": "2030-01-01"}),
    (DIVIDENDS, {}, {"limit": "2", "sort": "ex_dividend_date.asc,ticker.asc"}),
    (DIVIDENDS, {}, {"ticker": "AAPL", "ex_dividend_date.gte": "2024-01-01"}),
    (NEWS, {}, {"limit": "2"}),
    (NEWS, {}, {"ticker": "AAPL", "order": "asc", "sort": "published_utc", "limit": "3"}),
    (NEWS, {}, {"published_utc.gte": "2030-01-01"}),
    ("/v1/marketstatus/upcoming", {}, {}),
    ("/v3/reference/exchanges", {}, {}),
    ("/v3/reference/exchanges", {}, {"asset_class": "stocks", "locale": "us"}),
]

# Pages that are followed of each answer: the second has another cursor's form
# than the first, the third shows that it goes on.
PAGES = 3

WAIVERS = [
    Waiver(
        r"^/v2/aggs/",
        r"'count' (was|were) unexpected",
        "the recorded answers have it beside resultsCount; the description forgets it",
    ),
]


@pytest.fixture(scope="module", params=["openapi-2026-07.json", "openapi-2026-04.json"])
def openapi(request: pytest.FixtureRequest, shared: Path) -> OpenApi:
    return OpenApi(shared / "polygon" / request.param)


def url_of(path: str, variables: dict[str, str], query: dict[str, str]) -> str:
    values = {**VARIABLES, **variables}
    filled = re.sub(r"{(\w+)}", lambda found: urllib.parse.quote(values[found[1]], safe=""), path)
    return filled + (f"?{urllib.parse.urlencode(query)}" if query else "")


def pages(simulator: Simulator, key: str, url: str) -> Iterator[tuple[str, Any]]:
    """The answers from `url` on. The next one's address is the vendor's: only its path and query count."""
    for _ in range(PAGES):
        status, headers, body = market.get(simulator.url + url, key)
        assert status == 200, (url, status, body[:300])
        assert headers["Content-Type"].startswith("application/json"), (url, headers)
        answer = json.loads(body)
        yield url, answer
        following = answer.get("next_url") if isinstance(answer, dict) else None
        if not following:
            return
        parts = urllib.parse.urlsplit(following)
        assert not parts.query or "apikey" not in parts.query.lower(), "the key is in an address"
        url = f"{parts.path}?{parts.query}"


def unwaived(openapi: OpenApi, path: str, answer: Any) -> list[str]:
    return [
        problem
        for problem in openapi.problems(path, answer)
        if not any(waiver.covers(path, problem) for waiver in WAIVERS)
    ]


@pytest.mark.parametrize(("path", "variables", "query"), ASKED, ids=[url_of(*asked) for asked in ASKED])
def test_what_the_streams_read_is_as_described(
    simulator: Simulator,
    api_key: str,
    openapi: OpenApi,
    path: str,
    variables: dict[str, str],
    query: dict[str, str],
) -> None:
    for url, answer in pages(simulator, api_key, url_of(path, variables, query)):
        assert not unwaived(openapi, path, answer), url


def test_whatever_else_is_served_is_as_described(simulator: Simulator, api_key: str, openapi: OpenApi) -> None:
    """Every path of the description is tried; one that the simulator does not serve answers 404."""
    served = set()
    problems = {}
    for path in openapi.paths:
        status, _, body = market.get(simulator.url + url_of(path, {}, {}), api_key)
        assert status in (200, 404), (path, status, body[:300])
        if status == 200:
            served.add(path)
            if found := unwaived(openapi, path, json.loads(body)):
                problems[path] = found[:3]
    assert not problems
    assert {path for path, _, _ in ASKED} <= served


def test_there_are_pages_to_follow(simulator: Simulator, api_key: str) -> None:
    for path in (AGGS, TRADES, TICKERS, SPLITS, DIVIDENDS, NEWS):
        followed = [
            len(list(pages(simulator, api_key, url_of(*asked)))) for asked in ASKED if asked[0] == path
        ]
        assert max(followed) > 1, path


def test_no_waiver_is_left_over(simulator: Simulator, api_key: str, shared: Path) -> None:
    """A waiver that waives nothing hides the next mistake."""
    specs = [OpenApi(shared / "polygon" / f"openapi-{month}.json") for month in ("2026-07", "2026-04")]
    used = set()
    for asked in ASKED:
        for _, answer in pages(simulator, api_key, url_of(*asked)):
            for spec in specs:
                for problem in spec.problems(asked[0], answer):
                    used |= {waiver for waiver in WAIVERS if waiver.covers(asked[0], problem)}
    assert used == set(WAIVERS), [waiver.reason for waiver in WAIVERS if waiver not in used]


def test_the_judge_rejects_what_it_should(simulator: Simulator, api_key: str, openapi: OpenApi) -> None:
    """Each way to spoil an answer must be seen, or agreement means nothing."""
    spoilt = 0
    for path, spoil in (
        (TRADES, lambda row: row.update(price=str(row["price"]))),
        (TRADES, lambda row: row.pop("sip_timestamp")),
        (TRADES, lambda row: row.update(sequence_number=1.5)),
        (TRADES, lambda row: row.update(prise=1)),
        (AGGS, lambda row: row.pop("o")),
        (AGGS, lambda row: row.update(t="2024-06-27")),
        (SPLITS, lambda row: row.update(execution_date="27.06.2024")),
        (SPLITS, lambda row: row.update(id=None)),
        (NEWS, lambda row: row.update(published_utc="2024-06-27 12:00")),
        (TICKERS, lambda row: row.update(market="stonks")),
        (TICKERS, lambda row: row.update(active="true")),
    ):
        asked = next(asked for asked in ASKED if asked[0] == path)
        [_, answer] = next(pages(simulator, api_key, url_of(*asked)))
        assert not unwaived(openapi, path, answer)
        bad = copy.deepcopy(answer)
        spoil(bad["results"][0])
        assert unwaived(openapi, path, bad), (path, bad["results"][0])
        spoilt += 1
    assert spoilt == 11
