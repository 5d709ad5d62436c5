"""Where the suites put files, and the scan that no secret gets out.

A secret may be in `inputs`, where the tests write configurations. It may be
nowhere else: not in what the program prints, and not in any file below
`outputs`, where every program and server of the suites works.
"""

from __future__ import annotations

import base64
import itertools
import json
import secrets
import urllib.parse
from pathlib import Path


class Leak(AssertionError):
    """A secret was found where it must not be. The message names the place, not the secret."""


class Workspace:
    def __init__(self, root: Path) -> None:
        self.inputs = root / "inputs"
        self.outputs = root / "outputs"
        self.inputs.mkdir(parents=True)
        self.outputs.mkdir()
        self._secrets: dict[str, set[bytes]] = {}
        # Several threads may ask: no two get one number.
        self._count = itertools.count(1)

    def new_secret(self, name: str) -> str:
        """A secret that occurs nowhere by chance, with characters that encodings change."""
        value = f"k{secrets.token_hex(12)}+/{secrets.token_hex(4)}=Z9"
        self.guard(name, value)
        return value

    def guard(self, name: str, value: str) -> None:
        """From now on `value` is looked for, also as a URL or base64 would hold it."""
        text = value.encode()
        self._secrets[name] = {
            text,
            urllib.parse.quote(value, safe="").encode(),
            json.dumps(value)[1:-1].encode(),
            base64.b64encode(text).rstrip(b"="),
            # The key without its odd characters: a sanitiser that cuts there still leaks.
            text.split(b"+")[0],
        }

    def scan(self, place: str, content: bytes) -> None:
        for name, forms in self._secrets.items():
            if any(form in content for form in forms):
                raise Leak(f"{name} is in {place}")

    def scan_outputs(self) -> int:
        """Scans every file below `outputs`; returns how many there were."""
        files = [path for path in sorted(self.outputs.rglob("*")) if path.is_file() and not path.is_symlink()]
        for path in files:
            self.scan(str(path.relative_to(self.outputs)), path.read_bytes())
            self.scan("the name of a file", str(path.relative_to(self.outputs)).encode())
        return len(files)

    def input(self, name: str, content: object) -> Path:
        """Writes `content` as JSON, or as it is when it is text, below `inputs`."""
        path = self.inputs / f"{self._next():04}-{name}"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def folder(self, name: str) -> Path:
        """A new folder below `outputs`."""
        path = self.outputs / f"{self._next():04}-{name}"
        path.mkdir()
        return path

    def _next(self) -> int:
        return next(self._count)
