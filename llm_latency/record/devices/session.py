"""Session: one device while one call runs, its marks as instants on the host's clock, its memory, its counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm_latency.record.clock import Clock
from llm_latency.record.devices.device import Device, Telemetry

# The narrowest of three brackets: one that a scheduler cut in two would put the device's clock that far off.
_BRACKETS = 3


# Sessions that have begun and not been closed: peaks are the process's, and watches overlap in threads.
_open: list[Session] = []


@dataclass(frozen=True, slots=True)
class Anchor:
    """A mark on the device and the host's instant at which it was passed, the middle of a bracket around it."""

    mark: object
    instant_ns: int
    width_ns: int


class Session:
    """A device during a call. `peaks` are its high-water marks so far; `before` and `after` its counters."""

    def __init__(self, device: Device, clock: Clock) -> None:
        """Read nothing yet; a device that a call comes upon in its middle has no `begin`."""
        self.device = device
        self.peaks: dict[str, int] = {}
        self.before: Telemetry | None = None
        self.after: Telemetry | None = None
        self._clock = clock
        self._first: Anchor | None = None
        self._last: Anchor | None = None

    def begin(self) -> None:
        """Wait for earlier work and read everything once, before the clock starts."""
        self.device.synchronize()
        self.before = self.device.telemetry()
        self.take_peak()
        self.peaks.clear()
        _open.append(self)
        self._first = self._anchor()

    def end(self) -> None:
        """Read everything again, after the device was waited for and the clock has stopped."""
        self.take_peak(is_new=False)
        self._last = self._anchor()
        self.after = self.device.telemetry()

    def take_peak(self, *, is_new: bool = True) -> Mapping[str, int] | None:
        """High-water marks since they were last begun anew, as they are afterwards if `is_new`.

        A device has one of each for the whole process, so every session that is open on it keeps what was seen.
        """
        seen = self.device.peak_bytes()
        if is_new:
            self.device.reset_peak()
        for session in [*_open, self]:
            if session.device is self.device:
                for name, value in (seen or {}).items():
                    session.peaks[name] = max(value, session.peaks.get(name, 0))
        return seen

    def close(self) -> None:
        """Keep nothing more of what others see; again does no harm."""
        if self in _open:
            _open.remove(self)

    def instants(self, marks: Sequence[object]) -> tuple[int, ...] | None:
        """The host's instant of each mark, only after `end`; None where the device did not mark them all.

        The two clocks run apart by some parts in a million, so both ends are fixed.
        """
        first, last = self._first, self._last
        if last is None or not marks or None in marks:
            return None
        before = [] if first is None else [first.mark]
        told = self.device.elapsed([*before, *marks, last.mark])
        if told is None:
            return None
        span_ns = told[-1] - told[0]
        if first is None:
            return tuple(last.instant_ns - (told[-1] - ns) for ns in told[:-1])
        rate = (last.instant_ns - first.instant_ns) / span_ns if span_ns > 0 else 1.0
        return tuple(first.instant_ns + round((ns - told[0]) * rate) for ns in told[1:-1])

    def _anchor(self) -> Anchor | None:
        found: list[Anchor] = []
        for _ in range(_BRACKETS):
            start_ns = self._clock.now_ns()
            mark = self.device.mark()
            if mark is None:
                return None
            self.device.synchronize()
            stop_ns = self._clock.now_ns()
            found.append(Anchor(mark, (start_ns + stop_ns) // 2, stop_ns - start_ns))
        return min(found, key=lambda anchor: anchor.width_ns)


def main_peak(peaks: Mapping[str, int] | None) -> int | None:
    """The high-water mark that stands for the others: what was allocated, else resident memory."""
    return None if not peaks else peaks.get("allocated", peaks.get("rss"))
