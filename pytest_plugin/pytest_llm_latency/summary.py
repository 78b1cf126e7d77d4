"""The lines after the last test: a table of what was timed, what stayed undecided, and who ran beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llm_latency.gate.result import GateResult

# Wider lines of prose are hard to read.
_WIDEST = 120
_OF_WORD = {"ok": "green", "FASTER": "green", "LESS": "green", "skipped": "", "BROKEN": "red"}
_COLUMNS = ("n", "ttft p50", "tpot p50", "e2e p50", "verdict")


def write_summary(terminal: pytest.TerminalReporter, timed: list[dict[str, Any]], *, workers: int) -> None:
    """Write the table of all reports that carry rows; `workers` is how many pytest-xdist has started."""
    rows = sorted((row for facts in timed for row in facts["rows"]), key=lambda row: (row["test"], row["name"]))
    problems = sorted({facts["problem"] for facts in timed} - {""})
    if not rows and not problems:
        return
    terminal.section("llm-latency")
    for line, color in zip(_table(rows), ["", *(_color(row) for row in rows)], strict=True):
        terminal.write_line(line, **({color: True} if color else {}))
    for row in rows:
        for text in row["undecided"]:
            terminal.write_line(f"{row['test']}: {text}", yellow=True)
    for problem in problems:
        terminal.write_line(problem, yellow=True)
    if workers > 1:
        turns = "" if problems else f"timed calls take turns across {workers} workers; "
        terminal.write_line(f"{turns}other tests still run beside them: use -n 0 for budgets", yellow=True)


def _color(row: dict[str, Any]) -> str:
    return {"PASS": "green", "UNDECIDED": "yellow", "–": ""}.get(row["verdict"], "red")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    cells = [["test", *_COLUMNS], *([_test(row), *(row[column] for column in _COLUMNS)] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if index in (0, last) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _test(row: dict[str, Any]) -> str:
    """The test, with the measurement's name where it is not the test's own."""
    test, name = row["test"], row["name"]
    if test.endswith(f"::{name}"):
        return str(test)
    own = test.rpartition("::")[2]
    return f"{test} {name.removeprefix(own).strip() or name}"


def write_gate(terminal: pytest.TerminalReporter, result: GateResult) -> None:
    """Write what a gate found: its table, and why below it."""
    from llm_latency.report.gate_text import gate_lines

    terminal.section("llm-latency gate")
    for line in gate_lines(result, width=min(_WIDEST, terminal._tw.fullwidth)):
        color = _OF_WORD.get(line.word, "red" if line.word.startswith("TOO") else "yellow") if line.word else ""
        terminal.write_line(line.text, **({color: True} if color else {}))
