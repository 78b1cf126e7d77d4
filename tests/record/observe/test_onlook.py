"""Looking at a call while it runs: how often, by whom, and that its clock stands still; not what is shown."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest
from scripted import Bench, Onlooker, raising

from llm_latency.core.trace import Trace
from llm_latency.record import watch
from llm_latency.record.clock import HostClock
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.observe import onlook
from llm_latency.record.observe.attribution import current_chain, open_request
from llm_latency.record.observe.stream import count_stream, stream
from llm_latency.record.timed import timed
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel

MS = 1_000_000


def ms(*pauses: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Pauses in whole milliseconds."""
    return tuple((begin * MS, end * MS) for begin, end in pauses)


def trace_of(block: timed) -> Trace:
    """The only call."""
    (trace,) = block.measurement.traces
    return trace


def seen(trace: Trace) -> dict[str, tuple[str, int]]:
    """What the observer has noted: how often, and for how long."""
    return {note.kind: (note.detail, note.duration_ns) for note in trace.annotations}


def values(block: timed, *names: str) -> list[tuple[float, ...]]:
    """Metrics by their names."""
    return [block.measurement.reading(name).values for name in names]


def test_the_hosts_clock_stands_still_while_it_is_looked(bench: Bench, block: timed) -> None:
    """Four looks of 3 ms: no metric has them, and the trace says where they were and how long."""
    with block:
        list(stream(bench.model.stream()))
    trace = trace_of(block)
    assert [(0.2,), (0.02, 0.02, 0.04), (0.08 / 3,), (0.28,), (0.28,)] == [
        pytest.approx(found) for found in values(block, "ttft", "itl", "tpot", "e2e", "total")
    ]
    assert ms((200, 203), (223, 226), (246, 249), (289, 292)) == trace.pauses
    assert 292 * MS == trace.stop_ns
    assert {"view": ("4", 12 * MS)} == seen(trace)


@pytest.mark.parametrize(("period_ms", "looks"), [(0, 4), (20, 4), (21, 3), (40, 3), (41, 2), (80, 2), (81, 1)])
def test_there_is_at_most_one_look_a_period(bench: Bench, view: Onlooker, period_ms: int, looks: int) -> None:
    """A look ends at 203 ms; where the next may come only at 224 ms, the emission at 223 ms is not looked at."""
    view.period_ns = period_ms * MS
    with timed("block", clock=bench.clock, device=bench.device, view=view) as block:
        list(stream(bench.model.stream()))
    assert looks == len(view.moments)
    assert [(0.28,)] == values(block, "total")
    # What was not looked at is told at the next look.
    told = [index for moment in view.moments for index in range(moment.first, moment.first + len(moment.instants_ns))]
    assert list(range(len(told))) == told


def test_a_device_that_works_on_hides_a_look(bench: Bench, view: Onlooker) -> None:
    """The host is 20 ms ahead of it: looking costs nothing, so nothing is taken out."""
    with timed("block", clock=bench.clock, device=bench.device, view=view) as block:
        list(stream(ahead(bench.clock, bench.device, host="1 ms", work="20 ms")))
    assert () == trace_of(block).pauses
    assert [(0.021,), (0.02,) * 3, (0.081,), (0.081,)] == values(block, "ttft", "itl", "e2e", "total")
    assert {"view": ("4", 12 * MS)} == seen(trace_of(block))


def test_what_a_device_waited_for_a_look_is_taken_out(bench: Bench, view: Onlooker) -> None:
    """It works 1 ms of the 3 that each look takes, and waits for the other two."""
    with timed("block", clock=bench.clock, device=bench.device, view=view) as block:
        list(stream(ahead(bench.clock, bench.device, host="20 ms", work="1 ms")))
    assert ms((21, 23), (44, 46), (67, 69), (90, 92)) == trace_of(block).pauses
    assert [(0.021,), (0.021,) * 3, (0.084,)] == values(block, "ttft", "itl", "total")


def test_an_idle_device_waits_for_the_whole_look(bench: Bench, view: Onlooker) -> None:
    """It has nothing to do: all that a look takes is taken out."""
    with timed("block", clock=bench.clock, device=bench.device, view=view) as block:
        list(stream(ahead(bench.clock, bench.device, host="20 ms", work="0 ms", steps=2)))
    assert ms((20, 23), (43, 46)) == trace_of(block).pauses
    assert [(0.02,), (0.02,), (0.04,)] == values(block, "ttft", "itl", "total")


def test_a_device_without_marks_has_been_waited_for(bench: Bench, view: Onlooker) -> None:
    """Each emission waits for it, so it is idle during a look."""
    device = FakeDevice(bench.clock, marks=False)
    with timed("block", clock=bench.clock, device=device, view=view) as block:
        list(stream(ahead(bench.clock, device, host="1 ms", work="20 ms")))
    assert ms((21, 24), (45, 48), (69, 72), (93, 96)) == trace_of(block).pauses
    assert [(0.021,), (0.021,) * 3, (0.084,)] == values(block, "ttft", "itl", "total")


def ahead(clock: ManualClock, device: FakeDevice, *, host: str, work: str, steps: int = 4) -> Iterator[int]:
    """Tokens whose work the host gives to the device in `host` each, and which takes the device `work`."""
    for token in range(steps):
        clock.advance(host)
        device.give(work)
        yield token


@pytest.mark.parametrize("marks", [True, False])
def test_a_look_beside_another_request_is_not_taken_out(bench: Bench, view: Onlooker, marks: bool) -> None:
    """While both run, the other's clock must go on: what those looks took stays in, and is said to."""
    device = FakeDevice(bench.clock, marks=marks)
    one, other = (ScriptedModel(bench.clock, prefill="10 ms", steps=["5 ms"]) for _ in range(2))
    with timed("block", clock=bench.clock, device=device, view=view) as block:
        first, second = stream(one.stream()), stream(other.stream())
        next(first)  # at 10 ms, alone: looked at until 13
        next(second)  # at 23, beside the first: until 26
        list(first)  # at 31, beside the second: until 34, and ends
        list(second)  # at 39, alone again: until 42
    assert ms((10, 13), (39, 42)) == trace_of(block).pauses
    assert {"view": ("2", 6 * MS), "view beside": ("2", 6 * MS)} == seen(trace_of(block))
    assert [(0.036,)] == values(block, "total")


def test_a_request_that_begins_during_a_look_is_not_stopped_by_it(bench: Bench, view: Onlooker, block: timed) -> None:
    """Its thread runs on; that the first one was alone when the look began does not make it a pause."""
    other = stream(iter("ab"))
    view.does["look"] = lambda: next(other, None)
    with block:
        list(stream(iter("x")))
        assert ["b"] == list(other)
    assert {"view": ("1", 3 * MS), "view beside": ("1", 3 * MS)} == seen(trace_of(block))


def test_a_request_that_ends_during_a_look_was_not_stopped_by_it(bench: Bench, view: Onlooker, block: timed) -> None:
    """It ran on in a part of it: that the first one is alone when the look ends does not make it a pause either."""
    other = stream(iter("ab"))
    with block:
        next(other)
        view.does["look"] = lambda: list(other)
        list(stream(iter("x")))
    assert {"view": ("1", 3 * MS), "view beside": ("1", 3 * MS)} == seen(trace_of(block))


def test_threads_are_looked_at_one_at_a_time(bench: Bench, view: Onlooker, block: timed) -> None:
    """While one thread looks, the other emits on without waiting for it."""
    is_looking, has_emitted = threading.Event(), threading.Event()

    def emit() -> None:
        assert is_looking.wait(10)
        list(stream(iter("abc")))
        has_emitted.set()

    def look() -> None:
        view.does.clear()
        is_looking.set()
        assert has_emitted.wait(10)

    view.does["look"] = look
    thread = threading.Thread(target=emit)
    with block:
        thread.start()
        list(stream(iter("x")))
        thread.join()
    assert (1, 2) == (len(view.moments), len(trace_of(block).requests))


def test_forwards_in_two_threads_overlap_as_far_as_is_known(bench: Bench, view: Onlooker, block: timed) -> None:
    """A forward is written down when it is over, so another thread's may run at any time: no pause from then on."""
    with block:
        for thread in ("a", "a", "b", "a"):
            log = open_request("forward", count_stream)
            assert log is not None and log.gauges is not None and log.readings is not None
            log.gauges.drop(log.readings)
            log.thread = thread
            log.fire(1)
            log.end()
    assert {"view": ("2", 6 * MS), "view beside": ("2", 6 * MS)} == seen(trace_of(block))


def test_an_inner_block_is_looked_at_once(bench: Bench, view: Onlooker, block: timed) -> None:
    """By the view of the outer one, and neither of them has what that took."""
    inner_view = Onlooker(bench.clock)
    with block, timed("inner", clock=bench.clock, device=bench.device, view=inner_view) as inner:
        list(stream(bench.model.stream()))
    assert (4, 0) == (len(view.moments), len(inner_view.moments))
    assert ([(0.28,)], [(0.28,)]) == (values(block, "total"), values(inner, "total"))
    assert trace_of(block).pauses == trace_of(inner).pauses


class Starting(threading.Thread):
    """A thread that takes 7 ms to start on a manual clock."""

    clock: ManualClock

    def start(self) -> None:
        """Take the time; nothing runs."""
        self.clock.advance("7 ms")


def test_starting_to_look_is_no_time_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that looks beside the call is there before its clock starts."""
    clock, host = ManualClock(), HostClock()
    host.now_ns = clock.now_ns
    Starting.clock = clock
    monkeypatch.setattr(onlook.threading, "Thread", Starting)
    monkeypatch.setattr(watch, "ticks", lambda: None)
    with timed("block", clock=host, device=Cpu(), view=Onlooker()) as block:
        clock.advance("10 ms")
    assert 10 * MS == trace_of(block).stop_ns - trace_of(block).start_ns


def test_nobody_looks_beside_a_call_of_fakes(block: timed) -> None:
    """Their time does not pass by itself."""
    with block:
        assert [] == [thread for thread in threading.enumerate() if thread.name == "llm-latency view"]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread beside looks every few milliseconds, so that no test waits for it."""
    monkeypatch.setattr(onlook, "_PULSE_S", 0.002)


class Waits:
    """The event that ends looking beside, on a manual clock: each wait takes so many milliseconds, the last is over."""

    def __init__(self, clock: ManualClock, *waits_ms: int) -> None:
        self._clock, self._waits = clock, list(waits_ms)

    def wait(self, _: float) -> bool:
        """Take the next time."""
        self._clock.advance(self._waits.pop(0) * MS)
        return not self._waits

    def is_set(self) -> bool:
        """Not while there is something to wait for."""
        return not self._waits


def look_from_beside(clock: ManualClock, *waits_ms: int) -> None:
    """Do in this thread what the one beside does, which wakes up after so many milliseconds each."""
    looker = current_chain()[-1].look.__self__  # type: ignore[union-attr]
    over, looker._over = looker._over, Waits(clock, *waits_ms, 1)
    looker._pulse()
    looker._over = over


def test_a_call_that_emits_nothing_is_looked_at_from_beside(bench: Bench, view: Onlooker, block: timed) -> None:
    """While anything runs, while a phase is open, and before the first token of a request; not between its tokens."""

    def tokens() -> Iterator[str]:
        look_from_beside(bench.clock, 500)
        yield "a"
        look_from_beside(bench.clock, 5_000)
        yield "b"

    with block:
        look_from_beside(bench.clock, 500)
        current_chain()[-1].phase = "load"
        look_from_beside(bench.clock, 500)
        current_chain()[-1].phase = None
        list(stream(tokens()))
        look_from_beside(bench.clock, 500)
    phases = [moment.phase for moment in view.moments]
    assert ["running", "load", "prefill", "decode", "decode", "running"] == phases
    assert {"view": ("2", 6 * MS), "view beside": ("4", 12 * MS)} == seen(trace_of(block))


def test_nobody_looks_from_beside_so_soon_after_a_look(bench: Bench, view: Onlooker, block: timed) -> None:
    """A token at 0 is looked at until 3 ms; from beside half a second later, and then again half a second later."""
    with block:
        list(stream(iter("x")))
        look_from_beside(bench.clock, 300, 196, 1, 400, 96, 1)
    assert [0, 500 * MS, 1_000 * MS] == view.begun_ns
    assert ("2", 6 * MS) == seen(trace_of(block))["view beside"]


@pytest.mark.usefixtures("often")
def test_looks_from_beside_are_counted_apart() -> None:
    """The call's clock goes on: they are in its time, and said to be."""
    view = Onlooker()
    with timed("block", view=view) as block:
        assert view.looked.wait(10)
    found = seen(trace_of(block))
    assert ({"view beside"}, ()) == (set(found) & {"view", "view beside"}, trace_of(block).pauses)
    assert str(len(view.moments)) == found["view beside"][0]


@pytest.mark.usefixtures("often")
def test_a_look_from_beside_has_ended_when_the_call_has() -> None:
    """A slow one is waited for, after the clock has stopped; none comes afterwards."""
    view, order = Onlooker(), list[str]()
    has_stopped = threading.Event()

    def slow() -> None:
        order.append("begins")
        assert has_stopped.wait(10)
        order.append("ends")

    view.does["look"] = slow
    block = timed("block", view=view)
    with block:
        assert view.looked.wait(10)
        threading.Timer(0.05, has_stopped.set).start()
    order.append("over")
    assert ["begins", "ends", "over"] == order
    assert [1, 1] == [view.count("look"), view.count("end")]


@pytest.mark.usefixtures("often")
def test_a_view_that_fails_beside_is_not_asked_again() -> None:
    """The thread ends, without a word on stderr, and the result says why."""
    view = Onlooker()
    view.does["look"] = raising(RuntimeError("the comm is gone"))
    with timed("block", view=view) as block:
        assert view.looked.wait(10)
        for thread in threading.enumerate():
            if thread.name == "llm-latency view":
                thread.join(10)
                assert not thread.is_alive()
    assert ("1", 1) == (seen(trace_of(block))["view beside"][0], view.count("look"))
    assert any("RuntimeError: the comm is gone" in warning for warning in block.measurement.warnings)


def test_a_watch_that_has_ended_keeps_no_model(block: timed) -> None:
    """It may fill a GPU, and the block that timed it may live as long as the notebook."""

    class Model:
        pass

    model = Model()
    kept = weakref.ref(model)
    with block:
        log = open_request("generate", count_stream, model=model)
        assert log is not None
        log.fire(1)
        log.end()
    del model, log
    gc.collect()
    assert kept() is None
    assert 1 == len(trace_of(block).requests)
