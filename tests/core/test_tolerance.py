"""The log-normal tolerance bound against scipy, the published table and simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llm_latency.core.tolerance import _looks_normal, tolerance


def tolerance_upper(values: Sequence[float], q: float, *, level: float) -> float | None:
    """The bound alone."""
    found = tolerance(values, q, level=level)
    return None if found is None else found.upper


@pytest.mark.parametrize(
    ("q", "level"), [(0.5, 0.95), (0.9, 0.95), (0.95, 0.95), (0.99, 0.95), (0.95, 0.99), (0.05, 0.95)]
)
@pytest.mark.parametrize("n", [3, 6, 12, 58])
def test_the_tolerance_bound_is_scipys(n: int, q: float, level: float) -> None:
    """exp(mean + k·sd) of the logs, k the noncentral t quantile with n - 1 degrees of freedom over √n."""
    values = np.random.default_rng(n).lognormal(mean=-2.0, sigma=0.3, size=n)
    k = scipy_stats.nct.ppf(level, df=n - 1, nc=scipy_stats.norm.ppf(q) * math.sqrt(n)) / math.sqrt(n)
    logs = np.log(values)
    expected = math.exp(logs.mean() + k * logs.std(ddof=1))
    # The integral is Simpson's, which is coarsest for two degrees of freedom.
    assert tolerance_upper(tuple(values), q, level=level) == pytest.approx(expected, rel=1e-4)


def test_the_tolerance_factor_is_the_published_one() -> None:
    """3.708 for n = 6, 95 % of values, 95 % confidence (NIST/SEMATECH handbook 7.2.6.3; ISO 16269-6).

    Logs of -1, 1 three times each have mean 0 and sd √(6/5).
    """
    values = (math.exp(-1.0), math.exp(1.0)) * 3
    bound = tolerance_upper(values, 0.95, level=0.95)
    assert bound is not None
    assert math.log(bound) / math.sqrt(6 / 5) == pytest.approx(3.708, abs=5e-4)


def test_equal_values_have_themselves_as_bound() -> None:
    """No spread was seen, so none is assumed, and none is doubted."""
    found = tolerance((0.1,) * 6, 0.95, level=0.95)
    assert found is not None
    assert (pytest.approx(0.1, rel=1e-12), "log-normal") == (found.upper, found.assumption)


@pytest.mark.parametrize("values", [(), (1.0,), (1.0, 2.0), (1.0, 2.0, 0.0), (1.0, 2.0, -1.0), (1.0, 2.0, math.inf)])
def test_too_few_values_or_one_without_a_logarithm_have_no_bound(values: tuple[float, ...]) -> None:
    """Two values are no spread."""
    assert tolerance(values, 0.95, level=0.95) is None


@pytest.mark.parametrize("n", [3, 4, 6, 12, 30])
def test_the_bound_holds_its_level_for_log_normal_values(n: int) -> None:
    """In 3,000 seeded samples, within three standard errors of 95 %: √(0.95·0.05/3000)·3 = 1.2 points."""
    drawn = np.random.default_rng(n).lognormal(sigma=0.2, size=(3000, n))
    p95 = math.exp(0.2 * scipy_stats.norm.ppf(0.95))
    found = [tolerance_upper(tuple(values), 0.95, level=0.95) for values in drawn.tolist()]
    assert np.mean([bound is not None and bound >= p95 for bound in found]) == pytest.approx(0.95, abs=0.012)


def test_an_outlier_widens_the_bound() -> None:
    """One of 30 calls at twice the time: p95 may lie among such, so four times is the bound, and it says so.

    Log-normal alone it would be exp(mean + 2.220 sd) of the logs, 1.35: below the value that was seen.
    """
    logs = [*np.linspace(-0.01, 0.01, 29), math.log(2)]
    assert math.exp(np.mean(logs) + 2.220 * np.std(logs, ddof=1)) < 1.5
    found = tolerance([math.exp(x) for x in logs], 0.95, level=0.95)
    assert found is not None
    median = (sorted(logs)[14] + sorted(logs)[15]) / 2
    assert (pytest.approx(4.0 / math.exp(median)), "log-normal, widened for an outlier") == (
        found.upper,
        found.assumption,
    )


def test_an_outlier_below_widens_it_too() -> None:
    """Then the spread of the logs alone carries the bound beyond the largest value."""
    found = tolerance((1e-9, *[0.2] * 57), 0.95, level=0.95)
    assert found is not None
    assert found.upper > 0.3


def test_hits_by_a_neighbour_are_covered_once_they_are_seen() -> None:
    """A tenth of 30 calls is delayed by 30 % on average: of the samples that were widened, 95 % hold p95.

    Log-normal alone holds it in far fewer.
    """
    generator = np.random.default_rng(5)
    delays = (generator.random((2000, 30)) < 0.1) * generator.exponential(0.3, (2000, 30))
    drawn = np.exp(0.01 * generator.standard_normal((2000, 30)) + delays)
    p95 = math.exp(0.3 * math.log(2))  # half of the delays are beyond it: 5 %
    found = [tolerance(tuple(values), 0.95, level=0.95) for values in drawn.tolist()]
    widened = [bound.upper >= p95 for bound in found if bound is not None and "widened" in bound.assumption]
    assert len(widened) > 1800
    assert np.mean(widened) >= 0.94
    k = scipy_stats.nct.ppf(0.95, df=29, nc=scipy_stats.norm.ppf(0.95) * math.sqrt(30)) / math.sqrt(30)
    logs = np.log(drawn)
    assert np.mean(logs.mean(axis=1) + k * logs.std(axis=1, ddof=1) >= math.log(p95)) < 0.75


@pytest.mark.parametrize("n", [5, 6, 12, 30, 58])
def test_normal_logs_are_doubted_one_time_in_a_hundred(n: int) -> None:
    """In 4,000 seeded samples: within three standard errors, 0.5 points, and Royston's approximation."""
    drawn = np.sort(np.random.default_rng(n).standard_normal((4000, n)), axis=1)
    assert np.mean([not _looks_normal(values) for values in drawn.tolist()]) == pytest.approx(0.01, abs=0.006)


@pytest.mark.parametrize("n", [12, 30, 58])
def test_the_doubt_is_that_of_shapiro_and_wilk(n: int) -> None:
    """Of 400 samples, half of them skewed, scipy's sister test decides otherwise in few."""
    generator = np.random.default_rng(n)
    drawn = [*generator.standard_normal((200, n)), *generator.exponential(size=(200, n))]
    ours = [_looks_normal(sorted(values.tolist())) for values in drawn]
    theirs = [scipy_stats.shapiro(values).pvalue >= 0.01 for values in drawn]
    assert np.mean(np.array(ours) == np.array(theirs)) >= 0.93
