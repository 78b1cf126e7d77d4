"""What is read beside the clock: a device's instants, memory by phase, energy, delay; exact on fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation, Trace
from llm_latency.errors import DeviceError
from llm_latency.record.clock import HostClock
from llm_latency.record.contention import RunQueue
from llm_latency.record.devices.device import Telemetry
from llm_latency.record.devices.used import Used
from llm_latency.record.gauges import Gauges
from llm_latency.record.measure import measure
from llm_latency.record.observe.stream import stream
from llm_latency.record.timed import timed
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel

MS = 1_000_000
GIB = 2**30


def ahead(clock: ManualClock, device: FakeDevice, *, host: str, work: str, steps: int = 4) -> Iterator[int]:
    """Tokens whose work the host gives to the device in `host` each, and which takes the device `work`."""
    for token in range(steps):
        clock.advance(host)
        device.give(work)
        yield token


def run(host: str, work: str, **device: Any) -> Measurement:
    """One call of such a stream."""
    clock = ManualClock()
    fake = FakeDevice(clock, **device)
    return measure(lambda: ahead(clock, fake, host=host, work=work), repeat=1, warmup=0, clock=clock, device=fake)


def p50s(measured: Measurement, *names: str) -> list[float]:
    """Medians as plain numbers."""
    return [float(p50) for name in names if (p50 := measured.reading(name).p50) is not None]


def trace_of(measured: Measurement) -> Trace:
    """The only call."""
    (trace,) = measured.traces
    return trace


def test_tokens_exist_when_the_device_has_made_them() -> None:
    """The host is done giving work after 4 ms; the tokens come every 20 ms from 21 ms on."""
    measured = run("1 ms", "20 ms")
    (request,) = trace_of(measured).requests
    assert [1 * MS, 2 * MS, 3 * MS, 4 * MS] == [at for at, _ in request.emissions]
    assert (21 * MS, 41 * MS, 61 * MS, 81 * MS, 81 * MS) == request.device_ns
    assert [0.021, 0.02, 0.081, 0.081] == p50s(measured, "ttft", "itl", "e2e", "total")
    assert not [warning for warning in measured.warnings if "launch-bound" in warning]


def test_a_device_that_waits_for_the_host_is_seen() -> None:
    """20 ms of Python for each 1 ms of work: tokens exist 1 ms after the host's stamp.

    Of a stream it is not said: who hands an item on may have waited for the device before.
    """
    measured = run("20 ms", "1 ms")
    assert [0.021, 0.02] == p50s(measured, "ttft", "itl")
    assert trace_of(measured).requests[0].host_waits
    assert not [warning for warning in measured.warnings if "launch-bound" in warning]


class Behind(FakeDevice):
    """A device on which each mark finds as much work as `work` says; the host's clock goes on by `host` a step."""

    host, work = "1 ms", "20 ms"

    def mark(self) -> int | None:
        """Work that a step gave, and what the step took the host."""
        self.clock.advance(self.host)
        self.give(self.work)
        return super().mark()


@pytest.mark.parametrize(("host", "work", "said"), [("20 ms", "1 ms", True), ("1 ms", "20 ms", False)])
@pytest.mark.parametrize("streams", [False, True])
def test_a_generate_that_is_launch_bound_is_said_to(host: str, work: str, said: bool, streams: bool) -> None:
    """Not with a streamer, which waits for each token before the stamp."""
    torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")
    transformers = pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")
    config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=32, eos_token_id=None, bos_token_id=1)
    model = transformers.GPT2LMHeadModel(config).eval()
    clock = ManualClock()
    device = Behind(clock)
    device.host, device.work = host, work
    streamer = SimpleNamespace(put=lambda _: None, end=lambda: None) if streams else None
    with timed("block", clock=clock, device=device) as t:
        model.generate(torch.tensor([[3, 4]]), max_new_tokens=5, pad_token_id=0, streamer=streamer)
    (request,) = trace_of(t.measurement).requests
    assert request.device_ns is not None and len(request.device_ns) == 6
    assert (said and not streams) == any(warning.startswith("launch-bound") for warning in t.measurement.warnings)


def test_every_emission_of_a_generate_waits_for_a_device_without_marks() -> None:
    """Not only the first: 1 ms of the host and 20 ms of the device for each."""
    torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")
    transformers = pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")
    config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=32, eos_token_id=None, bos_token_id=1)
    model = transformers.GPT2LMHeadModel(config).eval()
    clock = ManualClock()
    with timed("block", clock=clock, device=Behind(clock, marks=False)) as t:
        model.generate(torch.tensor([[3, 4]]), max_new_tokens=5, pad_token_id=0)
    assert (0.021,) * 4 == t.measurement.itl.values


def test_a_device_without_marks_leaves_the_hosts_instants() -> None:
    """Its request has none of its own: each emission waits for it, and is stamped then."""
    measured = run("1 ms", "20 ms", marks=False)
    assert trace_of(measured).requests[0].device_ns is None
    assert [0.021, 0.021, 0.084] == p50s(measured, "ttft", "itl", "total")


def test_work_from_before_the_call_is_waited_for_first() -> None:
    """An earlier cell left 500 ms of work on the device, which are no part of this call."""
    clock = ManualClock()
    fake = FakeDevice(clock)
    fake.give("500 ms")
    with timed("block", clock=clock, device=fake) as t:
        clock.advance("10 ms")
    assert ([0.01], 500 * MS) == (p50s(t.measurement, "total"), t.measurement.traces[0].start_ns)


def test_memory_is_told_by_phase() -> None:
    """A script has one peak for each reset: at the call's start and at its request's first emission."""
    peaks = [{"allocated": gib * GIB, "reserved": 9 * GIB} for gib in (5, 3, 2)]
    trace = trace_of(run("1 ms", "2 ms", peaks=peaks))
    assert {"prefill": 5 * GIB, "decode": 3 * GIB} == trace.requests[0].peak_bytes
    assert {"allocated": 5 * GIB, "reserved": 9 * GIB} == trace.peak_bytes


def test_memory_from_before_a_request_is_not_its_own() -> None:
    """A call that first did something else for a millisecond or more begins the request's peak anew."""
    clock = ManualClock()
    fake = FakeDevice(clock, peaks=[{"allocated": gib * GIB} for gib in (9, 5, 3)])

    def call() -> None:
        clock.advance("1 ms")
        list(stream(ahead(clock, fake, host="1 ms", work="2 ms")))

    trace = trace_of(measure(call, repeat=1, warmup=0, clock=clock, device=fake))
    assert {"prefill": 5 * GIB, "decode": 3 * GIB} == trace.requests[0].peak_bytes
    assert {"allocated": 9 * GIB} == trace.peak_bytes


def test_requests_that_overlap_have_no_memory_of_their_own() -> None:
    """Whose it was cannot be told; the call's peak can."""
    clock = ManualClock()
    fake = FakeDevice(clock, peaks=[{"allocated": gib * GIB} for gib in range(1, 9)])
    model = ScriptedModel(clock, steps=["1 ms"] * 2)

    def both() -> None:
        for _ in zip(stream(model.stream()), stream(model.stream()), strict=True):
            pass

    trace = trace_of(measure(both, repeat=1, warmup=0, clock=clock, device=fake))
    assert [None, None] == [request.peak_bytes for request in trace.requests]
    assert trace.peak_bytes is not None and trace.peak_bytes["allocated"] >= 2 * GIB


def test_an_inner_watch_does_not_hide_memory_from_the_outer() -> None:
    """The inner block begins new peaks; what was used before it, and inside it, is the outer's too."""
    clock = ManualClock()
    fake = FakeDevice(clock, peaks=[{"allocated": gib * GIB} for gib in (7, 3, 3, 2, 1, 1, 1)])
    with timed("outer", clock=clock, device=fake) as outer, timed("inner", clock=clock, device=fake) as inner:
        clock.advance("1 ms")
    peaks = [t.measurement.traces[0].peak_bytes for t in (outer, inner)]
    assert peaks[0] is not None and peaks[1] is not None
    assert (7 * GIB, True) == (peaks[0]["allocated"], peaks[1]["allocated"] < 7 * GIB)


def test_energy_is_told_over_the_call() -> None:
    """A counter from 100 to 340 J in 8 s that moves every 100 ms; four tokens."""
    readings = [Telemetry(energy_j=joules, energy_step_s=0.1) for joules in (100.0, 340.0)]
    measured = run("1 s", "2 s", telemetry=readings)
    assert [240.0, 60.0] == p50s(measured, "energy", "energy_per_token")
    short = run("1 ms", "2 ms", telemetry=readings)
    assert [] == p50s(short, "energy")


def test_what_held_the_device_back_is_a_warning() -> None:
    """With the time that its counter tells, and other processes on it."""
    readings = [Telemetry(held_back_ns={"power": 0}), Telemetry(held_back_ns={"power": 4 * MS}, neighbours=1)]
    measured = run("1 ms", "2 ms", telemetry=readings)
    expected = (
        "the device did not run at its full clock: power, 4.00 ms",
        "the device is shared: 1 other process on it",
    )
    assert expected == measured.warnings[-3:-1]


def test_a_device_that_is_lost_in_the_middle_keeps_the_calls_before() -> None:
    """The third wait fails: the error says so, and the two calls before travel with it."""
    clock = ManualClock()

    class Lost(FakeDevice):
        calls = 0

        def synchronize(self) -> None:
            if Lost.calls == 3:
                raise DeviceError("CUDA failed: unspecified launch failure")
            super().synchronize()

    device = Lost(clock)

    def call() -> None:
        Lost.calls += 1
        clock.advance("5 ms")

    with pytest.raises(DeviceError, match="unspecified launch failure") as caught:
        measure(call, repeat=4, warmup=0, clock=clock, device=device)
    measured = caught.value.llm_latency_measurement
    assert ((0.005, 0.005), False) == (measured.total.values, measured.complete)


def test_a_thread_of_the_calls_own_has_its_delay_read(run_in_thread: Callable[[Callable[[], object]], None]) -> None:
    """Readings come from whatever thread the request runs in, at its instants."""
    model = ScriptedModel(prefill="3 ms", steps=["1 ms"] * 2)
    with timed("block") as t:
        run_in_thread(lambda: list(stream(model.stream())))
    (trace,) = t.measurement.traces
    if trace.contention is not None:
        instants = [at for at, _ in trace.contention.readings]
        assert instants == sorted(instants)
        (request,) = trace.requests
        assert request.emissions[0][0] in instants
        assert (trace.start_ns, trace.stop_ns) == (instants[0], instants[-1])


@pytest.fixture
def run_in_thread() -> Callable[[Callable[[], object]], None]:
    """Run something in a thread of its own and wait."""

    def run(work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    return run


def test_a_cpu_needs_no_marks() -> None:
    """Its requests carry no instants beside the host's."""
    model = ScriptedModel(prefill="1 ms", steps=["1 ms"])
    (trace,) = measure(model.stream, repeat=1, warmup=0, clock=HostClock()).traces
    assert trace.requests[0].device_ns is None


def gauges_of(clock: ManualClock, device: FakeDevice, *, outer: Sequence[Gauges] = ()) -> Gauges:
    """Gauges of a device, not yet read."""
    return Gauges(clock, Used(device), cores=2, outer=outer)


def test_memory_and_what_was_heard_can_be_asked_for_in_the_middle() -> None:
    """High-water marks until now, without beginning them anew; what was heard is told once."""
    clock = ManualClock()
    device = FakeDevice(clock, peaks=[{"allocated": GIB}, {"allocated": 3 * GIB}, {"allocated": 2 * GIB}])
    gauges = gauges_of(clock, device)
    with gauges.reading(()):
        gauges.start(0)
        clock.advance("2 ms")
        readings = gauges.enter(None)
        resets = device.reset_count
        gauges._disturbances.annotations.append(Annotation(kind="compile", at_ns=1))
        told = [gauges.so_far() for _ in range(2)]
        assert resets == device.reset_count
        gauges.leave(readings, clock.now_ns())
    assert [{"allocated": 3 * GIB}] * 2 == [so_far.peaks for so_far in told]
    assert [("compile",), ()] == [tuple(note.kind for note in so_far.heard) for so_far in told]


def test_what_is_not_known_in_the_middle_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No memory that the device would tell, no delay that the system would."""
    monkeypatch.setattr("llm_latency.record.contention._TASKS", tmp_path / "none")
    clock = ManualClock()
    gauges = gauges_of(clock, FakeDevice(clock))
    with gauges.reading(()):
        gauges.start(0)
        so_far = gauges.so_far()
    assert (None, None, ()) == (so_far.delay_ns, so_far.peaks, so_far.heard)


def test_the_delay_so_far_is_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 ms of it: the readings, which the result is made of, stay as they are."""
    monkeypatch.setattr(RunQueue, "waited_ns", lambda _: 30 * MS)
    clock = ManualClock()
    gauges = gauges_of(clock, FakeDevice(clock))
    with gauges.reading(()):
        gauges.start(0)
        readings = list(gauges._queue.readings)
        assert 30 * MS == gauges.so_far().delay_ns
        assert readings == gauges._queue.readings


def test_a_pause_is_the_outer_watchs_too_and_stays_in_order() -> None:
    """Whenever it was found out; one that has no length is none."""
    clock = ManualClock()
    device = FakeDevice(clock)
    outer = gauges_of(clock, device)
    inner = gauges_of(clock, device, outer=[outer])
    inner.add_pause(50, 60)
    inner.add_pause(10, 30)
    outer.add_pause(35, 40)
    inner.add_pause(70, 70)
    inner.add_pause(80, 75)
    assert [(10, 30), (50, 60)] == inner.pauses
    assert [(10, 30), (35, 40), (50, 60)] == outer.pauses
    assert (70, 65, 10) == (inner.elapsed_ns(0, 100), outer.elapsed_ns(0, 100), outer.elapsed_ns(5, 40))


@pytest.mark.parametrize(
    ("work", "pauses"),
    [
        ("0 ms", [(10, 15)]),
        ("2 ms", [(10, 15)]),
        ("4 ms", [(12, 15)]),
        ("7 ms", []),
        ("9 ms", []),
        ("100 ms", []),
    ],
)
def test_a_pause_behind_a_mark_begins_when_the_device_is_done(work: str, pauses: list[tuple[int, int]]) -> None:
    """From 10 to 15 ms the host stood still: the device waited for what was left of that after its work since 8 ms."""
    clock = ManualClock()
    device = FakeDevice(clock)
    gauges = gauges_of(clock, device)
    with gauges.reading(()):
        gauges.start(0)
        clock.advance("8 ms")
        device.give(work)
        gauges.pause_behind(device.mark(), device, 10 * MS, 15 * MS)
        clock.advance("7 ms")
        gauges.wait()
        gauges.end(clock.now_ns())
    gauges.settle()
    gauges.settle()
    assert [(begin * MS, end * MS) for begin, end in pauses] == gauges.pauses


def test_a_pause_behind_a_mark_that_tells_no_instant_is_none() -> None:
    """A device that could not be asked: nothing is taken out of the call on a guess."""
    clock = ManualClock()
    gauges = gauges_of(clock, FakeDevice(clock, marks=False))
    with gauges.reading(()):
        gauges.start(0)
        gauges.pause_behind(None, gauges.device, 10, 15)
        gauges.end(20)
    gauges.settle()
    assert [] == gauges.pauses


def test_requests_overlap_while_two_of_them_run() -> None:
    """What one waits for is then no pause of the call."""
    clock = ManualClock()
    device = FakeDevice(clock)
    gauges = gauges_of(clock, device)
    with gauges.reading(()):
        gauges.start(0)
        one = gauges.enter(None)
        clock.advance("1 ms")
        gauges.pause(device, 0, is_idle=True)
        other = gauges.enter(None)
        assert gauges.overlaps
        gauges.pause(device, 0, is_idle=True)
        gauges.leave(one, 2)
        assert not gauges.overlaps
        gauges.pause(device, 0)  # it was not waited for, and is no CPU
        gauges.leave(other, 3)
    assert [(0, MS)] == gauges.pauses
