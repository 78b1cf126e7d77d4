"""Drift over calls, against scipy's Theil-Sen slope, and how often it is seen where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llm_latency.core.drift import Drift, drift


@pytest.mark.parametrize("n", [6, 7, 30, 200])
@pytest.mark.parametrize("digits", [1, 15])
def test_the_slope_and_its_interval_are_scipys(n: int, digits: int) -> None:
    """Times n - 1 calls, over the median; also where rounding makes ties."""
    values = np.round(np.random.default_rng(n).lognormal(sigma=0.3, size=n) + 0.01 * np.arange(n), digits)
    expected = scipy_stats.theilslopes(values, np.arange(n), alpha=0.99)
    found = drift(values.tolist())
    assert found is not None
    scale = (n - 1) / np.median(values)
    assert [expected.slope * scale, expected.low_slope * scale, expected.high_slope * scale] == pytest.approx(
        [found.change, found.low, found.high]
    )


@pytest.mark.parametrize("values", [(), (1.0,) * 5, (0.0,) * 6, (-1.0,) * 6, (1.0, 2.0, math.inf, 1.0, 1.0, 1.0)])
def test_what_has_no_relative_slope_has_none(values: tuple[float, ...]) -> None:
    """Few calls, a median of zero, and a call that never ended."""
    assert drift(values) is None


def test_equal_calls_do_not_drift() -> None:
    """Exactly."""
    found = drift((0.2,) * 30)
    assert Drift(change=0.0, low=0.0, high=0.0, n=30) == found
    assert (False, None) == (found.is_material, found.warning("total"))


def test_a_steady_rise_is_said_in_words() -> None:
    """From 90 to 110 ms in equal steps: 20 % of the median, without doubt."""
    found = drift([0.09 + 0.001 * i for i in range(21)])
    assert found is not None
    expected = (
        "total rose by 20% from the first of 21 calls to the last (99% interval 20% to 20%): its median mixes both;"
        " more warm-up, or a rest for the machine, would steady it"
    )
    assert expected == found.warning("total")


def test_a_steady_fall_is_said_too() -> None:
    """With the nearer end of the interval first."""
    noise = np.random.default_rng(1).normal(0, 0.001, 30)
    found = drift((np.linspace(0.11, 0.09, 30) + noise).tolist())
    assert found is not None and found.low < found.change < found.high < 0
    warning = found.warning("ttft")
    assert warning is not None
    assert warning.startswith("ttft fell by 21% from the first of 30 calls to the last (99% interval 19% to 22%)")


def test_a_sure_change_that_does_not_matter_is_not_flagged() -> None:
    """4 % is less than what the interval aims at leaves open on both sides."""
    found = drift([1.0 + 0.04 * i / 99 for i in range(100)])
    assert found is not None and found.low > 0
    assert found.warning("total") is None


def test_a_large_change_that_is_not_sure_is_not_flagged() -> None:
    """Six calls that scatter by 20 %."""
    found = drift([1.0, 1.3, 0.9, 1.2, 1.25, 1.1])
    assert found is not None and found.change > 0.05 and found.low < 0 < found.high
    assert found.warning("total") is None


def test_outliers_do_not_turn_the_slope() -> None:
    """Nor does where they are."""
    values = [1.0 + 0.001 * (i % 3) for i in range(60)]
    found = drift(values[:-3] + [9.0] * 3)
    assert found is not None
    assert abs(found.change) < 0.01


def test_many_calls_are_thinned_evenly() -> None:
    """10,000 calls that rise by half: the same change from 1,000 of them, first and last included."""
    found = drift([1.0 + 0.5 * i / 9999 for i in range(10_000)])
    assert found is not None
    assert (pytest.approx(0.4), 10_000) == (found.change, found.n)
    assert found == drift([1.0 + 0.5 * i / 9999 for i in range(10_000)])


@pytest.mark.parametrize(("n", "spread"), [(6, 0.02), (6, 0.3), (12, 0.1), (30, 0.1), (100, 0.3)])
def test_steady_calls_are_seldom_said_to_drift(n: int, spread: float) -> None:
    """In at most 1 % of 2,000 seeded samples, plus three standard errors, 0.7 points."""
    drawn = np.random.default_rng(n).lognormal(sigma=spread, size=(2000, n))
    flagged = [found.is_material for values in drawn.tolist() if (found := drift(values)) is not None]
    assert 2000 == len(flagged)
    assert np.mean(flagged) <= 0.017


@pytest.mark.parametrize(("n", "spread", "least"), [(12, 0.02, 0.8), (30, 0.05, 0.6), (100, 0.05, 0.99)])
def test_a_rise_by_a_tenth_is_mostly_seen(n: int, spread: float, least: float) -> None:
    """Where it is clear of the scatter."""
    drawn = np.random.default_rng(n).lognormal(sigma=spread, size=(500, n)) * np.linspace(0.95, 1.05, n)
    assert np.mean([found.is_material for values in drawn.tolist() if (found := drift(values))]) >= least
