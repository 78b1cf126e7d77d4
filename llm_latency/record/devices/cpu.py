"""The CPU as a device: nothing to wait for, and the process's resident memory; not the host clock."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

_STATUS, _CLEAR = "/proc/self/status", "/proc/self/clear_refs"


class Cpu:
    """Work on the CPU is done when the call returns. Peak memory is Linux's VmHWM, None where it is missing."""

    __slots__ = ("_can_reset", "_files")

    def __init__(self) -> None:
        """Nothing is known of this system yet; `reset_peak` finds out."""
        self._can_reset = False
        self._files: _Files | None = None

    def synchronize(self) -> None:
        """Return at once: a call on the CPU has ended when it returns."""

    def mark(self) -> None:
        """Return None: the host clock is this device's clock."""

    def elapsed(self, marks: Sequence[object]) -> None:
        """Return None: the host clock is this device's clock."""

    def reset_peak(self) -> None:
        """Set VmHWM back to the current resident size (proc(5), clear_refs 5), where the kernel allows it."""
        try:
            if self._files is None or self._files.process != os.getpid():
                self._files = _Files()
            os.pwrite(self._files.clear, b"5", 0)
            self._can_reset = True
        except OSError:
            self._can_reset = False

    def peak_bytes(self) -> Mapping[str, int] | None:
        """Return {"rss": bytes} since `reset_peak`, or None where the system does not report it: 7 µs."""
        if not self._can_reset or self._files is None:
            return None
        try:
            status = os.pread(self._files.status, 1 << 14, 0)
        except OSError:
            return None
        found = status.partition(b"VmHWM:")[2].split(None, 1)
        return {"rss": int(found[0]) * 1024} if found else None

    def describe(self) -> Mapping[str, object]:
        """Name the device."""
        return {"device": "cpu"}

    def telemetry(self) -> None:
        """Return None: the system's counters are read for the process, whatever the device."""


class _Files:
    """The process's own files, open: a first emission waits for a reading. A forked child has others."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.status = os.open(_STATUS, os.O_RDONLY)
        try:
            self.clear = os.open(_CLEAR, os.O_WRONLY)
        except OSError:
            os.close(self.status)
            raise

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.status)
            os.close(self.clear)
