"""The report as GitHub Markdown, for an issue, a pull request or a step summary; the same words as the table."""

from __future__ import annotations

from collections.abc import Iterable

from llm_latency.core.measurement import Measurement
from llm_latency.report.escape import markdown as escaped
from llm_latency.report.rows import grid
from llm_latency.report.sheet import Sheet, make_sheet

_MARKS = {"PASS": "✅", "UNDECIDED": "❔"}
_FAILED = "❌"


def markdown(measurement: Measurement) -> str:
    """Write a measurement as Markdown, ending in a line break."""
    sheet = make_sheet(measurement)
    parts = [
        [f"### {escaped(sheet.name)}"],
        [" · ".join(map(escaped, sheet.work))] if sheet.work else [],
        _metrics(sheet),
        _budgets(sheet),
        [f"- {label}: {escaped(text)}" for label, text in sheet.notes],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _metrics(sheet: Sheet) -> list[str]:
    head, *body = grid(sheet.heads, sheet.rows) or ((),)
    if not body:
        return []
    return [_line(head), f"| --- |{' ---: |' * (len(head) - 1)}", *map(_line, body)]


def _budgets(sheet: Sheet) -> list[str]:
    if not sheet.rulings:
        return []
    lines = (_line((r.budget, f"{_MARKS.get(r.word, _FAILED)} {r.word}", r.why)) for r in sheet.rulings)
    return [_line(("budget", "verdict", "why")), "| --- | --- | --- |", *lines]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
