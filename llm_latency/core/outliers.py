"""Outliers: how many calls were far from the others, and on which side; counted, never removed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from llm_latency.core.stats import LEAST_FOR_INTERVAL, quantile

# Interquartile ranges beyond the quartiles, twice Tukey's 1.5 and 3 (as Criterion has them). His mild fence flags 27 %
# of normal samples of six and every one of 1,000; these flag 7 % (severe 1.4 %) of six, 1 % (0 %) of 30 (simulated).
_MILD, _SEVERE = 3.0, 6.0
# However alike the others are, 1 % from the median is no outlier and 5 % no severe one: sampling aims at 3 %.
_LEAST_MILD, _LEAST_SEVERE = math.log(1.01), math.log(1.05)


class Outliers(msgspec.Struct, frozen=True, kw_only=True):
    """Calls far from the others among `n`; severe ones are not counted as mild."""

    n: int
    slow_mild: int
    slow_severe: int
    fast_mild: int
    fast_severe: int

    @property
    def mild(self) -> int:
        """Mild ones on both sides."""
        return self.slow_mild + self.fast_mild

    @property
    def severe(self) -> int:
        """Severe ones on both sides."""
        return self.slow_severe + self.fast_severe

    def warning(self, name: str) -> str | None:
        """What to say about metric `name`; None without severe outliers, since mild ones are seen by chance."""
        if not self.severe:
            return None
        sides = [
            f"{count} far {side}" for count, side in ((self.slow_severe, "above"), (self.fast_severe, "below")) if count
        ]
        why = ", and something else may have been running" if self.slow_severe else ""
        return f"{name}: {' and '.join(sides)} the others, of {self.n} calls; they are counted{why}"


def outliers(values: Sequence[float]) -> Outliers | None:
    """Classify one value a call, on logs; None below six calls or where a value is not above zero.

    On logs because delays multiply: a call of twice the time is as far as one of half.
    """
    if len(values) < LEAST_FOR_INTERVAL or min(values) <= 0.0:
        return None
    logs = [math.log(value) for value in values]
    first, median, third = (quantile(logs, q) for q in (0.25, 0.5, 0.75))

    def beyond(times: float, least: float) -> tuple[int, int]:
        above = max(third + times * (third - first), median + least)
        below = min(first - times * (third - first), median - least)
        return sum(x > above for x in logs), sum(x < below for x in logs)

    slow, fast = beyond(_MILD, _LEAST_MILD)
    slow_severe, fast_severe = beyond(_SEVERE, _LEAST_SEVERE)
    return Outliers(
        n=len(values),
        slow_mild=slow - slow_severe,
        slow_severe=slow_severe,
        fast_mild=fast - fast_severe,
        fast_severe=fast_severe,
    )
