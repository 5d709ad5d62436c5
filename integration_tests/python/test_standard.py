"""Airbyte's own acceptance tests, airbyte-cdk's standard suite, over the built program.

Route A runs the suite in this process: its one function that runs a connector
is replaced by one that runs the program. Route B runs Airbyte's command line
unmodified, `airbyte-cdk image test`, against a stand-in for docker. Both read
the repository's acceptance-test-config.yml; the configurations that it names
are written for the simulator, in a copy of the connector's folder.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from airbyte_cdk.test.standard_tests.source_base import SourceTestSuiteBase

from harness import market, standard
from harness.program import Program
from harness.servers import Simulator
from harness.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]

# The files that acceptance-test-config.yml names. A year for what is rare, such
# as splits; two days for what is plenty.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "config.json": {"start": "2023-07-03", "end": "2024-06-28", "bar_sizes": ["1day"]},
    "config_intraday.json": {"start": "2024-06-27", "end": "2024-06-28", "bar_sizes": ["1minute", "1hour"]},
}
REFUSED = "config_refused.json"


@cache
def connector_folder() -> Path:
    """A copy of the connector's folder as Airbyte's tools expect it.

    Its name says that it is a source. The metadata's language is one that the
    tools know: of `rust` they know nothing, and java selects the image tests.
    Made when the tests are collected, before any fixture runs.
    """
    parent = Path(tempfile.mkdtemp(prefix="tapeline-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "source-polygon"
    (folder / "secrets").mkdir(parents=True)
    shutil.copy(ROOT / "acceptance-test-config.yml", folder)
    metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())
    assert "language:rust" in metadata["data"]["tags"]
    metadata["data"]["tags"] = ["language:java"]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return folder


@pytest.fixture(scope="module", autouse=True)
def connector(simulator: Simulator, api_key: str, wrong_key: str) -> Path:
    """The folder with its configurations. They hold the key, so it is not below `outputs`."""
    folder = connector_folder()
    for name, options in CONFIGURATIONS.items():
        (folder / "secrets" / name).write_text(json.dumps(market.config(simulator.url, api_key, **options)))
    refused = market.config(simulator.url, wrong_key, start="2024-06-27", end="2024-06-28")
    (folder / "secrets" / REFUSED).write_text(json.dumps(refused))
    return folder


@pytest.fixture(autouse=True)
def run_the_program(program: Program, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    standard.run_natively(program, workspace, monkeypatch)


class TestNative(SourceTestSuiteBase):
    """Route A."""

    connector = standard.Native

    @classmethod
    def get_connector_root_dir(cls) -> Path:
        return connector_folder()


standard.leave_out_image_tests(SourceTestSuiteBase, TestNative)


def test_the_official_command_line_accepts_the_image(
    connector: Path, program: Program, workspace: Workspace
) -> None:
    """Route B."""
    scenarios = ",".join(Path(name).stem for name in CONFIGURATIONS)
    # Every stream and every configuration; the default reads neither.
    options = f"--read-from-streams=all --read-scenarios={scenarios}"
    expected = {
        "test_docker_image_build_and_spec": 1,
        "test_docker_image_build_and_config_matches_spec": len(CONFIGURATIONS),
        "test_docker_image_build_and_check": len(CONFIGURATIONS) + 1,
        "test_docker_image_build_and_discover": len(CONFIGURATIONS),
        "test_docker_image_build_and_read": len(CONFIGURATIONS),
    }
    standard.assert_image_passes(connector, program, workspace, "tapeline:dev", options, expected)
