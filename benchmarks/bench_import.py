"""What `import llm_latency` costs, and the first use of `llm_latency.measure`, beside other imports for scale.

Each import in a fresh interpreter, in random order within each round; CPU time of the process, less that of an
interpreter that imports nothing in the same round.

python benchmarks/bench_import.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from rounds import cpu_seconds, measured, middle, milliseconds, more

NOTHING = "pass"
STATEMENTS = (
    NOTHING,
    "import llm_latency",
    "import llm_latency; llm_latency.measure",
    "import pytest_benchmark.plugin",
    "import numpy",
    "import torch",
)


def run(statement: str) -> float:
    """CPU seconds of an interpreter that executes one statement."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else what pip did not install would be compiled each time
    return cpu_seconds([sys.executable, "-Ic", statement], folder=os.getcwd(), environment=environment, expected=0)


def report(seconds: dict[str, list[float]]) -> Iterator[str]:
    """The table, line by line."""
    yield f"CPU time of a fresh interpreter, {len(seconds[NOTHING])} rounds in random order; medians [95 %].\n"
    yield "| statement | the process | more than nothing |\n| --- | --- | --- |"
    for statement, values in seconds.items():
        extra = "–" if statement == NOTHING else milliseconds(more(values, seconds[NOTHING]))
        yield f"| `{statement}` | {middle(values).center * 1e3:.1f} ms | {extra} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    arguments = parser.parse_args()
    rounds = 6 if arguments.quick else arguments.rounds
    print("\n".join(report(measured(STATEMENTS, run, rounds=rounds, seed=arguments.seed))))


if __name__ == "__main__":
    main()
