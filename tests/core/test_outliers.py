"""Calls far from the others, counted by side and by how far, and how many are seen where none is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm_latency.core.outliers import Outliers, outliers

# Logs of 0, 1, … 8: quartiles 2 and 6, interquartile range 4; mild beyond 6 + 12 and 2 - 12, severe 6 + 24, 2 - 24.
NINE = [math.exp(i / 100) for i in range(9)]


def found(*logs: float) -> Outliers:
    """Of the nine values and four more, in hundredths of a log.

    Two beyond either side leave the quartiles of thirteen values at positions 3 and 9: 1 and 7, range 6.
    """
    result = outliers([*NINE, *(math.exp(x / 100) for x in logs)])
    assert result is not None
    return result


def test_values_within_the_fences_are_none() -> None:
    """7 + 3·6 = 25 and 1 - 18 = -17, and all 13 values within."""
    result = found(-16.9, -16.9, 24.9, 24.9)
    assert Outliers(n=13, slow_mild=0, slow_severe=0, fast_mild=0, fast_severe=0) == result
    assert (0, 0, None) == (result.mild, result.severe, result.warning("total"))


def test_mild_and_severe_ones_are_told_apart_on_both_sides() -> None:
    """Severe beyond 7 + 6·6 = 43 and 1 - 36 = -35."""
    result = found(-35.1, -17.1, 25.1, 43.1)
    assert Outliers(n=13, slow_mild=1, slow_severe=1, fast_mild=1, fast_severe=1) == result
    assert (2, 2) == (result.mild, result.severe)
    expected = (
        "total: 1 far above and 1 far below the others, of 13 calls; they are counted, and something else may have been"
        " running"
    )
    assert expected == result.warning("total")


def test_severe_ones_are_said_and_mild_ones_are_not() -> None:
    """Mild ones are seen in one of fourteen normal samples of six."""
    assert found(-17.1, -17.1, 25.1, 25.1).warning("total") is None
    assert "ttft: 2 far above the others, of 13 calls; they" in str(found(0.0, 1.0, 500.0, 600.0).warning("ttft"))


@pytest.mark.parametrize("values", [(), (1.0,) * 5, (1.0,) * 5 + (0.0,), (1.0,) * 5 + (-1.0,)])
def test_few_calls_or_one_without_a_logarithm_are_not_classified(values: tuple[float, ...]) -> None:
    """Five have no quartiles to speak of."""
    assert outliers(values) is None


def test_equal_calls_have_a_percent_of_room() -> None:
    """A clock tick among equal values is no outlier; from 1 % it is mild, from 5 % severe."""
    for value, expected in ((1.0099, (0, 0)), (1.0101, (1, 0)), (1.0499, (1, 0)), (1.0501, (0, 1)), (0.95, (0, 1))):
        result = outliers([1.0] * 9 + [value])
        assert result is not None
        assert expected == (result.mild, result.severe)


def test_an_infinite_call_is_a_severe_one() -> None:
    """It never ended."""
    result = outliers([*NINE, math.inf])
    assert result is not None
    assert (0, 1) == (result.mild, result.slow_severe)


def test_values_stay_as_they_were() -> None:
    """Classified, never removed."""
    values = [3.0, 1.0, 2.0, 9.0, 5.0, 400.0]
    outliers(values)
    assert [3.0, 1.0, 2.0, 9.0, 5.0, 400.0] == values


@pytest.mark.parametrize(
    ("n", "mild", "severe"), [(6, 0.09, 0.025), (12, 0.05, 0.01), (30, 0.02, 0.005), (1000, 0.01, 0.0)]
)
def test_few_log_normal_samples_have_any(n: int, mild: float, severe: float) -> None:
    """Of 1,000 seeded samples; Tukey's own fences would flag every sample of 1,000."""
    drawn = np.random.default_rng(n).lognormal(sigma=0.2, size=(1000, n))
    results = [result for values in drawn.tolist() if (result := outliers(values)) is not None]
    assert np.mean([result.mild + result.severe > 0 for result in results]) <= mild
    assert np.mean([result.severe > 0 for result in results]) <= severe
