"""Everything that a gate's reports say, as raw text that each format escapes and lays out; nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from llm_latency.gate.result import GateResult, Side
from llm_latency.report.gate_rows import GateRow, counted, limit, make_gate_rows, word_of_gate
from llm_latency.report.gate_why import Finding, duration, make_findings

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# Enough of a commit's name for any repository.
_SHORT = 12
_MOST_FILES = 10
NOTHING = "no test was gated"


class GateSheet(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a report, top to bottom; `notes` are (label, text). Nothing here is escaped yet.

    `partial` says why a gate that was not finished ended; empty where it was.
    """

    word: str
    against: str
    counts: str
    facts: tuple[str, ...]
    partial: str
    rows: tuple[GateRow, ...]
    findings: tuple[Finding, ...]
    notes: tuple[tuple[str, str], ...]


def make_gate_sheet(result: GateResult) -> GateSheet:
    """Gather what a report says."""
    rows = make_gate_rows(result)
    return GateSheet(
        word=word_of_gate(result),
        against=result.ref,
        counts=counted(rows) or NOTHING,
        facts=tuple(_facts(result)),
        partial=_partial(result),
        rows=rows,
        findings=make_findings(result),
        notes=tuple(_notes(result)),
    )


def _facts(result: GateResult) -> Iterator[str]:
    yield f"base {name_of(result.base)}"
    changed = f" with {_count(len(result.changed), 'changed file')}" if result.changed else ""
    yield f"head {name_of(result.head)}{changed}"
    because = f": {result.stopped_because}" if result.complete and result.stopped_because else ""
    yield f"{_count(result.pairs, 'pair')} in {duration(result.seconds)}{because}"


def name_of(side: Side) -> str:
    """What a side was, a commit by the beginning of its name."""
    return side.what[:_SHORT] if _COMMIT.fullmatch(side.what) else side.what or "unknown"


def _partial(result: GateResult) -> str:
    if result.complete:
        return ""
    because = result.stopped_because or "not finished"
    return f"PARTIAL: {because}; this is what {_count(result.pairs, 'pair')} can tell"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _notes(result: GateResult) -> Iterator[tuple[str, str]]:
    for text in result.differences:
        yield "differs", text
    if result.changed:
        more = f" and {len(result.changed) - _MOST_FILES:,} more" if len(result.changed) > _MOST_FILES else ""
        yield "changed", ", ".join(result.changed[:_MOST_FILES]) + more
    if result.level:
        family = f", on the failing side divided by {result.family:,} questions" if result.family > 1 else ""
        yield (
            "level",
            f"each look at one-sided {limit(result.level)}{family}; a failure needs fresh pairs that fail too",
        )
    for text in result.notes:
        yield "note", text
