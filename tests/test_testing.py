"""The fakes: a clock that is told, a device that is told, a model that keeps to its script."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from llm_latency.errors import DeviceError, UsageError
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.devices.device import Device
from llm_latency.record.devices.telemetry import Telemetry
from llm_latency.record.measure import measure
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel, nanoseconds

MS = 1_000_000


# --- lengths of time ---


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0, 0),
        (7, 7),
        ("0 s", 0),
        ("20 ms", 20 * MS),
        ("250µs", 250_000),
        ("1 ns", 1),
        ("0.1 ns", 0),
        ("1.5 s", 1500 * MS),
    ],
)
def test_a_length_of_time_is_nanoseconds_or_text(duration: int | str, expected: int) -> None:
    """Text is rounded to whole nanoseconds."""
    assert expected == nanoseconds(duration)


@pytest.mark.parametrize("duration", [-1, 1.5, True, None, b"20 ms", "20", "-20 ms", "20 GiB"])
def test_anything_else_is_no_length_of_time(duration: object) -> None:
    """Each shows its value."""
    with pytest.raises(UsageError) as refusal:
        nanoseconds(duration)  # type: ignore[arg-type]
    assert repr(duration) in str(refusal.value)


# --- ManualClock ---


def test_a_manual_clock_stands_still_until_it_is_told() -> None:
    """Forward by text and by nanoseconds, and back."""
    clock = ManualClock()
    assert (0, 0) == (clock.now_ns(), clock.now_ns())
    clock.advance("10 ms")
    clock.advance(5)
    assert 10 * MS + 5 == clock.now_ns()
    clock.step_back("10 ms")
    assert 5 == clock.now_ns()
    assert 2**62 == ManualClock(start_ns=2**62).now_ns()


def test_a_manual_clock_only_steps_back_when_that_is_said() -> None:
    """`advance` refuses a negative length."""
    with pytest.raises(UsageError, match="-5 is no length of time"):
        ManualClock().advance(-5)


# --- FakeDevice ---


def test_the_fakes_fit_where_the_real_ones_do() -> None:
    """By their types: assignments that a type checker reads, and every method that the protocols name."""
    clock: Clock = ManualClock()
    device: Device = FakeDevice(ManualClock())
    assert callable(clock.now_ns)
    names = [name for name in vars(Device) if not name.startswith("_")]
    assert names
    assert all(callable(getattr(device, name)) for name in names)


def test_a_device_without_work_is_waited_for_at_once() -> None:
    """And counts how often."""
    clock = ManualClock()
    device = FakeDevice(clock)
    device.synchronize()
    device.synchronize()
    assert (2, 0) == (device.synchronize_count, clock.now_ns())


def test_work_runs_beside_the_host_until_it_is_waited_for() -> None:
    """Two pieces of 30 and 10 ms given at 0 end at 40 ms; the host is then at 25, and waits to 40."""
    clock = ManualClock()
    device = FakeDevice(clock)
    device.give("30 ms")
    device.give("10 ms")
    clock.advance("25 ms")
    device.synchronize()
    assert 40 * MS == clock.now_ns()
    clock.advance("100 ms")
    device.give("5 ms")  # an idle device begins at once
    device.synchronize()
    assert 145 * MS == clock.now_ns()


def test_waiting_does_not_undo_a_clock_that_stepped_back() -> None:
    """Work that was waited for is done, whatever the clock says later."""
    clock = ManualClock()
    device = FakeDevice(clock)
    device.give("30 ms")
    device.synchronize()
    clock.step_back("20 ms")
    device.synchronize()
    assert 10 * MS == clock.now_ns()


def test_marks_lie_behind_the_work_given_so_far() -> None:
    """After 0, 30 and 40 ms of work, read after waiting: from the first to each."""
    device = FakeDevice(ManualClock(start_ns=7))
    marks = [device.mark()]
    for duration in ("30 ms", "10 ms"):
        device.give(duration)
        marks.append(device.mark())
    with pytest.raises(DeviceError, match=r"before the device was waited for; call synchronize\(\) first"):
        device.elapsed(marks)
    device.synchronize()
    assert (0, 30 * MS, 40 * MS) == device.elapsed(marks)
    assert device.elapsed([]) is None


def test_a_device_that_cannot_mark_has_no_times() -> None:
    """As the CPU."""
    device = FakeDevice(ManualClock(), marks=False)
    assert device.mark() is None
    assert device.elapsed([None, None]) is None


def test_peaks_come_from_the_script_one_a_reset() -> None:
    """The last stays; reading twice gives the same; without a script the device does not see its memory."""
    device = FakeDevice(ManualClock(), peaks=[{"allocated": 1}, {"allocated": 3, "reserved": 4}])
    seen = []
    for _ in range(3):
        device.reset_peak()
        device.peak_bytes()
        seen.append(device.peak_bytes())
    assert [{"allocated": 1}, {"allocated": 3, "reserved": 4}, {"allocated": 3, "reserved": 4}] == seen
    assert 3 == device.reset_count
    assert FakeDevice(ManualClock()).peak_bytes() is None


def test_counters_come_from_the_script_one_a_reading() -> None:
    """The last stays; without a script the device has none."""
    before, after = Telemetry(energy_j=1.0), Telemetry(energy_j=8.5, reasons=("power cap",))
    device = FakeDevice(ManualClock(), telemetry=[before, after])
    assert [before, after, after] == [device.telemetry() for _ in range(3)]
    assert 3 == device.telemetry_count
    assert FakeDevice(ManualClock()).telemetry() is None


def test_a_call_is_timed_on_host_and_device_apart() -> None:
    """Two tokens that the host gives at 1 and 2 ms and the device has at 11 and 21: both clocks are in the request."""
    clock = ManualClock()
    counters = [Telemetry(energy_j=10.0, energy_step_s=0.001), Telemetry(energy_j=13.0, energy_step_s=0.001)]
    device = FakeDevice(clock, telemetry=counters, facts={"driver": "570.86"})

    def tokens() -> Iterator[int]:
        for token in range(2):
            clock.advance("1 ms")
            device.give("10 ms")
            yield token

    measurement = measure(tokens, repeat=1, warmup=0, clock=clock, device=device)
    (trace,) = measurement.traces
    (request,) = trace.requests
    assert [1 * MS, 2 * MS] == [host_ns - trace.start_ns for host_ns, _ in request.emissions]
    assert [11 * MS, 21 * MS] == [device_ns - trace.start_ns for device_ns, _ in request.instants]
    assert 21 * MS == trace.stop_ns - trace.start_ns
    assert 3.0 == trace.energy_j
    assert "570.86" == measurement.environment.driver


def test_a_device_has_a_name() -> None:
    """For the environment, with whatever else is known."""
    names = [FakeDevice(ManualClock()).describe(), FakeDevice(ManualClock(), device="cuda").describe()]
    assert [{"device": "fake"}, {"device": "cuda"}] == names
    assert {"device": "fake", "clocks_mhz": 1980} == FakeDevice(ManualClock(), facts={"clocks_mhz": 1980}).describe()


# --- ScriptedModel ---


def test_tokens_come_on_schedule() -> None:
    """The first after the prefill, each other after its step; time passes only when the next one is asked for."""
    clock = ManualClock()
    tokens = ScriptedModel(clock, prefill="200 ms", steps=["20 ms", 5, "40 ms"]).stream()
    assert 0 == clock.now_ns()
    seen = [(token, clock.now_ns()) for token in tokens]
    assert [(0, 200 * MS), (1, 220 * MS), (2, 220 * MS + 5), (3, 260 * MS + 5)] == seen


def test_tokens_come_on_schedule_when_awaited() -> None:
    """The same instants."""
    clock = ManualClock()
    model = ScriptedModel(clock, prefill="200 ms", steps=["20 ms", "40 ms"])

    async def collect() -> list[tuple[int, int]]:
        return [(token, clock.now_ns()) async for token in model.stream_async()]

    assert [(0, 200 * MS), (1, 220 * MS), (2, 260 * MS)] == asyncio.run(collect())


def test_whole_calls_take_the_whole_time() -> None:
    """Three tokens at once, after 260 ms each."""
    clock = ManualClock()
    model = ScriptedModel(clock, prefill="200 ms", steps=["20 ms", "40 ms"])
    assert ((0, 1, 2), 260 * MS) == (model.generate(), clock.now_ns())
    assert ((0, 1, 2), 520 * MS) == (asyncio.run(model.generate_async()), clock.now_ns())
    assert 2 == model.calls


def test_the_first_call_may_take_longer() -> None:
    """By `cold`, before its first token."""
    clock = ManualClock()
    model = ScriptedModel(clock, prefill="200 ms", steps=[], cold="500 ms")
    model.generate()
    assert 700 * MS == clock.now_ns()
    model.generate()
    assert 900 * MS == clock.now_ns()


def test_a_script_is_checked_when_it_is_written() -> None:
    """Not when the model first runs."""
    with pytest.raises(UsageError, match="'20' is not a number with a unit"):
        ScriptedModel(ManualClock(), steps=["20"])


@pytest.mark.parametrize("is_async", [False, True])
def test_on_the_host_clock_time_really_passes(is_async: bool) -> None:
    """No token comes before its time."""
    clock = HostClock()
    model = ScriptedModel(clock, prefill="5 ms", steps=["3 ms", "1 ms"])
    instants = [clock.now_ns()]

    async def collect() -> None:
        instants.extend([clock.now_ns() async for _ in model.stream_async()])

    if is_async:
        asyncio.run(collect())
    else:
        instants += [clock.now_ns() for _ in model.stream()]
    gaps = [after - before for before, after in pairwise(instants)]
    assert all(gap >= least * MS for gap, least in zip(gaps, (5, 3, 1), strict=True))


def test_the_fakes_load_nothing_heavy() -> None:
    """A test suite without torch uses them."""
    script = (
        "import sys, llm_latency.testing;"
        "print(sorted({'torch', 'transformers', 'numpy', 'pytest', 'IPython'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "[]" == run.stdout.strip()
