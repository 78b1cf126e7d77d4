"""Listing: several measurements, a line each, as cells that each format lays out; not one measurement's table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llm_latency.core.measurement import Measurement
from llm_latency.core.units import show
from llm_latency.report.ruling import rule

_SHOWN = ("ttft", "tpot", "e2e", "total")
HEADS = ("name", "calls", *_SHOWN, "verdicts")


def listed(measurements: Iterable[Measurement]) -> tuple[tuple[str, ...], ...]:
    """A line for each measurement, below HEADS: its calls, medians and verdicts; empty where there is none."""
    return (HEADS, *(tuple(_line(measurement)) for measurement in measurements))


def filled(lines: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The lines, heads first, without the columns that no line fills."""
    kept = [index for index in range(len(lines[0])) if any(line[index] for line in lines[1:])]
    return tuple(tuple(line[index] for index in kept) for line in lines)


def _line(measurement: Measurement) -> Iterator[str]:
    yield measurement.name
    yield f"{len(measurement.traces):,}{'' if measurement.complete else ' (partial)'}"
    for name in _SHOWN:
        reading = measurement.reading(name)
        yield show(reading.summary.center, reading.metric.unit) if reading.summary else ""
    yield ", ".join(rule(verdict).word for verdict in measurement.verdicts)
