"""A gate's result as one HTML page that loads nothing: table with pictures, why, both sides; its colours beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llm_latency.gate.result import BROKEN, FASTER, NEW, OK, SKIPPED, TOO_SLOW, UNDECIDED, GateResult, Side
from llm_latency.report.escape import html as escaped
from llm_latency.report.facts import environment_facts
from llm_latency.report.gate_rows import HEADS, LESS, NONE, TOO_MUCH, GateRow
from llm_latency.report.gate_sheet import NOTHING, GateSheet, make_gate_sheet, name_of
from llm_latency.report.gate_strip import draw_strip, make_strip
from llm_latency.report.gate_style import STYLE
from llm_latency.report.gate_why import Finding

# Test and metric share a column, or the table would be wider than most screens.
_COLUMNS = ("base", "head", "change", "limit", "pairs")
_KINDS = {OK: "good", FASTER: "good", LESS: "good", UNDECIDED: "open", NEW: "new", SKIPPED: "quiet"}
# No address of any kind is asked for, whatever a name in the page may try.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_ENDS = re.compile(r"::|[/\[-]")
_SAMPLE = '<svg width="12" height="10" viewBox="0 0 12 10" aria-hidden="true">{}</svg>'
_LEGEND = (
    ('<circle class="first" cx="6" cy="5" r="2.5"/>', "a first pair"),
    ('<path class="fresh" fill="none" stroke-width="1.4" d="M6 1l4 4-4 4-4-4z"/>', "a fresh pair, which confirms"),
    ('<path class="interval" stroke-width="2" d="M1 5H11M1 1v8M11 1v8M6 1v8"/>', "mean and interval of the last look"),
    ('<path class="zero" d="M6 0V10"/>', "no change"),
    ('<path class="limit" stroke-dasharray="3 2" d="M6 0V10"/>', "limit"),
)
_MEANINGS = (
    (OK, "shown to be within the limit"),
    (
        f"{TOO_SLOW}, {TOO_MUCH}",
        "shown, and by fresh pairs again, to be worse by more than half of the limit or the least change that counts",
    ),
    (f"{FASTER}, {LESS}", "shown to be better by as much"),
    (UNDECIDED, "neither was shown; the gate has no answer, which is not a pass"),
    (NEW, "the base has nothing to set it against"),
    (BROKEN, "the test's own code fails at the head"),
    ("loss", "of a metric of which more is better: base over head, less one"),
)


def gate_html(result: GateResult) -> str:
    """Write a whole HTML document; everything from outside is escaped."""
    sheet = make_gate_sheet(result)
    title = f"Latency gate: {sheet.word}"
    notes = [*sheet.notes, *([("recorded", result.recorded_at)] if result.recorded_at else [])]
    parts = [
        f"<header><h1>Latency gate: {_word(sheet.word)}</h1>{_head(sheet)}</header>",
        _table(sheet.rows),
        _section("Why", "".join(map(_finding, sheet.findings))),
        _section("How this was measured", _list(f"<b>{label}</b>: {escaped(text)}" for label, text in notes)),
        _folded("Both sides", _sides(result)),
        _folded("What the words mean", _pairs(("word", "meaning"), _MEANINGS)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _word(word: str) -> str:
    return f'<span class="word {_KINDS.get(word, "bad")}">{escaped(word)}</span>'


def _head(sheet: GateSheet) -> str:
    facts = [f"against {sheet.against}", *sheet.facts]
    partial = f'<p class="partial"><b>{escaped(sheet.partial)}</b></p>' if sheet.partial else ""
    return f"{partial}<p><b>{escaped(sheet.counts)}</b></p><p>{' · '.join(map(escaped, facts))}</p>"


def _breakable(test: str) -> str:
    """A test's name that is broken where its parts end, if at all."""
    return _ENDS.sub(r"\g<0><wbr>", escaped(test))


def _table(rows: Sequence[GateRow]) -> str:
    if not rows:
        return f"<p>{NOTHING}</p>"
    names = {"word": HEADS.word, "test": f"{HEADS.test}, {HEADS.metric}"}
    names |= {column: getattr(HEADS, column) for column in _COLUMNS} | {"strip": "every pair"}
    heads = "".join(f'<th scope="col" class="{column}">{name}</th>' for column, name in names.items())
    body = "".join(_row(row, f"s{index}") for index, row in enumerate(rows))
    legend = "".join(f"<span>{_SAMPLE.format(mark)} {meaning}</span>" for mark, meaning in _LEGEND)
    return (
        f'<p class="legend">{legend}</p><div class="wide" role="region" aria-label="Answers" tabindex="0"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: GateRow, key: str) -> str:
    cells = "".join(f'<td class="{column}">{escaped(getattr(row, column))}</td>' for column in _COLUMNS)
    strip = make_strip(row.answer) if row.answer is not None else None
    picture = "" if strip is None else draw_strip(strip, key=key)
    metric = "" if row.answer is None else f"<b>{escaped(row.metric)}</b>"
    test = f'<th scope="row"><span class="test">{_breakable(row.test)}</span> {metric}</th>'
    return f'<tr><td class="word">{_word(row.word)}</td>{test}{cells}<td class="strip">{picture}</td></tr>'


def _finding(finding: Finding) -> str:
    failure = "\n".join(map(escaped, finding.failure.expandtabs(4).splitlines()))
    return (
        f'<article><h3>{_word(finding.word)} <span class="test">{_breakable(finding.test)}</span>'
        f" {escaped(finding.metric)}</h3>{_list(map(escaped, finding.sentences))}"
        f"{f'<pre>{failure}</pre>' if failure else ''}</article>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _list(items: Iterable[str]) -> str:
    written = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{written}</ul>" if written else ""


def _pairs(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows are named by their first cell."""
    head = "".join(f'<th scope="col">{escaped(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escaped(name)}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return f'<table class="pairs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _sides(result: GateResult) -> str:
    facts = [_side(side) for side in (result.base, result.head)]
    names = dict.fromkeys(name for side in facts for name in side)
    rows = [(name, *(side.get(name, NONE) for side in facts)) for name in names]
    return _pairs(("", "base", "head"), rows)


def _side(side: Side) -> dict[str, str]:
    facts = {"code": name_of(side), "python": side.python}
    facts |= {f"file of {name}": file for name, file in side.files.items()}
    facts |= {f"version of {name}": version for name, version in side.versions.items()}
    facts |= dict(environment_facts(side.environment)) if side.environment is not None else {}
    return facts
