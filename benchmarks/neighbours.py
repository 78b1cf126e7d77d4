"""Neighbours: processes that burn a core each, beside what is measured; and the share of the cores that others took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def burning(count: int) -> Iterator[None]:
    """Processes that burn a core each, from before the block to after it."""
    # Until whoever started them is gone, killed or not.
    loop = "while os.getppid() == parent:\n for _ in range(10**6): pass"
    command = [sys.executable, "-c", f"import os\nparent = os.getppid()\nprint(flush=True)\n{loop}"]
    neighbours = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout is not None
            neighbour.stdout.readline()
        time.sleep(0.2)
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()


def busy_seconds() -> float | None:
    """Core seconds that all processes of this machine have used since its start (proc(5), /proc/stat); None without."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft, stolen = (int(field) for field in fields[:8])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
