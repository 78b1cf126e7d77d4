"""How often intervals hold what they are named after, by seeded simulation; prints Markdown tables.

A cell is the share of samples in which the true value was inside, in percent, with the interval's own name where that
is not 95. Where calls are clusters it is the lowest and the highest of several designs: 30 gaps a call, log-normal,
AR(1) with a level of each call, some with gaps hit by a neighbour; designs where whole calls are hit have a row of
their own, because no method knows of a hit that a few calls have not seen. Below: wrong decisions by looking often.

python benchmarks/bench_coverage.py [--samples 4000] [--looks 600]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import optimize
from scipy import stats as scipy_stats

from llm_latency.core import verdict
from llm_latency.core.budget import Budget
from llm_latency.core.clusters import cluster_bounds
from llm_latency.core.comparison import compare
from llm_latency.core.drift import drift
from llm_latency.core.outliers import outliers
from llm_latency.core.stats import Sample, bound, summarize
from llm_latency.core.tolerance import tolerance
from llm_latency.record.sampling import _LOOKS

CALLS = (6, 12, 30, 100)
GAPS = 30
SPREAD = 0.1  # standard deviation of the logs within a call
# (lag-1 correlation within a call, spread of calls over that within, share of gaps hit, share of calls hit)
STEADY = ((0.16, 0.0, 0.0, 0.0), (0.5, 0.5, 0.04, 0.0), (0.8, 2.0, 0.0, 0.0), (0.16, 2.0, 0.04, 0.0))
HIT = ((0.5, 0.5, 0.0, 0.1), (0.16, 0.0, 0.0, 0.1))
HIT_LOG = 0.3  # mean of what a hit adds to the log: a third more time
Design = tuple[float, float, float, float]
Array = np.ndarray[Any, np.dtype[np.float64]]


def draw(generator: np.random.Generator, design: Design, *, samples: int, calls: int) -> Array:
    """Logs of gaps, as (samples, calls, gaps)."""
    correlation, effect, gap_hits, call_hits = design
    noise = generator.standard_normal((samples, calls, GAPS))
    within = noise.copy()
    for i in range(1, GAPS):
        within[..., i] = correlation * within[..., i - 1] + math.sqrt(1 - correlation**2) * noise[..., i]
    logs: Array = SPREAD * (within + effect * generator.standard_normal((samples, calls, 1)))
    for share, shape in ((gap_hits, logs.shape), (call_hits, (samples, calls, 1))):
        if share:
            logs += (generator.random(shape) < share) * generator.exponential(HIT_LOG, shape)
    return logs


def truth(design: Design, q: float) -> float:
    """Quantile of all gaps: normal logs, some of them with an exponential added."""
    _, effect, gap_hits, call_hits = design
    share, spread = gap_hits + call_hits, SPREAD * math.sqrt(1 + effect**2)

    def excess(x: float) -> float:
        hit = scipy_stats.exponnorm.cdf(x, HIT_LOG / spread, scale=spread)
        return float((1 - share) * scipy_stats.norm.cdf(x, scale=spread) + share * hit - q)

    return float(optimize.brentq(excess, -20 * spread, 20 * spread + 20 * HIT_LOG))


def row(name: str, cell: Callable[[int], str]) -> None:
    """One line of a table, a cell for each number of calls, printed as soon as it is known."""
    print(f"| {name} | {' | '.join(cell(n) for n in CALLS)} |", flush=True)


def inside(low: float | None, value: float, high: float | None) -> bool:
    """Whether the bounds that exist hold the value."""
    return (low is None or low <= value) and (high is None or value <= high)


def independent(q: float, side: str, samples: int) -> Callable[[int], str]:
    """Order statistics of log-normal calls."""

    def cell(n: int) -> str:
        drawn = np.random.default_rng(n).standard_normal((samples, n))
        held, level = 0, 0.0
        for values in drawn.tolist():
            sample = Sample(values=tuple(values), calls=tuple(range(n)))
            if side == "both":
                summary = summarize(sample, q=q)
                low, high, level = summary.low, summary.high, summary.confidence
            else:
                found = bound(sample, q, level=0.95)
                low, high = (found.low, None) if side == "lower" else (None, found.high)
                level = (found.low_level if side == "lower" else found.high_level) or 0.0
            if low is None and high is None:
                return "none"
            held += inside(low, NormalDist().inv_cdf(q), high)
        return f"{held / samples:.1%} of {level:.1%}".replace("%", "")

    return cell


def resample(logs: Array, q: float, level: float, generator: np.random.Generator) -> tuple[float, float]:
    """The road not taken: calls drawn with replacement, percentiles of the resampled quantiles."""
    chosen = generator.integers(0, len(logs), (300, len(logs)))
    quantiles = np.quantile(logs[chosen].reshape(300, -1), q, axis=1)
    return float(np.quantile(quantiles, 1 - level)), float(np.quantile(quantiles, level))


def clustered(
    q: float, side: str, designs: tuple[Design, ...], samples: int, *, resampled: bool = False
) -> Callable[[int], str]:
    """Bounds of the pooled quantile, over designs."""
    level = 0.975 if side == "both" else 0.95

    def share(n: int, design: Design) -> float | None:
        generator, value = np.random.default_rng(n), truth(design, q)
        owners = np.repeat(np.arange(n), GAPS)
        held = 0
        for start in range(0, samples, 500):
            for logs in draw(generator, design, samples=min(500, samples - start), calls=n):
                low, high = (
                    resample(logs, q, level, generator)
                    if resampled
                    else cluster_bounds(logs.ravel(), owners, q, level=level)
                )
                if (side == "upper" and high is None) or (side == "both" and None in (low, high)):
                    return None
                held += inside(None if side == "upper" else low, value, None if side == "lower" else high)
        return held / samples

    def cell(n: int) -> str:
        found = [part for design in designs if (part := share(n, design)) is not None]
        return f"{min(found):.1%} … {max(found):.1%}".replace("%", "") if found else "none"

    return cell


def tolerances(hit: float, samples: int) -> Callable[[int], str]:
    """Upper bound of p95 under the log-normal assumption, where it holds and where a share of calls is hit."""
    value = math.exp(truth((0.0, 0.0, 0.0, hit), 0.95))

    def cell(n: int) -> str:
        if n >= 59:  # from here on order statistics bound p95
            return "-"
        generator = np.random.default_rng(n)
        logs = SPREAD * generator.standard_normal((samples, n))
        logs += (generator.random(logs.shape) < hit) * generator.exponential(HIT_LOG, logs.shape)
        found = [tolerance(values, 0.95, level=0.95) for values in np.exp(logs).tolist()]
        return f"{np.mean([bound is not None and bound.upper >= value for bound in found]):.1%}".replace("%", "")

    return cell


def comparisons(samples: int) -> Callable[[int], str]:
    """The ratio of two samples of one shape."""

    def cell(n: int) -> str:
        generator = np.random.default_rng(n)
        held, level = 0, 0.0
        for _ in range(samples):
            pair = np.exp(SPREAD * generator.standard_normal((2, n)))
            found = compare(*(Sample(values=tuple(values), calls=tuple(range(n))) for values in pair.tolist()))
            held += inside(found.low, 1.0, found.high)
            level = found.confidence
        return f"{held / samples:.1%} of {level:.1%}".replace("%", "")

    return cell


def flagged(is_flagged: Callable[[list[float]], bool], samples: int) -> Callable[[int], str]:
    """Share of steady log-normal samples that a warning calls otherwise."""

    def cell(n: int) -> str:
        drawn = np.exp(SPREAD * np.random.default_rng(n).standard_normal((samples, n)))
        return f"{np.mean([is_flagged(values) for values in drawn.tolist()]):.1%}".replace("%", "")

    return cell


def decide(budget: Budget, logs: Array, most: int, level: float) -> tuple[str, int]:
    """What sampling decides when it looks after each of its numbers of calls, and after how many it stopped."""
    gaps = logs.shape[1]
    values, calls = np.exp(logs).ravel().tolist(), np.repeat(np.arange(len(logs)), gaps).tolist()
    outcome, looks = verdict.UNDECIDED, [n for n in _LOOKS if n <= most]
    for n in looks:
        sample = Sample(values=tuple(values[: n * gaps]), calls=tuple(calls[: n * gaps]))
        outcome = verdict.judge(budget, sample, level=level).outcome
        if outcome != verdict.UNDECIDED:
            return outcome, n
    return outcome, looks[-1]


def looks(q: float, gaps: int, level: float, *, runs: int, most: int) -> str:
    """Wrong decisions at the limit and 1 % beside it, and calls to decide 10 % beside it, at a level for each look."""
    budget = Budget(metric="itl", statistic="p50" if q == 0.5 else f"p{q * 100:g}", limit=1.0)
    design = (0.5, 0.5, 0.0, 0.0)
    cells = []
    for beside, wrong in ((0.0, verdict.PASS), (0.01, verdict.PASS), (0.0, verdict.FAIL), (-0.1, None)):
        generator = np.random.default_rng(7)
        decided = []
        for _ in range(runs):
            if gaps == 1:
                logs, value = SPREAD * generator.standard_normal((most, 1)), SPREAD * NormalDist().inv_cdf(q)
            else:
                logs, value = draw(generator, design, samples=1, calls=most)[0], truth(design, q)
            decided.append(decide(budget, logs - value + beside, most, level))
        if wrong is None:
            cells.append(f"{np.mean([n for _, n in decided]):.0f}")
        else:
            cells.append(f"{np.mean([outcome == wrong for outcome, _ in decided]):.1%}".replace("%", ""))
    return " | ".join(cells)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--looks", type=int, default=600)
    asked = parser.parse_args()
    samples = asked.samples
    print(f"{samples:,} samples a cell\n\n| interval | {' | '.join(f'{n} calls' for n in CALLS)} |")
    print(f"| --- |{' --- |' * len(CALLS)}")
    for q in (0.5, 0.95):
        name = "median" if q == 0.5 else "p95"
        for side in ("both", "lower", "upper"):
            row(f"{name}, {side}, independent calls", independent(q, side, samples))
        for side in ("both", "lower", "upper"):
            row(f"{name}, {side}, calls as clusters", clustered(q, side, STEADY, samples))
        row(f"{name}, upper, whole calls hit", clustered(q, "upper", HIT, samples // 2))
        row(f"{name}, upper, calls resampled", clustered(q, "upper", STEADY, samples // 20, resampled=True))
    row("p95, upper, log-normal", tolerances(0.0, samples))
    row("p95, upper, log-normal assumed, 5 % of calls hit", tolerances(0.05, samples))
    row("p95, upper, log-normal assumed, 10 % of calls hit", tolerances(0.1, samples))
    row("ratio of two samples", comparisons(samples))
    row(
        "drift seen in none (wrong)",
        flagged(lambda v: (found := drift(v)) is not None and found.is_material, samples // 4),
    )
    row(
        "severe outliers seen in none (wrong)",
        flagged(lambda v: bool((found := outliers(v)) and found.severe), samples // 4),
    )
    print(f"\n{asked.looks} runs; looks after {', '.join(str(n) for n in _LOOKS if n <= 250)} calls\n")
    print("| limit, level a look | passes at the limit | 1 % above | fails at the limit | calls to pass 10 % below |")
    print("| --- | --- | --- | --- | --- |")
    for q, gaps in ((0.5, 1), (0.95, 1), (0.5, GAPS), (0.95, GAPS)):
        kind = "one value a call" if gaps == 1 else f"{gaps} gaps a call"
        for level in (verdict.LEVEL, verdict.LOOK_LEVEL):
            cells = looks(q, gaps, level, runs=asked.looks if gaps == 1 else asked.looks // 3, most=250)
            print(f"| p{q * 100:g}, {kind}, {level:.1%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
