"""What the two benchmarks of the gate share: the conditions, and a rate with its interval."""

from __future__ import annotations

import math

# Condition: how many neighbours burn a core beside it.
CONDITIONS = {"quiet": 0, "one neighbour": 1, "two neighbours": 2}


def wilson(count: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % score interval of a rate (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
    if n == 0:
        return 0.0, 1.0
    share = count / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def told(count: int, n: int) -> str:
    """A count of n with its rate's interval."""
    low, high = wilson(count, n)
    return f"{count}/{n} [{low:.0%}, {high:.0%}]" if n else "–"
