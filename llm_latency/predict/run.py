"""Running one cell in whatever process: the model loaded or kept, its calls measured, trouble as a word.

Not which cells there are, nor where results are kept. An executor of any kind can send `run_cell` elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import msgspec

from llm_latency.core.cost import Architecture
from llm_latency.core.measurement import Measurement, from_json, to_json
from llm_latency.core.units import show
from llm_latency.errors import LLMLatencyError, UsageError
from llm_latency.predict.cell import Cell
from llm_latency.record.exhausted import is_exhausted
from llm_latency.record.machine import memory_room
from llm_latency.record.measure import measure
from llm_latency.workloads.described import architecture_of
from llm_latency.workloads.loaded import held_bytes
from llm_latency.workloads.target import load, load_model

NO_MEMORY, FAILED, LOST = "out of memory", "failed", "lost"
# Of what is free a kept model and a new one may take so much; the rest is for activations and the machine.
_ROOM = 0.6


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one turn of one cell came to: a measurement, or which problem there was and its words."""

    cell: Cell
    turn: int
    seconds: float
    measurement: msgspec.Raw = msgspec.Raw(b"null")
    problem: str | None = None
    words: str = ""

    def measured(self) -> Measurement | None:
        """The measurement; None where there was a problem. Raises MeasurementFileError for a broken one."""
        if self.problem is not None:
            return None
        return from_json(bytes(self.measurement), source=f"the measurement of {self.cell.key}")


class Loader(Protocol):
    """Where a cell's call comes from."""

    def call(self, cell: Cell) -> tuple[Callable[[], object], dict[str, Any]]:
        """A call of the cell's model with fresh inputs, and the facts of its workload."""
        ...

    def beside(self, cell: Cell) -> int:
        """Bytes that are held for other cells' models."""
        ...


class Shelf:
    """The models that this process has loaded last, as many as memory has room for."""

    def __init__(self) -> None:
        """None is loaded yet."""
        self._models: dict[tuple[str | None, ...], Any] = {}

    def call(self, cell: Cell) -> tuple[Callable[[], object], dict[str, Any]]:
        """A call of the cell's model, loaded where it is not on the shelf.

        Raises MemoryError where the weights and the cache alone need more than is free.
        """
        loaded = self._models.pop(cell.holding, None)
        if loaded is None:
            self._make_room(cell)
            loaded = load_model(cell.model, settings=cell.settings)
        self._models[cell.holding] = loaded
        workload = load(cell.model, settings=cell.settings, model=loaded)
        return workload.call, dict(workload.facts)

    def beside(self, cell: Cell) -> int:
        """Bytes of the other models on the shelf."""
        return held_bytes(*(loaded.model for holding, loaded in self._models.items() if holding != cell.holding))

    def clear(self) -> None:
        """Let all models go."""
        self._models.clear()

    def _make_room(self, cell: Cell) -> None:
        needed = needed_bytes(cell)
        while self._models and not _fits(needed, _ROOM):
            del self._models[next(iter(self._models))]
        if not _fits(needed, 1.0):
            free = memory_room()[1]
            raise MemoryError(
                f"weights and cache need {show(float(needed or 0), 'B')} and {show(float(free or 0), 'B')} are free"
            )


def needed_bytes(cell: Cell) -> int | None:
    """The least that a cell's model needs: its weights and its cache; None where its config does not tell."""
    try:
        architecture: Architecture = architecture_of(cell.model)
    except UsageError:
        return None
    width = 4 if cell.dtype in (None, "auto", "float32") else 2
    tokens = cell.prompt_tokens + (cell.new_tokens or 0)
    return architecture.size * width + architecture.prefill(tokens, batch=cell.batch, width=width).cache_bytes // 2


def _fits(needed: int | None, share: float) -> bool:
    free = memory_room()[1]
    return needed is None or free is None or needed <= share * free


@cache
def shelf_here() -> Shelf:
    """The shelf of this process: an executor's worker runs one cell after the other and has nowhere else to keep it."""
    return Shelf()


def run_cell(cell: Cell, *, turn: int, repeat: int, shelf: Loader | None = None) -> Outcome:
    """Measure a cell once: a call that warms up (two in the first turn), then `repeat` counted ones.

    Trouble comes back as an Outcome; only an interrupt goes on. Without `shelf` this process keeps its models itself.
    """
    begin = time.monotonic()
    place = shelf_here() if shelf is None else shelf

    def after() -> float:
        return round(time.monotonic() - begin, 3)

    try:
        call, facts = place.call(cell)
        warmup = 2 if turn == 0 else 1
        found = measure(call, name=cell.key, repeat=warmup + repeat, warmup=0, workload=facts)
        held = place.beside(cell)
        traces = tuple(trace.apart_from(held) for trace in found.traces)
    except Exception as error:
        problem = NO_MEMORY if is_exhausted(error) else FAILED
        if problem == NO_MEMORY:
            shelf_here().clear()
        first = str(error).partition("\n")[0]
        words = first if isinstance(error, LLMLatencyError | MemoryError) else f"{type(error).__name__}: {first}"
        return Outcome(cell=cell, turn=turn, seconds=after(), problem=problem, words=words)
    before, counted = traces[:warmup], traces[warmup:]
    kept = msgspec.structs.replace(found, cold=before[0], warmup=before[1:], traces=counted)
    return Outcome(cell=cell, turn=turn, seconds=after(), measurement=msgspec.Raw(to_json(kept)))
