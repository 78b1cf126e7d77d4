"""Pinning: which cores both sides of a pair run on, those that others use least; not how a worker keeps to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

# Ten ticks of /proc/stat: enough to tell a core that somebody burns from one that rests.
_LOOK_S = 0.1


class Pinning:
    """Picks cores by what others used of them while no worker of ours ran."""

    def __init__(
        self, *, stat: Path = Path("/proc/stat"), wait: Callable[[], None] = lambda: time.sleep(_LOOK_S)
    ) -> None:
        """`stat` is the kernel's count of each core's time (proc(5)); `wait` lets some of it pass."""
        self._stat, self._wait = stat, wait
        self._busy: dict[int, int] = {}

    def look(self) -> None:
        """See for a moment which cores others use; call it between pairs."""
        before = self._ticks()
        if before:
            self._wait()
        self._busy = {core: busy - before.get(core, busy) for core, busy in self._ticks().items()}

    def cores_for(self, threads: int) -> tuple[int, ...] | None:
        """As many cores as torch has threads, the least used ones and of equals the last; None where that is all."""
        if not hasattr(os, "sched_getaffinity"):
            return None
        available = os.sched_getaffinity(0)
        if not 0 < threads < len(available):
            return None
        least = sorted(available, key=lambda core: (self._busy.get(core, 0), -core))[:threads]
        return tuple(sorted(least))

    def _ticks(self) -> dict[int, int]:
        """Ticks in which each core was not idle; none where the system does not count them."""
        try:
            lines = self._stat.read_text().splitlines()
        except OSError:
            return {}
        rows = [line.split() for line in lines if line.startswith("cpu") and line[3:4].isdigit()]
        # user nice system idle iowait irq softirq steal; guests are in user and nice already.
        return {int(row[0][3:]): sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows}
