"""Crossing: the lengths between which one strategy gives way to another, narrowed by measuring; not the measuring."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# A length is known well enough between two that differ by this factor.
_CLOSE = 1.5


def computed(lengths: tuple[int, int], first: Sequence[float], second: Sequence[float]) -> int:
    """Where lines through the scores at both lengths cross; the geometric middle where they do not between them."""
    low, high = lengths
    gaps = [own - other for own, other in zip(first, second, strict=False)]
    if len(first) == len(second) == len(lengths) and gaps[0] < 0 < gaps[1]:
        return round(low + (high - low) * gaps[0] / (gaps[0] - gaps[1]))
    return math.isqrt(low * high)


def narrowed(lengths: tuple[int, int], at: int, first_wins: Callable[[int], bool | None]) -> tuple[int, int]:
    """The longest length at which the first was faster and the shortest at which it was not, from `at` outwards.

    `first_wins` measures at a length, and returns None where there is no time for it; then what is known is returned.
    """
    low, high = lengths
    while high > _CLOSE * low and low < at < high:
        wins = first_wins(at)
        if wins is None:
            break
        if wins:
            low, at = at, min(math.floor(at * _CLOSE), math.isqrt(at * high))
        else:
            high, at = at, max(math.ceil(at / _CLOSE), math.isqrt(low * at))
    return low, high
