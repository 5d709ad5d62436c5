"""Airbyte's standard tests of airbyte-cdk over the built program, by two routes.

In this process the one function that runs a connector is replaced by one that runs
the program. Airbyte's command line runs unmodified, against a stand-in for docker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import pytest

from harness.program import HANG_S, Program
from harness.workspace import Workspace

FAKE_DOCKER = Path(__file__).parents[1] / "fake_docker"


class Native:
    """Satisfies the suite's idea of a connector; the program is run instead."""

    def spec(self, logger: object) -> Any:
        raise NotImplementedError


def run_natively(program: Program, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite runs the program wherever it would run a connector."""
    from airbyte_cdk.test import entrypoint_wrapper

    def run(
        source: object, args: list[str], expecting_exception: object = None, *, expected_outcome: object = None
    ) -> entrypoint_wrapper.EntrypointOutput:
        outcome = program.run(*args)
        failure = (
            subprocess.CalledProcessError(outcome.code, args, outcome.stdout, outcome.stderr)
            if outcome.code
            else None
        )
        return entrypoint_wrapper.EntrypointOutput(
            command=args,
            messages=outcome.stdout.decode().splitlines(),
            stderr=outcome.stderr.decode(),
            uncaught_exception=failure,
        )

    monkeypatch.setattr(entrypoint_wrapper, "_run_command", run)
    # The suite leaves the configurations that it writes, with the key, where it wrote them.
    monkeypatch.setattr(tempfile, "tempdir", str(workspace.inputs))


def leave_out_image_tests(suite: type, tests: type) -> None:
    """Takes out of `tests` what the command line runs."""
    for name in dir(suite):
        if name.startswith("test_docker_image"):
            setattr(tests, name, None)


def assert_image_passes(
    connector: Path, program: Program, workspace: Workspace, image: str, options: str, expected: dict[str, int]
) -> None:
    """`airbyte-cdk image test`, unmodified: `expected` says how often each test must have passed."""
    report = connector / "build" / "test-results" / "standard-tests-junit.xml"
    done = subprocess.run(
        [Path(sys.executable).with_name("airbyte-cdk"), "image", "test", "--image", image],
        cwd=connector,
        env={
            **program.environment(),
            "PATH": f"{FAKE_DOCKER}{os.pathsep}{os.environ['PATH']}",
            "CONNECTOR_EXE": str(program.binary),
            "CONNECTOR_OUTPUTS": str(workspace.folder("image")),
            "TMPDIR": str(workspace.inputs),
            # The deselected test asks a public registry for a published
            # version, of which there is none.
            "PYTEST_ADDOPTS": f"{options} -k 'not backward_compatibility'",
        },
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0 and report.exists(), f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    passed = [
        case.get("name", "")
        for case in xml.parse(report).iter("testcase")
        if not any(case.find(kind) is not None for kind in ("skipped", "failure", "error"))
    ]
    for test, times in expected.items():
        assert sum(name.startswith(test) for name in passed) == times, (test, passed, done.stdout[-6000:])
