"""Airbyte's own acceptance tests for destinations, airbyte-cdk's standard suite, over the built program.

Its tests of images are run too: they lint the specification and match
configurations with it. The stand-in for docker runs the program by the name
that makes it the destination.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml
from airbyte_cdk.test.standard_tests.destination_base import DestinationTestSuiteBase

from harness import standard
from harness.program import Program
from harness.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]

GOOD, REFUSED = "secrets/config.json", "secrets/config_refused.json"
ACCEPTANCE = {
    "connector_image": "tapeline-destination:dev",
    "acceptance_tests": {
        "spec": {"tests": [{"config_path": GOOD}, {"config_path": REFUSED}]},
        "connection": {
            "tests": [{"config_path": GOOD, "status": "succeed"}, {"config_path": REFUSED, "status": "failed"}]
        },
    },
}


@cache
def connector_folder() -> Path:
    """A connector's folder as Airbyte's tools expect it, made when the tests are collected.

    Its name says that it is a destination; the metadata's language is one that the tools know.
    """
    parent = Path(tempfile.mkdtemp(prefix="tapeline-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "destination-tapeline"
    (folder / "secrets").mkdir(parents=True)
    (folder / "acceptance-test-config.yml").write_text(yaml.safe_dump(ACCEPTANCE))
    metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())
    metadata["data"] |= {
        "name": "tapeline",
        "connectorType": "destination",
        "dockerRepository": "tapeline-destination",
        "tags": ["language:java"],
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return folder


@pytest.fixture(scope="module", autouse=True)
def connector(workspace: Workspace) -> Path:
    """The folder with its configurations: a file of DuckDB that can be made, and one that cannot."""
    folder = connector_folder()
    database = workspace.folder("standard-destination") / "market.duckdb"
    for name, path in ((GOOD, database), (REFUSED, "/no/such/folder/market.duckdb")):
        sink = {"type": "duckdb", "path": str(path), "schema": "polygon"}
        (folder / name).write_text(json.dumps({"sink": sink}))
    return folder


@pytest.fixture(autouse=True)
def run_the_program(named_destination: Program, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    standard.run_natively(named_destination, workspace, monkeypatch)


class TestNative(DestinationTestSuiteBase):
    """The suite in this process: its one function that runs a connector runs the program."""

    connector = standard.Native

    @classmethod
    def get_connector_root_dir(cls) -> Path:
        return connector_folder()


standard.leave_out_image_tests(DestinationTestSuiteBase, TestNative)


def test_the_official_command_line_accepts_the_image(
    connector: Path, named_destination: Program, workspace: Workspace
) -> None:
    expected = {
        "test_docker_image_build_and_spec": 1,
        "test_docker_image_build_and_config_matches_spec": 2,
        "test_docker_image_build_and_check": 2,
    }
    image = "tapeline-destination:dev"
    standard.assert_image_passes(connector, named_destination, workspace, image, "", expected)
