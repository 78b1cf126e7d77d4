"""A sweep's folder: every turn of every cell as a line, written when it has ended; not what follows from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.environment import differences
from llm_latency.core.measurement import Measurement, write_atomically
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.run import LOST, Outcome

SCHEMA = 1
RUNS = "runs.jsonl"
_RUNNING = "running.json"
# A cell that has ended its process this often is left out: memory that was refused by a kill leaves no other trace.
_MOST_LOST = 2
# What of an environment is a cell's own.
_OF_CELLS = ("threads", "attention", "dtype", "cache", "compile", "quantization")


class _Line(Outcome, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An outcome as it is written."""

    schema: int = SCHEMA


class Folder:
    """Where a sweep writes, and what it finds there when it goes on."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is read or written yet."""
        self.path = Path(path)

    def prepare(self) -> None:
        """Make the folder; raises UsageError where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / RUNS).open("ab").close()
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written ({error.strerror or error}); name a folder that can be"
            ) from error

    def outcomes(self) -> tuple[Outcome, ...]:
        """Every turn that has ended, in order; a last line that was cut off is left out.

        Raises MeasurementFileError for a folder that no sweep has written, and for a line within that is broken.
        """
        file = self.path / RUNS
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as error:
            raise MeasurementFileError(
                f"{self.path} holds no sweep ({file.name}: {error.strerror or error}); expected the folder that"
                " llm-latency sweep --out wrote"
            ) from error
        found = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                read = msgspec.json.decode(line, type=_Line)
            except msgspec.MsgspecError as error:
                if number == len(lines):  # without its end of line: the process was killed while it wrote
                    continue
                raise MeasurementFileError(
                    f"{file}, line {number}: {error}; remove that line, and the sweep measures its cell again"
                ) from error
            if read.schema != SCHEMA:
                raise MeasurementFileError(
                    f"{file}, line {number} has schema {read.schema} and this version reads {SCHEMA}"
                )
            found.append(Outcome(**{name: getattr(read, name) for name in Outcome.__struct_fields__}))
        return tuple(found)

    def add(self, outcome: Outcome) -> None:
        """Write a turn behind the others, on the disk when this returns."""
        line = _Line(**{name: getattr(outcome, name) for name in Outcome.__struct_fields__})
        file = self.path / RUNS
        with file.open("r+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            if end and stream.seek(end - 1) >= 0 and stream.read(1) != b"\n":
                _cut(stream)
            stream.write(msgspec.json.encode(line) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    @contextmanager
    def running(self, cells: Iterable[tuple[Cell, int]]) -> Iterator[None]:
        """Leave a note of what runs, which stays where the process is killed in it."""
        note = self.path / _RUNNING
        write_atomically(note, msgspec.json.encode(list(cells)))
        try:
            yield
        finally:
            with suppress(OSError):
                note.unlink()

    def lost(self) -> tuple[Outcome, ...]:
        """Turns in which a process ended without a word, now noted as lost; a note of two at once tells nothing."""
        note = self.path / _RUNNING
        with suppress(OSError, msgspec.MsgspecError):
            cells = msgspec.json.decode(note.read_bytes(), type=list[tuple[Cell, int]])
            note.unlink()
            if len(cells) == 1:
                (cell, turn) = cells[0]
                words = "the process ended in it without a word, as one does that is killed for want of memory"
                outcome = Outcome(cell=cell, turn=turn, seconds=0.0, problem=LOST, words=words)
                self.add(outcome)
                return (outcome,)
        return ()

    def write(self, name: str, content: bytes) -> Path:
        """A file beside the runs, whole or not at all."""
        path = self.path / name
        write_atomically(path, content)
        return path


def _cut(stream: Any) -> None:
    """Take off a last line that was cut off, so that the next one begins on its own."""
    stream.seek(0)
    whole = stream.read()
    stream.truncate(whole.rfind(b"\n") + 1)
    stream.seek(0, os.SEEK_END)


def is_given_up(cell: Cell, outcomes: Iterable[Outcome]) -> bool:
    """Whether a cell had a problem that another turn would have again, or has ended its process twice."""
    problems = [outcome.problem for outcome in outcomes if outcome.cell == cell and outcome.problem is not None]
    return any(problem != LOST for problem in problems) or len(problems) >= _MOST_LOST


def check_same_machine(outcomes: Iterable[Outcome], new: Measurement) -> None:
    """Raise UsageError when a sweep goes on where other numbers come out: on another machine, with other versions."""
    first = next((found for outcome in outcomes if (found := outcome.measured()) is not None), None)
    if first is None:
        return
    changed = [one for one in differences(first.environment, new.environment) if not one.startswith(_OF_CELLS)]
    if changed:
        raise UsageError(
            f"this folder was begun elsewhere: {'; '.join(changed)}. Cells of both would not be comparable; name"
            " another folder with --out"
        )
