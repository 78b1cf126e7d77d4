"""CUDA devices (and ROCm's, which torch calls the same): events on the device, and the allocator's peaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

from llm_latency.errors import DeviceError
from llm_latency.record.devices.nvml import Nvml
from llm_latency.record.devices.telemetry import Telemetry

# Enough for a call of as many emissions; a longer one makes the rest as it goes, and they are there for the next.
_EVENTS = 256

_ROCM = "energy, clocks and throttling are not known: they are read through NVML, which knows NVIDIA's devices only"


class Cuda:
    """The CUDA devices that a call works on, waited for together.

    Marks are events on the first device's current stream, so name first the one where tokens come to be (with
    accelerate's `device_map` that is where the input lies). Memory and energy are summed over the devices.
    """

    def __init__(
        self, indices: tuple[int | None, ...] = (None,), *, torch: Any = None, nvml: Nvml | None = None
    ) -> None:
        """Take devices by index, None for torch's current one, and fill the pool of events.

        Raises DeviceError when torch has no such device. `torch` and `nvml` are for tests.
        """
        if torch is None:
            import torch
        self._torch = torch
        self._nvml = nvml
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for index in indices:
            if not count or (index is not None and index >= count):
                name = "cuda" if index is None else f"cuda:{index}"
                raise DeviceError(
                    f"{name!r} is to be timed, and torch {torch.__version__} sees {count} CUDA devices here; expected"
                    " one with this index. Compare torch.cuda.is_available(), CUDA_VISIBLE_DEVICES and nvidia-smi"
                )
        self._events: list[Any] = []
        with _explained("the events were made"):
            current = torch.cuda.current_device()
            self.indices = tuple(dict.fromkeys(current if index is None else index for index in indices))
            self._fill()

    def synchronize(self) -> None:
        """Wait for every device; raises DeviceError where one was lost or an operation on it has failed."""
        with _explained("the end of the work was waited for"):
            for index in self.indices:
                self._torch.cuda.synchronize(index)

    def mark(self) -> object | None:
        """Put an event behind the work given so far: no wait, no kernel.

        None while the stream is captured into a CUDA graph: the event would become a part of the graph.
        """
        try:
            if self._torch.cuda.is_current_stream_capturing():
                return None
            event = self._events.pop() if self._events else self._torch.cuda.Event(enable_timing=True)
            self._record(event)
        except (RuntimeError, IndexError):
            return None  # an earlier operation failed, which torch will say at the next one, in the user's own line
        return _Mark(event, self._events)

    def elapsed(self, marks: Sequence[object]) -> tuple[int, ...] | None:
        """Nanoseconds from the first mark to each; None when there is none or one is missing.

        Raises DeviceError where the device was lost, or not waited for.
        """
        with _explained("the events were made"):
            self._fill()
        events = [mark.event for mark in marks if isinstance(mark, _Mark)]
        if not events or len(events) < len(marks):
            return None
        # A float32 of milliseconds with a resolution of 0.5 µs (CUDA runtime API, cudaEventElapsedTime): after ten
        # seconds it could no longer tell a microsecond, so neighbours are differenced and summed as float64.
        with _explained("the events were read"):
            gaps_ms = [first.elapsed_time(second) for first, second in pairwise(events)]
        return nanoseconds_from_first(list(accumulate(gaps_ms, initial=0.0)))

    def reset_peak(self) -> None:
        """Start a new high-water mark on every device."""
        for index in self.indices:
            self._torch.cuda.reset_peak_memory_stats(index)

    def peak_bytes(self) -> Mapping[str, int] | None:
        """{"allocated": …, "reserved": …} of torch's allocator, summed over the devices; None where it counts nothing.

        "allocated" are the bytes in tensors, "reserved" what the allocator took from the driver for them. Memory that
        others take beside it (NCCL, cuBLAS without torch, other processes) is in neither. Peaks of several devices
        need not have been at the same time: their sum is an upper bound.
        """
        # memory_stats() and so max_memory_allocated() flatten and sort about 150 entries; the nested form, public
        # since before 2.6 (torch/cuda/memory.py), is what they begin with.
        stats = [self._torch.cuda.memory.memory_stats_as_nested_dict(index) for index in self.indices]
        found = {
            name: sum(stat[f"{name}_bytes"]["all"]["peak"] for stat in stats if stat)
            for name in ("allocated", "reserved")
        }
        # PYTORCH_NO_CUDA_MEMORY_CACHING=1 counts nothing, and a model that ran takes more than nothing.
        return found if found["allocated"] else None

    def describe(self) -> Mapping[str, object]:
        """Names of the devices, and NVML's facts; `warnings` say what is not known and why."""
        names = [str(self._torch.cuda.get_device_name(index)) for index in self.indices]
        counts = {name: names.count(name) for name in names}
        shown = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())
        nvml = self._counters()
        if nvml is None:
            return {"device": shown, "warnings": (_ROCM,)}
        return {"device": shown, **nvml.facts(), "warnings": () if nvml.reason is None else (nvml.reason,)}

    def telemetry(self) -> Telemetry | None:
        """NVML's counters, or None without NVML."""
        nvml = self._counters()
        return None if nvml is None else nvml.telemetry()

    def _counters(self) -> Nvml | None:
        """NVML for these devices, found when first asked for."""
        if self._nvml is None and getattr(self._torch.version, "hip", None) is None:
            properties = [self._torch.cuda.get_device_properties(index) for index in self.indices]
            self._nvml = Nvml([str(device.uuid) for device in properties])
        return self._nvml

    def _record(self, event: Any) -> None:
        # Without a stream it would be the current device's, which need not be the one that works.
        event.record(self._torch.cuda.current_stream(self.indices[0]))

    def _fill(self) -> None:
        """Events are created by the driver when first recorded (torch/cuda/streams.py, Event): do that here."""
        if self._torch.cuda.is_current_stream_capturing():
            return
        while len(self._events) < _EVENTS:
            event = self._torch.cuda.Event(enable_timing=True)
            self._record(event)
            self._events.append(event)


class _Mark:
    """An event in use, which goes back into the pool when nobody holds the mark any more, read or not."""

    __slots__ = ("_pool", "event")

    def __init__(self, event: Any, pool: list[Any]) -> None:
        self.event = event
        self._pool = pool

    def __del__(self) -> None:
        self._pool.append(self.event)


def nanoseconds_from_first(instants_ms: Sequence[float]) -> tuple[int, ...]:
    """Instants of torch's events, in milliseconds, as nanoseconds from the first, ascending.

    An event on a side stream may lie before the one that was recorded earlier: the device has then come as far only
    at the later of the two.
    """
    return tuple(round((instant_ms - instants_ms[0]) * 1e6) for instant_ms in accumulate(instants_ms, max))


@contextmanager
def _explained(when: str) -> Iterator[None]:
    """Turn torch's RuntimeError (AcceleratorError since 2.8 is one) into ours."""
    try:
        yield
    except RuntimeError as error:
        raise DeviceError(
            f"CUDA failed when {when}: {str(error).strip().splitlines()[0]}. Expected every operation before it to have"
            " succeeded; the times of this call are lost. Operations fail later than they are called: run again with"
            " CUDA_LAUNCH_BLOCKING=1 to see which, in a new process, since this one's CUDA context may be unusable"
        ) from error
