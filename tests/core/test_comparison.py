"""Ratios of two samples with their interval, against scipy's Mann-Whitney distribution and simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llm_latency.core import comparison
from llm_latency.core.comparison import Comparison, _interval_rank, _ordered_differences, _ways, compare
from llm_latency.core.stats import Sample


def sample(values: Sequence[float]) -> Sample:
    """One value a call."""
    return Sample(values=tuple(map(float, values)), calls=tuple(range(len(values))))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 4), (6, 6), (5, 12), (12, 12)])
def test_the_orders_are_those_that_scipy_counts(n: int, m: int) -> None:
    """P(U <= u) times the binomial coefficient, from the exact p-value of samples that have this U.

    The second sample is placed so that exactly u differences are below zero.
    """
    ways = _ways(n, m)
    below = 0
    for u, count in enumerate(ways):
        below += count
        first = np.arange(n) * 1.0
        full, rest = divmod(u, n)  # `full` values above all of first, one above `rest` of them
        second = [*[n + 1.0] * full, *([rest - 0.5] if rest else []), *[-1.0] * (m - full - bool(rest))]
        second = [value + 1e-6 * i for i, value in enumerate(second)]
        p = scipy_stats.mannwhitneyu(second, first, alternative="less", method="exact").pvalue
        assert below / math.comb(n + m, n) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (6, 6), (6, 9), (12, 12), (30, 30)])
def test_the_interval_holds_the_shifts_that_are_not_rejected(n: int, m: int) -> None:
    """Just inside each end scipy's exact two-sided p is more than 5 %, and just outside at most 5 %."""
    generator = np.random.default_rng(n * m)
    first, second = generator.lognormal(sigma=0.3, size=n), generator.lognormal(0.2, 0.3, size=m)
    found = compare(sample(first), sample(second))
    assert found.low is not None and found.high is not None
    for end, inward in ((found.low, 1 + 1e-9), (found.high, 1 - 1e-9)):
        for factor, rejected in ((inward, False), (1 / inward, True)):
            test = scipy_stats.mannwhitneyu(second, first * end * factor, method="exact")
            assert (test.pvalue <= 0.05) == rejected


@pytest.mark.parametrize(("n", "m"), [(3, 5), (4, 4), (6, 6), (12, 12), (30, 30), (3, 1000)])
def test_the_level_is_what_the_distribution_leaves(n: int, m: int) -> None:
    """At least 95 %, and one rank further in would be less."""
    found = _interval_rank(n, m)
    assert found is not None
    rank, level = found
    ways, whole = _ways(n, m), math.comb(n + m, n)
    assert level == pytest.approx(1 - 2 * sum(ways[:rank]) / whole)
    assert level >= 0.95 > 1 - 2 * sum(ways[: rank + 1]) / whole


def test_many_calls_take_the_normal_approximation() -> None:
    """Where both are known, 79 against 79, it is the same rank and level to four digits."""
    exact = _interval_rank(79, 79)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_MOST_EXACT", 0)
        _interval_rank.cache_clear()
        approximate = _interval_rank(79, 79)
    _interval_rank.cache_clear()
    assert exact is not None and approximate is not None
    assert exact[0] == pytest.approx(approximate[0], abs=1)
    assert exact[1] == pytest.approx(approximate[1], abs=1e-3)


def test_twice_the_time_is_a_ratio_of_two() -> None:
    """Six calls against the same six times two: from the ratio 2 each way by ranks of 36, at 95.9 %.

    P(U <= 5) = 19/924 = 2.06 %, so the 6th smallest and largest ratio are the ends.
    """
    first = [1.0, 1.1, 1.21, 1.331, 1.4641, 1.61051]  # powers of 1.1
    assert 19 == sum(_ways(6, 6)[:6])
    found = compare(sample(first), sample([2 * value for value in first]))
    ratios = sorted(2 * 1.1 ** (j - i) for i in range(6) for j in range(6))
    expected = Comparison(
        ratio=pytest.approx(2.0),
        low=pytest.approx(ratios[5]),
        high=pytest.approx(ratios[30]),
        confidence=pytest.approx(1 - 2 * 19 / 924),
        n=(6, 6),
        assumption="independent calls, alike but for their scale",
    )
    assert expected == found


def test_the_other_way_round_is_the_inverse() -> None:
    """Also for unequal numbers of calls."""
    generator = np.random.default_rng(3)
    a, b = sample(generator.lognormal(size=7)), sample(generator.lognormal(size=11))
    there, back = compare(a, b), compare(b, a)
    assert there.ratio is not None and there.low is not None and there.high is not None
    assert (pytest.approx(1 / there.high), pytest.approx(1 / there.ratio), pytest.approx(1 / there.low)) == (
        back.low,
        back.ratio,
        back.high,
    )
    assert ((7, 11), (11, 7)) == (there.n, back.n)


def test_gaps_stand_for_their_call_by_its_median() -> None:
    """Twelve values of four calls each are compared as four."""
    gaps = [Sample(values=(1.0, 2.0, 9.0) * 4, calls=(0,) * 3 + (1,) * 3 + (2,) * 3 + (3,) * 3)] * 2
    found = compare(*gaps)
    assert (1.0, 1.0, 1.0, (4, 4)) == (found.ratio, found.low, found.high, found.n)
    assert found.confidence == pytest.approx(1 - 2 / math.comb(8, 4))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (3, 3), (3, 4), (1, 30)])
def test_few_calls_have_a_ratio_and_no_interval(n: int, m: int) -> None:
    """Three and four values are in any order with 1/35: both extremes together miss 5.7 %."""
    found = compare(sample([1.0] * n), sample([1.5] * m))
    assert (pytest.approx(1.5), None, None, 0.95) == (found.ratio, found.low, found.high, found.confidence)
    assert (f"{n} and {m} calls, an interval needs 4 and 4",) == found.warnings


@pytest.mark.parametrize("values", [[1.0, 0.0, 2.0], [1.0, -1.0, 2.0], [1.0, math.inf, 2.0]])
def test_a_value_without_a_logarithm_has_no_ratio(values: list[float]) -> None:
    """On either side, and the reason is said."""
    good = sample([1.0] * 6)
    for found in (compare(sample(values), good), compare(good, sample(values))):
        assert (None, None, None, "none") == (found.ratio, found.low, found.high, found.assumption)
        assert ("a ratio needs values above zero and finite ones",) == found.warnings


def test_nothing_has_no_ratio() -> None:
    """Nor does something to nothing."""
    for found in (compare(sample([]), sample([1.0])), compare(sample([1.0]), sample([]))):
        assert (None, ("a comparison needs at least one value on both sides",)) == (found.ratio, found.warnings)


def test_differences_that_are_only_counted_are_the_same() -> None:
    """1,001 against 1,000 values are past what is held in memory."""
    generator = np.random.default_rng(4)
    a, b = np.sort(generator.normal(size=1001)), np.sort(generator.normal(size=1000))
    ranks = [1, 500_000, 500_500, 1_001_000]
    counted = _ordered_differences(list(a), list(b), ranks)
    held = np.sort(np.subtract.outer(b, a).ravel())[[rank - 1 for rank in ranks]]
    assert list(held) == pytest.approx(counted, abs=1e-12)


def test_ten_thousand_calls_are_compared() -> None:
    """A hundred million ratios; 10 % more is found, and 1 sd/√n is known about it."""
    generator = np.random.default_rng(5)
    found = compare(*(sample(generator.lognormal(mean, 0.1, size=10_000)) for mean in (0.0, math.log(1.1))))
    assert found.ratio == pytest.approx(1.1, rel=0.005)
    assert found.low is not None and found.high is not None and found.low < 1.1 < found.high
    # ±1.96 times the standard error of a difference of means, √(3/π) wider for ranks.
    assert math.log(found.high / found.low) == pytest.approx(
        2 * 1.96 * 0.1 * math.sqrt(2 / 10_000 * math.pi / 3), rel=0.05
    )


@pytest.mark.parametrize(("n", "samples"), [(6, 3000), (12, 2000), (30, 800), (100, 300)])
def test_the_ratio_is_covered_as_often_as_is_said(n: int, samples: int) -> None:
    """By the level that the interval itself names, within three standard errors of the simulation."""
    generator = np.random.default_rng(n)
    covered, level = 0, 0.0
    for _ in range(samples):
        found = compare(*(sample(mean * generator.lognormal(sigma=0.2, size=n)) for mean in (1.0, 1.2)))
        assert found.low is not None and found.high is not None
        covered += found.low <= 1.2 <= found.high
        level = found.confidence
    assert covered / samples == pytest.approx(level, abs=3 * math.sqrt(0.05 * 0.95 / samples))
