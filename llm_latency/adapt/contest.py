"""Contest: strategies run on the same prompts in turn, round by round, the slower half left behind; not what wins.

A round runs each strategy that is left once at each point, in random order, so that a slow minute is nobody's own.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from llm_latency.adapt.policy import Gain
from llm_latency.adapt.strategy import BASELINE
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import sample_of
from llm_latency.core.stats import LEAST_FOR_INTERVAL, Sample, quantile, summarize
from llm_latency.core.trace import Trace

METRICS = ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")
# After these rounds the slower half of what is left at a point goes.
_HALVING = (2, 4, 6)
_LEAST_LEFT = 2
_MOST_ROUNDS = 16
_NOWHERE = Environment()


class Point(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An input: rows, and prompt tokens of each."""

    batch: int
    prompt_tokens: int


class Runner(Protocol):
    """Runs one strategy on one input, and says what was seen of the call."""

    def run(self, strategy: str, point: Point, index: int) -> Trace:
        """Run prompt number `index` of the point; raises what the call raises."""
        ...


class Contest:
    """Which strategies are left at which point, and every call's trace by strategy and point, round after round."""

    def __init__(
        self, names: Sequence[str], points: Sequence[Point], runner: Runner, *, objective: str, seed: int = 0
    ) -> None:
        """All are in it at all points."""
        self.left = {point: list(names) for point in points}
        self.traces: dict[tuple[str, Point], list[Trace]] = {}
        self.first_s: dict[str, float] = {}
        self._last_s: dict[tuple[str, Point], float] = {}
        self.failed: dict[str, str] = {}
        self.rounds = 0
        self._runner, self._objective = runner, objective
        self._random = random.Random(seed)

    def run(
        self,
        *,
        until: float,
        latest: float | None = None,
        most: int = _MOST_ROUNDS,
        on_round: Callable[[Contest], None] | None = None,
    ) -> None:
        """Rounds until a monotonic instant, or until there are enough. The first of all only warms up.

        Where there would be too few for an interval they go on until `latest`, and the slower half goes the sooner.
        """
        latest = until if latest is None else latest
        self._round(index=0, counted=False)
        while self.rounds < most and time.monotonic() < (until if self.rounds >= LEAST_FOR_INTERVAL else latest):
            if on_round is not None:
                on_round(self)
            self._round(index=self.rounds + 1, counted=True)
            self.rounds += 1
            if self.rounds in _HALVING:
                self._halve()
            while self._is_late(latest) and self._halve():
                pass

    def _is_late(self, latest: float) -> bool:
        """Whether rounds of all that are left, enough for an interval, would not end in time."""
        names = [(name, point) for point, left in self.left.items() for name in left if name not in self.failed]
        a_round = math.fsum(self._last_s.get(one, 0.0) for one in names)
        return time.monotonic() + (LEAST_FOR_INTERVAL - self.rounds) * a_round > latest

    def _round(self, *, index: int, counted: bool) -> None:
        points = list(self.left)
        self._random.shuffle(points)
        for point in points:
            names = list(self.left[point])
            self._random.shuffle(names)
            for name in names:
                if name in self.failed:
                    continue
                begin = time.monotonic()
                try:
                    trace = self._runner.run(name, point, index)
                except Exception as error:
                    if name == BASELINE:
                        raise
                    first = str(error).partition("\n")[0]
                    self.failed[name] = f"it fails: {type(error).__name__}: {first}"
                    continue
                self._last_s[name, point] = time.monotonic() - begin
                if counted:
                    self.traces.setdefault((name, point), []).append(trace)
                else:
                    self.first_s.setdefault(name, trace.elapsed_ns(trace.start_ns, trace.stop_ns) / 1e9)
        for point in self.left:
            self.left[point] = [name for name in self.left[point] if name not in self.failed]

    def _halve(self) -> bool:
        """Let the slower half go at each point; False where two are left everywhere."""
        before = dict(self.left)
        for point, names in before.items():
            others = sorted((name for name in names if name != BASELINE), key=lambda name: self.ratio(name, point)[0])
            kept = others[: max(_LEAST_LEFT, math.ceil(len(others) / 2))]
            self.left[point] = [BASELINE, *kept] if BASELINE in names else kept
        return any(len(self.left[point]) < len(names) for point, names in before.items())

    def scores(self, name: str, point: Point) -> list[float]:
        """Seconds of each counted call by the objective, without the time that its threads waited where all tell it."""
        traces = self.traces.get((name, point), [])
        return [score(trace, self._objective) for trace in traces]

    def ratio(self, name: str, point: Point, *, to: str = BASELINE) -> tuple[float, float | None, float | None]:
        """Median ratio to the model's own way, or another, in the same rounds; its interval where there are six."""
        pairs = zip(self.scores(name, point), self.scores(to, point), strict=False)
        ratios = [own / base for own, base in pairs if base > 0]
        if not ratios:
            return math.inf, None, None
        if len(ratios) < LEAST_FOR_INTERVAL:
            return quantile(ratios, 0.5), None, None
        summary = summarize(Sample(values=tuple(ratios), calls=tuple(range(len(ratios)))))
        return summary.center, summary.low, summary.high

    def gains(self) -> tuple[Gain, ...]:
        """Every strategy at every point where it ran."""
        found = []
        for (name, point), traces in sorted(self.traces.items(), key=lambda one: (one[0][1], one[0][0])):
            ratio, low, high = self.ratio(name, point)
            found.append(
                Gain(
                    strategy=name,
                    prompt_tokens=point.prompt_tokens,
                    batch=point.batch,
                    ratio=ratio,
                    low=low,
                    high=high,
                    n=len(traces),
                    metrics=medians(traces),
                )
            )
        return tuple(found)


def score(trace: Trace, objective: str) -> float:
    """Seconds that are to be few: of throughput the time of the call, whose tokens are the same for all."""
    if objective == "first_clause":
        # ttft + 10 · tpot; with one token there is nothing behind the first.
        return score(trace, "ttft") + 10 * (score(trace, "tpot") if _values(trace, "tpot") else 0.0)
    name = "e2e" if objective == "output_throughput" else objective
    values = _values(trace, name)
    return math.fsum(values) if values else trace.elapsed_ns(trace.start_ns, trace.stop_ns) / 1e9


def _values(trace: Trace, name: str) -> tuple[float, ...]:
    return _read(trace, f"{name}_own") or _read(trace, name)


def _read(trace: Trace, name: str) -> tuple[float, ...]:
    return sample_of([trace], name, _NOWHERE).values


def medians(traces: Sequence[Trace]) -> dict[str, float]:
    """The median of each metric that has a value."""
    samples: Mapping[str, tuple[float, ...]] = {name: sample_of(traces, name, _NOWHERE).values for name in METRICS}
    return {name: quantile(values, 0.5) for name, values in samples.items() if values}
