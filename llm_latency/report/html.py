"""The report as static HTML that untrusted notebooks keep: tables, one image, details; no style sheet, no script."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS
from llm_latency.report.escape import html as escaped
from llm_latency.report.facts import environment_facts
from llm_latency.report.rows import Row, grid, make_rows
from llm_latency.report.ruling import Ruling
from llm_latency.report.sheet import make_sheet
from llm_latency.report.svg import data_uri
from llm_latency.report.timeline import make_timeline

_LEFT, _RIGHT = ' style="text-align:left"', ' style="text-align:right"'
_STYLE = "body{font:14px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
_STYLE += "td,th{padding:.15em .8em .15em 0;vertical-align:top}img{max-width:100%}"


def html(measurement: Measurement) -> str:
    """Write a measurement as an HTML fragment; everything from outside is escaped."""
    sheet = make_sheet(measurement)
    timeline = make_timeline(measurement)
    notes = "".join(f"<div>{note(label, text)}</div>" for label, text in sheet.notes)
    parts = [
        f"<div><strong>{escaped(sheet.name)}</strong>{''.join(f' · {escaped(word)}' for word in sheet.work)}</div>",
        _metrics(sheet.heads, sheet.rows),
        _budgets(sheet.rulings),
        f'<img src="{data_uri(timeline)}" alt="{escaped(timeline.words)}">' if timeline else "",
        notes,
        _details("All metrics", _metrics(sheet.heads, make_rows(measurement, METRICS))),
        _details("Definitions", _pairs((row.definition, row.meaning) for row in METRICS.values())),
        _details("Environment", _pairs(environment_facts(measurement.environment))),
        _details("Workload", _pairs(_flat(measurement.workload))),
    ]
    return f"<div>{''.join(parts)}</div>"


def page(measurement: Measurement) -> str:
    """Write a whole HTML document around the fragment; it loads nothing."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{escaped(measurement.name)} – llm-latency</title><style>{_STYLE}</style></head>"
        f"<body>{html(measurement)}</body></html>\n"
    )


def note(label: str, text: str) -> str:
    """Write a line below the table, marked where it is a warning."""
    return f"{'<strong>warning</strong>' if label == 'warning' else label}: {escaped(text)}"


def _metrics(heads: Row, rows: tuple[Row, ...]) -> str:
    return tabulated(grid(heads, rows))


def tabulated(cells: Sequence[Sequence[str]], *, words: Collection[int] = (0,)) -> str:
    """Write a table, its head first; nothing without lines. Columns of `words` (from 0) are to the left."""
    if len(cells) < 2:
        return ""
    head, *body = cells
    written = "".join(_line("td", line, words=words) for line in body)
    return f"<table><thead>{_line('th', head, words=words)}</thead><tbody>{written}</tbody></table>"


def _budgets(rulings: tuple[Ruling, ...]) -> str:
    return tabulated((("budget", "verdict", "why"), *((r.budget, r.word, r.why) for r in rulings)), words=range(3))


def _line(tag: str, cells: Iterable[str], *, words: Collection[int]) -> str:
    return "<tr>{}</tr>".format(
        "".join(
            f"<{tag}{_LEFT if index in words else _RIGHT}>{escaped(cell)}</{tag}>" for index, cell in enumerate(cells)
        )
    )


def _details(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>" if content else ""


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    body = "".join(_line("td", pair, words=range(2)) for pair in pairs)
    return f"<table><tbody>{body}</tbody></table>" if body else ""


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested facts as dotted names."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
