"""Plain assertions on a measurement: what a failure says beside the two values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.units import Quantity
from llm_latency.record.measure import measure
from llm_latency.testing import ManualClock, ScriptedModel
from pytest_llm_latency.explain import compared, without_value

if TYPE_CHECKING:
    from conftest import Suite

pytest_plugins = ["pytester"]


def scripted(name: str = "scripted", **script: Any) -> Measurement:
    """Seven calls of a model whose first token takes 200 ms and four more 20 ms each."""
    clock = ManualClock()
    return measure(ScriptedModel(clock, **script).stream, name=name, clock=clock, repeat=7)


@pytest.mark.parametrize(
    ("metric", "statistic", "words"),
    [
        ("ttft", "p50", "200 ms is ttft p50 of scripted: median 200 ms in [200 ms, 200 ms] at 98% (independent calls)"),
        ("tpot", "p50", "20.0 ms is tpot p50 of scripted"),
        ("output_throughput", "max", "17.9 tok/s is output_throughput p50 of scripted"),  # 5 tokens / 280 ms, each time
    ],
)
def test_a_quantity_is_traced_to_what_it_was_read_off(metric: str, statistic: str, words: str) -> None:
    """The statistic of the median is named first, since equal values have equal extremes."""
    measurement = scripted()
    value = getattr(measurement.reading(metric), statistic)
    lines = compared("<", value, "1 ms", [measurement])
    assert lines is not None
    assert f"{value!r} < '1 ms'" == lines[0]
    assert lines[1].startswith(words)
    assert lines[1].endswith(", n = 7")
    assert "sampling ended with: 7 calls, as asked" == lines[2]


def test_the_latest_measurement_that_fits_is_named() -> None:
    """A test may measure several times; both sides of a comparison are explained."""
    first, second = scripted("first"), scripted("second", prefill="300 ms")
    lines = compared(">", first.ttft.p50, second.ttft.p50, [first, second])
    assert lines is not None
    assert ["200 ms is ttft p50 of first", "300 ms is ttft p50 of second"] == [
        lines[i].partition(":")[0] for i in (1, 3)
    ]


@pytest.mark.parametrize("left", [1, "250 ms", None, Quantity(0.123, "s"), Quantity(0.2, "B")])
def test_what_was_not_measured_is_left_to_pytest(left: object) -> None:
    """Neither another value nor the same number in another unit."""
    assert compared("==", left, "1 ms", [scripted()]) is None
    assert compared("==", left, left, []) is None


def test_too_few_calls_for_an_interval_are_said() -> None:
    """One call has a value and no interval."""
    clock = ManualClock()
    measurement = measure(ScriptedModel(clock).stream, name="once", clock=clock, repeat=1)
    lines = compared("<", measurement.ttft.p50, "1 ms", [measurement])
    assert lines is not None
    assert "200 ms is ttft p50 of once: median 200 ms (one call, no interval), n = 1" == lines[1]


def test_missing_metrics_are_listed_with_the_kinds_of_requests_seen() -> None:
    """A function in which no model was seen has a total and no tokens."""
    clock = ManualClock()
    measurement = measure(ScriptedModel(clock).generate, name="unseen", clock=clock, repeat=1)
    (text,) = without_value([measurement])
    assert text.startswith("unseen: ttft, tpot, itl, ")
    assert "Requests seen in its calls: call, the call as a whole" in text
    assert "llm_latency.stream(...)" in text


def test_one_token_has_no_time_per_token() -> None:
    """The reason is the number of tokens, not the kind of request."""
    clock = ManualClock()
    measurement = measure(ScriptedModel(clock, steps=()).stream, name="short", clock=clock, repeat=1)
    (text,) = without_value([measurement])
    assert text.startswith("short: tpot, itl, ")
    assert "Requests seen in its calls: stream; tpot needs at least two new tokens" in text


ASSERTIONS = """
def test_slow(llmtime):
    m = llmtime(tokens, repeat=7)
    assert m.ttft.p50 < "1 ns"

def test_slow_the_other_way_round(llmtime):
    m = llmtime(tokens, repeat=7)
    assert "1 ns" > m.e2e.max

def test_fast(llmtime):
    m = llmtime(tokens, repeat=7)
    assert m.ttft.p50 < "1 h"
    assert m.output_throughput.p50 > "1 tok/s"

def test_missing(llmtime):
    m = llmtime(plain, repeat=7)
    assert m.ttft.p50 < "1 h"

def test_bare_number(llmtime):
    m = llmtime(tokens, repeat=7)
    assert m.ttft.p50 < 0.25

def test_percentile(llmtime):
    m = llmtime(tokens, repeat=7)
    assert m.ttft.p95 < "1 h"

def test_without_a_measurement(llmtime):
    assert 1 < 0
"""


def test_a_failed_assertion_is_explained(any_suite: Suite) -> None:
    """With n and interval; and where the assertion itself was wrong, with what to write."""
    seen = any_suite.run(ASSERTIONS)
    assert {"failed": 6, "passed": 1} == seen.counts
    assert seen.having("E ", " is ttft p50 of test_slow: median ", " at 98% (independent calls), n = 7")
    assert seen.having("E ", " is e2e ", " of test_slow_the_other_way_round: median ")
    assert seen.having("---", "llm-latency: metrics without a value")
    assert seen.having("test_missing: ttft, tpot, ", " are None.")
    assert seen.having("E ", "was compared with 0.25, which has no unit; write text such as '250 ms'")
    assert seen.having("E ", "p95 needs at least 20 values and this sample has 7")
    assert seen.having("E ", "assert 1 < 0")
