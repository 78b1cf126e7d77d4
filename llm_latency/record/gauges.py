"""Gauges: what is read beside the clock at a call's ends and at its requests' starts, first emissions and ends.

The delay by other programs, memory's high-water marks, marks on the device, and what else happened meanwhile.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from llm_latency.core.trace import Annotation, Contention, elapsed_ns
from llm_latency.errors import DeviceError
from llm_latency.record.clock import Clock
from llm_latency.record.contention import RunQueue, involuntary_switches
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.device import Device
from llm_latency.record.devices.session import Session, main_peak
from llm_latency.record.devices.used import Used
from llm_latency.record.disturbances import Disturbances, energy_between, told_by

# What a call did before its first request is nothing when that begins so soon: reading it again would take 20 µs.
_FRESH_NS = 1_000_000


class SoFar(msgspec.Struct, frozen=True, kw_only=True):
    """The delay by other programs and memory's high-water marks of a call that runs, and what was newly heard."""

    delay_ns: int | None
    peaks: dict[str, int] | None
    heard: tuple[Annotation, ...]


class Readings:
    """What the gauges keep for one request: its device, a mark at its end, and memory by phase."""

    __slots__ = ("device", "is_alone", "peaks", "stop_mark")

    def __init__(self, device: Device) -> None:
        """Nothing is read yet."""
        self.device = device
        self.is_alone = True
        self.peaks: dict[str, int] = {}
        self.stop_mark: object | None = None


class Gauges:
    """Everything beside the clock for one call; `outer` are those of the watches around it, the outermost first.

    `pauses` are when the call's clock stood still for them. `refused` is the error of a model whose device we cannot
    wait for; it is raised when the call has ended.
    """

    def __init__(self, clock: Clock, used: Used, *, cores: int | None, outer: Sequence[Gauges] = ()) -> None:
        """Read nothing yet."""
        self._clock = clock
        self._used = used
        self._outer = tuple(outer)
        self._queue = RunQueue(cores=cores)
        self._disturbances = Disturbances(clock)
        self._sessions: dict[int, Session] = {}
        self._running: list[Readings] = []
        self._ran_on: list[Device] = []
        self.refused: DeviceError | None = None
        self.pauses: list[tuple[int, int]] = []
        self._behind: list[tuple[object, Device, int, int]] = []
        self._switches: int | None = None
        self._has_ended = False
        self._start_ns = 0

    @contextmanager
    def reading(self, models: tuple[object, ...]) -> Iterator[None]:
        """Wait for the devices and read everything once; at the block's end let go of what that took."""
        try:
            self._begin(models)
            yield
        finally:
            try:
                self._close()
            except BaseException:
                self._close()  # an interrupt in the middle of the first leaves nothing to the second
                raise

    def _begin(self, models: tuple[object, ...]) -> None:
        self._used.expect(models)
        for device in self._used.all:
            self._session(device).begin()
        self._disturbances.begin()
        self._switches = involuntary_switches()
        self._queue.begin()

    def start(self, start_ns: int) -> None:
        """Take the instant at which the call began."""
        self._start_ns = start_ns
        self._queue.start(start_ns)

    def wait(self) -> None:
        """Wait for the devices, also for one that came into use in the call: the call's last act."""
        self._used.expect(())
        for device in self._used.all:
            device.synchronize()

    def end(self, stop_ns: int) -> None:
        """Read everything again, after the clock has stopped."""
        self._has_ended = True
        self._queue.read(stop_ns, is_end=True)
        switches = involuntary_switches()
        self._switches = None if switches is None or self._switches is None else switches - self._switches
        self._disturbances.end(stop_ns)
        for session in tuple(self._sessions.values()):  # a thread that goes on may add one
            session.end()

    def _close(self) -> None:
        self._has_ended = True
        for session in tuple(self._sessions.values()):  # a thread that goes on may add one
            session.close()
        self._queue.close()
        self._disturbances.close()

    def enter(self, model: object) -> Readings:
        """Read what belongs to a request's start, before its clock starts."""
        try:
            device = self._used.of(model)
        except DeviceError as error:
            self.refused, device = error, self._used.all[0]
        readings = Readings(device)
        now_ns = self._clock.now_ns()
        is_fresh = not self._ran_on and now_ns - self._start_ns < _FRESH_NS
        for gauges in (*self._outer, self):
            if device not in gauges._ran_on:
                gauges._ran_on.append(device)
        if self._running:
            for other in (*self._running, readings):
                other.is_alone = False
        elif not is_fresh:
            self._session(device).take_peak()
        if not is_fresh:
            self.read(now_ns)
        self._running.append(readings)
        return readings

    def read(self, instant_ns: int) -> None:
        """Read the delay by other programs at the start, the first emission or the end of a request."""
        for gauges in (*self._outer, self):
            gauges._queue.read(instant_ns)

    def first(self, readings: Readings, instant_ns: int) -> None:
        """Read at a request's first emission, which takes 20 to 40 µs."""
        if not self._has_ended:
            self.read(instant_ns)
            self._phase(readings, "prefill", is_new=True)
            if readings.is_alone:
                self.pause(readings.device, instant_ns)

    def pause(self, device: Device, since_ns: int, *, is_idle: bool = False) -> None:
        """Let the clock have stood still until now, where the call waited meanwhile: another device works on.

        `is_idle` says that the device had been waited for at `since_ns`, whichever it is.
        """
        if (is_idle or isinstance(device, Cpu)) and not self.overlaps:
            self.add_pause(since_ns, self._clock.now_ns())

    def pause_behind(self, mark: object, device: Device, begin_ns: int, end_ns: int) -> None:
        """Let the clock have stood still for as long as a device waited, once it had come to its mark; see `settle`."""
        self._behind.append((mark, device, begin_ns, end_ns))

    def settle(self) -> None:
        """Find out, after the end, how long devices have waited: they may have worked on for a while, or all along."""
        for mark, device, begin_ns, end_ns in self._behind:
            told = self._session(device).instants([mark])
            self.add_pause(end_ns if told is None else max(begin_ns, told[0]), end_ns)
        self._behind.clear()

    @property
    def overlaps(self) -> bool:
        """Whether several requests run: what one of them waits for is not the others' pause."""
        return len(self._running) > 1

    def add_pause(self, begin_ns: int, end_ns: int) -> None:
        """Let the clock have stood still from one instant to another, in the watches around this one too."""
        for gauges in (*self._outer, self) if end_ns > begin_ns else ():
            insort(gauges.pauses, (begin_ns, end_ns))

    def elapsed_ns(self, start_ns: int, stop_ns: int) -> int:
        """Time of the call between two instants, as far as is known while it runs."""
        return elapsed_ns(self.pauses, start_ns, stop_ns)

    def so_far(self) -> SoFar:
        """Glance at the asking thread's delay and at the high-water marks, in the middle of the call."""
        session = self._session(self.device)
        session.take_peak(is_new=False)
        return SoFar(
            delay_ns=self._queue.waited_ns(),
            peaks=dict(session.peaks) or None,
            heard=self._disturbances.heard(),
        )

    def leave(self, readings: Readings, instant_ns: int) -> None:
        """Read at a request's end; one that outlives its watch is read no more."""
        if not self._has_ended:
            self.read(instant_ns)
            self._phase(readings, "decode", is_new=False)
        if readings in self._running:
            self._running.remove(readings)

    def instants(self, readings: Readings, marks: Sequence[object]) -> tuple[int, ...] | None:
        """The host's instants of a request's marks and of its end; None where its device did not mark them."""
        return self._session(readings.device).instants([*marks, readings.stop_mark])

    def drop(self, readings: Readings) -> None:
        """Forget a request whose phases cannot be told apart, such as a forward that another may continue."""
        readings.is_alone = False
        self._running.remove(readings)

    @property
    def device(self) -> Device:
        """The device whose memory and energy are the call's: the last accelerator that ran, else what there is."""
        known = [*self._used.all, *self._ran_on] if not self._ran_on else self._ran_on
        return next((device for device in reversed(known) if not isinstance(device, Cpu)), known[-1])

    @property
    def peak_bytes(self) -> dict[str, int] | None:
        """High-water marks of the call."""
        return dict(self._session(self.device).peaks) or None

    def most_bytes(self) -> int | None:
        """The call's high-water mark until now, as one number."""
        self._session(self.device).take_peak(is_new=False)
        return main_peak(self.peak_bytes)

    def energy_j(self, *, seconds: float) -> float | None:
        """Joules of a call that took so many seconds, or None where they cannot be told."""
        session = self._session(self.device)
        return energy_between(session.before, session.after, seconds=seconds)

    @property
    def contention(self) -> Contention | None:
        """Readings of the delay and how often a core was taken away; None where the system reports neither."""
        readings = tuple(self._queue.readings)
        return (
            Contention(readings=readings, switches=self._switches) if readings or self._switches is not None else None
        )

    def annotations(self, *, stop_ns: int) -> tuple[Annotation, ...]:
        """What else happened: to the process, to the machine, to the device."""
        session = self._session(self.device)
        found = [*self._disturbances.annotations, *told_by(session.before, session.after, at_ns=stop_ns)]
        others = [device for device in self._ran_on if device is not self.device and not isinstance(device, Cpu)]
        if others:
            names = ", ".join(str(device.describe().get("device")) for device in others)
            found.append(Annotation(kind="devices", at_ns=stop_ns, detail=f"memory and energy leave out {names}"))
        return tuple(found)

    def _session(self, device: Device) -> Session:
        return self._sessions.setdefault(id(device), Session(device, self._clock))

    def _phase(self, readings: Readings, name: str, *, is_new: bool) -> None:
        if readings.is_alone:
            peak = main_peak(self._session(readings.device).take_peak(is_new=is_new))
            readings.peaks |= {} if peak is None else {name: peak}
