"""A sweep drawn with matplotlib: time against length, and throughput against batch with its frontier."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.core.units import SCALES, show
from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.sweep import Sweep
from llm_latency.report.escape import plain
from llm_latency.report.installed import library
from llm_latency.report.svg import TEXT_COLOUR

# Okabe and Ito's palette for colour-blind readers, in tones that light and dark backgrounds both show.
_TONES = ("#c0651a", "#2b7cb5", "#3f8560", "#a2609b", "#8a7a1f", "#7a7a7a")
_MARKS = "osD^vP"


def sweep_plot(found: Sweep, kind: str = "length", *, figure: Any = None) -> Any:
    """Draw and return the matplotlib Figure; with `figure` there, and pyplot is not asked.

    - "length": ttft and tpot against the prompt's length, a line for each model, batch and setting, with intervals.
    - "frontier": output throughput against batch, and against tpot, where what no other of its model beats in both
      is joined.

    Raises UsageError for another kind, where there is nothing to draw, and where matplotlib is not installed.
    """
    if kind not in _KINDS:
        raise UsageError(f"there is no plot {kind!r} of a sweep; known: {', '.join(_KINDS)}")
    points = [(cell, measured) for cell, measured in found.measured if measured.reading("ttft").summary is not None]
    if not points:
        raise UsageError("the sweep has no cell with a first token, so there is nothing to draw")
    if figure is None:
        figure = library("matplotlib.figure", asked="plot()").Figure(figsize=(9.6, 4.2), layout="constrained")
        # A cell that ends with it shows it, whatever matplotlib's backend, and a saved notebook keeps it.
        figure._repr_png_ = partial(_written, figure, "png")
    axes = figure.subplots(1, 2)
    for ax in axes:
        ax.tick_params(which="both", colors=TEXT_COLOUR)
        ax.grid(color=TEXT_COLOUR, alpha=0.25, linewidth=0.8)
        for side, spine in ax.spines.items():
            spine.set_color(TEXT_COLOUR)
            spine.set_visible(side not in ("top", "right"))
    _KINDS[kind](points, axes)
    labels = axes[0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=2, fontsize="small", frameon=False, labelcolor=TEXT_COLOUR)
    return figure


def picture(found: Sweep, kind: str) -> bytes:
    """The plot as an SVG file."""
    return _written(sweep_plot(found, kind), "svg")


def _written(figure: Any, kind: str) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format=kind)
    return written.getvalue()


Points = Sequence[tuple[Cell, Measurement]]


def _lines(points: Points, *, without: str) -> dict[str, list[tuple[Cell, Measurement]]]:
    """Cells that differ in `without` only, by what they have in common; settings that all share go unsaid."""
    shared = {axis for axis in Cell.__struct_fields__ if len({getattr(cell, axis) for cell, _ in points}) == 1}
    found: dict[str, list[tuple[Cell, Measurement]]] = {}
    for cell, measurement in points:
        found.setdefault(_name(cell, {without, *(shared - {"model"})}), []).append((cell, measurement))
    for line in found.values():
        line.sort(key=lambda point: getattr(point[0], without))
    return found


def _name(cell: Cell, unsaid: set[str]) -> str:
    words = {
        "model": cell.model.removeprefix("shape:"),
        "prompt_tokens": f"{cell.prompt_tokens} prompt tokens",
        "new_tokens": f"{cell.new_tokens} new",
        "batch": f"batch {cell.batch}",
        "dtype": cell.dtype,
        "attention": cell.attention,
        "threads": f"{cell.threads} threads",
        "device": cell.device,
    }
    return ", ".join(
        str(word) for axis, word in words.items() if axis not in unsaid and getattr(cell, axis) is not None
    )


def _length(points: Points, axes: Sequence[Any]) -> None:
    for ax, metric in zip(axes, ("ttft", "tpot"), strict=True):
        largest = max((_center(m, metric) or 0.0 for _, m in points), default=0.0)
        unit = show(largest, "s").rpartition(" ")[2]
        scale = SCALES["s"][unit]
        for index, (name, line) in enumerate(_lines(points, without="prompt_tokens").items()):
            drawn = [(cell, m.reading(metric).summary) for cell, m in line]
            xs = [cell.prompt_tokens for cell, summary in drawn if summary is not None]
            ys = [summary.center / scale for _, summary in drawn if summary is not None]
            lows = [(s.center - (s.center if s.low is None else s.low)) / scale for _, s in drawn if s is not None]
            highs = [((s.center if s.high is None else s.high) - s.center) / scale for _, s in drawn if s is not None]
            ax.errorbar(
                xs,
                ys,
                yerr=(lows, highs),
                label=_said(name),
                color=_TONES[index % 6],
                marker=_MARKS[index % 6],
                capsize=3,
            )
        ax.set_xscale("log", base=2)
        lengths = sorted({cell.prompt_tokens for cell, _ in points})
        ax.set_xticks(lengths, [str(length) for length in lengths])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
        ax.set_xlabel("prompt tokens", color=TEXT_COLOUR)
        ax.set_ylabel(f"{metric} ({unit})", color=TEXT_COLOUR)


def _frontier(points: Points, axes: Sequence[Any]) -> None:
    for index, (name, line) in enumerate(_lines(points, without="batch").items()):
        style = {"color": _TONES[index % 6], "marker": _MARKS[index % 6]}
        rates = [(_center(m, "output_throughput") or 0.0) for _, m in line]
        axes[0].plot([cell.batch for cell, _ in line], rates, label=_said(name), **style)
        steps = [(_center(m, "tpot"), rate) for (_, m), rate in zip(line, rates, strict=True)]
        known = [(1e3 * step, rate) for step, rate in steps if step is not None]
        axes[1].plot([step for step, _ in known], [rate for _, rate in known], linestyle="", **style)
    dashed: dict[str, Any] = {"color": TEXT_COLOUR, "linestyle": "--", "zorder": 0}
    for model in dict.fromkeys(cell.model for cell, _ in points):
        both = [(_center(m, "tpot"), _center(m, "output_throughput")) for cell, m in points if cell.model == model]
        best = frontier([(step, rate) for step, rate in both if step is not None and rate is not None])
        axes[1].plot([1e3 * step for step, _ in best], [rate for _, rate in best], **dashed)
    batches = sorted({cell.batch for cell, _ in points})
    axes[0].set_xticks(batches, [str(batch) for batch in batches])
    axes[0].set_xlabel("batch (rows)", color=TEXT_COLOUR)
    axes[1].set_xlabel("tpot (ms); dashed: what no point of a model beats in both", color=TEXT_COLOUR)
    for ax in axes:
        ax.set_ylim(bottom=0)
        ax.set_ylabel("output throughput (tok/s)", color=TEXT_COLOUR)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (latency, throughput), those that no other beats in both, by rising latency."""
    found: list[tuple[float, float]] = []
    for latency, rate in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or rate > found[-1][1]:
            found.append((latency, rate))
    return found


def _center(measurement: Measurement, metric: str) -> float | None:
    summary = measurement.reading(metric).summary
    return None if summary is None else summary.center


def _said(text: str) -> str:
    return plain(text).replace("$", r"\$")


_KINDS: Mapping[str, Callable[[Points, Sequence[Any]], None]] = {"length": _length, "frontier": _frontier}
