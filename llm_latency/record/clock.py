"""Clock protocol and the host clock; not the devices' event timers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Protocol

from llm_latency.errors import ClockError


class Clock(Protocol):
    """Monotonic time in integer nanoseconds."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary fixed instant."""
        ...


def _real_counter() -> Callable[[], int]:
    """The real counter even when a test library froze `time` before this module was imported.

    freezegun swaps attributes of modules for Python functions; on Linux perf_counter is CLOCK_MONOTONIC
    (CPython, pytime.c), which it leaves alone.
    """
    counter: Callable[[], int] = time.perf_counter_ns
    if isinstance(counter, BuiltinFunctionType):
        return counter
    if hasattr(time, "clock_gettime_ns"):
        return lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    raise ClockError(
        "time.perf_counter_ns was replaced before llm_latency was imported (freezegun or the like);"
        " import llm_latency before the clock is frozen"
    )


class HostClock:
    """The host's performance counter, held where libraries that freeze time in tests do not reach."""

    __slots__ = ("_counter", "now_ns")

    def __init__(self) -> None:
        """Take the counter once; freezegun patches module attributes, not slots."""
        self._counter = _real_counter()
        self.now_ns = self._counter


def check_advanced(clock: Clock, start_ns: int, stop_ns: int, *, elapsed_ticks: float | None) -> None:
    """Raise ClockError when a clock stepped back, or a host clock stood still or disagrees with the kernel's ticks.

    `elapsed_ticks` is the same span by `ticks`, in seconds, good to 10 ms; None where the system has none.
    """
    if stop_ns < start_ns:
        raise ClockError(f"the clock went from {start_ns} ns back to {stop_ns} ns while the call ran; it must not step")
    if not isinstance(clock, HostClock):
        return
    seconds = (stop_ns - start_ns) * 1e-9
    told = seconds if elapsed_ticks is None else elapsed_ticks
    if seconds <= 0.0 or abs(seconds - told) > 0.05 + 0.2 * max(seconds, told):
        raise ClockError(
            f"the clock says that the call took {seconds:.6f} s and the kernel's ticks say {told:.2f} s;"
            " time is frozen or was stepped (freezegun, time-machine, a suspended machine). Measure outside of it"
        )


def ticks() -> float | None:
    """Elapsed seconds by the kernel's ticks, which libraries that freeze time do not reach; None on Windows."""
    return os.times().elapsed or None
