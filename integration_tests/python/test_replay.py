"""`simulate --replay` serves recorded answers byte for byte at their addresses.

A recorded file's name is its address: `;` stands for `:`, and what follows the
first `&` is the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import market
from harness.program import Program
from harness.servers import Simulator


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Path:
    return shared / "polygon" / "recorded" / "client-python"


@pytest.fixture(scope="module")
def replay(program: Program, recorded: Path) -> Iterator[Simulator]:
    with Simulator(program, replay=recorded) as simulator:
        yield simulator


def address_of(file: Path, folder: Path) -> str:
    name = str(file.relative_to(folder)).removesuffix(".json").replace(";", ":")
    # The answer for a folder's own address.
    name = name.removesuffix("/index")
    path, _, query = name.partition("&")
    return f"/{path}?{query}" if query else f"/{path}"


def test_every_recorded_answer_is_served_byte_for_byte(
    replay: Simulator, recorded: Path, api_key: str
) -> None:
    files = sorted(recorded.rglob("*.json"))
    assert len(files) > 40
    wrong = []
    for file in files:
        address = address_of(file, recorded)
        status, headers, body = market.get(replay.url + address, api_key)
        if status != 200 or body != file.read_bytes():
            wrong.append((address, status, body[:80]))
        assert status != 200 or headers["Content-Type"].startswith("application/json"), address
    assert not wrong


def test_a_query_finds_its_own_recording(replay: Simulator, recorded: Path, api_key: str) -> None:
    """The same path with and without a query are two recordings."""
    _, _, plain = market.get(f"{replay.url}/v3/reference/tickers/AAPL", api_key)
    _, _, dated = market.get(f"{replay.url}/v3/reference/tickers/AAPL?date=2020-10-01", api_key)
    assert plain != dated
    assert dated == (recorded / "v3/reference/tickers/AAPL&date=2020-10-01.json").read_bytes()


def test_what_was_not_recorded_is_not_found(replay: Simulator, api_key: str) -> None:
    for address in ("/v3/reference/tickers/NOSUCH", "/v2/aggs/ticker/AAPL/range/1/day/1999-01-04/1999-01-05", "/"):
        status, _, _ = market.get(replay.url + address, api_key)
        assert status == 404, address


@pytest.mark.parametrize("address", ["/../../../README.md", "/v3/..%2f..%2f..%2fREADME.md", "/%2e%2e/%2e%2e/README"])
def test_nothing_outside_the_folder_is_served(replay: Simulator, api_key: str, address: str) -> None:
    status, _, _ = market.get(replay.url + address, api_key)
    assert status in (400, 404)


def test_a_folder_that_is_not_there_is_an_error(program: Program) -> None:
    outcome = program.run("simulate", "--listen", "127.0.0.1:0", "--replay", "/no/such/folder")
    assert outcome.code != 0 and b"/no/such/folder" in outcome.stderr, outcome.describe()
