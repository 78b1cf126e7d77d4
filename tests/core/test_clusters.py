"""Bounds of a pooled quantile where calls are clusters: by hand where possible, else their coverage in simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llm_latency.core.clusters import _student, cluster_bounds
from llm_latency.core.stats import order_statistic_bounds


def bounds(*calls: Sequence[float], q: float = 0.5, level: float = 0.95) -> tuple[float | None, float | None]:
    """Bounds of calls with several values each."""
    values = [value for call in calls for value in call]
    return cluster_bounds(values, [index for index, call in enumerate(calls) for _ in call], q, level=level)


def test_five_calls_have_no_bounds() -> None:
    """However many values they hold."""
    calls = [[float(10 * call + i) for i in range(100)] for call in range(6)]
    assert (None, None) == bounds(*calls[:5])
    low, high = bounds(*calls)
    assert low is not None and high is not None and 0.0 <= low < high <= 149.0


def test_calls_of_equal_values_know_as_much_as_one_value_each() -> None:
    """Eight calls of 100 equal values: the score is (k - 4)/√2 with k calls below, beyond 1.645 for k = 2 and 7.

    Those are the ranks of eight independent values too (binom.cdf(1, 8, ½) = 3.5 %); 800 would claim 4 to 5.
    """
    whole = [(float(rank),) * 100 for rank in range(1, 9)]
    assert (
        (2.0, 7.0) == bounds(*whole) == order_statistic_bounds([float(rank) for rank in range(1, 9)], 0.5, level=0.95)
    )
    assert (4.0, 5.0) == order_statistic_bounds([value for call in whole for value in call], 0.5, level=0.95)


@pytest.mark.parametrize(("q", "calls"), [(0.5, 6), (0.95, 59), (0.99, 299), (0.95, 100)])
def test_equal_values_are_certain(q: float, calls: int) -> None:
    """Each quantile is that value; a call fewer than independent values need has no upper bound."""
    assert (2.5, 2.5) == bounds(*[(2.5,) * 5] * calls, q=q)
    assert (2.5, 2.5) == bounds(*[(2.5,) * 5] * calls, q=1 - q)
    if q > 0.5 and calls != 100:
        assert (2.5, None) == bounds(*[(2.5,) * 5] * (calls - 1), q=q)
        assert (None, 2.5) == bounds(*[(2.5,) * 5] * (calls - 1), q=1 - q)


def test_below_a_hundred_calls_each_counts_as_one_value_towards_p95() -> None:
    """59 calls bound it by the largest of all values, 93 by the second largest call's share: 2·7 values from the top.

    0.95⁵⁹ = 4.8 %; P(at most one of 93 beyond p95) = binom.cdf(1, 93, 0.05) = 4.99 %, of 92 5.2 %.
    """
    assert scipy_stats.binom.cdf(1, 93, 0.05) < 0.05 < scipy_stats.binom.cdf(1, 92, 0.05)
    values = np.random.default_rng(1).permutation(93 * 7).astype(float)
    assert 93 * 7 - 1.0 - 7 == bounds(*values.reshape(93, 7), q=0.95)[1]
    assert 59 * 7 - 1.0 == bounds(*np.arange(59.0 * 7).reshape(59, 7), q=0.95)[1]


@pytest.mark.parametrize("q", [0.5, 0.75, 0.95])
@pytest.mark.parametrize("n", [6, 12, 100])
def test_low_quantiles_mirror_high_ones(q: float, n: int) -> None:
    """Of the negated values, with the bounds exchanged."""
    calls = np.random.default_rng(3).lognormal(size=(n, 7))
    low, high = bounds(*calls, q=q)
    assert low is not None
    assert (None if high is None else -high, -low) == bounds(*(-calls), q=1 - q)


def test_the_order_of_values_and_the_indices_of_calls_do_not_matter() -> None:
    """Values interleaved as overlapping requests leave them, with indices that skip calls without a value."""
    rows = np.random.default_rng(2).lognormal(size=(8, 5))
    mixed = cluster_bounds(list(rows.T.ravel()), list(range(30, 110, 10)) * 5, 0.9, level=0.95)
    assert bounds(*rows, q=0.9) == mixed


def test_one_call_that_holds_most_values_leaves_no_bounds() -> None:
    """Five calls of one 0 and one of 1,000 ones weigh as 1005²/(1000² + 5) = 1.01 equal calls."""
    assert (None, None) == bounds(*[(0.0,)] * 5, (1.0,) * 1000)


def test_bounds_hold_the_median_when_every_call_is_split_by_it() -> None:
    """Each call has as many values below as above, so there is no spread to divide by."""
    low, high = bounds(*[(1.0, 2.0, 3.0, 4.0)] * 6)
    assert low is not None and high is not None and low <= 2.5 <= high


def test_infinite_values_lie_beyond_the_finite_ones() -> None:
    """A bound is infinite where calls are that never ended: four of six, of which none is bound by 2."""
    assert (2.0, 2.0) == bounds(*[(1.0, 2.0, math.inf)] * 6)
    assert (2.0, math.inf) == bounds(*[(math.inf,) * 3] * 4, *[(1.0, 2.0, 2.0)] * 2)


def test_large_samples_are_bounded_at_full_resolution() -> None:
    """100 calls that each hold every 100th of the ranks 0 to 99,999: all medians lie within 50 of 49,950.

    Within a call the share below any x deviates from that of all by less than one value of 1,000.
    """
    low, high = bounds(*(range(call, 100_000, 100) for call in range(100)))
    assert low is not None and high is not None and 49_800 <= low <= high <= 50_100


@pytest.mark.parametrize("level", [0.95, 0.975, 0.99])
@pytest.mark.parametrize("freedom", [5, 11, 29, 1000])
def test_students_quantile_is_scipys(level: float, freedom: int) -> None:
    """A series in 1/freedom, coarsest for six calls."""
    assert _student(level, freedom) == pytest.approx(scipy_stats.t.ppf(level, freedom), abs=0.012)


# --- coverage ---


def gaps(generator: np.random.Generator, *, samples: int, calls: int, correlation: float, effect: float) -> np.ndarray:
    """Logs of 30 gaps a call: AR(1) of standard deviation 0.1 with a level of each call, `effect` times as wide."""
    noise = generator.standard_normal((samples, calls, 30))
    within = noise.copy()
    for i in range(1, 30):
        within[..., i] = correlation * within[..., i - 1] + math.sqrt(1 - correlation**2) * noise[..., i]
    return 0.1 * (within + effect * generator.standard_normal((samples, calls, 1)))


@pytest.mark.parametrize(("correlation", "effect"), [(0.16, 0.0), (0.5, 0.5), (0.8, 2.0)])
@pytest.mark.parametrize(("calls", "samples"), [(6, 2000), (12, 2000), (30, 1000), (100, 500)])
def test_medians_are_covered_as_often_as_is_said(calls: int, samples: int, correlation: float, effect: float) -> None:
    """The pooled median is exp(0); 95 % two-sided within 1.5 points and three standard errors of the simulation.

    So that a method that holds 90 % fails. benchmarks/bench_coverage.py has the whole table.
    """
    drawn = gaps(np.random.default_rng(calls), samples=samples, calls=calls, correlation=correlation, effect=effect)
    owners = np.repeat(np.arange(calls), 30)
    covered = 0
    for logs in drawn:
        low, high = cluster_bounds(logs.ravel(), owners, 0.5, level=0.975)
        assert low is not None and high is not None
        covered += low <= 0.0 <= high
    assert covered / samples == pytest.approx(0.95, abs=0.015 + 3 * math.sqrt(0.05 * 0.95 / samples))


@pytest.mark.parametrize(("correlation", "effect"), [(0.16, 0.0), (0.8, 2.0)])
@pytest.mark.parametrize(("calls", "samples"), [(6, 1000), (100, 300)])
def test_p95_is_bounded_as_often_as_is_said(calls: int, samples: int, correlation: float, effect: float) -> None:
    """From below by six calls, on both sides by 100: each bound misses at most 5 % and 1.5 points, plus error."""
    p95 = 0.1 * math.sqrt(1 + effect**2) * scipy_stats.norm.ppf(0.95)
    drawn = gaps(np.random.default_rng(9), samples=samples, calls=calls, correlation=correlation, effect=effect)
    owners = np.repeat(np.arange(calls), 30)
    missed_low = missed_high = 0
    for logs in drawn:
        low, high = cluster_bounds(logs.ravel(), owners, 0.95, level=0.95)
        assert low is not None and (high is None) == (calls < 59)
        missed_low += low > p95
        missed_high += high is not None and high < p95
    most = samples * (0.05 + 0.015 + 3 * math.sqrt(0.05 * 0.95 / samples))
    assert missed_low <= most
    assert missed_high <= most
