"""Why an assertion about a measurement failed, in words: n, intervals, and metrics without a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS
from llm_latency.core.reading import Reading
from llm_latency.core.units import Quantity
from llm_latency.errors import TooFewCallsError

_STATISTICS = ("p50", "max", "min", "p95", "p99", "p90", "p75", "p25", "p99_9", "low", "high")


def compared(op: str, left: object, right: object, measurements: Iterable[Measurement]) -> list[str] | None:
    """Lines for a failed `left op right`, or None where neither side was read off one of the measurements."""
    listed = list(measurements)
    found = [line for side in (left, right) if isinstance(side, Quantity) for line in _origin(side, listed)]
    return [f"{left!r} {op} {right!r}", *found] if found else None


def _origin(quantity: Quantity, measurements: list[Measurement]) -> Iterator[str]:
    """What a quantity was read off: the latest measurement first, in the table's order of metrics."""
    for measurement in reversed(measurements):
        for name, metric in METRICS.items():
            reading = measurement.reading(name)
            if metric.unit == quantity.unit and (statistic := _statistic(reading, quantity)):
                yield f"{quantity!r} is {name} {statistic} of {measurement.name}: {_interval(reading)}, n = {reading.n}"
                yield f"sampling ended with: {measurement.stopped_because}"
                return


def _statistic(reading: Reading, quantity: Quantity) -> str | None:
    for statistic in _STATISTICS:
        try:
            value = getattr(reading, statistic)
        except TooFewCallsError:
            continue
        if value is not None and float(value) == float(quantity):
            return statistic
    return None


def _interval(reading: Reading) -> str:
    summary = reading.summary
    if summary is None or summary.low is None:
        return f"median {reading.p50} ({', '.join(summary.warnings if summary else ())})"
    return f"median {reading.p50} in [{reading.low}, {reading.high}] at {summary.confidence:.0%} ({summary.assumption})"


def without_value(measurements: Iterable[Measurement]) -> Iterator[str]:
    """For each measurement the metrics that are None, and why."""
    for measurement in measurements:
        missing = [name for name in METRICS if not measurement.reading(name)]
        if missing:
            yield f"{measurement.name}: {', '.join(missing)} are None.\n{_why(measurement)}"


def _why(measurement: Measurement) -> str:
    requests = [request for trace in measurement.traces for request in trace.requests]
    kinds = sorted({request.kind for request in requests})
    notes = sorted({note for request in requests for note in request.notes})
    seen = f"Requests seen in its calls: {', '.join(kinds) or 'none'}"
    if kinds == ["call"]:
        seen += (
            ", the call as a whole: neither transformers nor a token stream was seen inside of it, so it has a total"
            " and no tokens. Let the callable be a generator, or pass its stream through llm_latency.stream(...)"
        )
    elif not any(request.emissions for request in requests):
        seen += "; none of them produced tokens one after the other"
    elif not measurement.reading("tpot"):
        seen += "; tpot needs at least two new tokens"
    return ". ".join((seen, *notes))
