"""Fixtures of all suites: where things are, the program, the servers, the scan."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import crash, warehouse
from harness.destination import Destination
from harness.program import Program
from harness.servers import Fakesnow, Simulator
from harness.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]

# The environments differ: Airbyte's hooks are there in one of them.
if importlib.util.find_spec("airbyte_cdk") and importlib.util.find_spec("boltons"):
    pytest_plugins = ["airbyte_cdk.test.standard_tests.pytest_hooks"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def binary() -> Path:
    """The built program. A missing one is an error, not a skip."""
    path = Path(os.environ.get("TAPELINE_BIN", ROOT / "target/release/tapeline"))
    assert path.exists(), f"{path} is not there: build it, or set TAPELINE_BIN"
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The vendor's data, which is beside the repository and not in it."""
    path = Path(os.environ.get("TAPELINE_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"the vendor's data is not at {path}: set TAPELINE_SHARED")
    return path


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """After the last test every file that the program or a server left is scanned for secrets.

    It fails as an error of the last test when one is found.
    """
    workspace = Workspace(tmp_path_factory.mktemp("suite"))
    yield workspace
    workspace.scan_outputs()


@pytest.fixture(scope="session")
def program(binary: Path, workspace: Workspace) -> Program:
    return Program(binary, workspace)


@pytest.fixture(scope="session")
def named_destination(program: Program, workspace: Workspace) -> Program:
    """The program under the name that makes it the destination."""
    link = workspace.folder("bin") / "tapeline-destination"
    link.symlink_to(program.binary)
    return Program(link, workspace)


@pytest.fixture
def destination(program: Program, workspace: Workspace) -> Destination:
    """The Airbyte destination over a new file of DuckDB."""
    return Destination(program, workspace, workspace.folder("destination") / "market.duckdb")


@pytest.fixture(scope="session")
def api_key(workspace: Workspace) -> str:
    return workspace.new_secret("the API key")


@pytest.fixture(scope="session")
def wrong_key(workspace: Workspace) -> str:
    """A key that the simulator refuses. As secret as a good one: it may be a typo away from it."""
    key = "invalid-" + workspace.new_secret("the refused API key")
    return key


@pytest.fixture(scope="session")
def simulator(program: Program) -> Iterator[Simulator]:
    """The market without limits: one for all tests, which do not change it."""
    with Simulator(program) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def failing_simulator(program: Program, workspace: Workspace) -> Iterator[Simulator]:
    """The market behind a server that fails in every way that a retry mends."""
    with Simulator(program, faults=workspace.input("faults.yaml", crash.FAULTS)) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def limited_simulator(program: Program) -> Iterator[Simulator]:
    """The market under the free plan's limit."""
    with Simulator(program, plan="free") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def fakesnow(workspace: Workspace) -> Iterator[Fakesnow]:
    executable = os.environ.get("TAPELINE_FAKESNOW_BIN")
    assert executable, "TAPELINE_FAKESNOW_BIN is not set: run the suites by scripts/test"
    # Its log is not ours and may show what a client sent: outside the scan.
    with Fakesnow([executable, "--server", "--host", "127.0.0.1"], workspace.inputs / "fakesnow.log") as fakesnow:
        yield fakesnow


@pytest.fixture(scope="session")
def mended_fakesnow(root: Path, workspace: Workspace) -> Iterator[Fakesnow]:
    """It gives up the transaction of a client that was killed, as Snowflake does."""
    # No live client is idle for this long in a transaction: there is one at a time.
    command = [sys.executable, str(root / "integration_tests/fakesnow_mended.py"), "--idle-seconds", "0.2"]
    with Fakesnow(command, workspace.inputs / "fakesnow_mended.log") as fakesnow:
        yield fakesnow


@pytest.fixture(scope="session")
def shared_fakesnow(root: Path, workspace: Workspace) -> Iterator[Fakesnow]:
    """As the mended one, for several clients at a time: one of them may well be idle for a while."""
    command = [sys.executable, str(root / "integration_tests/fakesnow_mended.py"), "--idle-seconds", "3"]
    with Fakesnow(command, workspace.inputs / "fakesnow_shared.log") as fakesnow:
        yield fakesnow


@pytest.fixture(scope="module")
def shared_connection(shared_fakesnow: Fakesnow) -> Iterator[Any]:
    with warehouse.connect(shared_fakesnow) as connection:
        yield connection


@pytest.fixture(scope="module")
def strict_fakesnow(root: Path, workspace: Workspace) -> Iterator[Fakesnow]:
    """It has one warehouse, `warehouse.WAREHOUSE`, and refuses some passwords: a server for each module."""
    command = [sys.executable, str(root / "integration_tests/fakesnow_mended.py"), "--warehouse", warehouse.WAREHOUSE]
    with Fakesnow(command, workspace.inputs / "fakesnow_strict.log") as fakesnow:
        yield fakesnow


@pytest.fixture(scope="session")
def snowflake_password(workspace: Workspace) -> str:
    return workspace.new_secret("the Snowflake password")
