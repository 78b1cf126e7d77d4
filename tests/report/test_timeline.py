"""One call laid out on an axis."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Phase, Request, Trace
from llm_latency.report.timeline import MOST_TICKS, Bar, Timeline, make_timeline

MS = 1_000_000


def laid_out(measurement: Measurement) -> Timeline:
    """The timeline, which there has to be."""
    timeline = make_timeline(measurement)
    assert timeline is not None
    return timeline


def test_prefill_and_decode_lie_where_they_happened(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """A call of 200 ms: request from 10 ms, first token at 110 ms, then every 20 ms to 190 ms."""
    timeline = laid_out(measured(traces=(call(),)))
    (lane,) = timeline.lanes
    assert (Bar(kind="prefill", start=0.05, stop=0.55), Bar(kind="decode", start=0.55, stop=0.95)) == lane.bars
    assert pytest.approx((0.55, 0.65, 0.75, 0.85, 0.95)) == lane.ticks
    assert (("prefill", "prefill 100 ms"), ("decode", "decode 80.0 ms")) == timeline.legend
    words = "Timeline of the call, 200 ms: prefill 100 ms, decode 80.0 ms, 5 emissions, longest gap 20.0 ms"
    assert words == timeline.words


def test_the_axis_has_round_marks(measured: Callable[..., Measurement], call: Callable[..., Trace]) -> None:
    """200 ms in steps of 50 ms: 1, 2 or 5 times a power of ten."""
    timeline = laid_out(measured(traces=(call(),)))
    assert ["0 s", "50 ms", "100 ms", "150 ms", "200 ms"] == [label for _, label in timeline.axis]
    assert pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0]) == [share for share, _ in timeline.axis]


@pytest.mark.parametrize("total_ns", [1, 7, 999, 10**6, 999_999_999, 10**9, 3_600 * 10**9, 10**15])
def test_every_length_of_call_gets_a_readable_axis(measured: Callable[..., Measurement], total_ns: int) -> None:
    """Two to eleven marks that ascend and stay on the axis, each with another label."""
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=total_ns),)))
    shares = [share for share, _ in timeline.axis]
    assert 3 <= len(shares) <= 11
    assert shares == sorted(shares)
    assert 0.0 == shares[0]
    assert shares[-1] <= 1.0 + 1e-9
    assert len(shares) == len({label for _, label in timeline.axis})


def test_the_median_call_is_the_one_shown(measured: Callable[..., Measurement]) -> None:
    """Of totals 200 … 208 ms the fifth; not the first, and not the mean of any."""
    assert "middle call, 204 ms" == laid_out(measured()).title


def test_without_counted_calls_the_first_call_is_shown(measured: Callable[..., Measurement]) -> None:
    """And named so."""
    assert "first call, 400 ms" == laid_out(measured(traces=())).title


@pytest.mark.parametrize("traces", [(), (Trace(start_ns=5, stop_ns=5),)])
def test_nothing_to_show(measured: Callable[..., Measurement], traces: tuple[Trace, ...]) -> None:
    """No call, or a clock by which no time passed."""
    assert make_timeline(measured(traces=traces, cold=None)) is None


def test_a_pause_of_the_live_view_takes_no_room(
    measured: Callable[..., Measurement], call: Callable[..., Trace]
) -> None:
    """The clock stood still for 100 ms between two tokens: instants behind it move forward by as much."""
    trace = call()
    request = trace.requests[0]
    moved = Request(
        kind="generate",
        start_ns=request.start_ns,
        stop_ns=request.stop_ns + 100 * MS,
        emissions=(request.emissions[0], *((at + 100 * MS, k) for at, k in request.emissions[1:])),
    )
    pauses = ((120 * MS, 220 * MS),)
    paused = Trace(start_ns=0, stop_ns=300 * MS, requests=(moved,), pauses=pauses)
    assert laid_out(measured(traces=(trace,))).lanes[0].ticks == laid_out(measured(traces=(paused,))).lanes[0].ticks


def test_overlapping_requests_get_lanes_of_their_own(measured: Callable[..., Measurement]) -> None:
    """Two at once, and a third behind the first in its lane."""
    spans = ((0, 50), (20, 80), (50, 100))
    requests = tuple(Request(kind="call", start_ns=start, stop_ns=stop) for start, stop in spans)
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=100, requests=requests),)))
    assert [[(0.0, 0.5), (0.5, 1.0)], [(0.2, 0.8)]] == [
        [(bar.start, bar.stop) for bar in lane.bars] for lane in timeline.lanes
    ]
    assert timeline.words.endswith("call, 3 requests")


def test_many_overlapping_requests_are_counted_where_they_are_not_drawn(measured: Callable[..., Measurement]) -> None:
    """Six lanes are drawn."""
    requests = (Request(kind="stream", start_ns=0, stop_ns=100),) * 9
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=100, requests=requests),)))
    assert 6 == len(timeline.lanes)
    assert "3 overlapping requests not drawn" in timeline.words


def test_phases_stand_in_the_first_lane(measured: Callable[..., Measurement]) -> None:
    """Each with its time, in the order in which they happened."""
    phases = (Phase(name="tokenize", start_ns=50 * MS, stop_ns=60 * MS), Phase(name="load", start_ns=0, stop_ns=9 * MS))
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=100 * MS, phases=phases),)))
    assert (("load", "load 9.00 ms"), ("tokenize", "tokenize 10.0 ms")) == timeline.legend


def test_crowded_emissions_lose_their_number_but_a_stall_stays(measured: Callable[..., Measurement]) -> None:
    """10,000 emissions in the first tenth and as many in the last: at most 400 ticks, none between."""
    instants = [*range(1, 10_001), *range(90_000, 100_000)]
    request = Request(kind="generate", start_ns=0, stop_ns=100_000, emissions=tuple((at, 1) for at in instants))
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=100_000, requests=(request,)),)))
    ticks = timeline.lanes[0].ticks
    assert 70 <= len(ticks) <= MOST_TICKS
    assert not [share for share in ticks if 0.11 < share < 0.89]


def test_thousands_of_short_bars_are_merged(measured: Callable[..., Measurement]) -> None:
    """A tokenizer called for each of 5,000 texts."""
    phases = tuple(Phase(name="tokenize", start_ns=index * 10, stop_ns=index * 10 + 5) for index in range(5_000))
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=50_000, phases=phases),)))
    assert len(timeline.lanes[0].bars) <= 2 * MOST_TICKS


def test_a_request_of_a_thread_that_outlives_its_call_ends_at_the_edge(measured: Callable[..., Measurement]) -> None:
    """Shares stay within the picture."""
    request = Request(kind="generate", start_ns=50, stop_ns=500, emissions=((80, 1), (400, 1)))
    timeline = laid_out(measured(traces=(Trace(start_ns=0, stop_ns=100, requests=(request,)),)))
    assert 1.0 == max(bar.stop for bar in timeline.lanes[0].bars)
    assert 1.0 == max(timeline.lanes[0].ticks)
