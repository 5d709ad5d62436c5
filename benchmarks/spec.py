"""How long the program takes to answer `spec`: what a platform waits for most often."""

import statistics
import subprocess
import time

from . import measure, report, scene

RUNS = 20


def run():
    """Measures and writes the table."""
    seconds = []
    with measure.alone():
        for _ in range(RUNS + 1):
            begun = time.perf_counter()
            said = subprocess.run([scene.TAPELINE, "spec"], stdout=subprocess.PIPE, check=True).stdout
            seconds.append(time.perf_counter() - begun)
            if b'"SPEC"' not in said:
                raise measure.Failed("`spec` printed no SPEC message")
    counted = sorted(seconds[1:])
    figures = [counted[0], statistics.median(counted), counted[-1]]
    heads = ["", "fastest ms", "median ms", "slowest ms"]
    line = [f"tapeline spec, {RUNS} runs", *(f"{figure * 1000:.1f}" for figure in figures)]
    report.write("spec", [report.table(heads, [line])])
