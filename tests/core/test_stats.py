"""Quantiles, order-statistic bounds and summaries, against scipy, numpy and simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llm_latency.core.clusters import cluster_bounds
from llm_latency.core.stats import (
    Bounds,
    Sample,
    Summary,
    bound,
    bounds,
    order_statistic_bounds,
    per_call,
    percentile,
    quantile,
    summarize,
    supported,
)
from llm_latency.errors import TooFewCallsError, UsageError


def sample(*values: float) -> Sample:
    """One value a call."""
    return Sample(values=values, calls=tuple(range(len(values))))


def clusters(*calls: tuple[float, ...]) -> Sample:
    """Several values a call."""
    return Sample(
        values=tuple(value for call in calls for value in call),
        calls=tuple(index for index, call in enumerate(calls) for _ in call),
    )


# --- quantile ---


def test_a_quantile_of_nothing_is_refused() -> None:
    """There is none."""
    with pytest.raises(UsageError, match="at least one value"):
        quantile((), 0.5)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, math.inf])
def test_a_quantile_outside_of_zero_and_one_is_refused(q: float) -> None:
    """A negative one would count from the other end."""
    with pytest.raises(UsageError, match="expected 0 to 1"):
        quantile((1.0, 2.0), q)


@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 1.0])
def test_one_value_is_every_quantile(q: float) -> None:
    """As are equal values."""
    assert 7.0 == quantile((7.0,), q)
    assert 7.0 == quantile((7.0, 7.0, 7.0), q)


def test_the_ends_are_the_extremes() -> None:
    """Values may come in any order, and stay as they were."""
    values = [3.0, 1.0, 2.0]
    assert (1.0, 2.0, 3.0) == tuple(quantile(values, q) for q in (0.0, 0.5, 1.0))
    assert [3.0, 1.0, 2.0] == values


def test_an_infinite_value_leaves_the_other_quantiles() -> None:
    """The median of 1, 2 and ∞ is 2; between 2 and ∞ lies ∞."""
    assert 2.0 == quantile((math.inf, 1.0, 2.0), 0.5)
    assert math.inf == quantile((math.inf, 1.0, 2.0), 0.75)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 20, 101, 19_999, 20_000, 20_001])
@pytest.mark.parametrize("q", [0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.999, 1.0])
def test_quantiles_are_numpys(n: int, q: float) -> None:
    """Linear interpolation, numpy's default."""
    values = np.random.default_rng(n).lognormal(size=n)
    assert quantile(tuple(values), q) == pytest.approx(np.quantile(values, q), rel=1e-12)


# --- what a sample can hold ---


@pytest.mark.parametrize(
    ("q", "least"), [(0.5, 1), (0.75, 4), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000), (0.05, 20), (0.25, 4)]
)
def test_a_percentile_needs_a_value_beyond_it(q: float, least: int) -> None:
    """1/(1 - q) values: with fewer, the share beyond q is less than one value."""
    assert (True, False) == (supported(q, least), supported(q, least - 1))


@pytest.mark.parametrize(
    ("q", "n", "edge", "needed"), [(0.95, 19, ".max", 20), (0.99, 99, ".max", 100), (0.05, 3, ".min", 20)]
)
def test_a_percentile_that_the_sample_cannot_hold_names_what_would_do(q: float, n: int, edge: str, needed: int) -> None:
    """The extreme, more calls, or the marker that samples until it can decide."""
    with pytest.raises(TooFewCallsError) as refusal:
        percentile(sample(*map(float, range(n))), q)
    message = str(refusal.value)
    assert f"p{q * 100:g} needs at least {needed} values and this sample has {n}; read `{edge}` instead" in message
    assert f"`repeat={needed}`" in message
    assert "`latency_budget` marker" in message


@pytest.mark.parametrize("q", [0.0, 1.0, 1.5, -0.5, math.nan])
def test_the_ends_are_no_percentiles(q: float) -> None:
    """0 and 100 are the extremes, which have names."""
    with pytest.raises(UsageError, match=r"read `\.max` or `\.min`"):
        percentile(sample(1.0, 2.0), q)


def test_a_percentile_that_the_sample_holds_is_the_quantile() -> None:
    """p95 of 0 to 20 is 19, the 20th of 21 values."""
    assert 19.0 == percentile(sample(*map(float, range(21))), 0.95)


# --- order statistics ---


def scipy_ranks(n: int, q: float, level: float) -> tuple[int | None, int | None]:
    """1-based ranks of the tightest one-sided bounds, by their definition and scipy's binomial distribution.

    X of n values lie at or below quantile q. The r-th smallest lies at or below it when X >= r, and at or above it
    when X <= r - 1 (Hahn and Meeker, Statistical Intervals, 5.2).
    """
    below = [r for r in range(1, n + 1) if scipy_stats.binom.sf(r - 1, n, q) >= level]
    above = [r for r in range(1, n + 1) if scipy_stats.binom.cdf(r - 1, n, q) >= level]
    return max(below, default=None), min(above, default=None)


@pytest.mark.parametrize("level", [0.95, 0.975])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 5, 6, 12, 30, 58, 59, 298, 299, 1000])
def test_order_statistic_bounds_are_scipys(n: int, q: float, level: float) -> None:
    """The values are their own ranks, in an order that is not theirs."""
    values = [float(rank) for rank in range(n, 0, -1)]
    assert scipy_ranks(n, q, level) == order_statistic_bounds(values, q, level=level)


def test_no_values_have_no_bounds() -> None:
    """Nor has one value of the median."""
    assert (None, None) == order_statistic_bounds((), 0.5, level=0.95)
    assert (None, None) == order_statistic_bounds((1.0,), 0.5, level=0.95)


@pytest.mark.parametrize(("q", "least"), [(0.5, 5), (0.95, 59), (0.99, 299)])
def test_an_upper_bound_exists_from_where_the_largest_value_is_one(q: float, least: int) -> None:
    """All n values lie below quantile q with probability qⁿ, which is at most 5 % from n = log 0.05/log q.

    0.95⁵⁹ = 0.0485 and 0.95⁵⁸ = 0.0510; 0.99²⁹⁹ = 0.0495 and 0.99²⁹⁸ = 0.0500¹.
    """
    assert q**least <= 0.05 < q ** (least - 1)
    for n, expected in ((least, float(least)), (least - 1, None)):
        assert expected == order_statistic_bounds([float(rank + 1) for rank in range(n)], q, level=0.95)[1]


def test_few_calls_bound_a_high_percentile_from_below() -> None:
    """The 5th of 6 values lies at or below p95 with 0.95⁶ + 6·0.05·0.95⁵ = 96.7 %, so clear failures show early."""
    assert 0.95**6 + 6 * 0.05 * 0.95**5 == pytest.approx(0.967, abs=5e-4)
    assert (5.0, None) == order_statistic_bounds([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.95, level=0.95)


@pytest.mark.parametrize("n", [6, 12, 30])
def test_the_medians_interval_covers_it_as_often_as_it_says(n: int) -> None:
    """In 4,000 seeded samples from a skewed distribution, within one point, for the simulation's error.

    Its standard error is √(0.95·0.05/4000) = 0.34 points. The exact coverage, from the binomial distribution, is
    never below 95 %, and is what the interval calls itself.
    """
    median = 1.0  # of exp(N(0, 1))
    drawn = np.random.default_rng(20_251_125 + n).lognormal(size=(4000, n))
    covered, named = 0, 0.0
    for values in drawn:
        summary = summarize(sample(*values))
        assert summary.low is not None
        assert summary.high is not None
        covered += summary.low <= median <= summary.high
        named = summary.confidence
    low, high = scipy_ranks(n, 0.5, 0.975)
    assert low is not None
    assert high is not None
    exact = scipy_stats.binom.cdf(high - 1, n, 0.5) - scipy_stats.binom.cdf(low - 1, n, 0.5)
    assert exact >= 0.95
    assert named == pytest.approx(exact)
    assert covered / 4000 == pytest.approx(exact, abs=0.01)


# --- bounds and summary ---


def test_each_call_has_a_quantile_of_its_own() -> None:
    """In order of the calls, also where calls have different numbers of values."""
    assert (2.0, 5.0) == per_call(clusters((1.0, 2.0, 3.0), (5.0,)), 0.5)


def test_bounds_take_calls_as_clusters_where_they_are() -> None:
    """One value a call is independent; several are not."""
    single, several = sample(*map(float, range(12))), clusters(*((float(i), float(i)) for i in range(12)))
    assert order_statistic_bounds(single.values, 0.5, level=0.95) == bounds(single, 0.5, level=0.95)
    for q in (0.5, 0.95):
        assert cluster_bounds(several.values, several.calls, q, level=0.95) == bounds(several, q, level=0.95)
    assert (False, True) == (single.clustered, several.clustered)
    assert (12, 12) == (single.call_count, several.call_count)


def test_bounds_know_the_level_that_they_reached() -> None:
    """The 3rd of 12 lies at or below the median with binom.sf(2, 12, ½) = 98.1 %, the 4th with 92.7 %.

    No value of twelve is an upper bound of p95; the 10th is a lower one with 98.0 %, the 11th with 88.2 %.
    """
    ordered = sample(*map(float, range(1, 13)))
    level = pytest.approx(scipy_stats.binom.sf(2, 12, 0.5))
    expected = Bounds(low=3.0, high=10.0, low_level=level, high_level=level, assumption="independent calls")
    assert expected == bound(ordered, 0.5, level=0.95)
    tail = Bounds(
        low=10.0,
        high=None,
        low_level=pytest.approx(scipy_stats.binom.sf(9, 12, 0.95)),
        high_level=None,
        assumption="independent calls",
    )
    assert tail == bound(ordered, 0.95, level=0.95)


def test_bounds_of_clusters_have_the_level_that_was_asked_for() -> None:
    """They are no ranks with a level of their own; None below six calls."""
    twelve = clusters(*((float(i), float(i)) for i in range(12)))
    found = bound(twelve, 0.95, level=0.9)
    assert (0.9, None, "calls as clusters") == (found.low_level, found.high_level, found.assumption)
    few = bound(clusters((1.0, 2.0), (1.0, 2.0)), 0.5, level=0.95)
    assert (None, None, None, None) == (few.low, few.high, few.low_level, few.high_level)


def test_a_summary_of_nothing_is_refused() -> None:
    """An empty sample has no centre."""
    with pytest.raises(UsageError):
        summarize(sample())


@pytest.mark.parametrize(
    ("n", "warning"),
    [(1, "one call, no interval"), (2, "2 calls, an interval needs 6"), (5, "5 calls, an interval needs 6")],
)
def test_few_calls_have_a_centre_and_no_interval(n: int, warning: str) -> None:
    """Five values hold the median with 1 - 2/2⁵ = 93.75 % only."""
    summary = summarize(sample(*map(float, range(1, n + 1))))
    assert ((n + 1) / 2, None, None, (warning,)) == (summary.center, summary.low, summary.high, summary.warnings)


def test_six_calls_have_an_interval() -> None:
    """From the smallest to the largest: 1 - 2/2⁶ = 96.9 %."""
    expected = Summary(
        center=3.5,
        low=1.0,
        high=6.0,
        confidence=pytest.approx(1 - 2 / 2**6),
        n=6,
        calls=6,
        assumption="independent calls",
        warnings=(),
    )
    assert expected == summarize(sample(3.0, 1.0, 6.0, 2.0, 5.0, 4.0))


def test_one_call_of_many_values_has_no_interval() -> None:
    """Gaps between tokens of one call say nothing about the next call."""
    summary = summarize(clusters(tuple(map(float, range(100)))))
    assert (None, None, 100, 1) == (summary.low, summary.high, summary.n, summary.calls)
    assert (("one call, no interval",), "independent calls") == (summary.warnings, summary.assumption)


def test_a_summary_of_gaps_takes_calls_as_clusters() -> None:
    """Twelve calls of two equal gaps know as much as twelve values, and are named 95 %."""
    summary = summarize(clusters(*((float(i), float(i)) for i in range(12))))
    assert (0.95, 24, 12, "calls as clusters", ()) == (
        summary.confidence,
        summary.n,
        summary.calls,
        summary.assumption,
        summary.warnings,
    )
    # (k - 6)/√3 with k of 12 below, beyond 1.96 for k = 2 and 10.
    assert (2.0, 5.5, 9.0) == (summary.low, summary.center, summary.high)


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        (sample(*map(float, range(71))), "71 calls, an interval needs 72"),
        (clusters(*((float(i), float(i)) for i in range(71))), "71 calls, an interval needs 72"),
        (clusters(*[(0.0,)] * 71, (1.0,) * 1000), "a few calls hold most of the values, no interval"),
    ],
)
def test_an_interval_of_p95_says_what_it_needs(found: Sample, warning: str) -> None:
    """Both ends at 97.5 %: 0.95⁷² = 2.5 %."""
    summary = summarize(found, q=0.95)
    assert (None, None, (warning,)) == (summary.low, summary.high, summary.warnings)


def test_equal_calls_have_an_interval_of_no_width() -> None:
    """Noise was not seen, and is not made up."""
    summary = summarize(sample(*[0.25] * 6))
    assert (0.25, 0.25, 0.25) == (summary.low, summary.center, summary.high)


def test_an_infinite_call_leaves_the_median() -> None:
    """And stretches the interval to it."""
    summary = summarize(sample(1.0, 2.0, 3.0, 4.0, 5.0, math.inf))
    assert (1.0, 3.5, math.inf) == (summary.low, summary.center, summary.high)


def test_more_calls_of_a_kind_narrow_the_interval() -> None:
    """Of the same evenly spread values, from 6 to 600."""
    widths = []
    for n in (6, 20, 60, 600):
        summary = summarize(sample(*((i + 0.5) / n for i in range(n))))
        assert summary.low is not None
        assert summary.high is not None
        widths.append(summary.high - summary.low)
    assert all(after < before for before, after in pairwise(widths))
