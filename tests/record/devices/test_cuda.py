"""CUDA devices, through a stand-in for torch whose events lie where the test puts them."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.errors import DeviceError
from llm_latency.record.devices import cuda
from llm_latency.record.devices.cuda import Cuda
from llm_latency.record.devices.device import Device
from llm_latency.record.devices.nvml import Nvml
from llm_latency.record.devices.telemetry import Telemetry

GIB = 2**30


def as_float32(value: float) -> float:
    """Rounded as cudaEventElapsedTime rounds."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


class Event:
    """An event at the instant at which the stand-in's device stood when it was recorded."""

    def __init__(self, torch: StandIn, *, enable_timing: bool) -> None:
        assert enable_timing
        self.torch = torch
        self.instant_ms: float | None = None
        torch.events.append(self)

    def record(self, stream: str) -> None:
        """Take the instant."""
        if self.torch.failure:
            raise RuntimeError(self.torch.failure)
        self.torch.recorded.append(stream)
        self.instant_ms = self.torch.now_ms

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds, as float32."""
        if self.torch.failure:
            raise RuntimeError(self.torch.failure)
        assert self.instant_ms is not None and other.instant_ms is not None
        return as_float32(other.instant_ms - self.instant_ms)


class StandIn:
    """Torch, as far as Cuda asks it: two devices, the second one current."""

    __version__ = "9.9"

    def __init__(self, *, count: int = 2, hip: str | None = None) -> None:
        self.now_ms = 0.0
        self.failure = ""
        self.capturing = False
        self.events: list[Event] = []
        self.recorded: list[str] = []
        self.waited: list[int] = []
        self.reset: list[int] = []
        self.stats = [
            {"allocated_bytes": {"all": {"peak": 6 * GIB}}, "reserved_bytes": {"all": {"peak": 8 * GIB}}},
            {"allocated_bytes": {"all": {"peak": 1 * GIB}}, "reserved_bytes": {"all": {"peak": 2 * GIB}}},
        ]
        self.names = ["NVIDIA H100", "NVIDIA H100"]
        self.version = SimpleNamespace(hip=hip)
        self.cuda: Any = SimpleNamespace(
            is_available=lambda: count > 0,
            device_count=lambda: count,
            current_device=lambda: 1,
            current_stream="stream of {}".format,
            is_current_stream_capturing=lambda: self.capturing,
            Event=lambda enable_timing: Event(self, enable_timing=enable_timing),
            synchronize=self.synchronize,
            reset_peak_memory_stats=self.reset.append,
            memory=SimpleNamespace(memory_stats_as_nested_dict=lambda index: self.stats[index]),
            get_device_name=lambda index: self.names[index],
            get_device_properties=lambda index: SimpleNamespace(uuid=f"uuid-{index}"),
        )

    def synchronize(self, index: int) -> None:
        """Note who was waited for."""
        if self.failure:
            raise RuntimeError(self.failure)
        self.waited.append(index)


def test_it_is_a_device() -> None:
    """By its type, which a type checker reads, and by every method that the protocol names."""
    device: Device = Cuda((0,), torch=StandIn())
    assert all(callable(getattr(device, name)) for name in vars(Device) if not name.startswith("_"))


def test_marks_are_events_on_the_stream_of_the_first_device() -> None:
    """Taken from the pool: no event is made in a call, and nothing is waited for."""
    torch = StandIn()
    device = Cuda((0, 1), torch=torch)
    made, before = len(torch.events), len(torch.recorded)
    device.mark()
    assert ["stream of 0"] == torch.recorded[before:]
    assert made == len(torch.events)
    assert [] == torch.waited


def test_every_event_of_the_pool_was_recorded_before_the_first_call() -> None:
    """The driver creates an event when it is first recorded."""
    torch = StandIn()
    Cuda((0,), torch=torch)
    assert torch.events
    assert all(event.instant_ms is not None for event in torch.events)


def test_marks_are_nanoseconds_from_the_first() -> None:
    """After 2, 3.5 and 3.5 ms: 0, 1.5 and 1.5 ms, whole nanoseconds."""
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    marks = []
    for instant_ms in (2.0, 3.5, 3.5):
        torch.now_ms = instant_ms
        marks.append(device.mark())
    assert (0, 1_500_000, 1_500_000) == device.elapsed(marks)
    assert (0,) == device.elapsed(marks[:1])
    assert device.elapsed([]) is None


def test_long_calls_keep_their_resolution() -> None:
    """Marks 1.001 ms apart for 20 s; from the first one straight to each, float32 would be 0.5 µs off at the end."""
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    marks = []
    for index in range(20_000):
        torch.now_ms = index * 1.001
        marks.append(device.mark())
    told = device.elapsed(marks)
    assert told is not None
    # Each gap's own rounding: half a unit in the last place of a float32 near 1, 2**-24 ms, 20 000 times.
    assert abs(told[-1] - 19_999 * 1_001_000) < 20_000 * 2**-24 * 1e6
    straight_ns = as_float32(19_999 * 1.001) * 1e6
    assert abs(straight_ns - 19_999 * 1_001_000) > 450


def test_a_mark_before_its_neighbour_does_not_turn_time_back() -> None:
    """Events at 1, 5, 3 and 7 ms, the third on a side stream: the device had come as far at 5 ms."""
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    marks = []
    for instant_ms in (1.0, 5.0, 3.0, 7.0):
        torch.now_ms = instant_ms
        marks.append(device.mark())
    assert (0, 4_000_000, 4_000_000, 6_000_000) == device.elapsed(marks)


def test_events_go_back_when_their_marks_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three in use out of two: one is made in the call, two free ones beside them when it is read, then none."""
    monkeypatch.setattr(cuda, "_EVENTS", 2)
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    for _ in range(4):
        marks = [device.mark() for _ in range(3)]
        device.elapsed(marks[:1])
        del marks
    assert 5 == len(torch.events)


def test_a_mark_that_is_held_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark at a call's start is read again for each of its requests."""
    monkeypatch.setattr(cuda, "_EVENTS", 1)
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    start = device.mark()
    for instant_ms in (3.0, 8.0):
        torch.now_ms = instant_ms
        assert (0, instant_ms * 1e6) == device.elapsed([start, device.mark()])


def test_nothing_is_recorded_into_a_graph_that_is_captured() -> None:
    """Then there is no instant, and the call has no device times."""
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    first = device.mark()
    before = len(torch.recorded)
    torch.capturing = True
    missing = device.mark()
    assert (None, before) == (missing, len(torch.recorded))
    assert device.elapsed([first, missing]) is None
    assert before == len(torch.recorded)


def test_an_error_of_the_work_is_not_raised_out_of_a_mark() -> None:
    """It belongs to the user's next operation."""
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    torch.failure = "CUDA error: device-side assert triggered"
    assert device.mark() is None


@pytest.mark.parametrize("doing", ["synchronize", "elapsed"])
def test_a_lost_device_is_an_error_with_what_to_do(doing: str) -> None:
    """With torch's own error behind it."""
    torch = StandIn()
    device = Cuda((0,), torch=torch)
    marks = [device.mark(), device.mark()]
    torch.failure = "CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"
    with pytest.raises(DeviceError, match=r"device-side assert triggered.*CUDA_LAUNCH_BLOCKING=1") as caught:
        device.synchronize() if doing == "synchronize" else device.elapsed(marks)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "TORCH_USE_CUDA_DSA" not in str(caught.value)


def test_every_device_is_waited_for() -> None:
    """Once each, None being the current one."""
    torch = StandIn()
    Cuda((0, None, 1), torch=torch).synchronize()
    assert [0, 1] == torch.waited


def test_peaks_are_added_over_the_devices() -> None:
    """6 and 1 GiB allocated, 8 and 2 reserved."""
    torch = StandIn()
    device = Cuda((0, 1), torch=torch)
    device.reset_peak()
    assert [0, 1] == torch.reset
    assert {"allocated": 7 * GIB, "reserved": 10 * GIB} == device.peak_bytes()


@pytest.mark.parametrize(
    "stats", [{}, {"allocated_bytes": {"all": {"peak": 0}}, "reserved_bytes": {"all": {"peak": 0}}}]
)
def test_an_allocator_that_counts_nothing_has_no_peak(stats: dict[str, Any]) -> None:
    """None, not 0: CUDA was not used yet, or torch's allocator is switched off."""
    torch = StandIn()
    torch.stats[0] = stats
    assert Cuda((0,), torch=torch).peak_bytes() is None


def counters(*, reason: str | None = None) -> Nvml:
    """NVML as its own tests have it, with one fact and one counter."""
    nvml: Any = SimpleNamespace(
        reason=reason, facts=lambda: {"driver": "570.86.15"}, telemetry=lambda: Telemetry(energy_j=1.5)
    )
    return nvml  # type: ignore[no-any-return]


def test_the_devices_are_named_with_nvmls_facts() -> None:
    """Two of the same once, with their number; what is not known is a warning."""
    device = Cuda((0, 1), torch=StandIn(), nvml=counters())
    assert {"device": "2 × NVIDIA H100", "driver": "570.86.15", "warnings": ()} == device.describe()
    assert Telemetry(energy_j=1.5) == device.telemetry()
    torch = StandIn()
    torch.names = ["NVIDIA H100", "NVIDIA A10"]
    told = Cuda((1, 0), torch=torch, nvml=counters(reason="no energy")).describe()
    assert ("NVIDIA A10, NVIDIA H100", ("no energy",)) == (told["device"], told["warnings"])


def test_the_cards_are_found_by_torchs_uuids(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES gives torch other indices than NVML's; asked once."""
    asked: list[list[str]] = []
    monkeypatch.setattr(cuda, "Nvml", lambda uuids: asked.append(list(uuids)) or counters())
    device = Cuda((1, 0), torch=StandIn())
    assert [] == asked
    device.describe()
    device.telemetry()
    assert [["uuid-1", "uuid-0"]] == asked


def test_rocm_has_no_nvml() -> None:
    """Said so, instead of advice to install what would not help."""
    device = Cuda((0,), torch=StandIn(hip="6.2"))
    (warning,) = device.describe()["warnings"]  # type: ignore[misc]  # a tuple, as every device's
    assert "NVIDIA's devices only" in warning
    assert device.telemetry() is None


@pytest.mark.parametrize(("indices", "name"), [((2,), "'cuda:2'"), ((0, 5), "'cuda:5'")])
def test_a_device_that_is_not_there_is_an_error(indices: tuple[int, ...], name: str) -> None:
    """It names the device, how many there are, and where to look."""
    with pytest.raises(DeviceError, match=rf"{name} is to be timed, and torch 9\.9 sees 2 CUDA devices.*nvidia-smi"):
        Cuda(indices, torch=StandIn())
    with pytest.raises(DeviceError, match=r"'cuda' is to be timed, and torch 9\.9 sees 0"):
        Cuda(torch=StandIn(count=0))


def test_a_device_that_cannot_be_used_here_is_an_error() -> None:
    """As in a forked process."""
    torch = StandIn()
    torch.failure = "Cannot re-initialize CUDA in forked subprocess."
    torch.cuda.current_device = lambda: torch.synchronize(0)
    with pytest.raises(DeviceError, match="forked subprocess"):
        Cuda((0,), torch=torch)
