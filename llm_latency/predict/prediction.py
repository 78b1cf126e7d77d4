"""Prediction: what a fit, or described hardware, says of an input that was not measured; not how fits are made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from llm_latency.core.cost import Architecture, Cost
from llm_latency.core.units import show
from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell, check_length
from llm_latency.predict.fit import RECURRENT, Fit, Group, Span, width_of
from llm_latency.predict.hardware import Hardware
from llm_latency.predict.phase import Phase, in_words

SCHEMA = 1
LEVEL = 0.95
# So far beyond what was fitted a prediction goes without being told to.
_REACH = 2.0
_UNITS = {"ttft": "s", "tpot": "s", "e2e": "s", "output_throughput": "tok/s"}
# Of its peaks a device reaches so much at least, where no measurement says more: the lower ends of what this project
# has measured are worse, so the interval of such a prediction is no bound on slow software.
_LEAST_REACHED = 0.3


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A predicted number in base units with its interval."""

    unit: str
    p50: float
    low: float
    high: float


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What is predicted for a cell. `terms` are seconds of prefill and decode by what takes them.

    `errors` are mean absolute relative errors of held-out points, by phase and by what was held out; empty for
    described hardware. `beyond` says where it goes beyond what was fitted.
    """

    cell: Cell
    setting: str
    metrics: dict[str, Value]
    terms: dict[str, dict[str, float]]
    sentence: str
    errors: dict[str, dict[str, float]]
    beyond: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def predict(found: Fit, architecture: Architecture, cell: Cell, *, extrapolate: bool = False) -> Prediction:
    """Predict a cell from the group of its setting.

    Raises UsageError for lengths beyond the model's context, where no group fits or several do, and beyond twice the
    fitted range unless `extrapolate`.
    """
    check_length(architecture, cell)
    group, other = _group(found, architecture, cell, extrapolate=extrapolate)
    beyond = [*other, *_beyond(group, architecture, cell)]
    if beyond and not extrapolate:
        raise UsageError(
            f"{'; '.join(beyond)}. A fit says little of what lies so far from its points: sweep nearer to it, or allow"
            " it with --extrapolate"
        )
    width = width_of(group.setting.dtype)
    tokens = _checked(cell, architecture, group)
    prefill = group.prefill.seconds(architecture.prefill(cell.prompt_tokens, batch=cell.batch, width=width))
    widths = [_half(group.prefill, len(beyond)), 0.0]
    decode: dict[str, float] = {}
    if group.step is not None and tokens > 1:
        steps = _steps(architecture, cell, tokens, width)
        # A term for each step's own cost; the costs are linear in the context, so that their sum says all.
        decode = group.step.seconds(steps) | (
            {"call": group.step.terms["call"] * (tokens - 1)} if "call" in group.step.terms else {}
        )
        widths[1] = _half(group.step, len(beyond))
    strange = architecture.name not in group.families
    return Prediction(
        cell=cell,
        setting=str(group.setting),
        metrics=_metrics(cell, tokens, _total(prefill), _total(decode), widths),
        terms={"prefill": prefill, "decode": decode} if decode else {"prefill": prefill},
        sentence=_sentence(prefill, decode),
        errors={"prefill": group.prefill.by} | ({"step": group.step.by} if group.step is not None and decode else {}),
        beyond=tuple(beyond),
        notes=(f"{architecture.name} is no family that was fitted on ({', '.join(group.families)})",)
        if strange
        else (),
    )


def predict_described(
    architecture: Architecture, cell: Cell, hardware: Hardware, *, reached: tuple[float | None, float | None]
) -> Prediction:
    """Predict a cell on described hardware by its roofline: the longer of computing and reading, and launches.

    `low` is at the peaks. `high` is at the shares of the peaks that were reached where the fit was measured (mfu, mbu),
    `p50` the geometric middle of the two: no measurement stands behind it. Raises UsageError as `predict` does.
    """
    check_length(architecture, cell)
    dtype = cell.dtype or next(iter(hardware.flops))
    peaks, width = hardware.peaks(dtype), width_of(dtype)
    tokens = _checked(cell, architecture, None)
    first = architecture.prefill(cell.prompt_tokens, batch=cell.batch, width=width)
    last = architecture.step(cell.prompt_tokens, index=max(1, tokens - 1), batch=cell.batch, width=width)
    needed = float(width * architecture.size + last.cache_bytes // 2)
    room = hardware.count * hardware.memory
    if needed > room:
        many = math.ceil(needed / hardware.memory)
        raise UsageError(
            f"{cell.model} in {dtype} needs {show(needed, 'B')} for weights and cache, and {show(room, 'B')} are there;"
            f" predict for {many} of them with {many}xNAME, or a narrower --dtype"
        )
    shares = tuple(_LEAST_REACHED if share is None else min(1.0, share) for share in reached)
    bounds = [
        (
            _roofline(cost, peaks.flops, peaks.bandwidth, hardware.launch_s),
            _roofline(cost, peaks.flops * shares[0], peaks.bandwidth * shares[1], hardware.launch_s),
        )
        for cost in (first, _mean_step(architecture, cell, tokens, width))
    ]
    fast, slow = (
        (
            dict(bounds[0][way]),
            {name: (tokens - 1) * value for name, value in bounds[1][way].items()} if tokens > 1 else {},
        )
        for way in (0, 1)
    )
    middles = [math.sqrt(_total(fast[index]) * _total(slow[index])) for index in (0, 1)]
    widths = [0.5 * math.log(_total(slow[i]) / _total(fast[i])) if _total(fast[i]) else 0.0 for i in (0, 1)]
    several = "" if hardware.count == 1 else f", {hardware.count} that share every layer without cost"
    speed = f"{peaks.flops / 1e12:,.1f} TFLOP/s {dtype}, {peaks.bandwidth / 1e9:,.0f} GB/s"
    return Prediction(
        cell=cell,
        setting=f"{hardware.source}{several}: {speed}",
        metrics=_metrics(cell, tokens, middles[0], middles[1], widths),
        terms={"prefill": fast[0], "decode": fast[1]} if fast[1] else {"prefill": fast[0]},
        sentence=_sentence(*fast),
        errors={},
        notes=(
            f"by the roofline, not measured: low is at the peaks, high at {shares[0]:.0%} of the FLOP/s and"
            f" {shares[1]:.0%} of the bytes/s, the shares "
            + ("reached where the fit was measured" if None not in reached else "taken where no fit says more"),
        ),
    )


def _roofline(cost: Cost, flops: float, bandwidth: float, launch_s: float) -> dict[str, float]:
    """Seconds of the slower of the two, by its name in the terms, and of launching."""
    computing, reading = cost.flops / flops, cost.bytes / bandwidth
    if computing >= reading:
        name, seconds = ("linear" if cost.linear_flops >= cost.mixing_flops else "mixing"), computing
    else:
        name, seconds = ("weights" if cost.weight_bytes >= cost.cache_bytes else "cache"), reading
    return {name: seconds} | ({"layers": launch_s * cost.layers} if launch_s else {})


def _steps(architecture: Architecture, cell: Cell, tokens: int, width: int) -> Cost:
    """All steps of a call together."""
    total = Cost()
    for index in range(1, tokens):
        total += architecture.step(cell.prompt_tokens, index=index, batch=cell.batch, width=width)
    return total


def _mean_step(architecture: Architecture, cell: Cell, tokens: int, width: int) -> Cost:
    return architecture.step(cell.prompt_tokens, index=max(1, tokens // 2), batch=cell.batch, width=width)


def _checked(cell: Cell, architecture: Architecture, group: Group | None) -> int:
    """New tokens that are predicted: none for an encoder."""
    if architecture.kind == "encoder":
        return 0
    if group is not None and group.step is None and (cell.new_tokens or 0) > 1:
        raise UsageError("the fit has no steps: its sweep had --new-tokens 1 only. Sweep with more")
    return cell.new_tokens or 1


def _group(found: Fit, architecture: Architecture, cell: Cell, *, extrapolate: bool) -> tuple[Group, list[str]]:
    """The group of a cell's setting, and in what its setting differs from what was asked."""
    loops = architecture.decoder is not None and architecture.decoder.loops
    nature = RECURRENT if loops else architecture.kind
    fitting = [group for group in found.groups if group.setting.nature == nature]
    known = "; ".join(str(group.setting) for group in found.groups)
    if not fitting:
        raise UsageError(f"{cell.model} is a {nature}, and the fit has none: {known}. Sweep one, and fit again")
    asked = {name: getattr(cell, name) for name in ("device", "dtype", "attention", "threads")}
    if nature == RECURRENT:
        asked["attention"] = None
    given = {name: value for name, value in asked.items() if value is not None}
    exact = [group for group in fitting if all(getattr(group.setting, name) == value for name, value in given.items())]
    if len(exact) == 1:
        return exact[0], []
    if len(exact) > 1:
        raise UsageError(f"several settings were fitted: {known}. Say which with --dtype, --attention or --threads")
    nearest = max(fitting, key=lambda group: sum(getattr(group.setting, n) == v for n, v in given.items()))
    differing = [
        f"{name} {value} was not measured ({getattr(nearest.setting, name)} was)"
        for name, value in given.items()
        if getattr(nearest.setting, name) != value
    ]
    if not extrapolate:
        raise UsageError(f"{'; '.join(differing)}. Fitted: {known}. Sweep it, or allow it with --extrapolate")
    return nearest, differing


def _beyond(group: Group, architecture: Architecture, cell: Cell) -> Iterable[str]:
    """Where a cell lies more than twice beyond the fitted points, in words."""
    asked: Mapping[str, tuple[str, int]] = {
        "prompt_tokens": ("prompt tokens", cell.prompt_tokens),
        "new_tokens": ("new tokens", cell.new_tokens or 0),
        "batch": ("rows", cell.batch),
        "weights": ("weights", architecture.size),
    }
    for name, (noun, value) in asked.items():
        span: Span = group.spans[name]
        if value and not span.least / _REACH <= value <= span.most * _REACH:
            # More tokens than were measured only lengthen the context, as a longer prompt does.
            context = cell.prompt_tokens + (cell.new_tokens or 0)
            if name == "new_tokens" and context <= _REACH * group.spans["prompt_tokens"].most:
                continue
            yield f"{value:,} {noun}, fitted on {span.least:,} to {span.most:,}"


def _half(phase: Phase, beyond: int) -> float:
    """Half width of a log interval: Student's t of the held-out errors, twice as wide for each step beyond."""
    from scipy.special import stdtrit  # type: ignore[import-untyped] # scipy has no types

    n = len(phase.errors)
    factor = float(stdtrit(max(1, n - 1), 0.5 + LEVEL / 2))
    return factor * phase.spread * math.sqrt(1 + 1 / n) * 2.0**beyond


def _total(terms: Mapping[str, float]) -> float:
    return math.fsum(terms.values())


def _metrics(cell: Cell, tokens: int, prefill: float, decode: float, widths: list[float]) -> dict[str, Value]:
    """The metrics by their names everywhere; an encoder has its e2e only."""
    ends = {way: (prefill * math.exp(way * widths[0]), decode * math.exp(way * widths[1])) for way in (-1, 0, 1)}
    whole = {way: first + rest for way, (first, rest) in ends.items()}
    found = {"e2e": whole}
    if tokens:
        found["ttft"] = {way: first for way, (first, _) in ends.items()}
        found["output_throughput"] = {way: cell.batch * tokens / whole[-way] for way in ends}
    if tokens > 1:
        found["tpot"] = {way: rest / (tokens - 1) for way, (_, rest) in ends.items()}
    return {
        name: Value(unit=unit, p50=found[name][0], low=found[name][-1], high=found[name][1])
        for name, unit in _UNITS.items()
        if name in found
    }


def _sentence(prefill: Mapping[str, float], decode: Mapping[str, float]) -> str:
    """What most of the time goes to: `decode takes 84 % of the time, 81 % of it reading weights`."""
    phases = {"prefill": prefill, "decode": decode}
    name = max(phases, key=lambda one: _total(phases[one]))
    whole, own = _total(prefill) + _total(decode), _total(phases[name])
    if not whole:
        return "nothing takes any time"
    what, seconds = next(iter(in_words(phases[name]).items()))
    return f"{name} takes {own / whole:.0%} of the time, {seconds / own:.0%} of it {what}"
