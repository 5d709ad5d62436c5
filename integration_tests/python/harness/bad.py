"""A row of a table of bad input: what is wrong, and how those who meet it must take it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

# Breaks one thing of a suite's world; what it enters mends it again.
Provoke = Callable[[Any], AbstractContextManager[object] | None]


@dataclass(frozen=True)
class BadInput:
    """Something that is wrong, who meets it, and what they say."""

    what: str
    provoke: Provoke
    code: int
    # Field or file, what is wrong with it, what to do.
    says: tuple[str, ...]
    meets: tuple[str, ...]
