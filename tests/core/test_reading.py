"""One metric of a measurement as a person asks for it."""

from __future__ import annotations

import copy

import pytest

from llm_latency.core.metrics import METRICS
from llm_latency.core.reading import Reading
from llm_latency.core.stats import Sample
from llm_latency.core.units import Quantity
from llm_latency.errors import TooFewCallsError, UsageError


def reading(*values: float, name: str = "ttft") -> Reading:
    """Values of one metric, one a call."""
    return Reading(METRICS[name], Sample(values=values, calls=tuple(range(len(values)))))


SIX = reading(0.3, 0.1, 0.6, 0.2, 0.5, 0.4)


def test_a_metric_without_values_is_false_and_all_of_it_is_none() -> None:
    """A missing metric is None, never 0, also for percentiles that would need more values."""
    empty = reading()
    assert (False, 0, ()) == (bool(empty), empty.n, empty.values)
    found = (empty.p50, empty.p95, empty.p99_9, empty.max, empty.min, empty.low, empty.high, empty.summary)
    assert (None,) * 8 == found
    assert "ttft: no value" == repr(empty)


def test_statistics_are_quantities_in_the_metrics_unit() -> None:
    """Six calls from 100 to 600 ms; the interval goes from the smallest to the largest."""
    found = [SIX.p50, SIX.min, SIX.max, SIX.low, SIX.high, SIX.percentile(75)]
    assert ["350 ms", "100 ms", "600 ms", "100 ms", "600 ms", "475 ms"] == [str(quantity) for quantity in found]
    assert all(isinstance(quantity, Quantity) for quantity in found)
    assert SIX.p50 is not None
    assert SIX.p50 < "400 ms"
    assert (6, (0.3, 0.1, 0.6, 0.2, 0.5, 0.4), True) == (SIX.n, SIX.values, bool(SIX))


def test_the_unit_is_the_metrics() -> None:
    """Tokens per second, and bytes."""
    assert "40.0 tok/s" == str(reading(40.0, name="output_throughput").p50)
    assert "6.00 GiB" == str(reading(6.0 * 2**30, name="peak_memory").max)


def test_a_percentile_has_decimals_behind_an_underscore() -> None:
    """p99_9 is the 99.9th, which needs 1,000 values; of 0 to 1000 ms it is 999 ms."""
    thousand = reading(*(i / 1000 for i in range(1001)))
    assert ["999 ms", "950 ms"] == [str(thousand.p99_9), str(thousand.p95)]
    assert thousand.p99_9 is not None
    assert float(thousand.p99_9) == pytest.approx(0.999, rel=1e-12)


def test_a_percentile_that_the_sample_cannot_hold_is_an_error() -> None:
    """Six values hold no p95; the message names `.max`, more calls, and the marker."""
    with pytest.raises(TooFewCallsError, match=r"p95 needs at least 20 values and this sample has 6; read `\.max`"):
        SIX.p95  # noqa: B018  # reading it is what fails


@pytest.mark.parametrize("percent", [0, 100, -5, 250])
def test_a_percentile_lies_between_0_and_100(percent: float) -> None:
    """The ends are called min and max."""
    with pytest.raises(UsageError, match=r"read `\.max` or `\.min`"):
        SIX.percentile(percent)


@pytest.mark.parametrize("name", ["p0", "p100", "p999", "mean", "P50", "p", "p5x", "_p50", "__wrapped__"])
def test_an_unknown_statistic_lists_the_known(name: str) -> None:
    """As an AttributeError, so that hasattr works."""
    assert not hasattr(SIX, name)
    with pytest.raises(AttributeError, match=rf"ttft has no '{name}'; known: p50, p95, p99"):
        getattr(SIX, name)


def test_a_reading_prints_its_median_and_interval() -> None:
    """And for one call, none."""
    assert ("ttft p50 350 ms [100 ms, 600 ms], n = 6", "ttft p50 250 ms, n = 1") == (repr(SIX), repr(reading(0.25)))


def test_a_reading_is_summarised_once() -> None:
    """A million values would otherwise be sorted for each of median, low and high."""
    once = reading(0.3, 0.1, 0.6, 0.2, 0.5, 0.4)
    assert once.summary is once.summary


def test_a_reading_is_copied() -> None:
    """Copying asks an object without fields for its hooks, which must not look for a percentile."""
    twins = [copy.copy(SIX), copy.deepcopy(SIX)]
    assert [SIX.values] * 2 == [twin.values for twin in twins]
