"""Fakes for tests without real time: a clock that is told, a device that is told, a model that keeps to a script.

They sit where the real ones do: `measure(model.stream, clock=clock, device=FakeDevice(clock))`. No torch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from llm_latency.core.units import parse
from llm_latency.errors import DeviceError, UsageError
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.devices.telemetry import Telemetry

Duration = int | str
# time.sleep of Linux wakes 50 µs late by default (prctl(2), PR_SET_TIMERSLACK) and later on a busy machine: sleep
# up to here before the instant, and turn for the rest.
_TURN_NS = 2_000_000


def nanoseconds(duration: Duration) -> int:
    """A length of time, whole nanoseconds or text such as "20 ms", as nanoseconds.

    Raises UsageError when it is neither, or negative.
    """
    if isinstance(duration, str):
        return round(parse(duration, unit="s") * 1e9)
    if not isinstance(duration, int) or isinstance(duration, bool) or duration < 0:
        raise UsageError(f'{duration!r} is no length of time; expected text such as "20 ms", or whole nanoseconds >= 0')
    return duration


class ManualClock:
    """A clock that stands still until it is told to advance."""

    __slots__ = ("_now_ns",)

    def __init__(self, start_ns: int = 0) -> None:
        """Stand at `start_ns`."""
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """The instant, in nanoseconds, at which the clock stands."""
        return self._now_ns

    def advance(self, duration: Duration) -> None:
        """Go forward by nanoseconds, or by text such as "10 ms"."""
        self._now_ns += nanoseconds(duration)

    def step_back(self, duration: Duration) -> None:
        """Go backwards, as no clock should: for tests of what notices it."""
        self._now_ns -= nanoseconds(duration)


class FakeDevice:
    """A device whose work takes the time that it is given, beside the host; memory and counters come from scripts.

    `peaks` has a high-water mark for each `reset_peak`, in bytes by what they count, such as
    {"allocated": 6 * 2**30}; `telemetry` one Telemetry for each reading (a call is read before and after). The last of
    a script stays for all that come after; without a script the device does not see its memory, or has no counters.
    `facts` go into the environment, such as {"driver": "570.86"}. The counts say how often it was waited for, its
    peak reset and its counters read.
    """

    def __init__(
        self,
        clock: ManualClock,
        *,
        peaks: Sequence[Mapping[str, int]] = (),
        telemetry: Sequence[Telemetry] = (),
        facts: Mapping[str, object] | None = None,
        device: str = "fake",
        marks: bool = True,
    ) -> None:
        """Have no work; without `marks` the device cannot mark instants."""
        self.clock = clock
        self.synchronize_count = 0
        self.reset_count = 0
        self.telemetry_count = 0
        self._peaks = tuple(dict(peak) for peak in peaks)
        self._telemetry = tuple(telemetry)
        self._facts = dict(facts or {})
        self._device = device
        self._marks = marks
        self._done_ns: int | None = None

    def give(self, duration: Duration) -> None:
        """Queue work that takes `duration` on the device, behind what it has; the clock goes on in `synchronize`."""
        self._done_ns = self._end_of_work_ns() + nanoseconds(duration)

    def synchronize(self) -> None:
        """Wait: the clock goes to the end of the work."""
        self.synchronize_count += 1
        self.clock.advance(self._end_of_work_ns() - self.clock.now_ns())
        self._done_ns = None

    def mark(self) -> int | None:
        """The instant at which the work given so far will be done; without marks it is waited for."""
        if self._marks:
            return self._end_of_work_ns()
        self.synchronize()
        return None

    def elapsed(self, marks: Sequence[object]) -> tuple[int, ...] | None:
        """Nanoseconds from the first mark to each; raises DeviceError where one has not been waited for."""
        instants = [mark for mark in marks if isinstance(mark, int)]
        if not self._marks or not instants:
            return None
        if max(instants) > self.clock.now_ns():
            raise DeviceError("a mark was read before the device was waited for; call synchronize() first")
        return tuple(instant - instants[0] for instant in instants)

    def reset_peak(self) -> None:
        """Go on to the script's next peak."""
        self.reset_count += 1

    def peak_bytes(self) -> Mapping[str, int] | None:
        """The script's peak since the last reset, or None without a script."""
        if not self._peaks:
            return None
        return dict(self._peaks[min(max(self.reset_count, 1), len(self._peaks)) - 1])

    def describe(self) -> Mapping[str, object]:
        """Name the device, with the facts that were given."""
        return {"device": self._device} | self._facts

    def telemetry(self) -> Telemetry | None:
        """The script's next reading, or None without a script."""
        self.telemetry_count += 1
        return self._telemetry[min(self.telemetry_count, len(self._telemetry)) - 1] if self._telemetry else None

    def _end_of_work_ns(self) -> int:
        now_ns = self.clock.now_ns()
        return now_ns if self._done_ns is None else max(self._done_ns, now_ns)


class ScriptedModel:
    """A model whose tokens come on a schedule: the first after `prefill`, each other after its entry of `steps`.

    On a ManualClock the clock is advanced and nothing waits, so that measured times are exact; on another clock
    time really passes. `cold` is what the first call takes longer. Tokens are numbers from 0; `calls` counts the
    calls that have begun.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        prefill: Duration = "200 ms",
        steps: Sequence[Duration] = ("20 ms",) * 4,
        cold: Duration = 0,
    ) -> None:
        """Learn the schedule; without `clock` the host's is meant."""
        self.clock = clock or HostClock()
        self.calls = 0
        self._prefill_ns = nanoseconds(prefill)
        self._steps_ns = tuple(nanoseconds(step) for step in steps)
        self._cold_ns = nanoseconds(cold)

    def stream(self) -> Iterator[int]:
        """Give the tokens one by one."""
        for token, duration_ns in enumerate(self._schedule()):
            self._wait(duration_ns)
            yield token

    async def stream_async(self) -> AsyncIterator[int]:
        """Give the tokens one by one; other tasks run in between. On a ManualClock exact for one stream at a time."""
        for token, duration_ns in enumerate(self._schedule()):
            until_ns = self.clock.now_ns() + duration_ns
            real = not isinstance(self.clock, ManualClock)
            await asyncio.sleep(max(0, duration_ns - _TURN_NS) * 1e-9 if real else 0)
            self._wait(max(0, until_ns - self.clock.now_ns()))
            yield token

    def generate(self) -> tuple[int, ...]:
        """All tokens at once: nothing can be seen of them but that the call took this long."""
        return tuple(self.stream())

    async def generate_async(self) -> tuple[int, ...]:
        """All tokens at once, awaited."""
        return tuple([token async for token in self.stream_async()])

    def _schedule(self) -> tuple[int, ...]:
        cold_ns = 0 if self.calls else self._cold_ns
        self.calls += 1
        return (self._prefill_ns + cold_ns, *self._steps_ns)

    def _wait(self, duration_ns: int) -> None:
        if isinstance(self.clock, ManualClock):
            self.clock.advance(duration_ns)
            return
        until_ns = self.clock.now_ns() + duration_ns
        time.sleep(max(0, duration_ns - _TURN_NS) * 1e-9)
        while self.clock.now_ns() < until_ns:
            pass
