"""A large measurement from its calls to a table and a file: seconds and the peak of memory; prints a Markdown table.

1,000 calls of 1,000 emissions each, without torch. The goal is what the report shows in under 2 s, the file written and
read in under 3 s, and under 500 MB of resident memory for the whole process (getrusage(2), so the peak until then).

python benchmarks/bench_size.py [--calls 1000] [--emissions 1000]
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, from_json, to_json
from llm_latency.core.trace import Request, Trace
from llm_latency.report.rows import default_metrics, make_rows

Found = TypeVar("Found")
GOAL_SHOWN_S, GOAL_FILE_S, GOAL_MB = 2.0, 3.0, 500


def call(index: int, emissions: int, generator: random.Random) -> Trace:
    """A call of one request: a first token after 50 ms, then gaps of 10 ms ± 10 %."""
    start = index * 20_000_000_000
    instants, at = [], start + 50_000_000
    for _ in range(emissions):
        instants.append((at, 1))
        at += round(generator.lognormvariate(0, 0.1) * 10_000_000)
    request = Request(
        kind="generate",
        start_ns=start,
        stop_ns=at,
        emissions=tuple(instants),
        rows=1,
        prompt_tokens=128,
        row_tokens=(emissions,),
        peak_bytes={"rss": 10**9},
    )
    return Trace(start_ns=start, stop_ns=at, requests=(request,), peak_bytes={"rss": 10**9})


def build(calls: int, emissions: int) -> Measurement:
    """The whole measurement, seeded."""
    generator = random.Random(1)
    traces = tuple(call(index, emissions, generator) for index in range(calls))
    return Measurement(name="size", workload={}, environment=Environment(), traces=traces, stopped_because="made up")


def peak_mb() -> float:
    """Peak of resident memory so far, in MB (10⁶ bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def main() -> None:
    """Time each stage once, as a user waits for it once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--emissions", type=int, default=1000)
    asked = parser.parse_args()
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    print(f"{asked.calls:,} calls of {asked.emissions:,} emissions, Python {platform.python_version()}\n")
    print("| stage | seconds | of CPU | peak MB |\n| --- | --- | --- | --- |")

    def stage(name: str, run: Callable[[], Found]) -> Found:
        start, start_cpu = time.perf_counter(), time.process_time()
        found = run()
        seconds[name], cpu[name] = time.perf_counter() - start, time.process_time() - start_cpu
        print(f"| {name} | {seconds[name]:.2f} | {cpu[name]:.2f} | {peak_mb():.0f} |", flush=True)
        return found

    measurement = stage("build", lambda: build(asked.calls, asked.emissions))
    stage("derived", measurement.derived)
    stage("rows", lambda: make_rows(measurement, default_metrics(measurement)))
    text = stage("to_json", lambda: to_json(measurement))
    again = stage("from_json", lambda: from_json(text))
    assert "torch" not in sys.modules
    assert again == measurement
    print()
    for what, stages, goal in (
        ("shown", ("derived", "rows"), GOAL_SHOWN_S),
        ("written and read", ("to_json", "from_json"), GOAL_FILE_S),
    ):
        took, busy = (sum(clock[name] for name in stages) for clock in (seconds, cpu))
        print(f"{what} in {took:.2f} s, {busy:.2f} s of CPU (goal {goal:g} s)")
    print(f"{len(text) / 1e6:.0f} MB of JSON; peak {peak_mb():.0f} MB (goal {GOAL_MB} MB)")


if __name__ == "__main__":
    main()
