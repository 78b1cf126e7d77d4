"""A measurement drawn with matplotlib: its timeline, the distribution of its gaps, its ratios to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.core.reading import Reading
from llm_latency.core.stats import supported
from llm_latency.core.units import SCALES, show
from llm_latency.errors import UsageError
from llm_latency.report.contrast import compare
from llm_latency.report.escape import plain
from llm_latency.report.installed import library
from llm_latency.report.ratios import RATIO_COLOURS, make_ratios
from llm_latency.report.svg import COLOURS, OTHER_COLOUR, TEXT_COLOUR
from llm_latency.report.timeline import Timeline, make_timeline

_WIDTH = 7.6  # inches: the width of the reports' pictures at 100 pixels an inch
_LETTERS, _LABEL = 13, 0.7  # small letters an inch, and inches of a mark's label (measured with DejaVu Sans)


def plot(measurement: Measurement, kind: str = "timeline", *, other: Measurement | None = None, ax: Any = None) -> Any:
    """Draw and return the matplotlib Axes; with `ax` there, and pyplot is not asked.

    - "timeline": a middle call, as in the report; the first call where none was counted.
    - "ecdf": the share of the gaps between emissions (itl) that are at most so long, with p50 and p95 marked, or the
      longest gap where the sample holds no p95; `other` is drawn beside it.
    - "comparison": the ratios other/measurement with their intervals, on a log axis; needs `other`.

    Text and axes have a middle tone that is read on light and on dark. Raises UsageError for another kind, for an
    `other` that does not fit, where there is nothing to draw, and where matplotlib is not installed.
    """
    if kind not in _KINDS:
        raise UsageError(f"there is no plot {kind!r}; known: {', '.join(_KINDS)}")
    if other is not None and not isinstance(other, Measurement):
        raise UsageError(f"other={other!r} is no measurement")
    return _KINDS[kind](measurement, other, ax)


def _axes(ax: Any, height: float) -> Any:
    """The caller's Axes, or new ones of `height` inches; in tones that both themes show."""
    if ax is None:
        pyplot = library("matplotlib.pyplot", asked="plot()")
        _, ax = pyplot.subplots(figsize=(_WIDTH, height), layout="constrained")
        ax.patch.set_alpha(0.0)
    ax.tick_params(which="both", colors=TEXT_COLOUR)
    for spine in ax.spines.values():
        spine.set_color(TEXT_COLOUR)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def _said(text: str, *, most: int = 40) -> str:
    """Text from outside, in which matplotlib must find no formula."""
    text = plain(text)
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def _inches(ax: Any) -> float:
    """The width of the axes, before a layout moves them."""
    return float(ax.get_position().width * ax.figure.get_size_inches()[0])


def _legend(ax: Any, title: str) -> None:
    """A legend above the axes, in as many columns as they are wide, under a title to its left."""
    handles, labels = ax.get_legend_handles_labels()
    widest = max(map(len, labels), default=0) + 5
    legend = ax.legend(
        handles,
        labels,
        title=title,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
        borderpad=0.0,
        ncols=max(1, min(len(labels), int(_inches(ax) * _LETTERS / widest))),
        columnspacing=1.4,
        handlelength=1.2,
        handletextpad=0.5,
        fontsize="small",
        title_fontsize="small",
        frameon=False,
        labelcolor=TEXT_COLOUR,
    )
    legend.get_title().set_color(TEXT_COLOUR)


def _timeline(measurement: Measurement, other: Measurement | None, ax: Any) -> Any:
    if other is not None:
        raise UsageError("a timeline is of one measurement; other= goes with 'ecdf' and 'comparison'")
    timeline = make_timeline(measurement)
    if timeline is None:
        raise UsageError("there is no call to draw, or one that took no time")
    lanes, labels = len(timeline.lanes), dict(timeline.legend)
    ax = _axes(ax, 1.3 + 0.4 * lanes)
    for index, lane in enumerate(timeline.lanes):
        top = lanes - 1 - index
        for bar in lane.bars:
            label = labels.pop(bar.kind, None)  # once for each kind
            ax.broken_barh(
                [(bar.start, bar.stop - bar.start)],
                (top + 0.1, 0.8),
                color=COLOURS.get(bar.kind, OTHER_COLOUR),
                alpha=0.3 if bar.kind == "decode" else 1.0,
                label=None if label is None else _said(label),
            )
        ax.vlines(lane.ticks, top + 0.1, top + 0.9, color=COLOURS["decode"], linewidth=1)
    _finish_timeline(ax, timeline)
    return ax


def _finish_timeline(ax: Any, timeline: Timeline) -> None:
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(0.0, len(timeline.lanes))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    marks = timeline.axis[:: max(1, math.ceil(len(timeline.axis) * _LABEL / _inches(ax)))]
    ax.set_xticks([share for share, _ in marks], [label for _, label in marks])
    ax.set_xlabel("time since the call began", color=TEXT_COLOUR)
    _legend(ax, timeline.title)


def _ecdf(measurement: Measurement, other: Measurement | None, ax: Any) -> Any:
    drawn = [(measurement, COLOURS["decode"])] + ([] if other is None else [(other, COLOURS["prefill"])])
    readings = [one.reading("itl") for one, _ in drawn]
    for (one, _), reading in zip(drawn, readings, strict=True):
        if not reading:
            raise UsageError(f"{one.name!r} has no gap between emissions: its calls gave fewer than two tokens")
    unit = show(max(max(reading.values) for reading in readings), "s").rpartition(" ")[2]
    scale = SCALES["s"][unit]
    ax = _axes(ax, 3.6)
    for (one, colour), reading in zip(drawn, readings, strict=True):
        ordered = [value / scale for value in sorted(reading.values)]
        shares = [index / len(ordered) for index in range(len(ordered) + 1)]
        marks, words = _marks(reading)
        label = f"itl of {_said(one.name)}: n = {reading.n:,}, {words}"
        ax.step([ordered[0], *ordered], shares, where="post", color=colour, label=label)
        ax.plot([value / scale for value, _ in marks], [share for _, share in marks], "o", color=colour)
    ax.set_ylim(0.0, 1.03)
    ax.set_yticks([0.0, 0.25, 0.5, 0.75, 0.95], ["0", "25 %", "50 %", "75 %", "95 %"])
    ax.set_ylabel("share of the gaps", color=TEXT_COLOUR)
    ax.set_xlabel(f"gap between neighbouring emissions, itl ({unit})", color=TEXT_COLOUR)
    ax.grid(axis="y", color=TEXT_COLOUR, alpha=0.3, linewidth=0.8)
    _legend(ax, "")
    return ax


def _marks(reading: Reading) -> tuple[Sequence[tuple[float, float]], str]:
    """The median and the slow end, as (value, share) and in words."""
    median = reading.percentile(50)
    end, share, name = (
        (reading.percentile(95), 0.95, "p95") if supported(0.95, reading.n) else (reading.max, 1.0, "max")
    )
    assert median is not None
    assert end is not None
    return ((float(median), 0.5), (float(end), share)), f"p50 {median}, {name} {end}"


def _comparison(measurement: Measurement, other: Measurement | None, ax: Any) -> Any:
    if other is None:
        raise UsageError("a comparison needs a second measurement: plot('comparison', other=...)")
    found = compare(measurement, other)
    ratios = make_ratios(found)
    if ratios is None:
        raise UsageError("the two have no metric in common whose ratio could be drawn")
    ax = _axes(ax, 1.0 + 0.3 * len(ratios.lines))
    ax.axvline(1.0, color=TEXT_COLOUR, linestyle="--", linewidth=1)
    ax.set_xscale("log")
    for index, line in enumerate(ratios.lines):
        colour = RATIO_COLOURS[line.kind]
        if line.low is not None and line.high is not None:
            ax.plot([line.low, line.high], [index, index], "|-", color=colour, linewidth=2, markersize=9)
        ax.plot([line.ratio], [index], "o", color=colour, fillstyle="none" if line.low is None else "full")
        ax.text(1.02, index, line.word, transform=ax.get_yaxis_transform(), va="center", color=TEXT_COLOUR)
    ax.minorticks_off()
    ax.set_xlim(ratios.least, ratios.most)
    ax.set_xticks([value for value, _ in ratios.marks], [label for _, label in ratios.marks])
    ax.set_ylim(len(ratios.lines) - 0.4, -0.6)
    ax.set_yticks(range(len(ratios.lines)), [line.label for line in ratios.lines])
    names = [_said(one.name, most=30) for one in (other, measurement)]
    ax.set_xlabel(f"{names[0]} / {names[1]}, with intervals", color=TEXT_COLOUR)
    return ax


_KINDS: Mapping[str, Callable[[Measurement, Measurement | None, Any], Any]] = {
    "timeline": _timeline,
    "ecdf": _ecdf,
    "comparison": _comparison,
}
