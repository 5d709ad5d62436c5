"""`cargo install` makes the program that was built, by itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.program import Program
from harness.workspace import Workspace


def test_cargo_installs_the_program(root: Path, program: Program, workspace: Workspace) -> None:
    flags = os.environ.get("TAPELINE_CARGO_FLAGS")
    if flags is None:
        pytest.skip("TAPELINE_CARGO_FLAGS is not set: run the suites by scripts/test")
    folder = workspace.folder("installed")
    # The flags of the build before the tests, and its target folder: nothing is compiled again.
    command = ["cargo", "install", "--quiet", "--path", str(root), *flags.split(), "--root", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    assert [path.name for path in (folder / "bin").iterdir()] == ["tapeline"]
    # Without the tests' environment, which says where a library is.
    installed = subprocess.run([folder / "bin/tapeline", "--version"], env={}, capture_output=True, check=True)
    assert installed.stdout == program.run("--version").succeeded().stdout
