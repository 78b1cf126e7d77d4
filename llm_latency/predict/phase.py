"""Phase: seconds as a sum of non-negative terms of what a phase computes and reads, fitted to measured points."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import msgspec

from llm_latency.core.cost import Cost
from llm_latency.errors import UsageError

# A term's name, what a reader calls it, and its amount in a cost. Each has a coefficient in seconds a unit.
TERMS: Mapping[str, tuple[str, Callable[[Cost], float]]] = {
    "call": ("the call itself", lambda cost: 1.0),
    "layers": ("launching layers", lambda cost: float(cost.layers)),
    "linear": ("multiplying by weights", lambda cost: float(cost.linear_flops)),
    "mixing": ("attention's products", lambda cost: float(cost.mixing_flops)),
    "weights": ("reading weights", lambda cost: float(cost.weight_bytes)),
    "rows": ("reading weights", lambda cost: float(cost.weight_rows)),
    "cache": ("reading the cache", lambda cost: float(cost.cache_bytes)),
    "loops": ("the recurrence's turns", lambda cost: float(cost.loops)),
}
# Terms that are one number for each model: as many models tell as many apart, and these are taken first. Of one model
# they all say the same.
_OF_MODELS = ("weights", "rows", "layers", "call")
# A prefill writes its cache beside products that take far longer; in a step, attention's products are a read of it.
# The order counts where two terms cannot be told apart: a row's step multiplies by each weight once, and reads it.
PREFILL = ("call", "layers", "linear", "mixing", "weights", "loops")
STEP = ("call", "layers", "weights", "cache", "linear", "loops")
# A core reads a matrix row by row and starts anew with each, which short rows show; a GPU's many readers do not.
STEP_ON_CPU = ("rows", *STEP)
LEAST_POINTS = 3


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A measured point: what was computed, in how many seconds; by `length` and `model` it is held out."""

    cost: Cost
    seconds: float
    length: int
    model: str


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fitted phase. `terms` are seconds a unit of each term that takes part.

    `errors` are relative errors (predicted/measured − 1) of points that were held out with all of their prompt length,
    or of their model where there are several; `by` has their mean absolute value by what was held out.
    """

    terms: dict[str, float]
    n: int
    errors: tuple[float, ...]
    by: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest error by size."""
        return max(map(abs, self.errors))

    @property
    def spread(self) -> float:
        """Root mean square of the errors' logarithms."""
        logs = [math.log1p(max(-0.99, error)) for error in self.errors]
        return math.sqrt(math.fsum(log * log for log in logs) / len(logs))

    def seconds(self, cost: Cost) -> dict[str, float]:
        """Seconds of each term."""
        return {name: rate * TERMS[name][1](cost) for name, rate in self.terms.items()}


def in_words(terms: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each term as seconds of what a reader calls them, the longest first."""
    found: dict[str, float] = {}
    for name, seconds in terms.items():
        found[TERMS[name][0]] = found.get(TERMS[name][0], 0.0) + seconds
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def fit_phase(points: Sequence[Observed], *, name: str, terms: Sequence[str]) -> Phase:
    """Fit some of TERMS by non-negative least squares on relative residuals; hold each length and model out in turn.

    Raises UsageError for fewer than three points or lengths, and for times that are no positive finite numbers.
    """
    for point in points:
        if not (math.isfinite(point.seconds) and point.seconds > 0):
            raise UsageError(
                f"{name} of {point.model} at {point.length} tokens took {point.seconds!r} s; expected a finite time of"
                " more than 0. Measure that cell again"
            )
    lengths = len({point.length for point in points})
    if len(points) < LEAST_POINTS or lengths < LEAST_POINTS:
        raise UsageError(
            f"{name} has {len(points)} point{'' if len(points) == 1 else 's'} of {lengths} prompt"
            f" length{'' if lengths == 1 else 's'}, and a fit needs at least {LEAST_POINTS} lengths: sweep more"
            " --prompt-tokens"
        )
    by = {"length": _held_out(points, terms, lambda point: point.length)}
    if len({point.model for point in points}) > 2:  # of two, one alone says nothing of the other
        by["model"] = _held_out(points, terms, lambda point: point.model)
    widest = max(by.values(), key=lambda errors: math.fsum(map(abs, errors)) / len(errors))
    return Phase(
        terms=_solved(points, terms),
        n=len(points),
        errors=tuple(round(error, 6) for error in widest),
        by={held: math.fsum(map(abs, errors)) / len(errors) for held, errors in by.items()},
    )


def _held_out(points: Sequence[Observed], names: Sequence[str], part: Callable[[Observed], Hashable]) -> list[float]:
    """Relative errors of each part's points in a fit of all others."""
    errors = []
    for held in {part(point): None for point in points}:
        terms = _solved([point for point in points if part(point) != held], names)
        for point in points:
            if part(point) == held:
                found = math.fsum(rate * TERMS[term][1](point.cost) for term, rate in terms.items())
                errors.append(found / point.seconds - 1)
    return errors


def _solved(points: Sequence[Observed], names: Sequence[str]) -> dict[str, float]:
    """Coefficients of the terms that take part; a term that says no more than one before it does not."""
    import numpy as np
    from scipy.optimize import nnls  # type: ignore[import-untyped] # scipy has no types

    models = len({point.model for point in points})
    told_apart = ["call"] if models == 1 else [name for name in _OF_MODELS if name in names][:models]
    seconds = np.array([point.seconds for point in points])
    columns: dict[str, Any] = {}
    for name in names:
        if name in _OF_MODELS and name not in told_apart:
            continue
        column: Any = np.array([TERMS[name][1](point.cost) for point in points])
        scale = float(np.max(np.abs(column)))
        if scale > 0 and not any(_is_multiple(column, other) for other in columns.values()):
            columns[name] = column
    # Scaled to the largest, since FLOPs are 10¹² times a constant; divided by the times, so that points count alike.
    scales = {name: float(np.max(column)) for name, column in columns.items()}
    table = np.stack([columns[name] / scales[name] / seconds for name in columns], axis=1)
    found, _ = nnls(table, np.ones(len(points)))
    least = 1e-6 * float(np.max(found))  # the rest of rounding
    return {name: float(value) / scales[name] for name, value in zip(columns, found, strict=True) if value > least}


def _is_multiple(column: Sequence[float], other: Sequence[float]) -> bool:
    ratios = [one / two for one, two in zip(column, other, strict=True) if two]
    return len(ratios) == len(column) and max(ratios) - min(ratios) <= 1e-9 * abs(max(ratios))
