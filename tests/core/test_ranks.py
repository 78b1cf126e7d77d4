"""Ranks that bound a quantile, and their exact levels, against scipy's binomial distribution."""

from __future__ import annotations

import pytest
from scipy import stats as scipy_stats

from llm_latency.core.ranks import Rank, least_values, lower_rank


@pytest.mark.parametrize("level", [0.95, 0.975])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 12, 30, 58, 59, 298, 299, 1000, 10_000])
def test_the_rank_and_its_level_are_scipys(n: int, q: float, level: float) -> None:
    """The largest r with P(X >= r) = binom.sf(r - 1) at least the level."""
    holding = [rank for rank in range(1, n + 1) if scipy_stats.binom.sf(rank - 1, n, q) >= level]
    found = lower_rank(n, q, level)
    if not holding:
        assert found is None
        return
    assert found is not None
    assert holding[-1] == found.rank
    assert found.level == pytest.approx(scipy_stats.binom.sf(found.rank - 1, n, q), abs=1e-9)


def test_the_smallest_of_six_is_a_bound_of_the_median_at_its_own_level() -> None:
    """1 - 2⁻⁶ = 98.4 %, which is more than the 97.5 % that were asked for."""
    assert Rank(rank=1, level=pytest.approx(1 - 2**-6)) == lower_rank(6, 0.5, 0.975)


def test_no_values_have_no_rank() -> None:
    """Nor has one value, whose median is on either side with 50 %."""
    assert (None, None) == (lower_rank(0, 0.5, 0.95), lower_rank(1, 0.5, 0.95))


@pytest.mark.parametrize(
    ("q", "level", "least"),
    [(0.5, 0.95, 5), (0.5, 0.975, 6), (0.95, 0.95, 59), (0.05, 0.95, 59), (0.95, 0.975, 72), (0.99, 0.95, 299)],
)
def test_both_ends_exist_from_the_least_number_on(q: float, level: float, least: int) -> None:
    """0.95⁵⁹ = 4.85 %, 0.95⁷² = 2.49 %, 0.95⁷¹ = 2.62 %."""
    assert least == least_values(q, level)
    ends = [[lower_rank(n, side, level) is not None for side in (q, 1 - q)] for n in (least, least - 1)]
    assert [True, True] == ends[0]
    assert not all(ends[1])
