"""Cell: one point of a sweep, a model with one input and one setting; grids of them, checked before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from llm_latency.core.cost import Architecture
from llm_latency.errors import UsageError
from llm_latency.workloads.target import Settings


class Cell(msgspec.Struct, frozen=True, kw_only=True, order=True, forbid_unknown_fields=True):
    """What one cell measures; `new_tokens` is None for an encoder, and None elsewhere is the model's own choice.

    `prompt_tokens` and `new_tokens` count tokens a row, `batch` counts rows.
    """

    model: str
    prompt_tokens: int
    new_tokens: int | None
    batch: int = 1
    dtype: str | None = None
    attention: str | None = None
    threads: int | None = None
    device: str | None = None

    @property
    def key(self) -> str:
        """Which cell it is, to read: `shape:gpt2 64+32 ×4 float32 2 threads`."""
        new = "" if self.new_tokens is None else f"+{self.new_tokens}"
        threads = "" if self.threads is None else f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        words = (self.model, f"{self.prompt_tokens}{new}", f"×{self.batch}", self.dtype, self.attention, threads)
        return " ".join(word for word in (*words, self.device) if word)

    @property
    def settings(self) -> Settings:
        """The same as settings of a target."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "model"}
        return Settings(**fields)

    @property
    def holding(self) -> tuple[str | None, ...]:
        """What cells have in common that can be run by one loaded model."""
        return self.model, self.dtype, self.attention, self.device


def grid(
    architectures: dict[str, Architecture | None],
    *,
    prompt_tokens: Iterable[int],
    new_tokens: Iterable[int] = (32,),
    batch: Iterable[int] = (1,),
    dtype: Iterable[str | None] = (None,),
    attention: Iterable[str | None] = (None,),
    threads: Iterable[int | None] = (None,),
    device: str | None = None,
) -> tuple[Cell, ...]:
    """Every combination, each once; `architectures` names the models, with None where nothing is known of one.

    An encoder makes no new tokens and has a cell for each length only. Raises UsageError where there is no cell, for
    counts below 1, and for lengths that are beyond a model's context.
    """
    axes: dict[str, tuple[Any, ...]] = {
        "models": tuple(architectures),
        "prompt_tokens": tuple(prompt_tokens),
        "new_tokens": tuple(new_tokens),
        "batch": tuple(batch),
        "dtype": tuple(dtype),
        "attention": tuple(attention),
        "threads": tuple(threads),
    }
    for name, values in axes.items():
        if not values:
            raise UsageError(f"{name} is empty, so there is no cell to measure; give at least one")
        counts = name in ("prompt_tokens", "new_tokens", "batch", "threads")
        for value in values if counts else ():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} holds {value!r}; expected whole numbers of at least 1")
    cells: dict[Cell, None] = {}
    for model, prompt, new, rows, number, looks, count in itertools.product(*axes.values()):
        architecture = architectures[model]
        kind = None if architecture is None else architecture.kind
        cell = Cell(
            model=model,
            prompt_tokens=prompt,
            new_tokens=None if kind == "encoder" else new,
            batch=rows,
            dtype=number,
            attention=looks,
            threads=count,
            device=device,
        )
        if architecture is not None:
            check_length(architecture, cell)
        cells[cell] = None
    return tuple(cells)


def check_length(architecture: Architecture, cell: Cell) -> None:
    """Raise UsageError when the model cannot look at that many positions."""
    positions = cell.prompt_tokens + (cell.new_tokens or 0 if architecture.kind == "decoder" else 0)
    if architecture.context is not None and positions > architecture.context:
        new = f" and {cell.new_tokens} new" if positions > cell.prompt_tokens else ""
        raise UsageError(
            f"{cell.prompt_tokens} prompt{new} tokens were asked for and {cell.model} has a context of"
            f" {architecture.context}; leave such lengths out"
        )
