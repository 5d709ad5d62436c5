"""What a clear error is: one sentence for a person, with what to do about it.

The program ends a failed run with `error: <stream>: <sentence> (hint: <what to do>)`
on stderr, after it what lies below for whoever looks deeper, a line `caused by:`
each. Airbyte's commands say the sentence in a TRACE too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.program import Message, Outcome

ERROR = "error: "
CAUSE = "  caused by: "
# More than this nobody reads to its end; paths and suggestions have their room.
LENGTH_MAX = 450
HINT = re.compile(r" \(hint: [^\n]{8,}\)$")

# What a program says to its authors: `Some("x")`, `Error { kind: … }`, `serde::de`, the names of types.
FOREIGN = {
    "a panic": re.compile(r"panicked|RUST_BACKTRACE|unwrap\(\)"),
    "a debug form": re.compile(r"\b[A-Z]\w*(?: \{ \w+: |\(\"|\([A-Z]\w*[({])"),
    "a path of code": re.compile(r"\b\w+::\w+"),
    "a type of code": re.compile(r"\b(?:[iu](?:8|16|32|64)|[iu]size|f(?:32|64)|nonzero|struct|enum|tuple)\b"),
}

FAILURE_TYPES = {1: "system_error", 2: "config_error", 3: "transient_error"}


def problems(sentence: str, words: Iterable[str]) -> list[str]:
    """What keeps the text from being one clear sentence that says these words."""
    found = [what for what, pattern in FOREIGN.items() if pattern.search(sentence)]
    if "\n" in sentence or not sentence.strip():
        found.append("not one line")
    if not HINT.search(sentence):
        found.append("it does not end with what to do")
    if len(sentence) > LENGTH_MAX:
        found.append(f"{len(sentence)} characters")
    return found + [f"it does not say {word!r}" for word in words if word not in sentence]


def assert_clear(sentence: str, words: Iterable[str]) -> None:
    found = problems(sentence, words)
    assert not found, f"{', '.join(found)}:\n{sentence}"


def on_stderr(outcome: Outcome) -> list[str]:
    """The sentences at the end of stderr; nothing but their causes may come after the first."""
    lines = outcome.stderr.decode().splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith(ERROR)), None)
    assert first is not None, f"no line begins with {ERROR!r}\n{outcome.describe()}"
    for line in lines[first:]:
        assert line.startswith((ERROR, CAUSE)), f"after the error comes {line!r}\n{outcome.describe()}"
    for what, pattern in FOREIGN.items():
        assert not pattern.search(outcome.stderr.decode()), f"{what} on stderr\n{outcome.describe()}"
    return [line.removeprefix(ERROR) for line in lines[first:] if line.startswith(ERROR)]


def in_check(outcome: Outcome) -> str:
    """What `check` answers of a configuration that does not work; that is no failure of `check`."""
    assert outcome.code == 0, outcome.describe()
    [message] = outcome.of_type("CONNECTION_STATUS")
    assert message["connectionStatus"]["status"] == "FAILED", outcome.describe()
    text: str = message["connectionStatus"]["message"]
    return text


def in_protocol(outcome: Outcome, code: int) -> list[Message]:
    """The errors of Airbyte's TRACE messages, each of the type that the exit code stands for."""
    errors = [m["trace"]["error"] for m in outcome.of_type("TRACE") if m["trace"]["type"] == "ERROR"]
    assert {error["failure_type"] for error in errors} == {FAILURE_TYPES[code]}, outcome.describe()
    return errors
