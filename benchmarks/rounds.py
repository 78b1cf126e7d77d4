"""Conditions in random order, round after round, and medians of differences within rounds; not what a condition is."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Sequence

from llm_latency.core.stats import Sample, Summary, summarize


def measured(
    conditions: Sequence[str], run: Callable[[str], float], *, rounds: int, seed: int
) -> dict[str, list[float]]:
    """One value of each condition a round, in random order, after a round that only fills caches."""
    order = random.Random(seed)
    values: dict[str, list[float]] = {name: [] for name in conditions}
    for index in range(rounds + 1):
        for name in order.sample(list(conditions), len(conditions)):
            value = run(name)
            if index:
                values[name].append(value)
    return values


def cpu_seconds(command: Sequence[str], *, folder: str, environment: dict[str, str], expected: int) -> float:
    """User and system time of a process and of those that it started (getrusage(2), by os.wait4), in seconds."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; expected {expected}")
    return usage.ru_utime + usage.ru_stime


def middle(values: Sequence[float]) -> Summary:
    """Median with its 95 % interval."""
    return summarize(Sample(values=tuple(values), calls=tuple(range(len(values)))))


def more(values: Sequence[float], base: Sequence[float]) -> Summary:
    """Median of what one condition has more than another in the same round, with its 95 % interval."""
    return middle([value - other for value, other in zip(values, base, strict=True)])


def milliseconds(summary: Summary) -> str:
    """Seconds as text, with the interval where there is one."""
    ends = "–" if summary.low is None or summary.high is None else f"{summary.low * 1e3:.1f}, {summary.high * 1e3:.1f}"
    return f"{summary.center * 1e3:.1f} ms [{ends}]"
