"""What our pytest plugin adds to every start of pytest, in CPU time, beside pytest-benchmark's; not what a test costs.

`pytest --co -q` in a git repository without tests, two ways, in random order within each round; CPU time of the process
and of those that it started. *Alone*: plugins are not looked for, and one is named with `-p`: none, an empty one, ours,
pytest-benchmark's; `-p NAME` makes pytest read the entry points of every installed distribution, so what a plugin adds
is also counted from the empty one. *Ordinary*: pytest finds all installed plugins by itself, and one of them is blocked
with `-p no:NAME`: what its start costs is what the start is shorter by. The goal is at most 15 % of pytest-benchmark's.

python benchmarks/bench_plugin_start.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rounds import cpu_seconds, measured, middle, milliseconds, more

GOAL = 0.15
EMPTY = "empty_plugin"
ALONE = {
    "no plugin": [],
    "an empty plugin": ["-p", EMPTY],
    "llm-latency": ["-p", "pytest_llm_latency.plugin"],
    "pytest-benchmark": ["-p", "pytest_benchmark.plugin"],
}
# Without it pytest-asyncio, which is one of the plugins of our environment, prints a page of warnings at each start.
_QUIET = ["-o", "asyncio_default_fixture_loop_scope=function"]
# By the names of the entry points.
ORDINARY = {
    "all plugins": _QUIET,
    "all but llm-latency": [*_QUIET, "-p", "no:llm_latency"],
    "all but pytest-benchmark": [*_QUIET, "-p", "no:benchmark"],
}


def start(name: str, folder: str) -> float:
    """CPU seconds of one `pytest --co -q`."""
    environment = dict(os.environ)
    # Where it is set, a package that pip did not install would be compiled at every start.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("PYTEST_DISABLE_PLUGIN_AUTOLOAD", None)
    if name in ALONE:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "--co", "-q", *(ALONE | ORDINARY)[name]]
    return cpu_seconds(command, folder=folder, environment=environment, expected=5)  # 5: no tests collected


def prepare(folder: str) -> None:
    """A git repository, since pytest-benchmark asks git about the commit, as it does for every user who has one."""
    identity = ["-c", "user.name=a", "-c", "user.email=a"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    (Path(folder) / f"{EMPTY}.py").write_text('"""A plugin without hooks."""\n', encoding="utf-8")


def report(seconds: dict[str, list[float]]) -> Iterator[str]:
    """Both tables, and how much of pytest-benchmark's cost ours is; differences are taken within each round."""
    none, empty, everything = (seconds[name] for name in ("no plugin", "an empty plugin", "all plugins"))
    yield f"CPU time of `pytest --co -q`, {len(none)} rounds in random order; medians [95 %].\n"
    yield "| alone | a start | more than with none | more than with an empty one |\n| --- | --- | --- | --- |"
    for name in ALONE:
        extra = [
            milliseconds(more(seconds[name], base)) if seconds[name] is not base else "–" for base in (none, empty)
        ]
        yield f"| {name} | {middle(seconds[name]).center * 1e3:.1f} ms | {' | '.join(extra)} |"
    yield f"\n{told(seconds, 'an empty plugin', 'llm-latency', 'pytest-benchmark', sign=1)}\n"
    yield "| ordinary | a start | the blocked one adds |\n| --- | --- | --- |"
    for name in ORDINARY:
        extra = "–" if seconds[name] is everything else milliseconds(more(everything, seconds[name]))
        yield f"| {name} | {middle(seconds[name]).center * 1e3:.1f} ms | {extra} |"
    yield f"\n{told(seconds, 'all plugins', 'all but llm-latency', 'all but pytest-benchmark', sign=-1)}"


def told(seconds: dict[str, list[float]], base: str, ours: str, theirs: str, *, sign: int) -> str:
    """Our cost as a share of theirs with its 95 % interval: medians of differences, rounds resampled."""
    rows = list(zip(*(seconds[name] for name in (base, ours, theirs)), strict=True))

    def share(rows: list[tuple[float, ...]]) -> float:
        mine, other = (statistics.median(sign * (row[i] - row[0]) for row in rows) for i in (1, 2))
        return mine / other if other else float("inf")

    generator = random.Random(1)
    replicates = sorted(share(generator.choices(rows, k=len(rows))) for _ in range(2000))
    ends = f"{replicates[50]:.0%}, {replicates[-51]:.0%}"
    return f"Ours adds {share(rows):.0%} [{ends}] of what pytest-benchmark adds; goal: at most {GOAL:.0%}."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=90, help="on a busy machine 30 tell nothing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        rounds = 6 if arguments.quick else arguments.rounds
        names = [*ALONE, *ORDINARY]
        seconds = measured(names, lambda name: start(name, folder), rounds=rounds, seed=arguments.seed)
    print("\n".join(report(seconds)))


if __name__ == "__main__":
    main()
