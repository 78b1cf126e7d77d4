"""The rows of the table: which metrics say something about a measurement, and each as text; not the layout."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from llm_latency.core.doubts import is_contended
from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS, Metric
from llm_latency.core.reading import Reading
from llm_latency.core.stats import supported
from llm_latency.core.units import show

_PHASES = ("load", "tokenize", "prefill", "decode", "detokenize")
_ALWAYS = ("peak_memory", "energy")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One metric as text: its median, that median's interval, the unwelcome end of its values and their number.

    `interval` and `tail` are empty where the sample holds none.
    """

    metric: str
    center: str
    interval: str
    tail: str
    n: str


def grid(heads: Row, rows: tuple[Row, ...]) -> tuple[tuple[str, ...], ...]:
    """Head and rows as cells, without the columns that no row fills; empty without rows."""
    cells = [(row.metric, row.center, row.interval, row.tail, row.n) for row in (heads, *rows)]
    filled = [index for index in range(len(cells[0])) if any(line[index] for line in cells[1:])]
    return tuple(tuple(line[index] for index in filled) for line in cells) if rows else ()


def default_metrics(measurement: Measurement) -> tuple[str, ...]:
    """Metrics that say something about this kind of work, in the order of the table; the JSON has them all.

    Left out is what another row says already: `prefill` of one request is its ttft, `ntpot` and the like restate
    tpot. A metric that a budget names is always in.
    """
    requests = [request for trace in measurement.traces for request in trace.requests]
    emits = any(request.emissions for request in requests)
    chosen = set(_ALWAYS) | {"total"} | {verdict.metric for verdict in measurement.verdicts}
    if emits:
        chosen |= {"ttft", "tpot", "itl", "e2e", "output_throughput", "energy_per_token", "mfu", "mbu"}
    elif any(request.kind != "call" for request in requests):
        chosen |= {"e2e", "input_throughput", "request_throughput", "mfu"}
    if emits and is_contended(measurement.traces):
        chosen |= {"ttft_own", "tpot_own", "e2e_own"}
    if any(positions > 1 for request in requests for _, positions in request.emissions):
        chosen.add("itl_per_token")
    has_phases = any(phase.name in _PHASES for trace in measurement.traces for phase in trace.phases)
    if has_phases or any(len(trace.requests) > 1 for trace in measurement.traces):
        chosen |= set(_PHASES)
    return tuple(name for name in METRICS if name in chosen)


def make_rows(measurement: Measurement, names: Iterable[str]) -> tuple[Row, ...]:
    """One row for each named metric that has a value."""
    readings = [measurement.reading(name) for name in names]
    return tuple(_row(reading, measurement) for reading in readings if reading)


def _row(reading: Reading, measurement: Measurement) -> Row:
    summary, metric = reading.summary, reading.metric
    assert summary is not None
    center = show(summary.center, metric.unit)
    one_call_of_many = len(measurement.traces) == 1 and reading.n > 1
    return Row(
        metric=_label(metric, measurement),
        center=f"p50 {center}" if one_call_of_many else center,
        interval=_interval(summary.low, summary.high, metric.unit),
        tail=_tail(reading),
        n=f"{reading.n:,}",
    )


def _label(metric: Metric, measurement: Measurement) -> str:
    """The metric's name; for memory with what was counted, since a process's RSS is not an allocator's peak."""
    peaks = next((trace.peak_bytes for trace in measurement.traces if trace.peak_bytes), None)
    if metric.name != "peak_memory" or not peaks:
        return metric.name
    return f"{metric.name} ({'allocated' if 'allocated' in peaks else 'rss'})"


def _interval(low: float | None, high: float | None, unit: str) -> str:
    """Both ends, with their unit once where it is the same."""
    if low is None or high is None:
        return ""
    first, last = show(low, unit), show(high, unit)
    number, _, name = first.partition(" ")
    return f"{number} – {last}" if last.endswith(f" {name}") else f"{first} – {last}"


def _tail(reading: Reading) -> str:
    """The slow end: p95 (p5 of a rate) where the sample holds it, else the extreme; empty for a single value."""
    if reading.n == 1:
        return ""
    lower_is_better = reading.metric.better == "lower"
    percent = 95 if lower_is_better else 5
    if supported(percent / 100, reading.n):
        return f"p{percent} {reading.percentile(percent)}"
    return f"max {reading.max}" if lower_is_better else f"min {reading.min}"
