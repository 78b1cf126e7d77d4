"""Several measurements, a line each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.core.verdict import Verdict
from llm_latency.report.listing import HEADS, filled, listed


def test_no_measurement_is_no_line_but_the_heads() -> None:
    """And all columns are empty, so that none is left."""
    assert (("name", "calls", "ttft", "tpot", "e2e", "total", "verdicts"),) == listed([])
    assert ((),) == filled(listed([]))


def test_a_line_has_calls_and_medians(measured: Callable[..., Measurement]) -> None:
    """Of nine calls: ttft 100 to 108 ms, 20 ms a token, five tokens, 10 ms before and after the request."""
    _, line = listed([measured()])
    assert ("chat", "9", "104 ms", "20.0 ms", "184 ms", "204 ms", "") == line


@pytest.mark.parametrize(
    ("calls", "complete", "expected"), [(0, False, "0 (partial)"), (1, True, "1"), (1234, False, "1,234 (partial)")]
)
def test_calls_are_counted_and_a_broken_run_is_called_so(
    measured: Callable[..., Measurement], calls: int, complete: bool, expected: str
) -> None:
    """None at all have no medians."""
    trace = Trace(start_ns=0, stop_ns=2_000_000)
    _, line = listed([measured(traces=(trace,) * calls, complete=complete)])
    assert (expected, "2.00 ms" if calls else "") == (line[1], line[5])


def test_verdicts_are_words(measured: Callable[..., Measurement]) -> None:
    """One for each budget, in their order."""
    verdicts = tuple(
        Verdict(budget="b", outcome=outcome, metric="ttft", observed=None, limit=1.0)
        for outcome in ("pass", "fail", "undecided")
    )
    _, line = listed([measured(verdicts=verdicts)])
    assert "PASS, TOO SLOW, UNDECIDED" == line[-1]


def test_columns_that_no_line_fills_are_left_out(measured: Callable[..., Measurement]) -> None:
    """A call without tokens has neither ttft nor tpot; beside one that has, its cells are empty."""
    plain = measured(name="plain", traces=(Trace(start_ns=0, stop_ns=2_000_000),))
    assert (("name", "calls", "total"), ("plain", "1", "2.00 ms")) == filled(listed([plain]))
    heads, first, second = filled(listed([plain, measured()]))
    assert HEADS[:-1] == heads
    assert (("", "", ""), ("104 ms", "20.0 ms", "184 ms")) == (first[2:5], second[2:5])
