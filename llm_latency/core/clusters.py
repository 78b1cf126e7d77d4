"""Clusters: bounds of the quantile of values pooled over calls, where values of one call are alike; not means.

What is estimated is the quantile of all values together. What is independent is the call: gaps between the tokens
of one call are autocorrelated (lag-1 0.16 to 0.80) and share that call's level. So the share of values at or below x
is an average over calls, and x is inside the bounds while that average is compatible with q (Woodruff 1952, J. Am.
Stat. Assoc. 47, inverting the test at each x instead of once).

What comes out is between 93.5 and 96.5 % of 95 % for medians (6 to 100 calls, correlations 0.16 to 0.8, calls alike or
not, gaps hit by a neighbour). Whole calls that are slow are few: where they are a tenth, 12 calls bound a median with
86 % only, by every method tried. Not taken: resampling, which holds 89 to 91 % for the upper bound of a median of 6,
and 89 to 94 % for that of p95 from 100 (all of it from benchmarks/bench_coverage.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from llm_latency.core.ranks import lower_rank

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

LEAST_CALLS = 6
# Calls that must lie beyond an outer quantile before its spread over calls is known: with 3 (60 calls, p95) the
# bound held 91 % of 95 % where a tenth of the calls is slow as a whole, with 5 (100 calls) 93 to 96 % (simulated).
_LEAST_BEYOND = 5


def cluster_bounds(
    values: Sequence[float], calls: Sequence[int], q: float, *, level: float
) -> tuple[float | None, float | None]:
    """One-sided bounds of the pooled quantile q, each at `level`; `calls[i]` is the call that value i came from.

    None below six calls, and for the outer bound of a quantile (the upper one of p95) below as many calls as
    independent values would have to be: 59 for p95 at 95 %.
    """
    import numpy as np

    array, owners = np.asarray(values, dtype=np.float64), np.asarray(calls)
    if q < 0.5:  # the mirror image
        inner, outer = _bounds(_Pool(-array, owners, 1.0 - q), level)
        return (None if outer is None else -outer, None if inner is None else -inner)
    return _bounds(_Pool(array, owners, q), level)


class _Pool:
    """All values, each with its call; those around quantile q, where its bounds are, in order."""

    def __init__(self, values: Floats, owners: np.ndarray[tuple[int], np.dtype[np.int64]], q: float) -> None:
        import numpy as np

        self.q, self.values, self.owners = q, values, owners - owners.min()
        self.sizes = np.bincount(self.owners).astype(np.float64)
        self.calls = int(np.count_nonzero(self.sizes))
        # Kish's effective number: as many calls of equal length would weigh alike.
        self.effective = len(values) ** 2 / float(self.sizes @ self.sizes)
        # Four standard errors to either side, were each call one value: sorting a million values takes 0.1 s.
        reach = 4.0 * math.sqrt(q * (1.0 - q) / self.effective)
        first, last = self.at(max(0.0, q - reach)), self.at(min(1.0, q + reach))
        around = (values >= first) & (values <= last)
        self.below = np.bincount(self.owners[values < first], minlength=len(self.sizes))
        order = np.argsort(values[around])
        self.around, self.around_owners = values[around][order], self.owners[around][order]

    def at(self, share: float) -> float:
        """Smallest value that has this share of all values at or below it."""
        import numpy as np

        index = max(0, math.ceil(share * len(self.values) - 1e-9) - 1)
        return float(np.partition(self.values, index)[index])

    def counts(self, x: float) -> Floats:
        """Values of each call at or below x."""
        import numpy as np

        if self.around[0] <= x <= self.around[-1]:
            end = np.searchsorted(self.around, x, side="right")
            found = self.below + np.bincount(self.around_owners[:end], minlength=len(self.sizes))
        else:
            found = np.bincount(self.owners[self.values <= x], minlength=len(self.sizes))
        return found.astype(np.float64)

    def score(self, x: float) -> float:
        """Deviate of the share below x, its variance taken about q (a median's, which is the same on both sides)."""
        away = self.counts(x) - self.q * self.sizes
        spread = math.sqrt(float(away @ away))
        return float(away.sum()) / spread if spread else 0.0

    def inflation(self, x: float) -> float:
        """Variance of the share below x over that of one value, from 1/values (all independent) to 1/calls."""
        counts, total = self.counts(x), len(self.values)
        share = float(counts.sum()) / total
        if share >= 1.0:
            return 1.0 / self.effective
        away = counts - share * self.sizes
        variance = float(away @ away) / total**2 * self.calls / (self.calls - 1)
        return min(1.0 / self.effective, max(1.0 / total, variance / (share * (1.0 - share))))

    def scaled(self, x: float, *, least: float = 0.0) -> float:
        """Deviate of the share below x, with the variance that q would have; the observed one vanishes far out."""
        share = float(self.counts(x).sum()) / len(self.values)
        return (share - self.q) / math.sqrt(self.q * (1.0 - self.q) * max(least, self.inflation(x)))

    def first(self, is_beyond: Callable[[float], bool]) -> float | None:
        """Smallest value at which `is_beyond` holds, by bisection; None where it never does."""
        import numpy as np

        values = self.around
        if not is_beyond(float(values[-1])) or is_beyond(float(values[0])):  # farther out than the values around q
            values = np.sort(self.values)
        below, above = -1, len(values) - 1
        if not is_beyond(float(values[above])):
            return None
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if is_beyond(float(values[middle])) else (middle, above)
        return float(values[above])


def _bounds(pool: _Pool, level: float) -> tuple[float | None, float | None]:
    """Bounds for q >= 0.5: the lower one is the inner, the upper one the outer."""
    if pool.calls < LEAST_CALLS:
        return None, None
    q, z, t = pool.q, NormalDist().inv_cdf(level), _student(level, pool.calls - 1)
    if q == 0.5:
        # The score's equivalent of t, half-way to z: for 6 calls t alone held 93.3 % and z alone 97.3 % of 95 %
        # (two-sided; over within-call correlations, call effects and tails), half-way 94.2 to 96.5 %.
        limit = (z + t * math.sqrt(pool.calls / (pool.calls - 1 + t * t))) / 2
        if math.sqrt(pool.effective) <= limit:  # not even all values together are away from q
            return None, None
        return pool.first(lambda x: pool.score(x) >= -limit), pool.first(lambda x: pool.score(x) > limit)
    limit = (z + t) / 2  # as above: 6 calls, lower bound of p95: 95.0 to 96.8 %
    low = None
    if math.sqrt(pool.effective * q / (1.0 - q)) > limit:
        low = pool.first(lambda x: pool.scaled(x) >= -limit)
    calls = int(pool.effective)
    needed = lower_rank(calls, 1.0 - q, level)
    if needed is None:
        return low, None
    if pool.effective * (1.0 - q) < _LEAST_BEYOND:  # each call as one value: never too near
        return low, pool.at(1.0 - (needed.rank - 1) / calls)
    # Values that are far out are few, so how alike calls are is also taken from the middle.
    least = pool.inflation(pool.at(0.5))
    return low, pool.first(lambda x: pool.scaled(x, least=least) > limit)


def _student(level: float, freedom: int) -> float:
    """Quantile of Student's t from the normal one (Abramowitz and Stegun 26.7.5), within 0.01 from 5 on."""
    z = NormalDist().inv_cdf(level)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
