"""Which metrics the table shows, and each as text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Phase, Request, Trace
from llm_latency.core.verdict import Verdict
from llm_latency.report.rows import Row, default_metrics, grid, make_rows

MS = 1_000_000


def plain_call(kind: str, *, rows: int | None = None, prompt_tokens: int | None = None) -> Trace:
    """One request of 10 ms that emits nothing."""
    return Trace(
        start_ns=0,
        stop_ns=10 * MS,
        requests=(Request(kind=kind, start_ns=0, stop_ns=10 * MS, rows=rows, prompt_tokens=prompt_tokens),),
    )


def shown(measured: Callable[..., Measurement], **fields: object) -> list[str]:
    """Names of the rows."""
    measurement = measured(**fields)
    return [row.metric for row in make_rows(measurement, default_metrics(measurement))]


def test_a_generate_call_shows_latencies_rate_and_memory(measured: Callable[..., Measurement]) -> None:
    """What restates another row (prefill of one request, ntpot, decode_throughput) is left to the JSON."""
    assert ["ttft", "tpot", "itl", "e2e", "total", "output_throughput", "peak_memory (rss)"] == shown(measured)


def test_a_plain_call_shows_its_total_only(measured: Callable[..., Measurement]) -> None:
    """Where no model was seen, e2e is the total once more."""
    assert ["total"] == shown(measured, traces=(plain_call("call"),))


def test_an_encoder_shows_what_it_takes_in(measured: Callable[..., Measurement]) -> None:
    """Encoders emit nothing: prompt tokens and rows per second are what they are judged by."""
    traces = (plain_call("forward", rows=8, prompt_tokens=512),)
    assert ["e2e", "total", "input_throughput", "request_throughput"] == shown(measured, traces=traces)


def test_phases_beside_the_model_bring_their_whole_family(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """Tokenizing is read against prefill and decode; a phase that did not happen has no row."""
    trace = call()
    phases = (Phase(name="tokenize", start_ns=0, stop_ns=5 * MS),)
    traces = (Trace(start_ns=0, stop_ns=trace.stop_ns, requests=trace.requests, phases=phases),)
    assert ["tokenize", "prefill", "decode"] == shown(measured, traces=traces)[5:8]


def test_itl_per_token_appears_where_emissions_hold_several_tokens(measured: Callable[..., Measurement]) -> None:
    """A gap that brought four tokens is not the time of a token."""
    request = Request(kind="generate", start_ns=0, stop_ns=30 * MS, emissions=((10 * MS, 1), (30 * MS, 4)))
    assert "itl_per_token" in shown(measured, traces=(Trace(start_ns=0, stop_ns=30 * MS, requests=(request,)),))


def test_a_metric_that_a_budget_names_is_always_shown(measured: Callable[..., Measurement]) -> None:
    """Its limit would otherwise be read without its value."""
    verdict = Verdict(budget="ntpot p50 < 1.00 s", outcome="pass", metric="ntpot", observed=0.04, limit=1.0)
    assert "ntpot" in shown(measured, verdicts=(verdict,))


def test_a_metric_of_a_newer_version_in_a_verdict_is_passed_over(measured: Callable[..., Measurement]) -> None:
    """A file may name what this version does not know."""
    verdict = Verdict(budget="mood p50 < 1", outcome="pass", metric="mood", observed=0.5, limit=1.0)
    assert shown(measured) == shown(measured, verdicts=(verdict,))


def test_a_row_holds_median_interval_and_tail(measured: Callable[..., Measurement]) -> None:
    """ttft is 100 … 108 ms: the 2nd and 8th of nine hold the median at 95 % (binomial, 2 x 10/512 = 3.9 % outside)."""
    expected = Row(metric="ttft", center="104 ms", interval="101 – 107 ms", tail="max 108 ms", n="9")
    assert (expected,) == make_rows(measured(), ["ttft"])


def test_the_tail_of_a_rate_is_its_slow_end(measured: Callable[..., Measurement]) -> None:
    """Five tokens in 180 … 188 ms."""
    (row,) = make_rows(measured(), ["output_throughput"])
    assert ("27.2 tok/s", "min 26.6 tok/s") == (row.center, row.tail)


def test_the_tail_is_a_percentile_where_the_sample_holds_one(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """20 values hold p95 (the 19th and 5 % of the way to the 20th: 118.05 ms) and p5; 19 do not.

    The slowest rates are 5/0.199 = 25.126 and 5/0.198 = 25.253; p5 is 95 % of the way: 25.246.
    """
    traces = tuple(call(ttft_ms=100 + index) for index in range(20))
    tails = [row.tail for row in make_rows(measured(traces=traces), ["ttft", "output_throughput"])]
    assert ["p95 118 ms", "p5 25.2 tok/s"] == tails
    (row,) = make_rows(measured(traces=traces[:19]), ["ttft"])
    assert "max 118 ms" == row.tail


def test_interval_ends_in_different_units_keep_both(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """980 ms – 1.02 s, not 980 – 1.02 s."""
    traces = tuple(call(ttft_ms=ms) for ms in (980, 980, 1000, 1000, 1020, 1020))
    (row,) = make_rows(measured(traces=traces), ["ttft"])
    assert "980 ms – 1.02 s" == row.interval


def test_five_calls_have_no_interval_and_one_has_no_tail(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """With five values the extremes hold the median in 93.75 % only."""
    (few,) = make_rows(measured(traces=(call(),) * 5), ["ttft"])
    (one,) = make_rows(measured(traces=(call(),)), ["ttft"])
    assert ("", "max 100 ms") == (few.interval, few.tail)
    assert ("100 ms", "", "", "1") == (one.center, one.interval, one.tail, one.n)


def test_the_median_of_one_calls_gaps_is_called_p50(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """Under the head `one call` a bare number would be read as the call's."""
    (row,) = make_rows(measured(traces=(call(),)), ["itl"])
    assert ("p50 20.0 ms", "max 20.0 ms", "4") == (row.center, row.tail, row.n)


@pytest.mark.parametrize(("peaks", "expected"), [({"rss": 1}, "rss"), ({"allocated": 1, "reserved": 2}, "allocated")])
def test_memory_says_what_was_counted(
    measured: Callable[..., Measurement], peaks: dict[str, int], expected: str
) -> None:
    """A process's resident set is not what a device's allocator gave out."""
    (row,) = make_rows(measured(traces=(Trace(start_ns=0, stop_ns=1, peak_bytes=peaks),)), ["peak_memory"])
    assert f"peak_memory ({expected})" == row.metric


def test_metrics_without_a_value_have_no_row(measured: Callable[..., Measurement]) -> None:
    """Not a dash, not a zero."""
    assert () == make_rows(measured(), ["energy", "load"])


def test_grid_leaves_out_columns_that_nobody_fills() -> None:
    """Few calls have no interval, and a column of blanks is in the way."""
    heads = Row(metric="metric", center="median", interval="95 % interval", tail="tail", n="n")
    row = Row(metric="ttft", center="1 s", interval="", tail="max 2 s", n="2")
    assert (("metric", "median", "tail", "n"), ("ttft", "1 s", "max 2 s", "2")) == grid(heads, (row,))
    assert () == grid(heads, ())


def test_a_measurement_without_counted_calls_has_no_rows() -> None:
    """An interrupt during warm-up."""
    empty = Measurement(name="x", workload={}, environment=Environment(), traces=(), stopped_because="interrupt")
    assert () == make_rows(empty, default_metrics(empty))
