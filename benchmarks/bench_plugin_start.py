"""What our pytest plugin adds to every start of pytest, in CPU time, beside pytest-benchmark's; not what a test costs.

`pytest --co -q` in an empty folder with no plugin, with ours, and with pytest-benchmark's, in random order within each
round; CPU time of the process and of those that it started (getrusage(2), by os.wait4). The goal is at most 15 % of
what pytest-benchmark adds.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from llm_latency.core.stats import Sample, Summary, summarize

GOAL = 0.15
PLUGINS = {"no plugin": None, "llm-latency": "pytest_llm_latency.plugin", "pytest-benchmark": "pytest_benchmark.plugin"}


def cpu_seconds(plugin: str | None, folder: str) -> float:
    """User and system time of one `pytest --co -q`, in seconds."""
    command = [sys.executable, "-m", "pytest", "--co", "-q", *(["-p", plugin] if plugin else [])]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 5:  # pytest.ExitCode.NO_TESTS_COLLECTED
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; expected 5, no tests collected")
    return usage.ru_utime + usage.ru_stime


def measure(rounds: int, seed: int) -> dict[str, list[float]]:
    """CPU seconds of each plugin, one value a round, after one round that only fills the caches of bytecode."""
    order = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in PLUGINS}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(rounds + 1):
            names = list(PLUGINS)
            order.shuffle(names)
            for name in names:
                value = cpu_seconds(PLUGINS[name], folder)
                if index:
                    seconds[name].append(value)
    return seconds


def median(values: list[float]) -> Summary:
    """Median with its 95 % interval."""
    return summarize(Sample(values=tuple(values), calls=tuple(range(len(values)))))


def report(seconds: dict[str, list[float]]) -> str:
    """The table, and how much of pytest-benchmark's cost ours is.

    Differences of medians are taken within each round. Neighbours only ever add CPU time, so on a busy machine the
    difference of the lowest values says more.
    """
    bare = seconds["no plugin"]
    lines = [
        "| | CPU of `pytest --co -q`, median | added, median [95 %] | added, lowest of each |",
        "| --- | --- | --- | --- |",
        f"| no plugin | {_ms(median(bare).center)} | – | – |",
    ]
    middle, least = {}, {}
    for name in ("llm-latency", "pytest-benchmark"):
        added = median([v - b for v, b in zip(seconds[name], bare, strict=True)])
        middle[name], least[name] = added.center, min(seconds[name]) - min(bare)
        columns = (_ms(median(seconds[name]).center), _interval(added), _ms(least[name]))
        lines.append(f"| {name} | {' | '.join(columns)} |")
    shares = [f"{found['llm-latency'] / found['pytest-benchmark']:.0%}" for found in (middle, least)]
    lines += [
        "",
        f"{len(bare)} rounds; ours adds {shares[0]} (medians), {shares[1]} (lowest) of what pytest-benchmark adds;"
        f" goal: at most {GOAL:.0%}.",
    ]
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.1f} ms"


def _interval(summary: Summary) -> str:
    return f"{_ms(summary.center)} [{_ms(summary.low)}, {_ms(summary.high)}]"


def main() -> None:
    """Measure and print; write only where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    text = report(measure(arguments.rounds, arguments.seed))
    print(text)
    if arguments.out:
        arguments.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
