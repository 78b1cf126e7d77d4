"""Disturbances: what else happened while a call ran, as annotations of its trace; not what it cost the call.

Garbage collections, compilations, a machine whose cores were stolen or throttled, a device that was held back.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from llm_latency.core.trace import Annotation
from llm_latency.record.clock import Clock
from llm_latency.record.devices.device import Telemetry

# Shorter collections are the ordinary price of Python objects, and far below what an interval resolves.
_LEAST_GC_NS = 100_000
_STAT = Path("/proc/stat")
_CGROUP, _CGROUP_ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


class Disturbances:
    """Listens from `begin` to `end`; what it heard is in `annotations`."""

    def __init__(self, clock: Clock) -> None:
        """Hear nothing yet."""
        self.annotations: list[Annotation] = []
        self._clock = clock
        self._counters: Mapping[str, int] = {}
        self._instants: dict[int, int] = {}
        self._completed = 0
        self._ear: Any = None
        self._compiling_ns = 0
        self._compiler: Any = None
        self._had_dynamo = False
        self._told = (0, 0)

    def begin(self) -> None:
        """Start to listen, before the clock starts."""
        # In C from end to end: an exception inside of a collector's callback is swallowed, and where that is a Python
        # function, a Ctrl-C that came in the middle of a collection is raised there. So `max` asks for the key of both
        # its arguments, "start" or "stop" and a dict, and each time the next instant is put into `_instants`.
        self._completed = _completed()
        numbered = map(self._instants.setdefault, count(), iter(self._clock.now_ns, None))
        self._ear = partial(max, key=partial(next, numbered))
        gc.callbacks.append(self._ear)
        self._had_dynamo = "torch._dynamo" in sys.modules
        self._compiler = getattr(sys.modules.get("torch._dynamo.callback"), "callback_handler", None)
        if self._compiler is not None:
            self._compiler.register_start_callback(self._compile_begins)
            self._compiler.register_end_callback(self._compile_ends)
        self._counters = _counters()

    def end(self, stop_ns: int) -> None:
        """Stop to listen, after the clock has stopped."""
        self.close()
        self.annotations += collections(tuple(self._instants.values()), completed=_completed() - self._completed)
        for kind, grown in grown_since(self._counters, _counters()).items():
            self.annotations.append(Annotation(kind=kind, at_ns=stop_ns, duration_ns=grown))
        if not self._had_dynamo and (graphs := _graphs()):
            detail = f"torch.compile was loaded in this call and compiled {graphs} graph{'' if graphs == 1 else 's'}"
            self.annotations.append(Annotation(kind="compile", at_ns=stop_ns, detail=detail))

    def heard(self) -> tuple[Annotation, ...]:
        """What has been heard since this was last asked, in the middle of a call."""
        noted, instants = self._told
        # The keys are 0, 1, 2, …; of four instants to a collection the last may not have come yet.
        whole = len(self._instants) // 4 * 4
        new = collections([self._instants[index] for index in range(instants, whole)])
        self._told = len(self.annotations), whole
        return (*self.annotations[noted:], *new)

    def close(self) -> None:
        """Take every ear off; again does no harm."""
        with suppress(ValueError):
            gc.callbacks.remove(self._ear)
        compiler, self._compiler = self._compiler, None
        if compiler is not None:
            with suppress(ValueError):
                compiler.remove_start_callback(self._compile_begins)
            with suppress(ValueError):
                compiler.remove_end_callback(self._compile_ends)

    def _compile_begins(self, *_: object) -> None:
        self._compiling_ns = self._clock.now_ns()

    def _compile_ends(self, *args: object) -> None:
        # From torch 2.7 on the callback is told what for: dynamo, a CUDA graph's recording, ….
        trigger = getattr(getattr(args[0], "callback_trigger", None), "name", "") if args else ""
        self._note("compile", self._compiling_ns, self._clock.now_ns(), trigger.replace("_", " ").lower())

    def _note(self, kind: str, start_ns: int, stop_ns: int, detail: str) -> None:
        self.annotations.append(
            Annotation(kind=kind, at_ns=start_ns, detail=detail, duration_ns=max(0, stop_ns - start_ns))
        )


def _completed() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def collections(instants: Sequence[int], *, completed: int | None = None) -> list[Annotation]:
    """Collections of 0.1 ms and more, out of two instants at the start of each and two at its end.

    With an end less in them than were `completed`, the first to end had begun before we listened.
    """
    if completed is not None and len(instants) // 2 == 2 * completed - 1:
        instants = instants[2:]
    starts, stops = instants[0::4], instants[3::4]
    spans = [(start, stop - start) for start, stop in zip(starts, stops, strict=False)]
    return [Annotation(kind="gc", at_ns=at, duration_ns=spent) for at, spent in spans if spent >= _LEAST_GC_NS]


def told_by(before: Telemetry | None, after: Telemetry | None, *, at_ns: int) -> list[Annotation]:
    """What a device's counters say about a call that lay between two readings of them."""
    if after is None:
        return []
    found = [
        Annotation(kind="held back", at_ns=at_ns, detail=reason, duration_ns=grown)
        for reason, grown in grown_since(before.held_back_ns if before else {}, after.held_back_ns).items()
    ]
    timed = {note.detail for note in found}
    now = {*after.reasons, *(before.reasons if before else ())} - timed
    found += [Annotation(kind="held back", at_ns=at_ns, detail=reason) for reason in sorted(now)]
    if after.neighbours:
        detail = f"{after.neighbours} other process{'' if after.neighbours == 1 else 'es'} on it"
        found.append(Annotation(kind="neighbours", at_ns=at_ns, detail=detail))
    return found


def energy_between(before: Telemetry | None, after: Telemetry | None, *, seconds: float) -> float | None:
    """Joules between two readings; None where the counter moved too seldom in `seconds` to be read off.

    Ten of its steps bound the error of the window's ends by a fifth.
    """
    if before is None or after is None or before.energy_j is None or after.energy_j is None:
        return None
    step = after.energy_step_s
    if step is None or seconds < 10 * step or after.energy_j < before.energy_j:
        return None
    return after.energy_j - before.energy_j


def grown_since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each counter grew, those that did."""
    return {name: value - before[name] for name, value in after.items() if value > before.get(name, value)}


def _counters() -> dict[str, int]:
    """Steal in ticks of mostly 10 ms (proc(5)); throttled time, in cgroup v2's µs or v1's ns (kernel, admin-guide)."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError, IndexError, AttributeError):
        with _STAT.open("rb") as stream:
            fields = stream.readline().split()
        found["steal"] = int(fields[8]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    with suppress(OSError, ValueError):
        lines = dict(line.split() for line in _cpu_stat().read_text().splitlines())
        if "throttled_usec" in lines:
            found["throttled"] = int(lines["throttled_usec"]) * 1000
        elif "throttled_time" in lines:
            found["throttled"] = int(lines["throttled_time"])
    return found


@cache
def _cpu_stat() -> Path:
    """The file of this process's own group, of version 2 or 1; in a container that is the mount's root."""
    with suppress(OSError):
        for line in _CGROUP.read_text().splitlines():
            _, controllers, group = line.split(":", maxsplit=2)
            if controllers == "" or "cpu" in controllers.split(","):
                mount = _CGROUP_ROOT / "cpu" if controllers else _CGROUP_ROOT
                for folder in (mount / group.lstrip("/"), mount):
                    if (path := folder / "cpu.stat").exists():
                        return path
    return _CGROUP_ROOT / "cpu.stat"


def _graphs() -> int:
    counters: Any = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})
    return int(counters["stats"].get("unique_graphs", 0)) if "stats" in counters else 0
