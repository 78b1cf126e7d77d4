"""What one process leaves behind as a row."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS
from llm_latency.core.trace import Contention, Request, Trace
from llm_latency.gate.stored.row import Row, Stored, is_like, mapping_differences, row_of, unlike, work_of

MS = 10**6


def call(total: int, *, tokens: int = 3, delay: int = 0, end: str = "length") -> Trace:
    """One call that takes `total` ms, of which it waited `delay`, with its tokens at even steps."""
    stamps = tuple((total * MS * step // tokens, 1) for step in range(1, tokens + 1))
    request = Request(
        kind="generate",
        start_ns=0,
        stop_ns=total * MS,
        emissions=stamps,
        rows=1,
        prompt_tokens=8,
        row_tokens=(tokens,),
        finish_reasons=(end,),
    )
    contention = Contention(readings=((0, 0), (total * MS, delay * MS)))
    return Trace(start_ns=0, stop_ns=total * MS, requests=(request,), contention=contention)


def measured(*traces: Trace, environment: Environment | None = None) -> Measurement:
    """A measurement of calls."""
    return Measurement(
        name="test_a",
        workload={},
        environment=environment or Environment(),
        traces=traces,
        stopped_because="enough",
        recorded_at="2026-11-25T08:00:00+00:00",
    )


def row(measurement: Measurement) -> Row:
    """Its row."""
    return row_of(
        measurement, test="test_a", name="test_a", run="1a", when="2030-01-01T00:00:00+00:00", metrics=METRICS
    )


def test_a_row_has_the_median_of_each_metric_with_a_value() -> None:
    """Calls of 30, 33 and 36 ms with three tokens: ttft 10, 11, 12 ms; four gaps of a call more than two of it."""
    found = row(measured(call(30), call(36), call(33)))
    assert "2026-11-25T08:00:00+00:00" == found.when
    assert Stored(n=3, wall=0.033) == found.metrics["total@1"]
    assert Stored(n=3, wall=0.011) == found.metrics["ttft@1"]
    assert Stored(n=6, wall=0.011) == found.metrics["itl@1"]
    assert Stored(n=3, wall=90.9091) == found.metrics["output_throughput@1"]  # 3/0.033, six digits
    assert Stored(n=3, wall=0.011) == found.metrics["ttft_own@1"]
    assert not {"energy@1", "load@1"} & found.metrics.keys()


def test_a_row_may_have_some_metrics_only() -> None:
    """Those that are asked for and have a value."""
    names = ("total", "ttft", "energy")
    found = row_of(measured(call(30)), test="t", name="t", run="r", when="w", metrics=names)
    assert ["total@1", "ttft@1"] == list(found.metrics)


def test_time_without_other_programs_stands_beside_wall_time() -> None:
    """Two of three calls waited 10 ms for a core."""
    found = row(measured(call(40, delay=10), call(40, delay=10), call(30)))
    assert Stored(n=3, wall=0.04, own=0.03) == found.metrics["total@1"]
    assert 0.03 == found.metrics["total@1"].value


def test_a_measurement_that_does_not_know_when_gets_the_time_of_the_run() -> None:
    """A gate's does not."""
    found = row(replace(measured(call(30)), recorded_at=None))
    assert ("2030-01-01T00:00:00+00:00", "2030-01-01") == (found.when, found.day)


def test_a_value_of_zero_has_no_ratio_and_no_place() -> None:
    """A call that took no time at all is no baseline for anything."""
    nothing = Trace(start_ns=5, stop_ns=5)
    assert {} == row(measured(nothing)).metrics


def test_work_is_the_least_and_the_most_of_each_count() -> None:
    """What the calls were asked for and did."""
    assert {
        "kinds": "generate",
        "requests": "1",
        "rows": "1",
        "prompt tokens": "8",
        "new tokens": "3–5",
        "ended by": "eos length",
    } == work_of([call(30), call(30, tokens=5, end="eos")])
    assert {"requests": "0"} == work_of([Trace(start_ns=0, stop_ns=5)])
    assert {} == work_of([])


def test_facts_are_what_is_known_and_not_the_machine() -> None:
    """The driver and the kernel with their full releases."""
    environment = Environment(
        device="cpu",
        cores=2,
        memory_bytes=5,
        processor="x",
        driver="570.86",
        system="Linux 6.1",
        torch="2.6.0",
        power_cap_w=300.0,
        warnings=("noise",),
    )
    assert {"driver": "570.86", "system": "Linux 6.1", "torch": "2.6.0", "power_cap_w": "300.0"} == (
        row(measured(call(30), environment=environment)).facts
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"openmp": "a"}, ()),
        ({"openmp": "b"}, ("openmp: a → b",)),
        ({"openmp": "a", "torch": "9"}, ()),
        ({}, ()),
        ({"openmp": "a", "power_cap_w": "250.0"}, ()),  # it was not known then
    ],
)
def test_conditions_that_are_known_to_differ_make_rows_unlike(facts: dict[str, str], expected: tuple[str, ...]) -> None:
    """Versions do not."""
    stored = replace(row(measured(call(30))), facts={"openmp": "a", "torch": "1"})
    run = replace(stored, facts=facts)
    assert (expected, not expected) == (unlike(stored, run), is_like(stored, run))
    assert not is_like(stored, replace(stored, work={}))


def test_differences_are_those_that_both_know() -> None:
    """In the order of the first."""
    assert ("a: 1 → 2",) == mapping_differences({"b": "0", "a": "1", "c": "3"}, {"c": "3", "a": "2", "d": "4"})
