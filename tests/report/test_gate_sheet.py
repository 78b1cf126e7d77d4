"""What a gate's reports say beside rows and findings: facts, notes, and that it was not finished."""

from __future__ import annotations

from llm_latency.gate.result import Side
from llm_latency.report.gate_sheet import make_gate_sheet, name_of
from tests.report.gate_results import COMMIT, answered, around, gate

FINE = answered("t::a", around(0.0, 0.0, 6))


def test_the_sheet_of_a_gate() -> None:
    """Counts, both sides by name, how long it took and why it ended; the level and the family."""
    sheet = make_gate_sheet(gate(FINE, answered("t::b", around(0.0, 0.0, 6)), changed=("a.py",)))
    assert ("ok", "origin/main", "2 ok", "") == (sheet.word, sheet.against, sheet.counts, sheet.partial)
    assert (
        "base 1a2b3c4d5e6f",
        "head working tree with 1 changed file",
        "15 pairs in 41 s: every question answered after 15 pairs",
    ) == sheet.facts
    assert (
        ("changed", "a.py"),
        (
            "level",
            "each look at one-sided 0.3 %, on the failing side divided by 2 questions; a failure needs fresh pairs that"
            " fail too",
        ),
    ) == sheet.notes


def test_what_differs_stands_first_and_notes_last() -> None:
    """The likelier a reason, the earlier."""
    result = gate(FINE, differences=("torch: 2.6 → 2.13",), notes=("odd",), changed=("a.py",))
    assert ["differs", "changed", "level", "note"] == [label for label, _ in make_gate_sheet(result).notes]


def test_one_question_divides_no_level_and_an_unknown_level_is_not_told() -> None:
    """A result of an older file."""
    assert (("level", "each look at one-sided 0.3 %; a failure needs fresh pairs that fail too"),) == make_gate_sheet(
        gate(FINE)
    ).notes
    assert () == make_gate_sheet(gate(FINE, level=0.0)).notes


def test_many_changed_files_are_counted() -> None:
    """Ten are named."""
    files = tuple(f"{index}.py" for index in range(1011))
    text = dict(make_gate_sheet(gate(FINE, changed=files)).notes)["changed"]
    assert "0.py, 1.py, 2.py, 3.py, 4.py, 5.py, 6.py, 7.py, 8.py, 9.py and 1,001 more" == text


def test_a_gate_that_was_not_finished_says_so_with_its_reason() -> None:
    """And tells the reason once."""
    sheet = make_gate_sheet(gate(FINE, complete=False, stopped_because="interrupted", pairs=1))
    assert "PARTIAL: interrupted; this is what 1 pair can tell" == sheet.partial
    assert "1 pair in 41 s" == sheet.facts[-1]
    assert "PARTIAL: not finished; this is what 0 pairs can tell" == (
        make_gate_sheet(gate(complete=False, stopped_because="", pairs=0)).partial
    )


def test_a_gate_without_tests_has_no_answer() -> None:
    """It must not look like a pass."""
    sheet = make_gate_sheet(gate(pairs=0, seconds=0.0, stopped_because="", level=0.0))
    assert ("UNDECIDED", "no test was gated", (), ()) == (sheet.word, sheet.counts, sheet.rows, sheet.findings)
    assert "0 pairs in 0 s" == sheet.facts[-1]


def test_a_commit_goes_by_its_beginning() -> None:
    """Other names are told whole, and none is unknown."""
    names = (COMMIT, "0" * 64, "working tree", "0" * 41, "")
    assert ["1a2b3c4d5e6f", "0" * 12, "working tree", "0" * 41, "unknown"] == [
        name_of(Side(what=name, python="3.11")) for name in names
    ]
