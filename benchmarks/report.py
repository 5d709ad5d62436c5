"""Tables in docs/benchmarks.md, each between two comments that name it."""

import os
from pathlib import Path

from .scene import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def table(heads, lines):
    """A Markdown table: the first column text, the others numbers."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines])


def disturbance(medians):
    """How far other programs were in the way."""
    worst = max(run.foreign for run in medians.values())
    return f"Other programs took at most {worst:.0%} of the machine during a counted run."


def machine():
    """The machine, without its name."""
    words = Path("/proc/meminfo").read_text().split()
    return f"{os.cpu_count()} cores, {round(int(words[1]) / 1024**2)} GB of memory, Linux."


def write(name, paragraphs):
    """Replaces what stands between the comments of `name`, and prints it."""
    text = "\n\n".join(paragraphs)
    print(f"\n{text}\n")
    for section, content in ((name, text), ("machine", machine())):
        begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
        page = PAGE.read_text()
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{PAGE.name} has no place for {section}: {begin} … {end}")
        PAGE.write_text(f"{before}{begin}\n{content}\n{end}{after}")
