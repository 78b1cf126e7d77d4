"""Contention: how long a call's threads were ready to run while other programs had their cores; Linux only.

Each thread's run-queue delay is the second number of its schedstat (Linux, Documentation/scheduler/sched-stats.rst).
How well taking it out does is what benchmarks/bench_contention.py shows.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")
# A thread that ran or waited for less than this share of a span was not working for the call: heartbeats, monitors.
_WORKING_SHARE = 0.1
# Threads that are read while the clock runs: 40 µs of them.
_MOST_IN_BETWEEN = 32

Times = tuple[int, int]


def displaced_ns(threads: Sequence[Times], *, wall_ns: int, cores: int) -> int:
    """Time in which other programs kept at least one working thread waiting for a core, of a span of `wall_ns`.

    `threads` are each one's (ran, waited) in the span, in nanoseconds. Threads of one operator wait for each other,
    so the slowest sets the pace, and only how much their waits overlap is not told. One task too many for the cores
    displaces one thread at a time: the waits add up. Where two or more are too many the waits are taken as
    independent. How many are too many follows from the share of its time that a runnable thread waits, since
    Linux shares cores evenly: cores · share/(1 - share). Never more than the core time that this process left to
    others, so that threads which wait for each other count nothing. (Measured by benchmarks/bench_contention.py.)
    """
    working = [(ran, waited) for ran, waited in threads if ran + waited >= _WORKING_SHARE * wall_ns and waited > 0]
    if not working or wall_ns <= 0:
        return 0
    added = sum(waited for _, waited in working)
    share = min(0.999, sum(waited / (ran + waited) for ran, waited in working) / len(working))
    undisturbed = 1.0
    for _, waited in working:
        undisturbed *= max(0.0, 1.0 - waited / wall_ns)
    too_many = cores * share / (1.0 - share)
    weight = min(1.0, max(0.0, too_many - 1.0))
    left = max(0, cores * wall_ns - sum(ran for ran, _ in threads))
    return round(min(wall_ns, left, (1.0 - weight) * added + weight * (1.0 - undisturbed) * wall_ns))


def involuntary_switches() -> int | None:
    """How often a core was taken from this process until now (getrusage(2), ru_nivcsw); None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


class RunQueue:
    """Delay of this process's threads since `begin`, read at the instants that it is asked for.

    `readings` are (instant, delay so far), in nanoseconds; empty where the system does not report it.
    """

    def __init__(self, *, cores: int | None) -> None:
        """Nothing is open yet."""
        self.readings: list[tuple[int, int]] = []
        self._cores = cores or 1
        self._files: dict[str, int] = {}
        self._last: dict[str, Times] = {}
        self._first: dict[str, Times] = {}
        self._busiest: tuple[str, ...] = ()
        self._is_open = False
        self._lock = threading.Lock()
        self._holder: int | None = None

    def begin(self) -> None:
        """Open each thread's file and take its times: some 10 µs a thread, before the clock starts."""
        self._is_open = True
        self._last = self._times(self._listed())
        self._first = dict(self._last)
        self._busiest = tuple(sorted(self._last, key=lambda thread: -self._last[thread][0])[:_MOST_IN_BETWEEN])

    def start(self, instant_ns: int) -> None:
        """Say when the call began; nothing is read."""
        if self._last:
            self.readings.append((instant_ns, 0))

    def read(self, instant_ns: int, *, is_end: bool = False) -> None:
        """Add a reading: 1.3 µs a thread (n = 15,000, 2-core AMD EPYC VM); at the end new threads are looked for too.

        In between only this thread and those are read that had run most when the call began, up to 32: what others
        waited counts at the end, as for threads that are started in the call.
        """
        # The collector may end an abandoned stream, and so ask again, while this thread is at it.
        if not self.readings or self._holder == threading.get_ident():
            return
        with self._lock:
            self._holder = threading.get_ident()
            try:
                if self._is_open:
                    self._add(instant_ns, is_end=is_end)
            finally:
                self._holder = None

    def _add(self, instant_ns: int, *, is_end: bool) -> None:
        before_ns, sofar_ns = self.readings[-1]
        if instant_ns <= before_ns:  # another thread's reading came in between
            return
        own = str(threading.get_native_id())
        times = self._times(self._listed() if is_end else {*self._busiest, own})
        spans = [
            (ran - last[0], waited - last[1])
            for thread, (ran, waited) in times.items()
            for last in (self._last.get(thread, (0, 0)),)
        ]
        self._last |= times
        delay_ns = displaced_ns(spans, wall_ns=instant_ns - before_ns, cores=self._cores)
        self.readings.append((instant_ns, sofar_ns + delay_ns))

    def waited_ns(self) -> int | None:
        """How long the asking thread has waited for a core since `begin`; a glance, which adds no reading."""
        if not self.readings or self._holder == threading.get_ident():
            return None
        own = str(threading.get_native_id())
        with self._lock:
            self._holder = threading.get_ident()
            try:
                found = self._times((own,)).get(own) if self._is_open else None
            finally:
                self._holder = None
        return None if found is None else found[1] - self._first.get(own, (0, 0))[1]

    def close(self) -> None:
        """Close the threads' files; a reading afterwards, as of a request that outlives its watch, does nothing."""
        self._is_open = False
        # Not a lock in a context manager of our own: an interrupt at its end would leave it taken.
        with self._lock:
            self._holder = threading.get_ident()
            try:
                while self._files:
                    with suppress(OSError):
                        os.close(self._files.popitem()[1])
            finally:
                self._holder = None

    def _listed(self) -> Iterable[str]:
        try:
            return os.listdir(_TASKS)
        except OSError:
            return ()

    def _times(self, threads: Iterable[str]) -> dict[str, Times]:
        times: dict[str, Times] = {}
        for thread in threads:
            try:
                if thread not in self._files:
                    self._files[thread] = os.open(f"{_TASKS}/{thread}/schedstat", os.O_RDONLY)
                ran, waited, _ = os.pread(self._files[thread], 96, 0).split()
                times[thread] = int(ran), int(waited)
            except (OSError, ValueError):  # the thread has ended
                if (descriptor := self._files.pop(thread, None)) is not None:
                    os.close(descriptor)
        return times
