"""sweep(): a grid of cells measured in rounds, in random order, resumable; not one cell's run, nor its fit."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import nullcontext
from itertools import chain
from typing import Any, ClassVar, Protocol

import msgspec

from llm_latency.core.cost import Architecture
from llm_latency.core.measurement import Measurement
from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell, grid
from llm_latency.predict.folder import Folder, check_same_machine, is_given_up
from llm_latency.predict.run import Loader, Outcome, run_cell
from llm_latency.workloads.described import architecture_of

ROUNDS, REPEAT = 3, 2


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sweep stands, told before each turn and at the end; `left_s` is None until a turn has ended."""

    done: int
    of: int
    cell: Cell | None
    turn: int
    left_s: float | None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with all its counted calls, or the problem that it had and its words."""

    cell: Cell
    measurement: Measurement | None
    problem: str | None = None
    words: str = ""


class Presenter(Protocol):
    """How a sweep is shown; the report puts one in, since this room knows no format, frame or plot."""

    def text(self, sweep: Sweep) -> str:
        """Write it as plain text."""
        ...

    def frame(self, sweep: Sweep) -> Any:
        """Make a pandas DataFrame of it."""
        ...

    def plot(self, sweep: Sweep, kind: str) -> Any:
        """Draw it with matplotlib."""
        ...


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep has found, a point for each cell in the grid's order."""

    presenter: ClassVar[Presenter | None] = None

    points: tuple[Point, ...]

    @property
    def measured(self) -> tuple[tuple[Cell, Measurement], ...]:
        """The cells that have numbers."""
        return tuple((point.cell, point.measurement) for point in self.points if point.measurement is not None)

    def __str__(self) -> str:
        return repr(self) if self.presenter is None else self.presenter.text(self)

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))  # IPython's text

    def to_frame(self) -> Any:
        """Make a pandas DataFrame with a row a cell, in base units; raises UsageError without pandas."""
        return self._presenter("to_frame()").frame(self)

    def plot(self, kind: str = "length") -> Any:
        """Draw with matplotlib and return the Figure: times by "length", or the throughput's "frontier".

        Raises UsageError for another kind, where there is nothing to draw and without matplotlib.
        """
        return self._presenter("plot()").plot(self, kind)

    def _presenter(self, asked: str) -> Presenter:
        if self.presenter is None:
            raise UsageError(f"{asked} needs the report, which is not loaded; `from llm_latency import sweep` loads it")
        return self.presenter


def sweep(
    models: str | Iterable[str],
    *,
    prompt_tokens: Iterable[int] = (16, 64, 256),
    new_tokens: Iterable[int] = (32,),
    batch: Iterable[int] = (1,),
    dtype: Iterable[str | None] = (None,),
    attention: Iterable[str | None] = (None,),
    threads: Iterable[int | None] = (None,),
    device: str | None = None,
    rounds: int = ROUNDS,
    repeat: int = REPEAT,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[Step], None] | None = None,
) -> Sweep:
    """Measure every combination of models, lengths and settings, and return a point for each.

    The cells are measured in `rounds`, each time in another random order and `repeat` calls at a time, so that a slow
    minute of the machine is not one cell's. With `out` every turn is a line in that folder when it has ended, and a
    sweep that was stopped goes on where it was. Cells that run out of memory or fail are kept as such and left out of
    later rounds. `executor` runs cells elsewhere: any of `concurrent.futures`, or Dask's `client.get_executor()`.

    Raises UsageError for a grid without cells, lengths beyond a model's context and a folder that another machine
    began, TargetError for a model that is not there.
    """
    names = (models,) if isinstance(models, str) else tuple(models)
    cells = grid(
        {name: _known(name) for name in names},
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        batch=batch,
        dtype=dtype,
        attention=attention,
        threads=threads,
        device=device,
    )
    with tempfile.TemporaryDirectory() if out is None else nullcontext(out) as path:
        return run_sweep(
            cells, Folder(path), rounds=rounds, repeat=repeat, seed=seed, executor=executor, on_progress=on_progress
        )


def _known(model: str) -> Architecture | None:
    """What a model's config tells; None for an architecture whose costs are not known, which can be measured still."""
    try:
        return architecture_of(model)
    except UsageError:
        return None


def run_sweep(
    cells: Sequence[Cell],
    folder: Folder,
    *,
    rounds: int = ROUNDS,
    repeat: int = REPEAT,
    seed: int = 0,
    executor: Executor | None = None,
    shelf: Loader | None = None,
    on_progress: Callable[[Step], None] | None = None,
) -> Sweep:
    """Run what of the cells' turns the folder does not hold yet; an interrupt leaves it as far as it came."""
    for name, count in (("rounds", rounds), ("repeat", repeat)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UsageError(f"{name}={count!r}; expected a whole number of at least 1")
    folder.prepare()
    state = _State(cells, folder, rounds=rounds, on_progress=on_progress)
    for turn in range(rounds):
        order = list(cells)
        random.Random(f"{seed}/{turn}").shuffle(order)
        due = [cell for cell in order if state.is_due(cell, turn)]
        if executor is not None:
            _submit(executor, due, turn, repeat, state)
            continue
        for cell in due:
            state.tell(cell, turn)
            with folder.running([(cell, turn)]):
                outcome = run_cell(cell, turn=turn, repeat=repeat, shelf=shelf)
            state.add(outcome)
    state.tell(None, rounds)
    return Sweep(points=tuple(merged(cells, state.outcomes)))


def _submit(executor: Executor, due: Sequence[Cell], turn: int, repeat: int, state: _State) -> None:
    """One round through an executor; whatever has not begun is called off when something goes wrong here."""
    futures: dict[Future[Outcome], Cell] = {}
    try:
        with state.folder.running([(cell, turn) for cell in due]):
            for cell in due:
                futures[executor.submit(run_cell, cell, turn=turn, repeat=repeat)] = cell
            for future in as_completed(futures):
                cell = futures[future]
                state.tell(cell, turn)
                state.add(future.result())
    finally:
        for future in futures:
            future.cancel()


class _State:
    """What has been measured, and what is left."""

    def __init__(
        self, cells: Sequence[Cell], folder: Folder, *, rounds: int, on_progress: Callable[[Step], None] | None
    ) -> None:
        self.cells, self.folder, self.rounds = cells, folder, rounds
        folder.lost()
        self.outcomes = list(folder.outcomes())
        self._begun = len(self.outcomes)
        self._on_progress = on_progress

    def is_due(self, cell: Cell, turn: int) -> bool:
        """Whether this turn of the cell is missing and can be had."""
        own = [outcome for outcome in self.outcomes if outcome.cell == cell]
        has = any(outcome.turn == turn and outcome.problem is None for outcome in own)
        return not has and not is_given_up(cell, own)

    def add(self, outcome: Outcome) -> None:
        """Keep a turn that has ended; the first of this run must be from where the others are."""
        if outcome.problem is None and len(self.outcomes) == self._begun:
            measurement = outcome.measured()
            assert measurement is not None
            check_same_machine(self.outcomes, measurement)
        self.folder.add(outcome)
        self.outcomes.append(outcome)

    def tell(self, cell: Cell | None, turn: int) -> None:
        """Say what is next, and how long the rest takes by what the cells took so far."""
        if self._on_progress is None:
            return
        left = [(one, turn) for one in self.cells for turn in range(self.rounds) if self.is_due(one, turn)]
        of = len(left) + sum(outcome.cell in set(self.cells) for outcome in self.outcomes)
        self._on_progress(
            Step(done=of - len(left), of=of, cell=cell, turn=turn, left_s=self._expected([one for one, _ in left]))
        )

    def _expected(self, left: Sequence[Cell]) -> float | None:
        took: dict[Cell, list[float]] = {}
        for outcome in self.outcomes:
            if outcome.problem is None:
                took.setdefault(outcome.cell, []).append(outcome.seconds)
        if not took:
            return None
        means = {cell: sum(seconds) / len(seconds) for cell, seconds in took.items()}
        # A cell that has not run yet takes what a token took elsewhere.
        rate = sum(means.values()) / sum(map(_tokens, means))
        return sum(means.get(cell, rate * _tokens(cell)) for cell in left)


def _tokens(cell: Cell) -> float:
    """Roughly what a call takes: a step for each new token, and a prompt that is read some twenty times as fast."""
    return (cell.new_tokens or 0) + cell.prompt_tokens * cell.batch / 20


def merged(cells: Iterable[Cell], outcomes: Sequence[Outcome]) -> Iterator[Point]:
    """A point for each cell: the counted calls of all its turns, one after the other."""
    for cell in cells:
        own = [outcome for outcome in outcomes if outcome.cell == cell]
        found = [measurement for outcome in own if (measurement := outcome.measured()) is not None]
        problem = next((outcome for outcome in own if outcome.problem is not None), None)
        if problem is not None and not found:
            yield Point(cell=cell, measurement=None, problem=problem.problem, words=problem.words)
        elif found:
            yield Point(cell=cell, measurement=_joined(found))
        else:
            yield Point(cell=cell, measurement=None, problem="not measured")


def _joined(found: Sequence[Measurement]) -> Measurement:
    first, traces = found[0], tuple(chain.from_iterable(one.traces for one in found))
    turns = f"{len(found)} turn{'' if len(found) == 1 else 's'}"
    return msgspec.structs.replace(
        first,
        traces=traces,
        warmup=tuple(chain(first.warmup, *(one.warmup for one in found[1:]))),
        warnings=tuple(dict.fromkeys(chain.from_iterable(one.warnings for one in found))),
        stopped_because=f"{len(traces)} calls in {turns}",
    )


def read_sweep(path: str | os.PathLike[str]) -> Sweep:
    """What a folder holds so far. Raises MeasurementFileError where no sweep has written there."""
    outcomes = Folder(path).outcomes()
    cells = sorted({outcome.cell for outcome in outcomes}, key=lambda cell: (cell.model, *_order(cell)))
    return Sweep(points=tuple(merged(cells, outcomes)))


def _order(cell: Cell) -> tuple[object, ...]:
    words = tuple(word or "" for word in (cell.dtype, cell.attention, cell.device))
    return (*words, cell.threads or 0, cell.batch, cell.prompt_tokens, cell.new_tokens or 0)
