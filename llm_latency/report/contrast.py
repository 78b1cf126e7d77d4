"""Two measurements beside each other as a table, in text and in HTML, and the metrics that are worth it; no numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llm_latency.core.contrast import Contrast, contrast
from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS
from llm_latency.core.units import show
from llm_latency.report.escape import html as escaped
from llm_latency.report.html import note, tabulated
from llm_latency.report.ratios import draw, make_ratios, show_interval, show_ratio
from llm_latency.report.rows import default_metrics
from llm_latency.report.svg import encoded
from llm_latency.report.text import LEAST_WIDTH, aligned, joined, wrapped

_HEADS = ("metric", "first", "second", "ratio", "95 % interval", "calls", "difference")
_WORDS = (0, len(_HEADS) - 1)


def compare(first: Measurement, second: Measurement, *, metrics: Iterable[str] | None = None) -> Contrast:
    """Set a second measurement against a first: ratios second/first with their intervals, and a word for each.

    Without `metrics` those that the table of either shows. Print it, or end a cell with it. Raises UsageError for an
    unknown metric.
    """
    if metrics is None:
        shown = {*default_metrics(first), *default_metrics(second)}
        metrics = [name for name in METRICS if name in shown]
    return contrast(first, second, metrics)


def contrast_table(contrast: Contrast, *, width: int = 100) -> str:
    """Write a contrast as text; sentences take at most `width` columns. No final line break."""
    width = max(width, LEAST_WIDTH)
    blocks = [
        joined(_title(contrast), width),
        aligned(_cells(contrast), words=_WORDS) if contrast.metrics else ["no metric has a value in both"],
        [line for label, text in _notes(contrast) for line in wrapped(f"{label}: {text}", width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def contrast_html(contrast: Contrast) -> str:
    """Write a contrast as an HTML fragment with a picture of its intervals; everything from outside is escaped."""
    ratios = make_ratios(contrast)
    parts = [
        f"<div>{' · '.join(map(escaped, _title(contrast)))}</div>",
        tabulated(_cells(contrast), words=_WORDS) or "<div>no metric has a value in both</div>",
        f'<img src="{encoded(draw(ratios))}" alt="{escaped(ratios.words)}">' if ratios else "",
        *(f"<div>{note(label, text)}</div>" for label, text in _notes(contrast)),
    ]
    return f"<div>{''.join(parts)}</div>"


def _title(contrast: Contrast) -> tuple[str, str]:
    return f"first: {contrast.names[0]}", f"second: {contrast.names[1]}"


def _cells(contrast: Contrast) -> list[tuple[str, ...]]:
    """Head and rows."""
    lines: list[tuple[str, ...]] = [_HEADS]
    for one in contrast.metrics:
        found = one.comparison
        lines.append(
            (
                one.metric,
                *(show(median, one.unit) for median in one.medians),
                "–" if found.ratio is None else show_ratio(found.ratio),
                show_interval(found.low, found.high) or "–",
                f"{found.n[0]:,}, {found.n[1]:,}",
                one.way or one.word,
            )
        )
    return lines


def _notes(contrast: Contrast) -> Iterator[tuple[str, str]]:
    """Sentences by (label, text), what weighs most first."""
    for sentence in contrast.unequal:
        label, _, text = sentence.partition(": ")
        yield label, text
    if contrast.environment:
        yield "environment differs", "; ".join(contrast.environment)
    reasons: dict[str, list[str]] = {}
    for one in contrast.metrics:
        if one.reason is not None:
            reasons.setdefault(one.reason, []).append(one.metric)
    for reason, names in reasons.items():
        yield "no interval", reason if len(names) == len(contrast.metrics) else f"{', '.join(names)}: {reason}"
    for text in contrast.notes:
        yield "note", text
    for text in contrast.warnings:
        yield "warning", text
