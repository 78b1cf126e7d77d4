"""What our pytest plugin adds to every start of pytest, in CPU time, beside pytest-benchmark's; not what a test costs.

`pytest --co -q` in a git repository without tests: with no plugin, an empty one, ours, and pytest-benchmark's, in
random order within each round; CPU time of the process and of those that it started (getrusage(2), by os.wait4). The
goal is at most 15 % of what pytest-benchmark adds. What a plugin adds is also counted from the empty one: `-p NAME`
makes pytest read the entry points of every installed distribution, which it otherwise does once for all.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from llm_latency.core.stats import Sample, Summary, summarize

GOAL = 0.15
EMPTY = "empty_plugin"
PLUGINS = {
    "no plugin": None,
    "an empty plugin": EMPTY,
    "llm-latency": "pytest_llm_latency.plugin",
    "pytest-benchmark": "pytest_benchmark.plugin",
}


def cpu_seconds(plugin: str | None, folder: str) -> float:
    """User and system time of one `pytest --co -q`, in seconds."""
    command = [sys.executable, "-m", "pytest", "--co", "-q", *(["-p", plugin] if plugin else [])]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # Where it is set, a package that pip did not install would be compiled at every start.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
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
        # pytest-benchmark asks git about the commit, as it does for every user who has one.
        for arguments in (
            ["init", "-q"],
            ["-c", "user.name=a", "-c", "user.email=a", "commit", "-q", "--allow-empty", "-m", "a"],
        ):
            subprocess.run(["git", *arguments], cwd=folder, check=True)
        (Path(folder) / f"{EMPTY}.py").write_text('"""A plugin without hooks."""\n', encoding="utf-8")
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
    """The table, and how much of pytest-benchmark's cost ours is; differences are taken within each round."""
    none, empty = seconds["no plugin"], seconds["an empty plugin"]
    lines = [
        "| | CPU of `pytest --co -q`, median | more than none, median [95 %] | more than an empty one, median [95 %] |",
        "| --- | --- | --- | --- |",
    ]
    for name, values in seconds.items():
        more = [_interval(_more(values, base)) if values is not base else "–" for base in (none, empty)]
        lines.append(f"| {name} | {_ms(median(values).center)} | {' | '.join(more)} |")
    share, low, high = shares(seconds)
    told = f"ours adds {share:.0%} [{low:.0%}, {high:.0%}] of what pytest-benchmark adds; goal: at most {GOAL:.0%}"
    lines += ["", f"{len(none)} rounds; {told}."]
    return "\n".join(lines)


def shares(seconds: dict[str, list[float]]) -> list[float]:
    """Our cost as a share of pytest-benchmark's, with its 95 % interval: medians of differences, rounds resampled."""
    rows = list(zip(*(seconds[name] for name in ("an empty plugin", "llm-latency", "pytest-benchmark")), strict=True))

    def share(rows: list[tuple[float, ...]]) -> float:
        ours, theirs = (statistics.median(row[i] - row[0] for row in rows) for i in (1, 2))
        return ours / theirs

    generator = random.Random(1)
    replicates = sorted(share(generator.choices(rows, k=len(rows))) for _ in range(2000))
    return [share(rows), replicates[50], replicates[-51]]


def _more(values: list[float], base: list[float]) -> Summary:
    return median([value - other for value, other in zip(values, base, strict=True)])


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.1f} ms"


def _interval(summary: Summary) -> str:
    return f"{_ms(summary.center)} [{_ms(summary.low)}, {_ms(summary.high)}]"


def main() -> None:
    """Measure and print; write only where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=90, help="on a busy machine 30 tell nothing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    text = report(measure(arguments.rounds, arguments.seed))
    print(text)
    if arguments.out:
        arguments.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
