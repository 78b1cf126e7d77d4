"""The table as plain text, the same in a terminal, a notebook's text/plain and pytest; no colour, no computing."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.report.escape import plain
from llm_latency.report.facts import environment_facts
from llm_latency.report.rows import Row, grid
from llm_latency.report.ruling import Ruling
from llm_latency.report.sheet import make_sheet

LEAST_WIDTH = 40


def table(measurement: Measurement, *, width: int = 100) -> str:
    """Write a measurement as a table of at most `width` columns (80 hold every row), without a final line break."""
    sheet, width = make_sheet(measurement), max(width, LEAST_WIDTH)
    blocks = [
        joined((sheet.name, *sheet.work), width),
        _rows(sheet.heads, sheet.rows),
        _rulings(sheet.rulings, width),
        [line for label, text in sheet.notes for line in wrapped(f"{label}: {text}", width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def joined(words: Iterable[str], width: int) -> list[str]:
    """Write words with dots between them, broken only between words where a line can hold them."""
    lines: list[str] = []
    for word in map(plain, words):
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" · {word}"
        else:
            lines += textwrap.wrap(word, width, break_on_hyphens=False) or [""]
    return lines


def _rows(heads: Row, rows: tuple[Row, ...]) -> list[str]:
    """Metrics to the left, numbers to the right of their columns, so that their units stand below each other."""
    return aligned(grid(heads, rows))


def aligned(lines: Iterable[Sequence[str]], *, words: Collection[int] = (0,)) -> list[str]:
    """Write cells in columns, to the left in those of `words` (counted from 0), to the right in the others."""
    cells = [[plain(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _rulings(rulings: tuple[Ruling, ...], width: int) -> list[str]:
    budgets = max((len(plain(ruling.budget)) for ruling in rulings), default=0)
    words = max((len(ruling.word) for ruling in rulings), default=0)
    lines: list[str] = []
    for ruling in rulings:
        start = f"{plain(ruling.budget).ljust(budgets)}  {plain(ruling.word).ljust(words)}  "
        indent = len(start) if len(start) < width // 2 + 8 else 4
        lines += wrapped(start + plain(ruling.why), width, indent=indent)
    return lines


def wrapped(text: str, width: int, *, indent: int = 2) -> Iterator[str]:
    """Write a sentence on lines of at most `width` columns, those after the first with an indent."""
    text = plain(text)
    return iter(textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False))


def environment_table(environment: Environment, *, width: int = 100) -> str:
    """Write an environment with a line for each known fact, then its warnings."""
    facts = [(plain(name), plain(value)) for name, value in environment_facts(environment)]
    longest = max((len(name) for name, _ in facts), default=0)
    lines = [f"{name.ljust(longest)}  {value}" for name, value in facts]
    warnings = [line for text in environment.warnings for line in wrapped(f"warning: {text}", width)]
    return "\n".join([*lines, *([""] if warnings else []), *warnings])
