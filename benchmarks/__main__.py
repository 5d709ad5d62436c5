"""`benchmarks/run [NAME..]`."""

import sys

from . import commit_cost, fairness, free_plan, many_streams, measure, quick, read, spec, sync, write

BENCHMARKS = {
    "read": read.run,
    "sync": sync.run,
    "write": write.run,
    "many-streams": many_streams.run,
    "spec": spec.run,
    "scale": quick.run_scale,
    "latency": quick.run_latency,
    "fairness": fairness.run,
    "commit-cost": commit_cost.run,
    "free-plan": free_plan.run,
}
# It waits for five minutes and says nothing about speed.
BY_DEFAULT = ["spec", "scale", "latency", "fairness", "commit-cost", "read", "sync", "write", "many-streams"]


def main():
    """Runs what was asked for."""
    names = sys.argv[1:] or BY_DEFAULT
    for name in names:
        if name not in BENCHMARKS:
            sys.exit(f"benchmarks: no {name!r}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"{name}:", flush=True)
        try:
            BENCHMARKS[name]()
        except measure.Failed as error:
            sys.exit(f"benchmarks: {name}: {error}")


if __name__ == "__main__":
    main()
