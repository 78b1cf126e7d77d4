"""What a report says beside its rows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation, Trace
from llm_latency.report.sheet import make_sheet


def note(measurement: Measurement, label: str) -> list[str]:
    """The notes under a label."""
    return [text for name, text in make_sheet(measurement).notes if name == label]


@pytest.mark.parametrize(
    ("calls", "warmups", "because", "expected"),
    [
        (1, 0, "one call", "one call; one call has no interval"),
        (9, 3, "9 calls, as asked", "9 counted after 3 warm-up calls; stopped: 9 calls, as asked"),
        (9, 1, "x", "9 counted after 1 warm-up call; stopped: x"),
        (5, 0, "time", "5 counted; stopped: time; an interval needs 6 calls"),
    ],
)
def test_calls_are_counted_and_their_end_explained(
    measured: Callable[..., Measurement], calls: int, warmups: int, because: str, expected: str
) -> None:
    """A single call says so, and few calls say what an interval needs."""
    trace = Trace(start_ns=0, stop_ns=1)
    measurement = measured(traces=(trace,) * calls, warmup=(trace,) * warmups, stopped_because=because)
    assert [expected] == note(measurement, "calls")


@pytest.mark.parametrize(("calls", "expected"), [(7, ""), (2, "; an interval needs 6 calls")])
def test_a_broken_run_is_called_partial(measured: Callable[..., Measurement], calls: int, expected: str) -> None:
    """Its numbers are right and its end was not chosen."""
    measurement = measured(
        traces=(Trace(start_ns=0, stop_ns=1),) * calls, warmup=(), stopped_because="KeyboardInterrupt", complete=False
    )
    assert [f"{calls} counted; PARTIAL: KeyboardInterrupt{expected}"] == note(measurement, "calls")


def test_the_first_call_is_kept_apart(measured: Callable[..., Measurement]) -> None:
    """10 ms, 300 ms to the first token, 4 x 20 ms, 10 ms."""
    assert ["ttft 300 ms, total 400 ms (kept apart)"] == note(measured(), "first call")
    assert [] == note(measured(cold=None), "first call")


def test_a_first_call_of_several_requests_has_no_one_ttft(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """Which request's would it be?"""
    trace = call()
    cold = Trace(start_ns=0, stop_ns=trace.stop_ns, requests=trace.requests * 2)
    assert ["total 200 ms (kept apart)"] == note(measured(cold=cold), "first call")


@pytest.mark.parametrize(
    ("cost", "expected"),
    [(500, ["500 ns an emission"]), (1900, ["1.90 µs an emission"]), (0, ["0 s an emission"]), (None, [])],
)
def test_the_observer_states_its_cost(
    measured: Callable[..., Measurement], cost: int | None, expected: list[str]
) -> None:
    """Where it is unknown, as on a manual clock, nothing is claimed."""
    assert expected == note(measured(observer_ns=cost), "observer")


def looked(trace: Trace, *, view: tuple[int, int] | None = None, beside: tuple[int, int] | None = None) -> Trace:
    """A call that was looked at so often and for so many ms, with its clock stopped or beside it."""
    found = [
        Annotation(kind=kind, at_ns=0, detail=str(told[0]), duration_ns=told[1] * 1_000_000)
        for kind, told in (("view", view), ("view beside", beside))
        if told is not None
    ]
    return msgspec.structs.replace(trace, annotations=(*trace.annotations, *found))


@pytest.mark.parametrize(
    ("view", "beside", "expected"),
    [
        ((112, 41), None, "live view 41.0 ms in 112 updates, excluded"),
        ((1, 1), None, "live view 1.00 ms in 1 update, excluded"),
        ((12_000, 9_000), None, "live view 9.00 s in 12,000 updates, excluded"),
        (None, (3, 2), "live view 2.00 ms in 3 updates, beside the call, not excluded"),
        (
            (2, 4),
            (1, 1),
            "live view 4.00 ms in 2 updates, excluded; live view 1.00 ms in 1 update, beside the call, not excluded",
        ),
    ],
)
def test_the_live_view_states_its_cost(
    measured: Callable[..., Measurement], view: tuple[int, int], beside: tuple[int, int], expected: str
) -> None:
    """Behind that of an emission, where this is known; what is in the times is told apart from what is not."""
    traces = (looked(Trace(start_ns=0, stop_ns=10), view=view, beside=beside),)
    assert [f"500 ns an emission; {expected}"] == note(measured(traces=traces), "observer")
    assert [expected] == note(measured(traces=traces, observer_ns=None), "observer")


def test_the_live_views_cost_is_that_of_all_calls(measured: Callable[..., Measurement]) -> None:
    """The first call, the warm-up and the counted ones: 1, 2 and 3 + 4 looks of as many ms."""
    cold, warm, *traces = (looked(Trace(start_ns=0, stop_ns=10), view=(n, n)) for n in (1, 2, 3, 4))
    measurement = measured(cold=cold, warmup=(warm,), traces=tuple(traces), observer_ns=None)
    assert ["live view 10.0 ms in 10 updates, excluded"] == note(measurement, "observer")


def test_a_count_that_is_none_is_left_out(measured: Callable[..., Measurement]) -> None:
    """A file of another version, or by hand: no claim is made of it."""
    strange = Annotation(kind="view", at_ns=0, detail="many", duration_ns=5)
    traces = (Trace(start_ns=0, stop_ns=10, annotations=(strange,)),)
    assert [] == note(measured(traces=traces, observer_ns=None), "observer")


def test_notes_of_the_workload_and_each_warning_once(measured: Callable[..., Measurement]) -> None:
    """Random weights are a note, noise is a warning; saying it twice would not help."""
    measurement = measured(workload={"notes": ["weights are random"]}, warnings=("noisy", "hot", "noisy"))
    assert ["weights are random"] == note(measurement, "note")
    assert ["noisy", "hot"] == note(measurement, "warning")


@pytest.mark.parametrize("workload", [{}, {"notes": "text"}, {"notes": None}])
def test_a_workload_of_the_users_own_need_not_have_notes(
    measured: Callable[..., Measurement], workload: dict[str, object]
) -> None:
    """`workload=` takes whatever describes the work."""
    assert [] == note(measured(workload=workload), "note")


def test_an_unknown_machine_is_not_described(measured: Callable[..., Measurement]) -> None:
    """No empty line."""
    assert [] == note(measured(environment=Environment()), "machine")
