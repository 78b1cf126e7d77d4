"""A measurement as a pandas DataFrame: a row a call, an emission or a metric; no statistics of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS, gaps
from llm_latency.core.stats import per_call
from llm_latency.core.trace import Trace
from llm_latency.errors import UsageError
from llm_latency.report.installed import library


def to_frame(measurement: Measurement, rows: str = "calls") -> Any:
    """Make a DataFrame of counted calls; values in base units, named by column in `frame.attrs["units"]`.

    - "calls": a row a call, indexed by its place in `measurement.traces`; a column for each metric that has a value.
      Where a call has several, such as itl, or ttft of several requests, their median; NaN where it has none.
    - "emissions": a row an emission, with `call` and `request` and `emission` counted from 0, `at_s` seconds since the
      call began, `gap_s` seconds since the request's emission before (NaN for the first), both without the pauses,
      and `tokens`, the new positions, which the rows of a batch share.
    - "metrics": a row a metric, as the JSON has them; `frame.attrs["units"]` then goes by metric.

    Raises UsageError for other rows, and where pandas is not installed.
    """
    if rows not in _ROWS:
        raise UsageError(f"there are no rows {rows!r}; known: {', '.join(_ROWS)}")
    return _ROWS[rows](measurement, library("pandas", asked="to_frame()"))


def _calls(measurement: Measurement, pandas: Any) -> Any:
    traces = measurement.traces
    columns = {}
    for name in METRICS:
        sample = measurement.sample(name)
        if sample.values:
            found = dict(zip(dict.fromkeys(sample.calls), per_call(sample, 0.5), strict=True))
            columns[name] = [found.get(call, float("nan")) for call in range(len(traces))]
    frame = pandas.DataFrame(columns, index=pandas.RangeIndex(len(traces), name="call"))
    frame.attrs["units"] = {name: METRICS[name].unit for name in columns}
    return frame


def _emissions(measurement: Measurement, pandas: Any) -> Any:
    kinds = {"call": "int64", "request": "int64", "emission": "int64"}
    kinds |= {"at_s": "float64", "gap_s": "float64", "tokens": "int64"}
    found = [(call, *row) for call, trace in enumerate(measurement.traces) for row in _instants(trace)]
    frame = pandas.DataFrame(found, columns=list(kinds)).astype(kinds)
    frame.attrs["units"] = {"at_s": "s", "gap_s": "s", "tokens": "tok"}
    return frame


def _instants(trace: Trace) -> Iterator[tuple[int, int, float, float, int]]:
    between = gaps(trace)
    for index, request in enumerate(trace.requests):
        for count, (instant_ns, positions) in enumerate(request.instants):
            gap = next(between)[0] if count else float("nan")
            yield index, count, trace.elapsed_ns(trace.start_ns, instant_ns) / 1e9, gap, positions


def _metrics(measurement: Measurement, pandas: Any) -> Any:
    found = {name: msgspec.structs.asdict(row) for name, row in measurement.derived().items()}
    for row in found.values():
        row["warnings"] = "; ".join(row["warnings"])
    frame = pandas.DataFrame(found.values(), index=pandas.Index(found, name="metric"))
    numbers = ["p50", "low", "high", "confidence", "max"]
    frame[numbers] = frame[numbers].astype("float64")
    frame.attrs["units"] = {name: row["unit"] for name, row in found.items()}
    return frame


_ROWS: Mapping[str, Callable[[Measurement, Any], Any]] = {
    "calls": _calls,
    "emissions": _emissions,
    "metrics": _metrics,
}
