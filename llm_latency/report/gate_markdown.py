"""A gate's result as GitHub Markdown, fit for a comment on a pull request and a step summary; the table's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llm_latency.gate.result import FASTER, NEW, OK, SKIPPED, UNDECIDED, GateResult
from llm_latency.report.escape import markdown, plain
from llm_latency.report.gate_rows import HEADS, LESS, GateRow
from llm_latency.report.gate_sheet import GateSheet, make_gate_sheet
from llm_latency.report.gate_why import Finding

# A workflow finds the comment that it wrote before by this line, which no reader sees.
MARKER = "<!-- llm-latency gate -->"
# GitHub refuses a comment's body beyond 65,536 characters; the difference is for what a workflow may add.
MOST_CHARACTERS = 60_000
_MARKS = {OK: "✅", FASTER: "✅", LESS: "✅", UNDECIDED: "❔", NEW: "🆕", SKIPPED: "⏭️"}
_FAILED = "❌"
# GitHub scrolls a wide table: what matters more comes first, and numbers are not broken from their units.
_COLUMNS = ("word", "test", "change", "limit", "base", "head", "pairs")
_UNBROKEN = str.maketrans(" ", "\N{NO-BREAK SPACE}")
_RIGHT = ("base", "head", "limit", "pairs")
# So many rows are one table; of more, those that are plainly ok are folded.
_FEW_ROWS = 12
_LONGEST, _MOST_FAILURE_LINES = 400, 30
# GitHub links this to an issue too.
_ISSUE = re.compile(r"\b(GH-)(?=\d)", re.IGNORECASE)
# What begins a list or a rule where a line begins with it (GFM 0.29, 4.1 and 5.2).
_BEGINNING, _ESCAPED = re.compile(r"^(\d*)([-+=.)])"), r"\1\\\2"


def gate_markdown(result: GateResult, *, most: int = MOST_CHARACTERS) -> str:
    """Write a gate's result as Markdown of at most `most` characters, ending in a line break.

    What does not fit is counted: first the rows that are ok, then sentences, then other rows.
    """
    sheet = make_gate_sheet(result)
    is_folded = len(sheet.rows) > _FEW_ROWS
    shown = [row for row in sheet.rows if not (is_folded and row.word == OK)]
    folded = [row for row in sheet.rows if is_folded and row.word == OK]
    parts = [MARKER, f"### {_marked('Latency gate: ' + sheet.word, sheet.word)}", *_head(sheet)]
    notes = _details(
        "How this was measured", _fitting([_note(*note) for note in sheet.notes], most // 8, "notes", between="\n")
    )
    room = most - len("\n\n".join(parts)) - len(notes) - 400  # headings, fences and summaries
    table = _table(shown, 2 * room // 3)
    why = _details(
        "Why", _fitting(list(map(_finding, sheet.findings)), (room - len(table)) * 3 // 4, "findings"), "open"
    )
    rest = _details(f"{len(folded):,} ok", _table(folded, room - len(table) - len(why)))
    return "\n\n".join(part for part in (*parts, table, why, rest, notes) if part) + "\n"


def _head(sheet: GateSheet) -> Iterable[str]:
    facts = [f"against {_safe(sheet.against)}", *map(_safe, sheet.facts)]
    partial = [f"**{_safe(sheet.partial)}**"] if sheet.partial else []
    return [*partial, f"**{_safe(sheet.counts)}**", " · ".join(facts)]


def _safe(text: str) -> str:
    """Escape, and cut what is very long."""
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return _ISSUE.sub(r"\1<!-- -->", markdown(short))


def _item(text: str) -> str:
    return f"- {_BEGINNING.sub(_ESCAPED, _safe(text).strip())}"


def _marked(text: str, word: str) -> str:
    return f"{_MARKS.get(word, _FAILED)} {_safe(text)}"


def _table(rows: Sequence[GateRow], room: int) -> str:
    if not rows:
        return ""
    heads = {column: getattr(HEADS, column) for column in _COLUMNS} | {"test": f"{HEADS.test}, {HEADS.metric}"}
    head = _line(heads.values())
    rule = "|".join(" ---: " if column in _RIGHT else " --- " for column in _COLUMNS)
    body = _fitting([_line(_cells(row)) for row in rows], room - len(head) - len(rule), "rows", between="\n")
    return f"{head}\n|{rule}|\n{body}"


def _cells(row: GateRow) -> list[str]:
    texts = {column: _safe(getattr(row, column)).translate(_UNBROKEN) for column in _COLUMNS}
    texts["word"] = _marked(row.word, row.word).translate(_UNBROKEN)
    texts["test"] = _safe(row.test) + (f"<br>**{_safe(row.metric)}**" if row.answer is not None else "")
    return list(texts.values())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _finding(finding: Finding) -> str:
    subject = " ".join(_safe(text) for text in (finding.test, finding.metric) if text)
    lines = [f"**{_marked(finding.word, finding.word)}** {subject}", *([""] if finding.sentences else [])]
    lines += map(_item, finding.sentences)
    return "\n".join(lines) + (f"\n\n{_code(finding.failure)}" if finding.failure else "")


def _code(text: str) -> str:
    """Lines as they are, between fences that are longer than any in them."""
    lines = [plain(line.expandtabs(4))[:_LONGEST] for line in text.splitlines()[-_MOST_FAILURE_LINES:]]
    fence = "`" * (1 + max([2, *(len(run) for line in lines for run in re.findall("`+", line))]))
    return "\n".join((f"{fence}text", *lines, fence))


def _note(label: str, text: str) -> str:
    return f"- {label}: {_safe(text)}"


def _details(title: str, content: str, attribute: str = "") -> str:
    if not content:
        return ""
    opening = f"<details {attribute}>" if attribute else "<details>"
    return f"{opening}<summary>{title}</summary>\n\n{content}\n\n</details>"


def _fitting(items: Sequence[str], room: int, noun: str, *, between: str = "\n\n") -> str:
    """The items that the room holds, and how many it does not."""
    kept: list[str] = []
    for item in items:
        room -= len(item) + len(between)
        if room < 0:
            break
        kept.append(item)
    left = len(items) - len(kept)
    return between.join(kept) + (
        f"\n\n… and {left:,} more {noun}: the JSON and HTML reports have them all" if left else ""
    )
