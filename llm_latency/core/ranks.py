"""Ranks: which ordered value bounds a quantile of independent values, and at what level; not the values."""

from __future__ import annotations

import functools
import math

import msgspec


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """The `rank`-th smallest value (1-based) lies at or below the quantile with probability `level`, exactly."""

    rank: int
    level: float


@functools.lru_cache(maxsize=512)
def lower_rank(n: int, q: float, level: float) -> Rank | None:
    """Largest rank whose value lies at or below quantile q of n values with at least `level`; None without one.

    That is P(X >= rank) for X ~ Binomial(n, q) (Hahn and Meeker, Statistical Intervals, 5.2); its terms are in logs
    so that n may be large. An upper bound of q is a lower one of 1 - q, counted from the other end.
    """
    log_q, log_p, whole = math.log(q), math.log1p(-q), math.lgamma(n + 1)
    found, below = None, 0.0
    for i in range(n):  # X = i is below rank i + 1
        below += math.exp(whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_q + (n - i) * log_p)
        if 1.0 - below < level:
            break
        found = Rank(rank=i + 1, level=1.0 - below)
    return found


def least_values(q: float, level: float) -> int:
    """How many independent values an interval of quantile q needs, each end at `level`: 6 for a median at 97.5 %.

    The extreme value is a bound when qⁿ <= 1 - level, q being the nearer of q and 1 - q to 1.
    """
    return math.ceil(math.log(1.0 - level) / math.log(max(q, 1.0 - q)) - 1e-9)
