"""MPS and XPU through a stand-in for torch: events that can be trusted, and some that cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.errors import DeviceError
from llm_latency.record.devices.accelerator import Accelerator
from llm_latency.record.devices.device import Device
from llm_latency.testing import ManualClock, nanoseconds

MS = 1_000_000


class StandIn:
    """Torch with one backend, whose events are at the host's instants, times `rate`, or refuse with `refusal`."""

    __version__ = "9.9"

    def __init__(self, kind: str, *, rate: float = 1.0, refusal: str = "", available: bool = True) -> None:
        self.clock = ManualClock(start_ns=7 * MS)
        self.rate = rate
        self.refusal = refusal
        self.failure = ""
        self.waited: list[object] = []
        self.streams: list[object] = []
        self.reset: list[int] = []
        self.read: list[object] = []
        backend: Any = SimpleNamespace(
            is_available=lambda: available,
            synchronize=self.synchronize,
            Event=lambda enable_timing: Event(self, enable_timing=enable_timing),
        )
        if kind == "xpu":
            backend.current_device = lambda: 1
            backend.current_stream = "stream of {}".format
            backend.get_device_name = "Max {}".format
            backend.reset_peak_memory_stats = self.reset.append
            backend.max_memory_allocated = lambda index: (index + 1) * 100
            backend.max_memory_reserved = lambda index: (index + 1) * 1000
        setattr(self, kind, backend)

    def synchronize(self, *index: object) -> None:
        """Note who was waited for."""
        if self.failure:
            raise RuntimeError(self.failure)
        self.waited += index or ["all"]

    def sleep(self, seconds: float) -> None:
        """Let the host's clock go on."""
        self.clock.advance(round(seconds * 1e9))

    def device(self, kind: str, *indices: int | None) -> Accelerator:
        """An accelerator on this."""
        return Accelerator(kind, indices or (None,), torch=self, clock=self.clock, sleep=self.sleep)


class Event:
    """An event, which may be read as the later of two only once, as on MPS."""

    def __init__(self, torch: StandIn, *, enable_timing: bool) -> None:
        assert enable_timing
        self.torch = torch
        self.instant_ms: float | None = None

    def record(self, *stream: object) -> None:
        """Take the instant."""
        if self.torch.failure:
            raise RuntimeError(self.torch.failure)
        self.torch.streams += stream
        self.instant_ms = self.torch.clock.now_ns() * self.torch.rate / MS

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds."""
        if self.torch.refusal:
            raise RuntimeError(self.torch.refusal)
        assert other not in self.torch.read, "would wait for ever"
        self.torch.read.append(other)
        assert self.instant_ms is not None and other.instant_ms is not None
        return other.instant_ms - self.instant_ms


def marked(torch: StandIn, device: Accelerator, *durations: str) -> list[object]:
    """A mark now and one after each duration."""
    marks = [device.mark()]
    for duration in durations:
        torch.clock.advance(nanoseconds(duration))
        marks.append(device.mark())
    return marks


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_it_is_a_device(kind: str) -> None:
    """By its type, which a type checker reads, and by every method that the protocol names."""
    device: Device = StandIn(kind).device(kind)
    assert all(callable(getattr(device, name)) for name in vars(Device) if not name.startswith("_"))


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_events_that_agree_with_the_host_are_used(kind: str) -> None:
    """Marks at 0, 2 and 5 ms; nothing is waited for in between."""
    torch = StandIn(kind)
    device = torch.device(kind)
    waits = len(torch.waited)
    marks = marked(torch, device, "2 ms", "3 ms")
    assert waits == len(torch.waited)
    assert (0, 2 * MS, 5 * MS) == device.elapsed(marks)
    assert not any("waits for the device" in warning for warning in device.describe()["warnings"])  # type: ignore[attr-defined]


def test_a_mark_may_be_told_again_and_its_event_is_read_once() -> None:
    """The marks at a call's ends are told for each of its requests; MPS would wait for ever at the second reading."""
    torch = StandIn("mps")
    device = torch.device("mps")
    marks = marked(torch, device, "2 ms", "3 ms")
    assert (0, 5 * MS) == device.elapsed([marks[0], marks[2]])
    assert (0, 3 * MS) == device.elapsed(marks[1:])


@pytest.mark.parametrize(("rate", "is_used"), [(1.0, True), (0.96, True), (1.04, True), (0.94, False), (1.06, False)])
def test_events_must_agree_with_a_known_wait(rate: float, is_used: bool) -> None:
    """Within 1 ms of 20: a device clock that is 4 % off passes, one that is 6 % off does not."""
    torch = StandIn("xpu", rate=rate)
    assert is_used == (torch.device("xpu").mark() is not None)


@pytest.mark.parametrize("broken", [{"rate": 1e-3}, {"refusal": "elapsed_time needs SYCL 2025.0\nmore"}])
def test_without_events_every_mark_waits(broken: dict[str, Any]) -> None:
    """So that the host's stamp right after it is right; a warning says so and why."""
    torch = StandIn("mps", **broken)
    device = torch.device("mps")
    waits = len(torch.waited)
    assert [None, None] == marked(torch, device, "2 ms")
    assert waits + 2 == len(torch.waited)
    assert device.elapsed([None, None]) is None
    warnings = device.describe()["warnings"]
    assert isinstance(warnings, tuple)
    assert "every emission waits for the device" in warnings[0]
    assert "more" not in warnings[0].split()
    reason = "needs SYCL 2025.0" if "refusal" in broken else "(0.020 ms where it says 19.000 to 21.000 ms)"
    assert reason in warnings[0]


def test_events_that_refuse_later_are_given_up() -> None:
    """The call keeps the host's instants, and the next ones wait."""
    torch = StandIn("xpu")
    device = torch.device("xpu")
    marks = marked(torch, device, "2 ms")
    torch.refusal = "lost"
    assert device.elapsed(marks) is None
    assert device.mark() is None
    warnings = device.describe()["warnings"]
    assert isinstance(warnings, tuple)
    assert "could not be read (lost)" in warnings[0]


def test_missing_marks_have_no_instants() -> None:
    """None of none, and none where one is missing."""
    torch = StandIn("mps")
    device = torch.device("mps")
    assert device.elapsed([]) is None
    assert device.elapsed([device.mark(), None]) is None


def test_an_error_of_the_work_is_not_raised_out_of_a_mark() -> None:
    """It belongs to the user's next operation, and to the waiting at the end, with what to do."""
    torch = StandIn("xpu")
    device = torch.device("xpu")
    torch.failure = "device lost"
    assert device.mark() is None
    with pytest.raises(DeviceError, match="xpu failed when the end of the work was waited for: device lost") as caught:
        device.synchronize()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_several_xpus_are_one_device() -> None:
    """Each is waited for, marks lie on the first, memory is added: 100 + 300 and 1000 + 3000 bytes."""
    torch = StandIn("xpu")
    device = torch.device("xpu", 0, 2)
    torch.waited.clear()
    torch.streams.clear()
    device.synchronize()
    device.mark()
    device.reset_peak()
    assert ([0, 2], ["stream of 0"], [0, 2]) == (torch.waited, torch.streams, torch.reset)
    assert {"allocated": 400, "reserved": 4000} == device.peak_bytes()
    assert "xpu (Max 0, Max 2)" == device.describe()["device"]
    assert device.telemetry() is None
    assert (1,) == StandIn("xpu").device("xpu").indices


def test_mps_does_not_guess_a_peak() -> None:
    """There is no high-water mark; it says what there is, and what a mark does."""
    torch = StandIn("mps")
    device = torch.device("mps")
    device.reset_peak()
    device.synchronize()
    assert "all" == torch.waited[-1]
    assert device.peak_bytes() is None
    told = device.describe()
    assert "mps" == told["device"]
    assert isinstance(told["warnings"], tuple)
    commits, no_peak = told["warnings"]
    assert "hands the command buffer to the device" in commits
    assert "peak memory is not known" in no_peak


@pytest.mark.parametrize("torch", [StandIn("mps", available=False), SimpleNamespace(__version__="9.9")])
def test_a_device_that_is_not_there_is_an_error(torch: Any) -> None:
    """Also where torch does not know the kind."""
    with pytest.raises(DeviceError, match=r"'mps' is to be timed, and torch 9\.9 has no such device here"):
        Accelerator("mps", torch=torch)
