"""A gate's result as plain text for a terminal: the table, and why below it; each line with its word, no colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from llm_latency.gate.result import GateResult
from llm_latency.report.escape import plain
from llm_latency.report.gate_rows import HEADS, GateRow
from llm_latency.report.gate_sheet import GateSheet, make_gate_sheet
from llm_latency.report.gate_why import Finding
from llm_latency.report.text import LEAST_WIDTH, aligned, joined, wrapped

_COLUMNS = ("metric", "base", "head", "change", "limit", "pairs", "word")
# What is left out first, then next, where a line is too short for all.
_SPARED: tuple[tuple[str, ...], ...] = ((), ("base", "head"), ("pairs",), ("limit",))
_WORDS = ("test", "metric", "change", "word")
_MOST_FAILURE_LINES = 8


class TextLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line, and the word of the row or finding that it belongs to; empty for a line of neither."""

    text: str
    word: str = ""


def gate_text(result: GateResult, *, width: int = 100) -> str:
    """Write a gate's result as text, without a final line break."""
    return "\n".join(line.text for line in gate_lines(result, width=width))


def gate_lines(result: GateResult, *, width: int = 100) -> tuple[TextLine, ...]:
    """The same line by line, for who colours them.

    Sentences take at most `width` columns. Where tests have long names each has a line of its own, whole, above
    its metrics.
    """
    width = max(width, LEAST_WIDTH)
    sheet = make_gate_sheet(result)
    blocks: list[list[TextLine]] = [
        list(_title(sheet, width)),
        list(_table(sheet.rows, width)),
        [line for finding in sheet.findings for line in _finding(finding, width)],
        [TextLine(text=line) for label, text in sheet.notes for line in wrapped(f"{label}: {text}", width)],
    ]
    lines: list[TextLine] = []
    for block in filter(None, blocks):
        lines += [*([TextLine(text="")] if lines else []), *block]
    return tuple(lines)


def _title(sheet: GateSheet, width: int) -> Iterator[TextLine]:
    for line in wrapped(f"gate against {sheet.against}: {sheet.word}", width):
        yield TextLine(text=line, word=sheet.word)
    if sheet.partial:
        for line in wrapped(sheet.partial, width):
            yield TextLine(text=line, word="UNDECIDED")
    for line in joined((sheet.counts, *sheet.facts), width):
        yield TextLine(text=line)


def _table(rows: Sequence[GateRow], width: int) -> Iterator[TextLine]:
    """One table with the test in each row where that fits, else the tests above their rows."""
    if not rows:
        return
    lines = _aligned(rows, ("test", *_COLUMNS))
    if max(map(len, lines)) <= width:
        yield TextLine(text=lines[0])
        yield from (TextLine(text=line, word=row.word) for line, row in zip(lines[1:], rows, strict=True))
        return
    columns = list(_COLUMNS)
    for spared in _SPARED:
        columns = [column for column in columns if column not in spared]
        head, *lines = _aligned(rows, columns)
        if max(map(len, (head, *lines))) + 2 <= width:
            break
    yield TextLine(text=f"  {head}")
    for test, group in groupby(zip(rows, lines, strict=True), key=lambda pair: pair[0].test):
        yield TextLine(text=plain(test))
        yield from (TextLine(text=f"  {line}", word=row.word) for row, line in group)


def _aligned(rows: Iterable[GateRow], columns: Sequence[str]) -> list[str]:
    words = {index for index, column in enumerate(columns) if column in _WORDS}
    return aligned([[getattr(row, column) for column in columns] for row in (HEADS, *rows)], words=words)


def _finding(finding: Finding, width: int) -> Iterator[TextLine]:
    yield TextLine(text=plain(" ".join(filter(None, (finding.word, finding.test, finding.metric)))), word=finding.word)
    for sentence in finding.sentences:
        yield from (TextLine(text=line) for line in wrapped(f"  {sentence}", width, indent=4))
    lines = [line.rstrip() for line in finding.failure.splitlines() if line.strip()]
    for line in lines[-_MOST_FAILURE_LINES:]:
        yield TextLine(text=f"    {plain(line.expandtabs(4))}"[:width])
