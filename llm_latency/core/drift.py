"""Drift: whether calls became slower or faster from the first to the last; flagged in words, never corrected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

from llm_latency.core.stats import LEAST_FOR_INTERVAL, quantile

# A warning on every twentieth steady measurement would not be read.
_CONFIDENCE = 0.99
# A steady change by 5 % puts either half's median 2.5 % from the whole's, as much as the 3 % that sampling aims at.
_MATERIAL = 0.05
# 1,000 calls have 499,500 slopes: 12 MB and 50 ms.
_MOST_CALLS = 1000


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Relative change from the first call to the last, 0.1 for 10 % more, with its 99 % interval; n calls."""

    change: float
    low: float
    high: float
    n: int
    confidence: float = _CONFIDENCE

    @property
    def is_material(self) -> bool:
        """Whether there was a change, and one that moves the median by as much as its interval is wide."""
        return not self.low <= 0.0 <= self.high and abs(self.change) >= _MATERIAL

    def warning(self, name: str) -> str | None:
        """What to say about metric `name`; None where the change is none or does not matter."""
        if not self.is_material:
            return None
        verb = "rose" if self.change > 0 else "fell"
        least, most = sorted(abs(end) for end in (self.low, self.high))
        return (
            f"{name} {verb} by {abs(self.change):.0%} from the first of {self.n} calls to the last"
            f" ({self.confidence:.0%} interval {least:.0%} to {most:.0%}): its median mixes both;"
            " more warm-up, or a rest for the machine, would steady it"
        )


def drift(values: Sequence[float]) -> Drift | None:
    """Theil and Sen's slope over calls in order of time, relative to their median; one value a call.

    The median of the slopes between any two calls, which outliers do not turn, with the interval of Kendall's tau
    (Sen 1968, J. Am. Stat. Assoc. 63). Of more than 1,000 calls, 1,000 evenly spread ones are taken. None below six
    calls, and where the median is not above zero or a value is infinite.
    """
    if len(values) < LEAST_FOR_INTERVAL:
        return None
    center = quantile(values, 0.5)
    if center <= 0.0 or not all(map(math.isfinite, values)):
        return None
    import numpy as np

    taken = min(len(values), _MOST_CALLS)
    at = np.round(np.linspace(0, len(values) - 1, taken)).astype(np.int64)
    chosen = np.asarray(values, dtype=np.float64)[at]
    before, after = np.triu_indices(taken, 1)
    slopes = (chosen[after] - chosen[before]) / (at[after] - at[before])
    _, ties = np.unique(chosen, return_counts=True)
    tied = float((ties * (ties - 1) * (2 * ties + 5)).sum())
    deviation = math.sqrt((taken * (taken - 1) * (2 * taken + 5) - tied) / 18)
    reach = NormalDist().inv_cdf(1.0 - (1.0 - _CONFIDENCE) / 2) * deviation
    first = max(round((len(slopes) - reach) / 2) - 1, 0)
    last = min(round((len(slopes) + reach) / 2), len(slopes) - 1)
    ordered = np.partition(slopes, (first, last))
    scale = (len(values) - 1) / center
    return Drift(
        change=float(np.median(slopes)) * scale,
        low=float(ordered[first]) * scale,
        high=float(ordered[last]) * scale,
        n=len(values),
    )
