"""A gate's result in a terminal, to the letter."""

from __future__ import annotations

import time

import msgspec

from llm_latency.report.gate_text import TextLine, gate_lines, gate_text
from tests.report.gate_results import HOSTILE, REALISTIC, a_test, answered, around, gate

FINE = answered("tests/test_chat.py::test_a", around(0.01, 0.0, 6))
SLOW = answered("tests/test_chat.py::test_b", around(0.1, 0.0, 9), around(0.1, 0.0, 6), metric="ttft", base=0.1)
NEW = a_test("tests/test_chat.py::test_c", "NEW", reasons=("it fails at the base: ImportError",))

WIDE = """\
gate against origin/main: TOO SLOW
1 TOO SLOW, 1 NEW, 1 ok · base 1a2b3c4d5e6f · head working tree
15 pairs in 41 s: every question answered after 15 pairs

test                        metric    base    head  change                  limit        pairs  verdict
tests/test_chat.py::test_a  total   200 ms  202 ms  +1.0 % [+1.0, +1.0]       5 %            6  ok
tests/test_chat.py::test_b  ttft    100 ms  110 ms  +10.0 % [+10.0, +10.0]    5 %  9 + 6 fresh  TOO SLOW
tests/test_chat.py::test_c  –                                                                   NEW

TOO SLOW tests/test_chat.py::test_b ttft
  first 6 pairs +10.0 % [+10.0, +10.0]; 6 fresh pairs +10.0 % [+10.0, +10.0]: the whole interval lies above
    2.5 %, half of the limit, both times
NEW tests/test_chat.py::test_c
  it fails at the base: ImportError

level: each look at one-sided 0.3 %, on the failing side divided by 2 questions; a failure needs fresh pairs
  that fail too"""

NARROW = """\
  metric    base    head  change                  limit        pairs  verdict
tests/test_chat.py::test_a
  total   200 ms  202 ms  +1.0 % [+1.0, +1.0]       5 %            6  ok
tests/test_chat.py::test_b
  ttft    100 ms  110 ms  +10.0 % [+10.0, +10.0]    5 %  9 + 6 fresh  TOO SLOW
tests/test_chat.py::test_c
  –                                                                   NEW"""

NARROWER = """\
  metric  change                  limit        pairs  verdict
tests/test_chat.py::test_a
  total   +1.0 % [+1.0, +1.0]       5 %            6  ok
tests/test_chat.py::test_b
  ttft    +10.0 % [+10.0, +10.0]    5 %  9 + 6 fresh  TOO SLOW
tests/test_chat.py::test_c
  –                                                   NEW"""

NARROWEST = """\
  metric  change                  verdict
tests/test_chat.py::test_a
  total   +1.0 % [+1.0, +1.0]     ok
tests/test_chat.py::test_b
  ttft    +10.0 % [+10.0, +10.0]  TOO SLOW
tests/test_chat.py::test_c
  –                               NEW"""


def block(text: str, index: int) -> str:
    """One of the blocks between empty lines."""
    return text.split("\n\n")[index]


def test_the_text_to_the_letter() -> None:
    """Where a line holds it, a row says all."""
    assert WIDE == gate_text(gate(FINE, SLOW, tests=(NEW,)), width=108)


def test_a_narrow_terminal_has_tests_above_their_rows() -> None:
    """Columns are left out, one by one, and the word never; the narrowest overflows rather than hide it."""
    result = gate(FINE, SLOW, tests=(NEW,))
    for width, expected in ((80, NARROW), (70, NARROWER), (44, NARROWEST), (0, NARROWEST)):
        assert expected == block(gate_text(result, width=width), 1)


def test_metrics_of_one_test_stand_below_it() -> None:
    """Its name is told once."""
    test = f"tests/test_chat.py::test_a[{'x' * 90}]"
    result = gate(answered(test, around(0.01, 0.0, 6)), answered(test, around(0.01, 0.0, 6), metric="ttft"))
    assert 1 == gate_text(result, width=80).count(test)
    rows = block(gate_text(result, width=80), 1).splitlines()[1:]
    assert [test, "total", "ttft"] == [row.split()[0] for row in rows]


def test_each_line_knows_its_word() -> None:
    """For who colours it: the title, the rows and the heads of findings."""
    lines = gate_lines(gate(FINE, SLOW, tests=(NEW,)), width=108)
    assert "\n".join(line.text for line in lines) == WIDE
    assert ["TOO SLOW", "ok", "TOO SLOW", "NEW", "TOO SLOW", "NEW"] == [line.word for line in lines if line.word]
    assert TextLine(text="gate against origin/main: TOO SLOW", word="TOO SLOW") == lines[0]


def test_a_gate_that_was_not_finished_says_so_on_top() -> None:
    """Below its word."""
    text = gate_text(gate(FINE, complete=False, stopped_because="interrupted"), width=100)
    assert "PARTIAL: interrupted; this is what 15 pairs can tell" == text.splitlines()[1]


def test_nothing_at_all_is_said_in_words() -> None:
    """No table of heads alone."""
    expected = [
        "gate against origin/main: UNDECIDED",
        "no test was gated · base 1a2b3c4d5e6f · head working tree · 0 pairs in 0 s",
    ]
    assert expected == gate_text(gate(pairs=0, seconds=0.0, level=0.0, stopped_because=""), width=100).splitlines()


def test_a_failure_ends_with_its_last_lines() -> None:
    """Eight of them, unbroken, as wide as the terminal, below what a sentence says of it."""
    failure = "\n".join([f"line {index}" for index in range(20)] + ["\tE " + "x" * 200])
    lines = gate_text(gate(tests=(a_test("t::a", "BROKEN", failure=failure),)), width=60).splitlines()
    start = lines.index("    line 13")
    assert [f"    line {index}" for index in range(13, 20)] == lines[start : start + 7]
    assert f"        E {'x' * 50}" == lines[start + 7]
    assert "    line 12" not in lines


def test_sentences_keep_to_the_width() -> None:
    """All but tests' names, which stay whole so that they can be copied, and rows."""
    for width in (60, 80, 120):
        lines = gate_lines(REALISTIC, width=width)
        assert all(len(line.text) <= width or "tests/latency/" in line.text for line in lines)


def test_no_escape_of_a_name_reaches_the_terminal() -> None:
    """Neither a colour nor a line break, wherever it comes from."""
    bad = answered(f"t::{HOSTILE}", around(0.1, 0.0, 6), withheld=(HOSTILE,), name=HOSTILE)
    result = gate(
        bad,
        tests=(a_test(HOSTILE, "BROKEN", reasons=(HOSTILE,), failure=HOSTILE),),
        ref=HOSTILE,
        changed=(HOSTILE,),
        differences=(HOSTILE,),
        notes=(HOSTILE,),
        stopped_because=HOSTILE,
    )
    for text in (gate_text(result, width=80), gate_text(msgspec.structs.replace(result, complete=False), width=400)):
        assert not {"\x1b", "\u202e", "\r"} & set(text)
        assert r"\x1b[31m" in text
        assert "\n# g" not in text


def test_a_thousand_answers_are_quick() -> None:
    """A tenth of a second as measured; two would be an accident of growth."""
    many = [msgspec.structs.replace(SLOW, test=f"tests/test_chat.py::test_{index}") for index in range(1000)]
    begin = time.process_time()
    text = gate_text(gate(*many), width=120)
    assert time.process_time() - begin < 2.0
    assert 1000 == text.count("9 + 6 fresh")
