"""What a measurement's own calls say against its numbers."""

from __future__ import annotations

import msgspec
import pytest

from llm_latency.core.doubts import doubts, is_contended, lag_share
from llm_latency.core.trace import Annotation, Contention, Request, Trace

MS = 1_000_000
GC = "garbage collection (gc.freeze() after loading shortens it)"


def call(
    *annotations: Annotation,
    delay_ms: int = 0,
    tokens: int = 3,
    device: tuple[int, ...] = (),
    notes: tuple[str, ...] = (),
) -> Trace:
    """A call of 100 ms whose emissions are at 40, 60 and 80 ms; `device` in milliseconds, the last its end."""
    request = Request(
        kind="generate",
        start_ns=0,
        stop_ns=90 * MS,
        emissions=tuple((at * MS, 1) for at in (40, 60, 80)),
        device_ns=tuple(at * MS for at in device) or None,
        row_tokens=(tokens,),
        notes=notes,
    )
    return Trace(
        start_ns=0,
        stop_ns=100 * MS,
        requests=(request,),
        contention=Contention(readings=((0, 0), (100 * MS, delay_ms * MS))),
        annotations=annotations,
    )


def test_clean_calls_raise_no_doubt() -> None:
    """Nor do no calls at all."""
    assert () == doubts((call(), call()))
    assert () == doubts(())


def test_unequal_work_is_said() -> None:
    """With the least and the most tokens."""
    (said,) = doubts((call(tokens=3), call(tokens=5)))
    assert said.startswith("new tokens a call vary from 3 to 5")


def test_delay_is_said_with_its_share() -> None:
    """Two of three calls, at most 40 %; below 5 % it says nothing."""
    (said,) = doubts((call(delay_ms=40), call(delay_ms=10), call(delay_ms=5)))
    assert said.startswith(
        "other programs had this process's cores for up to 40% of the time of 2 of 3 calls; ttft_own"
    )
    (said,) = doubts((call(delay_ms=40),))
    assert said.startswith("other programs had this process's cores for 40% of the time of the call; ")
    assert () == doubts((call(delay_ms=4),))


@pytest.mark.parametrize(
    ("disturbed", "calls", "expected"), [(0, 1, False), (1, 1, True), (1, 10, True), (1, 11, False)]
)
def test_a_tenth_of_delayed_calls_makes_a_measurement_contended(disturbed: int, calls: int, expected: bool) -> None:
    """Then the table shows own times beside wall."""
    traces = [call(delay_ms=20)] * disturbed + [call()] * (calls - disturbed)
    assert expected == is_contended(traces)
    assert not is_contended(())


def test_annotations_are_counted_by_kind_and_detail() -> None:
    """Their times are summed; what took less than 1 % of the calls' time is left out."""
    long = Annotation(kind="gc", at_ns=0, detail="generation 2", duration_ns=8 * MS)
    short = Annotation(kind="gc", at_ns=0, detail="generation 1", duration_ns=MS // 2)
    lazy = Annotation(kind="lazy", at_ns=0, detail="has run nothing yet")
    assert (
        f"{GC}: generation 2, 16.0 ms in 2 of 3 calls",
        "a result that is lazy: has run nothing yet in 1 of 3 calls",
    ) == doubts((call(long, short), call(long, lazy), call()))
    assert (f"{GC}: generation 2, 8.00 ms",) == doubts((call(long),))


def test_a_device_that_waits_for_the_host_is_launch_bound() -> None:
    """It is done 1 ms after the host's stamp, of steps of 20 ms: 5 % are left, Python sets the pace."""
    traces = (call(device=(41, 61, 81, 82)),)
    assert 0.05 == lag_share(traces[0].requests[0])
    (said,) = doubts(traces)
    assert said.startswith("launch-bound: at the median emission the device had 5% of the step left")


def test_a_device_that_the_host_waits_for_is_not() -> None:
    """It is done 18 ms after the host's stamp; and on the host's own processor the question does not arise."""
    assert () == doubts((call(device=(58, 78, 98, 99)),))
    assert lag_share(call().requests[0]) is None
    one = msgspec.structs.replace(call(device=(1, 2)).requests[0], emissions=((MS, 1),))
    assert lag_share(one) is None


def test_a_requests_notes_are_passed_on_once() -> None:
    """However many calls have them."""
    assert ("counted from the call's entry",) == doubts((call(notes=("counted from the call's entry",)),) * 3)


def test_what_it_took_to_look_on_is_no_doubt() -> None:
    """It is said where the observer's cost is; that the view failed would be another kind."""
    notes = [Annotation(kind=kind, at_ns=0, detail="9", duration_ns=50 * MS) for kind in ("view", "view beside")]
    assert () == doubts((call(*notes),))
    assert ("viewer: 9, 50.0 ms",) == doubts((call(msgspec.structs.replace(notes[0], kind="viewer")),))
