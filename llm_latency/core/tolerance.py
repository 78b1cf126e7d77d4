"""Tolerance: an upper bound of a high quantile from few calls, under an assumption that it names; not exact ranks.

Six calls hold no bound of p95 without one. Assumed is a log-normal: delays multiply and are never negative. Whether it
fits cannot be told from six values: at this size a test finds a gross outlier and little else (of samples with
exponential logs 8 % at n = 6, 84 % at n = 30). So what is found widens the bound, and what is not found stays an
assumption, printed with the bound: where a tenth of the calls is delayed and none of six was, no method knows it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

# Level of the test for outliers: of log-normal samples 1 in 100 gets a wider bound than it needs.
_DOUBT = 0.01


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """An upper bound of a quantile and the assumption under which it holds at its level."""

    upper: float
    assumption: str


def tolerance(values: Sequence[float], q: float, *, level: float) -> Tolerance | None:
    """Upper bound of quantile q at `level` if the values are log-normal; None for fewer than 3 or for a zero.

    exp(mean + k sd) of the logs with k from the noncentral t distribution (Hahn and Meeker, 4.6.3). Where the logs do
    not look normal it is at least the largest value times its ratio to the median: room for a delay twice as
    large, in logs, as the largest that was seen.
    """
    n = len(values)
    if n < 3 or min(values) <= 0.0 or max(values) == math.inf:
        return None
    logs = sorted(math.log(value) for value in values)
    mean = math.fsum(logs) / n
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (n - 1))
    upper = mean + _tolerance_factor(n, q, level) * deviation
    if _looks_normal(logs):
        return Tolerance(upper=math.exp(upper), assumption="log-normal")
    median = (logs[(n - 1) // 2] + logs[n // 2]) / 2
    return Tolerance(upper=math.exp(max(upper, 2 * logs[-1] - median)), assumption="log-normal, widened for an outlier")


def mean_factor(n: int, level: float) -> float:
    """How many standard deviations a one-sided bound of the mean of n normal values lies from it: t over sqrt(n)."""
    return _tolerance_factor(n, 0.5, level)


def _looks_normal(ordered: Sequence[float]) -> bool:
    """Shapiro and Francia's test at 1 %: correlation of the values with normal scores, by Royston's approximation.

    Royston 1993, Stat. Comput. 3, 117: log(1 - W') is about normal for 5 to 5,000 values; below 5 nothing is doubted.
    """
    n = len(ordered)
    if n < 5 or ordered[-1] - ordered[0] <= 1e-12 * max(1.0, abs(ordered[0])):
        return True
    normal = NormalDist()
    scores = [normal.inv_cdf((i - 0.375) / (n + 0.25)) for i in range(1, n + 1)]
    mean = math.fsum(ordered) / n
    products = math.fsum(score * (x - mean) for score, x in zip(scores, ordered, strict=True))
    squares = math.fsum(score * score for score in scores) * math.fsum((x - mean) ** 2 for x in ordered)
    u = math.log(n)
    v = math.log(u)
    center, spread = -1.2725 + 1.0521 * (v - u), 1.0308 - 0.26758 * (v + 2 / u)
    apart = max(1e-300, 1.0 - products * products / squares)
    return (math.log(apart) - center) / spread <= normal.inv_cdf(1.0 - _DOUBT)


@functools.lru_cache(maxsize=512)
def _tolerance_factor(n: int, q: float, level: float) -> float:
    """One-sided normal tolerance factor: the `level` quantile of noncentral t, over sqrt(n), by bisection."""
    shift, freedom = NormalDist().inv_cdf(q) * math.sqrt(n), n - 1
    low, high = -200.0, 200.0  # negative for the quantiles well below the median
    for _ in range(60):
        middle = (low + high) / 2
        if _noncentral_t_cdf(middle * math.sqrt(n), freedom, shift) < level:
            low = middle
        else:
            high = middle
    return high


def _noncentral_t_cdf(t: float, freedom: int, shift: float) -> float:
    """P(T <= t): Φ(t·s - shift) averaged over s = sqrt(chi²/freedom), by Simpson's rule in s."""
    normal = NormalDist()
    log_scale = math.log(2) + (freedom / 2) * math.log(freedom / 2) - math.lgamma(freedom / 2)
    top, steps = 1.0 + 10.0 / math.sqrt(freedom), 400
    width = top / steps

    def density(s: float) -> float:
        return math.exp(log_scale + (freedom - 1) * math.log(s) - freedom * s * s / 2) * normal.cdf(t * s - shift)

    inner = math.fsum((4 if i % 2 else 2) * density(i * width) for i in range(1, steps))
    return min(1.0, (inner + density(top)) * width / 3)
