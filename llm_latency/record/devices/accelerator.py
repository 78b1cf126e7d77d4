"""Accelerators by torch's names mps (Apple) and xpu (Intel): events where they can be trusted, else waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_latency.errors import DeviceError
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.devices.cuda import nanoseconds_from_first

# Two events around a host wait of this length must be this close to it. Ours to choose: an emission takes
# milliseconds, and MPS takes an event's instant in a listener on another thread (ATen/mps/MPSEvent.mm, recordLocked),
# which may be some tenths of a millisecond late.
_PROBE_S, _TOLERANCE_NS = 0.02, 1_000_000

_WAITS = (
    "{kind}: events {why}; every emission waits for the device instead, which stops it from working ahead: compare"
    " these times only with others taken so"
)
# recordEvent(..., syncEvent=true) in ATen/mps/MPSHooks.mm.
_COMMITS = "mps: each mark hands the command buffer to the device, so that buffers are shorter than without observing"
_NO_PEAK = (
    "mps: peak memory is not known; Metal's allocator tells what is allocated now"
    " (torch.mps.current_allocated_memory()), not the most that was"
)


class Accelerator:
    """Devices of one kind, "mps" or "xpu". Events are tried once, here; where they do not fit, `mark` waits."""

    def __init__(
        self,
        kind: str,
        indices: tuple[int | None, ...] = (None,),
        *,
        torch: Any = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take devices by index, None for the current one, and try their events, which takes 20 ms.

        Raises DeviceError when torch has no such device. `torch`, `clock` and `sleep` are for tests.
        """
        if torch is None:
            import torch
        self.kind = kind
        self._backend: Any = getattr(torch, kind, None)
        self._clock = clock or HostClock()
        # Neither torch.Event nor torch.accelerator: both raise where torch was built without an accelerator.
        if self._backend is None or not self._backend.is_available():
            raise DeviceError(
                f"{kind!r} is to be timed, and torch {torch.__version__} has no such device here; expected"
                f" torch.{kind}.is_available(). Move the model to a device that is there"
            )
        self.indices: tuple[int, ...] = ()
        if kind == "xpu":
            current = self._backend.current_device()
            self.indices = tuple(dict.fromkeys(current if index is None else index for index in indices))
        self._epoch: Any = None
        self._doubt: str | None = None
        try:
            self._doubt = self._try_events(sleep)
        except RuntimeError as error:
            # XPU before SYCL 2025.0 (ATen/xpu/XPUEvent.h of torch 2.6), and whatever else cannot.
            self._doubt = f"cannot be timed ({_first_line(error)})"

    def synchronize(self) -> None:
        """Wait for every device; raises DeviceError where an operation has failed."""
        try:
            if not self.indices:
                self._backend.synchronize()
            for index in self.indices:
                self._backend.synchronize(index)
        except RuntimeError as error:
            raise DeviceError(
                f"{self.kind} failed when the end of the work was waited for: {_first_line(error)}. Expected every"
                " operation before it to have succeeded; the times of this call are lost. Run the call alone, in a"
                " new process, to see which operation it was"
            ) from error

    def mark(self) -> object | None:
        """Put an event behind the work given so far; where events cannot be trusted, wait, and return None."""
        if self._doubt is not None:
            self.synchronize()
            return None
        try:
            return _Mark(self._recorded())
        except RuntimeError:
            return None  # an earlier operation failed, which torch will say at the next one, in the user's own line

    def elapsed(self, marks: Sequence[object]) -> tuple[int, ...] | None:
        """Nanoseconds from the first mark to each, or None when there is none or one is missing.

        Where events refuse they are not used again, and `describe` says so: the host's stamps are as good as before.
        """
        known = [mark for mark in marks if isinstance(mark, _Mark)]
        if self._doubt is not None or not known or len(known) < len(marks):
            return None
        try:
            return nanoseconds_from_first([self._instant_ms(mark) for mark in known])
        except RuntimeError as error:
            self._doubt = f"could not be read ({_first_line(error)})"
            return None

    def reset_peak(self) -> None:
        """Start a new high-water mark, where there is one."""
        for index in self.indices:
            self._backend.reset_peak_memory_stats(index)

    def peak_bytes(self) -> Mapping[str, int] | None:
        """{"allocated": …, "reserved": …} of torch's allocator on xpu, summed over devices; None on mps."""
        if not self.indices:
            return None
        found = {
            "allocated": sum(self._backend.max_memory_allocated(index) for index in self.indices),
            "reserved": sum(self._backend.max_memory_reserved(index) for index in self.indices),
        }
        return found if found["allocated"] else None

    def describe(self) -> Mapping[str, object]:
        """The kind and, on xpu, the names; `warnings` say what is not known and how instants were taken."""
        names = [str(self._backend.get_device_name(index)) for index in self.indices]
        found = [] if self._doubt is None else [_WAITS.format(kind=self.kind, why=self._doubt)]
        if self.kind == "mps":
            found += [_NO_PEAK] if self._doubt is not None else [_COMMITS, _NO_PEAK]
        return {"device": f"{self.kind} ({', '.join(names)})" if names else self.kind, "warnings": tuple(found)}

    def telemetry(self) -> None:
        """Return None: no counters of these are read."""

    def _recorded(self) -> Any:
        """A new event, recorded; not from a pool of ours: MPS keeps one, and XPU makes an event at each record."""
        event = self._backend.Event(enable_timing=True)
        if self.indices:
            event.record(self._backend.current_stream(self.indices[0]))
        else:
            event.record()
        return event

    def _instant_ms(self, mark: _Mark) -> float:
        """When a mark was passed, from the first event of all on: a float64 on both (MPSEvent.mm, XPUEvent.h).

        Read once: MPS waits for ever for an event that is read a second time as the later of two (MPSEvent.mm,
        waitForCpuSync).
        """
        if mark.instant_ms is None:
            mark.instant_ms = float(self._epoch.elapsed_time(mark.event))
            mark.event = None
        return mark.instant_ms

    def _try_events(self, sleep: Callable[[float], None]) -> str | None:
        """Record two events around a wait, each between two readings of the host's clock; say what does not fit."""
        self._epoch = self._recorded()  # the first one of all also pays for what comes with it
        self.synchronize()
        earliest = self._clock.now_ns()
        first = _Mark(self._recorded())
        self.synchronize()
        first_done = self._clock.now_ns()
        sleep(_PROBE_S)
        second_begun = self._clock.now_ns()
        second = _Mark(self._recorded())
        self.synchronize()
        latest = self._clock.now_ns()
        measured = nanoseconds_from_first([self._instant_ms(first), self._instant_ms(second)])[-1]
        least, most = second_begun - first_done - _TOLERANCE_NS, latest - earliest + _TOLERANCE_NS
        if least <= measured <= most:
            return None
        expected = f"{least / 1e6:.3f} to {most / 1e6:.3f} ms"
        return f"do not agree with the host's clock ({measured / 1e6:.3f} ms where it says {expected})"


class _Mark:
    """An event in use, or the instant that was read off it."""

    __slots__ = ("event", "instant_ms")

    def __init__(self, event: Any) -> None:
        self.event = event
        self.instant_ms: float | None = None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
