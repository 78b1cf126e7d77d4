"""The table as plain text, the same in a terminal, a notebook's text/plain and pytest; no colour, no computing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.report.escape import plain
from llm_latency.report.facts import environment_facts
from llm_latency.report.rows import Row, grid
from llm_latency.report.ruling import Ruling
from llm_latency.report.sheet import make_sheet

_LEAST_WIDTH = 40


def table(measurement: Measurement, *, width: int = 100) -> str:
    """Write a measurement as a table of at most `width` columns (80 hold every row), without a final line break."""
    sheet, width = make_sheet(measurement), max(width, _LEAST_WIDTH)
    blocks = [
        _joined((sheet.name, *sheet.work), width),
        _rows(sheet.heads, sheet.rows),
        _rulings(sheet.rulings, width),
        [line for label, text in sheet.notes for line in _wrapped(f"{label}: {text}", width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _joined(words: Iterable[str], width: int) -> list[str]:
    """Words with dots between them, broken only between words where a line can hold them."""
    lines: list[str] = []
    for word in map(plain, words):
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" · {word}"
        else:
            lines += textwrap.wrap(word, width, break_on_hyphens=False) or [""]
    return lines


def _rows(heads: Row, rows: tuple[Row, ...]) -> list[str]:
    """Metrics to the left, numbers to the right of their columns, so that their units stand below each other."""
    lines = [[plain(cell) for cell in cells] for cells in grid(heads, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(_padded(line, widths)) for line in lines]


def _padded(cells: list[str], widths: list[int]) -> Iterator[str]:
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        yield cell.rjust(width) if index else cell.ljust(width)


def _rulings(rulings: tuple[Ruling, ...], width: int) -> list[str]:
    budgets = max((len(plain(ruling.budget)) for ruling in rulings), default=0)
    words = max((len(ruling.word) for ruling in rulings), default=0)
    lines: list[str] = []
    for ruling in rulings:
        start = f"{plain(ruling.budget).ljust(budgets)}  {plain(ruling.word).ljust(words)}  "
        indent = len(start) if len(start) < width // 2 + 8 else 4
        lines += _wrapped(start + plain(ruling.why), width, indent=indent)
    return lines


def _wrapped(text: str, width: int, *, indent: int = 2) -> Iterator[str]:
    text = plain(text)
    return iter(textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False))


def environment_table(environment: Environment, *, width: int = 100) -> str:
    """Write an environment with a line for each known fact, then its warnings."""
    facts = [(plain(name), plain(value)) for name, value in environment_facts(environment)]
    longest = max((len(name) for name, _ in facts), default=0)
    lines = [f"{name.ljust(longest)}  {value}" for name, value in facts]
    warnings = [line for text in environment.warnings for line in _wrapped(f"warning: {text}", width)]
    return "\n".join([*lines, *([""] if warnings else []), *warnings])
