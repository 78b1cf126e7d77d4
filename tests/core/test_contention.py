"""Delay taken out of a call: exact numbers on hand-made traces."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import pytest

from llm_latency.core.budget import parse_budget
from llm_latency.core.contention import delay_ns, delay_share, has_own_time, relieved
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import sample_of, verdict_on
from llm_latency.core.trace import Contention, Phase, Request, Trace

MS = 1_000_000


def call(*readings: tuple[int, int], emissions: tuple[int, ...] = (100, 120, 140, 190), **more: object) -> Trace:
    """A call of 200 ms, its request from 10 ms on; readings and emissions in milliseconds."""
    request = Request(
        kind="generate",
        start_ns=10 * MS,
        stop_ns=195 * MS,
        emissions=tuple((at * MS, 1) for at in emissions),
        row_tokens=(len(emissions),),
    )
    contention = Contention(readings=tuple((at * MS, delay * MS) for at, delay in readings)) if readings else None
    return msgspec.structs.replace(
        Trace(start_ns=0, stop_ns=200 * MS, requests=(request,), contention=contention), **more
    )


READ = ((0, 0), (10, 0), (100, 30), (195, 60), (200, 60))


def test_delay_between_readings_is_their_difference() -> None:
    """30 ms up to the first emission, 30 ms after it; half of a stretch has half of its delay."""
    trace = call(*READ)
    assert 30 * MS == delay_ns(trace, 10 * MS, 100 * MS)
    assert 60 * MS == delay_ns(trace, 0, 200 * MS)
    assert 15 * MS == delay_ns(trace, 10 * MS, 55 * MS)
    assert 0 == delay_ns(trace, 195 * MS, 200 * MS)
    assert 0.3 == delay_share(trace)


def test_where_delay_was_not_read_it_is_none() -> None:
    """Without readings, with one, and outside of them."""
    assert delay_ns(call(), 0, 1) is None
    assert delay_ns(call((0, 0)), 0, 1) is None
    assert delay_ns(call(*READ), 0, 201 * MS) is None
    assert delay_share(call()) is None


def test_own_metrics_are_the_wall_without_the_delay() -> None:
    """Ttft 90 - 30 ms; tpot 90 ms less 30·(90/95) over three gaps; e2e both."""
    trace, environment = call(*READ), Environment()
    after = 30 * 90 / 95
    assert (0.06,) == pytest.approx(sample_of((trace,), "ttft_own", environment).values)
    assert ((0.09 - after / 1e3) / 3,) == pytest.approx(sample_of((trace,), "tpot_own", environment).values)
    assert (0.15 - after / 1e3,) == pytest.approx(sample_of((trace,), "e2e_own", environment).values)
    assert () == sample_of((call(),), "ttft_own", environment).values


def test_work_on_another_device_has_no_own_time() -> None:
    """The host's threads wait there for the device, and their delay may cost nothing."""
    trace = call(*READ)
    request = msgspec.structs.replace(trace.requests[0], device_ns=(100, 120, 140, 190, 195))
    there = msgspec.structs.replace(trace, requests=(request,))
    for name in ("ttft_own", "tpot_own", "e2e_own"):
        assert () == sample_of((there,), name, Environment()).values
    assert relieved(there) is there


def test_the_longest_pieces_give_up_the_delay() -> None:
    """After the first emission: gaps of 20, 20, 50 and 5 ms lose 30 ms, all of it from the longest."""
    own = relieved(call(*READ))
    instants = [own.requests[0].start_ns, *(at for at, _ in own.requests[0].emissions), own.requests[0].stop_ns]
    assert [60, 20, 20, 20, 5] == [(b - a) // MS for a, b in pairwise(instants)]
    assert 140 * MS == own.stop_ns - own.start_ns
    assert 0 == delay_share(own)


def test_a_limit_is_met_first_where_that_costs_least() -> None:
    """Gaps of 20, 20 and 50 ms lose 12 ms: two come below 15 ms, and the rest goes where it is longest."""
    trace = call((0, 0), (10, 0), (100, 0), (195, 12), (200, 12))
    own = relieved(trace, limit_ns=15 * MS)
    gaps = [b - a for (a, _), (b, _) in pairwise(own.requests[0].emissions)]
    assert [15 * MS - 1, 15 * MS - 1, 48 * MS + 2] == gaps


@pytest.mark.parametrize(
    ("starts", "threads", "expected"),
    [((10, 50), ("a", "b"), False), ((10, 50), ("a", "a"), True), ((10, 96), ("a", "b"), True), ((10,), ("a",), True)],
)
def test_threads_side_by_side_have_no_own_times(
    starts: tuple[int, ...], threads: tuple[str, ...], expected: bool
) -> None:
    """Each request here takes 85 ms; which of two threads waited is not told."""
    requests = tuple(
        Request(kind="generate", start_ns=at * MS, stop_ns=(at + 85) * MS, thread=thread)
        for at, thread in zip(starts, threads, strict=True)
    )
    trace = msgspec.structs.replace(call(*READ), requests=requests)
    assert expected == has_own_time(trace)
    assert expected == (relieved(trace) is not trace)


def test_a_budget_on_own_time_can_fail() -> None:
    """Taking the delay out of what is without it already leaves it as it is."""
    traces = [call(*READ)] * 6
    assert "fail" == verdict_on(parse_budget("ttft_own < 50 ms"), traces, Environment()).outcome
    assert "fail" == verdict_on(parse_budget("ttft < 50 ms"), traces, Environment()).outcome
    assert "undecided" == verdict_on(parse_budget("ttft < 80 ms"), traces, Environment()).outcome
    assert "pass" == verdict_on(parse_budget("ttft < 95 ms"), traces, Environment()).outcome


def test_equal_pieces_share_what_is_left() -> None:
    """Three gaps of 30 ms and one of 5 lose 60 ms: each of the three keeps 10."""
    own = relieved(call((0, 0), (10, 0), (100, 0), (195, 60), (200, 60), emissions=(100, 130, 160, 190)))
    instants = [at for at, _ in own.requests[0].emissions]
    assert [10, 10, 10] == [(b - a) // MS for a, b in pairwise(instants)]


def test_more_delay_than_time_leaves_nothing() -> None:
    """A reading may say more than a stretch is long (ticks, several threads): its pieces are 0, not less."""
    own = relieved(call((0, 0), (10, 0), (100, 500), (200, 500)))
    assert own.requests[0].start_ns == own.requests[0].emissions[0][0]


def test_without_delay_the_call_is_itself() -> None:
    """No reading, or readings without any delay."""
    for trace in (call(), call((0, 0), (200, 0))):
        assert relieved(trace) is trace


def test_phases_and_pauses_move_along() -> None:
    """A phase of 5 ms before the request keeps its length, one inside a delayed stretch loses."""
    phases = (Phase(name="tokenize", start_ns=MS, stop_ns=6 * MS),)
    own = relieved(call(*READ, phases=phases, pauses=((196 * MS, 198 * MS),)))
    assert (MS, 6 * MS) == (own.phases[0].start_ns, own.phases[0].stop_ns)
    assert 2 * MS == own.pauses[0][1] - own.pauses[0][0]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_taken_out_is_the_delay(seed: int) -> None:
    """For random calls: the order of instants stays, no gap grows, and the whole loses what was read."""
    chance = random.Random(seed)
    instants = sorted(chance.sample(range(1, 199), 12))
    at = sorted(chance.sample(instants, 3))
    readings = [(0, 0)]
    for instant in (*at, 200):
        before, sofar = readings[-1]
        readings.append((instant, sofar + chance.randint(0, instant - before)))
    trace = call(*readings, emissions=tuple(instants[1:-1]))
    trace = msgspec.structs.replace(
        trace,
        requests=(msgspec.structs.replace(trace.requests[0], start_ns=instants[0] * MS, stop_ns=instants[-1] * MS),),
    )
    own = relieved(trace)
    assert own.stop_ns - own.start_ns == pytest.approx((200 - readings[-1][1]) * MS, abs=20)
    for before, after in zip(trace.requests[0].emissions, own.requests[0].emissions, strict=True):
        assert after[0] <= before[0]
    gaps = [[b[0] - a[0] for a, b in pairwise(r.requests[0].emissions)] for r in (trace, own)]
    assert all(0 <= after <= before for before, after in zip(*gaps, strict=True))
