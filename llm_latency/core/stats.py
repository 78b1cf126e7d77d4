"""Sample → Summary: medians and percentiles with intervals that say what they assume; not what a limit makes of them.

Everything here is deterministic: a measurement read back gives the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from llm_latency.core.clusters import LEAST_CALLS, cluster_bounds
from llm_latency.core.ranks import least_values, lower_rank
from llm_latency.errors import TooFewCallsError, UsageError

CONFIDENCE = 0.95
# With 5 values the extremes cover the median in 1 - 2/2**5 = 93.75 %: six is the least that holds 95 %.
LEAST_FOR_INTERVAL = LEAST_CALLS
# From here on numpy's partition, with its import and conversion, is faster than sorting a list.
_MANY = 20_000


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one metric in base units; `calls[i]` is the index of the call that value i came from."""

    values: tuple[float, ...]
    calls: tuple[int, ...]

    @property
    def call_count(self) -> int:
        """Number of calls that contributed at least one value."""
        return len(set(self.calls))

    @property
    def clustered(self) -> bool:
        """Whether some call contributed several values, which are then not independent."""
        return self.call_count < len(self.values)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """One-sided bounds of a quantile and the level that each reached; None where the sample holds none.

    Order statistics reach their level exactly, which is then more than was asked for; a method for clusters is
    named by what was asked for. `assumption` says which of both.
    """

    low: float | None
    high: float | None
    low_level: float | None
    high_level: float | None
    assumption: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic with its interval. `low` and `high` are None where the sample holds no interval.

    `center` is the quantile of all values together, also where calls contribute several. `confidence` is the
    interval's own level: 96.9 % for the extremes of six independent calls, 95 % where calls are clusters.
    """

    center: float
    low: float | None
    high: float | None
    confidence: float
    n: int
    calls: int
    assumption: str
    warnings: tuple[str, ...] = ()


def quantile(values: Sequence[float], q: float) -> float:
    """Quantile by linear interpolation (Hyndman and Fan's type 7, numpy's default); `q` in [0, 1].

    Raises UsageError when there are no values, or when q lies outside.
    """
    if not values:
        raise UsageError("a quantile needs at least one value")
    if not 0.0 <= q <= 1.0:
        raise UsageError(f"there is no quantile {q:g}; expected 0 to 1")
    position = q * (len(values) - 1)
    below = math.floor(position)
    first, second = _neighbours(values, below)
    if position == below:  # also keeps an infinite neighbour from making inf * 0 of it
        return first
    return first + (second - first) * (position - below)


def _neighbours(values: Sequence[float], index: int) -> tuple[float, float]:
    """The values at `index` and after it, if these were in order."""
    after = min(index + 1, len(values) - 1)
    if len(values) < _MANY:
        ordered = sorted(values)
        return ordered[index], ordered[after]
    import numpy as np

    parted = np.partition(np.asarray(values, dtype=np.float64), (index, after))
    return float(parted[index]), float(parted[after])


def supported(q: float, n: int) -> bool:
    """Whether n values can hold quantile q as a point value: 20 for p95, 100 for p99, 1 for the median."""
    return n >= 1 and n * (1.0 - q) >= 1.0 - 1e-9 if q > 0.5 else n >= 1 and (q == 0.5 or n * q >= 1.0 - 1e-9)


def percentile(sample: Sample, q: float) -> float:
    """Quantile of a sample that can hold it, 0 < q < 1.

    Raises TooFewCallsError, naming what would do, when the sample cannot hold it, and UsageError for another q.
    """
    n = len(sample.values)
    if not 0.0 < q < 1.0:
        raise UsageError(f"there is no p{q * 100:g}; expected 0 < p < 100, or read `.max` or `.min`")
    if not supported(q, n):
        needed, edge = math.ceil(1.0 / min(q, 1.0 - q) - 1e-9), ".max" if q > 0.5 else ".min"
        raise TooFewCallsError(
            f"p{q * 100:g} needs at least {needed} values and this sample has {n}; read `{edge}` instead, ask for"
            f" more calls with `repeat={needed}` (`-r {needed}` in a notebook), or put"
            " the limit into the `latency_budget` marker, which samples until it can decide"
        )
    return quantile(sample.values, q)


def order_statistic_bounds(values: Sequence[float], q: float, *, level: float) -> tuple[float | None, float | None]:
    """One-sided bounds of quantile q, each at least at `level`, without any assumption but independence.

    Ranks from the binomial distribution. None where no rank reaches the level: an upper bound of p95 at 95 % exists
    from 59 values.
    """
    found = _independent_bounds(values, q, level)
    return found.low, found.high


def _independent_bounds(values: Sequence[float], q: float, level: float) -> Bounds:
    ordered, n = sorted(values), len(values)
    low = lower_rank(n, q, level)
    high = lower_rank(n, 1.0 - q, level)  # mirrored: the upper bound is a lower one from the other end
    return Bounds(
        low=None if low is None else ordered[low.rank - 1],
        high=None if high is None else ordered[n - high.rank],
        low_level=None if low is None else low.level,
        high_level=None if high is None else high.level,
        assumption="independent calls",
    )


def per_call(sample: Sample, q: float) -> tuple[float, ...]:
    """Quantile q of each call's own values, in order of the calls."""
    values: dict[int, list[float]] = {}
    for value, call in zip(sample.values, sample.calls, strict=True):
        values.setdefault(call, []).append(value)
    return tuple(quantile(found, q) for found in values.values())


def bound(sample: Sample, q: float, *, level: float) -> Bounds:
    """One-sided bounds of quantile q, each at `level` or more, by the method that fits the sample.

    Exact ranks where each call has one value; calls as clusters where they have several, from six calls on.
    """
    if not sample.clustered:
        return _independent_bounds(sample.values, q, level)
    low, high = cluster_bounds(sample.values, sample.calls, q, level=level)
    return Bounds(
        low=low,
        high=high,
        low_level=None if low is None else level,
        high_level=None if high is None else level,
        assumption="calls as clusters",
    )


def bounds(sample: Sample, q: float, *, level: float) -> tuple[float | None, float | None]:
    """The two bounds of `bound` alone."""
    found = bound(sample, q, level=level)
    return found.low, found.high


def summarize(sample: Sample, *, q: float = 0.5) -> Summary:
    """Median (or quantile q) with its interval of at least 95 % and the doubts about it.

    Raises UsageError when the sample is empty.
    """
    n, calls = len(sample.values), sample.call_count
    center = quantile(sample.values, q)
    # Half of what may be missed on either side; one call is no sample of calls, whatever it holds.
    level = 1.0 - (1.0 - CONFIDENCE) / 2
    found = bound(sample, q, level=level) if calls > 1 else None
    low, high, confidence = None, None, CONFIDENCE
    warnings: tuple[str, ...] = ()
    if found is not None and found.low_level is not None and found.high_level is not None:
        low, high, confidence = found.low, found.high, found.low_level + found.high_level - 1.0
        confidence = CONFIDENCE if sample.clustered else confidence
    elif calls == 1:
        warnings = ("one call, no interval",)
    elif calls < (needed := max(LEAST_FOR_INTERVAL, least_values(q, level))):
        warnings = (f"{calls} calls, an interval needs {needed}",)
    else:
        warnings = ("a few calls hold most of the values, no interval",)
    return Summary(
        center=center,
        low=low,
        high=high,
        confidence=confidence,
        n=n,
        calls=calls,
        assumption="independent calls" if found is None else found.assumption,
        warnings=warnings,
    )
