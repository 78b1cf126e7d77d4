"""A sweep as a table, as records, as a frame: a line a cell; not how its plots look."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from llm_latency.core.metrics import METRICS
from llm_latency.core.units import show
from llm_latency.predict.sweep import Point, Sweep
from llm_latency.report.installed import library
from llm_latency.report.listing import filled
from llm_latency.report.text import LEAST_WIDTH, aligned, joined, wrapped

SCHEMA = 1
_TABLE = ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")
_RECORDED = (*_TABLE, "ttft_own", "tpot_own", "e2e_own", "mfu", "mbu", "energy_per_token")
_AXES = ("model", "prompt_tokens", "new_tokens", "batch", "dtype", "attention", "threads", "device")
_HEADS = ("model", "prompt", "new", "batch", "dtype", "attention", "threads", "device")
_NUMBERS = ("p50", "low", "high")


def sweep_table(found: Sweep, *, width: int = 100) -> str:
    """Write a line a cell with the medians, then what could not be measured; no final line break."""
    width = max(width, LEAST_WIDTH)
    measured = [point for point in found.points if point.measurement is not None]
    missing = [point for point in found.points if point.measurement is None]
    cells = f"{len(found.points)} cell{'' if len(found.points) == 1 else 's'}"
    blocks = [joined(("sweep", cells, f"{len(measured)} measured"), width)]
    if measured:
        varied = [axis for axis in _AXES if axis in _AXES[:4] or len({_axis(p, axis) for p in found.points}) > 1]
        heads = [_HEADS[_AXES.index(axis)] for axis in varied]
        lines = [(*(_axis(point, axis) for axis in varied), *_medians(point)) for point in measured]
        names = [name.replace("output_throughput", "output rate").replace("_", " ") for name in _TABLE]
        table = filled([(*heads, "calls", *names), *lines])
        blocks.append(aligned(table, words=[0, *(i for i, head in enumerate(table[0]) if head in _HEADS[4:6])]))
    blocks.append(
        [
            line
            for point in missing
            for line in wrapped(f"{point.problem}: {point.cell.key}{f': {point.words}' if point.words else ''}", width)
        ]
    )
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _axis(point: Point, axis: str) -> str:
    value = getattr(point.cell, axis)
    return "" if value is None else str(value)


def _medians(point: Point) -> Iterator[str]:
    measurement = point.measurement
    assert measurement is not None
    yield str(len(measurement.traces))
    for name in _TABLE:
        reading = measurement.reading(name)
        yield "" if reading.summary is None else show(reading.summary.center, reading.metric.unit)


def records(found: Sweep) -> list[dict[str, Any]]:
    """A flat record a cell in base units: the cell, `calls`, `problem`, and each metric's p50, low and high.

    A metric without a value, and an end that the sample does not hold, is None.
    """
    return [_record(point) for point in found.points]


def _record(point: Point) -> dict[str, Any]:
    record: dict[str, Any] = {axis: getattr(point.cell, axis) for axis in _AXES}
    measurement = point.measurement
    record |= {"calls": 0 if measurement is None else len(measurement.traces), "problem": point.problem}
    for name in _RECORDED:
        summary = None if measurement is None else measurement.reading(name).summary
        values = (None, None, None) if summary is None else (summary.center, summary.low, summary.high)
        record |= {f"{name}_{number}": value for number, value in zip(_NUMBERS, values, strict=True)}
    return record


def units() -> dict[str, str]:
    """The unit of each column of a record that has one."""
    return {f"{name}_{number}": METRICS[name].unit for name in _RECORDED for number in _NUMBERS}


def sweep_csv(found: Sweep) -> bytes:
    """The records as CSV; what is not known is empty."""
    return _csv(records(found))


def _csv(lines: Sequence[dict[str, Any]]) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, fieldnames=list(lines[0]) if lines else list(_AXES), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return written.getvalue().encode("utf-8")


def sweep_frame(found: Sweep) -> Any:
    """The records as a DataFrame, with `frame.attrs["units"]` by column; raises UsageError without pandas."""
    frame = library("pandas", asked="to_frame()").DataFrame(records(found))
    frame.attrs["units"] = units()
    return frame
