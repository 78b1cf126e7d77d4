"""Comparison: how many times as large the second sample is, with its interval; not whether that is allowed.

Ratios are differences of logs. Both samples are of calls: where a call has several values, its median stands for it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec

from llm_latency.core.stats import CONFIDENCE, Sample, per_call

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

# Integer additions for the exact distribution, 0.1 s of them: 79 against 79 calls, 6 against 10,000.
_MOST_EXACT = 500_000
# Differences held in memory at once, 8 MB; more are counted and not held.
_MOST_DIFFERENCES = 1_000_000


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` is second over first. `low`, `high` are None where the calls hold no interval, `ratio` without calls.

    `confidence` is the interval's own level, at least 95 %; `n` the calls of both.
    """

    ratio: float | None
    low: float | None
    high: float | None
    confidence: float
    n: tuple[int, int]
    assumption: str
    warnings: tuple[str, ...] = ()


def compare(first: Sample, second: Sample) -> Comparison:
    """Ratio second/first of the calls, by Hodges and Lehmann, with the interval of Mann and Whitney's test.

    The median of all ratios of a call of one to a call of the other, and the ordered ratios that the test would not
    reject (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 4.2 and 4.3). It takes both samples for
    independent and alike but for their scale.
    """
    logs = []
    counts = (first.call_count, second.call_count)
    for sample in (first, second):
        values = per_call(sample, 0.5)
        if not values:
            return _refused(counts, "a comparison needs at least one value on both sides")
        if min(values) <= 0.0 or max(values) == math.inf:
            return _refused(counts, "a ratio needs values above zero and finite ones")
        logs.append(sorted(math.log(value) for value in values))
    pairs = counts[0] * counts[1]
    ends = _interval_rank(*sorted(counts))
    ranks = [(pairs + 1) // 2, pairs // 2 + 1]
    if ends is not None:
        ranks += [ends[0], pairs + 1 - ends[0]]
    found = [math.exp(shift) for shift in _ordered_differences(logs[0], logs[1], ranks)]
    low, high = (None, None) if ends is None else (found[2], found[3])
    return Comparison(
        ratio=math.sqrt(found[0]) * math.sqrt(found[1]),
        low=low,
        high=high,
        confidence=CONFIDENCE if ends is None else ends[1],
        n=counts,
        assumption="independent calls, alike but for their scale",
        warnings=() if ends else (f"{counts[0]} and {counts[1]} calls, an interval needs 4 and 4",),
    )


def _refused(counts: tuple[int, int], reason: str) -> Comparison:
    return Comparison(
        ratio=None, low=None, high=None, confidence=CONFIDENCE, n=counts, assumption="none", warnings=(reason,)
    )


@functools.lru_cache(maxsize=128)
def _interval_rank(n: int, m: int) -> tuple[int, float] | None:
    """Which of the ordered differences ends the interval, counted from either end, and its level; n <= m.

    Mann and Whitney's U counts differences below zero. The interval leaves out the k smallest and the k largest
    when U <= k with at most 2.5 %. None where even the extremes miss 95 %: 3 and 3 calls.
    """
    tail = (1.0 - CONFIDENCE) / 2
    if n * n * m > _MOST_EXACT:
        mean, deviation = n * m / 2, math.sqrt(n * m * (n + m + 1) / 12)
        left_out = math.floor(mean - 0.5 + NormalDist().inv_cdf(tail) * deviation)
        return left_out + 1, 1.0 - 2 * NormalDist().cdf((left_out + 0.5 - mean) / deviation)
    ways, whole = _ways(n, m), math.comb(n + m, n)
    below, left_out = 0, -1
    for u, count in enumerate(ways):
        if below + count > tail * whole:
            break
        below, left_out = below + count, u
    return None if left_out < 0 else (left_out + 1, 1.0 - 2 * below / whole)


def _ways(n: int, m: int) -> list[int]:
    """In how many orders of n and m values U is 0, 1, … up to its middle.

    Coefficients of the Gaussian binomial, the product of (1 - x^(m + i))/(1 - x^i) for i = 1 … n.
    """
    size = n * m // 2 + 1
    ways = [1] + [0] * (size - 1)
    for i in range(1, n + 1):
        for u in range(size - 1, m + i - 1, -1):
            ways[u] -= ways[u - m - i]
        for u in range(i, size):
            ways[u] += ways[u - i]
    return ways


def _ordered_differences(first: Sequence[float], second: Sequence[float], ranks: Sequence[int]) -> list[float]:
    """The rank-th smallest (1-based) of all differences second - first, both in ascending order."""
    import numpy as np

    a, b = np.asarray(first), np.asarray(second)
    if len(a) * len(b) > _MOST_DIFFERENCES:
        return [_ordered_difference(a, b, rank) for rank in ranks]
    differences = np.subtract.outer(b, a).ravel()
    wanted = [rank - 1 for rank in ranks]
    parted = np.partition(differences, wanted)
    return [float(parted[index]) for index in wanted]


def _ordered_difference(a: Floats, b: Floats, rank: int) -> float:
    """The same by bisection: how many differences are at most d is a count of b up to a + d."""
    import numpy as np

    low, high = float(b[0] - a[-1]), float(b[-1] - a[0])
    while low < (middle := (low + high) / 2) < high:
        if int(np.searchsorted(b, a + middle, side="right").sum()) >= rank:
            high = middle
        else:
            low = middle
    return high
