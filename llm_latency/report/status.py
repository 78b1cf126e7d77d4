"""Status: one line on a terminal, rewritten between calls and never during one; no thread, no clock of its own."""

from __future__ import annotations

import shutil
from typing import TextIO

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import sample_of
from llm_latency.core.trace import Trace
from llm_latency.core.units import show
from llm_latency.record.sampling import Progress
from llm_latency.report.escape import plain

# A terminal that redraws costs the machine that is being measured; ten times a second is all that an eye follows.
_LEAST_GAP_S = 0.1


class StatusLine:
    """Rewrites one line of a terminal; does nothing where `shown` is False."""

    def __init__(self, stream: TextIO, *, shown: bool) -> None:
        """Nothing is written yet."""
        self._stream = stream
        self._shown = shown
        self._length = 0
        self._stage = ""
        self._at_s = 0.0

    def write(self, text: str) -> None:
        """Replace the line."""
        if not self._shown:
            return
        line = plain(text)[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r{line.ljust(self._length)}")
        self._stream.flush()
        self._length = len(line)

    def clear(self) -> None:
        """Leave no trace of the line."""
        if self._length:
            self._stream.write(f"\r{' ' * self._length}\r")
            self._stream.flush()
            self._length = 0

    def follow(self, progress: Progress, *, precision: float | None) -> None:
        """Say where sampling stands; `precision` is the half-width that ends it, None where something else does."""
        due = progress.stage != self._stage or progress.elapsed_s - self._at_s >= _LEAST_GAP_S
        if self._shown and due:
            self._stage, self._at_s = progress.stage, progress.elapsed_s
            self.write(describe(progress, precision=precision))


def describe(progress: Progress, *, precision: float | None) -> str:
    """The call that comes next, the interval so far and its target, the time used, and the last call."""
    parts = [call_name(progress)]
    if progress.half_width is not None:
        target = f" → ±{precision:.1%}" if precision is not None and progress.of is None else ""
        parts.append(f"interval ±{progress.half_width:.1%}{target}")
    if progress.last is not None:
        elapsed = show(progress.elapsed_s, "s")
        parts.append(elapsed if progress.of is not None else f"{elapsed} of {show(progress.time_budget_s, 's')}")
    if progress.last is not None and (last := last_words(progress.last)):
        parts.append(f"last {last}")
    return " · ".join(parts)


def call_name(progress: Progress) -> str:
    """The call that is about to run: `first call`, `warm-up 2`, `call 7 of 20`."""
    if progress.stage == "cold":
        return "first call"
    of = "" if progress.of is None else f" of {progress.of}"
    return f"{'warm-up' if progress.stage == 'warmup' else 'call'} {progress.done + 1}{of}"


def last_words(trace: Trace) -> str:
    """The times of a call that has ended: `ttft 170 ms, 21.4 tok/s`."""
    parts: list[str] = []
    for name, unit, label in (("ttft", "s", "ttft "), ("output_throughput", "tok/s", ""), ("total", "s", "total ")):
        values = sample_of((trace,), name, Environment()).values
        if values and (name != "total" or not parts):
            parts.append(f"{label}{show(values[0], unit)}")
    return ", ".join(parts)
