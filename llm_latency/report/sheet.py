"""Sheet: everything a report says about a measurement, as raw text that each format escapes and lays out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from llm_latency.core.measurement import Measurement, sample_of
from llm_latency.core.stats import LEAST_FOR_INTERVAL
from llm_latency.core.trace import BESIDE, VIEW, Trace
from llm_latency.core.units import parse, show
from llm_latency.report.facts import machine, work
from llm_latency.report.rows import Row, default_metrics, make_rows
from llm_latency.report.ruling import Ruling, rule


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a report, top to bottom; `notes` are (label, text). Nothing here is escaped yet."""

    name: str
    work: tuple[str, ...]
    heads: Row
    rows: tuple[Row, ...]
    rulings: tuple[Ruling, ...]
    notes: tuple[tuple[str, str], ...]


def make_sheet(measurement: Measurement) -> Sheet:
    """Gather what a report says; nothing is computed that `core` has not defined."""
    rows = make_rows(measurement, default_metrics(measurement))
    return Sheet(
        name=measurement.name,
        work=work(measurement),
        heads=heads(measurement),
        rows=rows,
        rulings=tuple(rule(verdict) for verdict in measurement.verdicts),
        notes=_notes(measurement),
    )


def heads(measurement: Measurement) -> Row:
    """The columns' names."""
    center = "one call" if len(measurement.traces) == 1 else "median"
    return Row(metric="metric", center=center, interval="95 % interval", tail="tail", n="n")


def _notes(measurement: Measurement) -> tuple[tuple[str, str], ...]:
    notes = [("first call", _first_call(measurement.cold, measurement))] if measurement.cold else []
    notes.append(("calls", _calls(measurement)))
    if place := machine(measurement.environment):
        notes.append(("machine", ", ".join(place)))
    if words := "; ".join(_observer(measurement)):
        notes.append(("observer", words))
    described = measurement.workload.get("notes")
    notes += [("note", str(note)) for note in described] if isinstance(described, list | tuple) else []
    notes += [("warning", warning) for warning in dict.fromkeys(measurement.warnings)]
    return tuple(notes)


def _observer(measurement: Measurement) -> Iterator[str]:
    """What an emission cost more for being seen, and what the live view took, in and beside the calls."""
    if measurement.observer_ns is not None:
        yield f"{show(parse(f'{max(0, measurement.observer_ns)} ns', unit='s'), 's')} an emission"
    calls = [*((measurement.cold,) if measurement.cold else ()), *measurement.warmup, *measurement.traces]
    for kind, what in ((VIEW, "excluded"), (BESIDE, "beside the call, not excluded")):
        notes = [note for trace in calls for note in trace.annotations if note.kind == kind]
        count = sum(int(note.detail) for note in notes if note.detail.isdecimal())
        if count:
            spent = show(sum(note.duration_ns for note in notes) / 1e9, "s")
            yield f"live view {spent} in {count:,} update{'' if count == 1 else 's'}, {what}"


def _first_call(cold: Trace, measurement: Measurement) -> str:
    parts = []
    for name in ("ttft", "total"):
        values = sample_of((cold,), name, measurement.environment).values
        parts += [f"{name} {show(values[0], 's')}"] if len(values) == 1 else []
    return f"{', '.join(parts)} (kept apart)"


def _calls(measurement: Measurement) -> str:
    """How many calls there were and why no more."""
    n, warmup = len(measurement.traces), len(measurement.warmup)
    because = measurement.stopped_because
    parts = ["one call" if n == 1 else f"{n} counted"]
    if warmup:
        parts.append(f"after {warmup} warm-up call{'' if warmup == 1 else 's'}")
    words = " ".join(parts)
    if because != "one call":
        words += f"; {'stopped' if measurement.complete else 'PARTIAL'}: {because}"
    if n == 1:
        words += "; one call has no interval"
    elif n < LEAST_FOR_INTERVAL:
        words += f"; an interval needs {LEAST_FOR_INTERVAL} calls"
    return words
