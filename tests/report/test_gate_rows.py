"""The rows of a gate's table, to the letter."""

from __future__ import annotations

import msgspec
import pytest

from llm_latency.core.metrics import METRICS
from llm_latency.gate.decision import Decision
from llm_latency.gate.result import Answer
from llm_latency.report.gate_rows import (
    HEADS,
    GateRow,
    by_test,
    change,
    change_of,
    counted,
    full_name,
    limit,
    make_gate_rows,
    percent,
    thing_of,
    word_of,
    word_of_gate,
    word_of_test,
)
from tests.report.gate_results import BROKEN_TEST, NEW_TEST, SKIPPED_TEST, a_test, answered, around, gate

EMPTY = Answer(
    test="t::a",
    name="a",
    metric="total",
    unit="s",
    better="lower",
    word="UNDECIDED",
    limit=0.05,
    decision=Decision(outcome="undecided", first=None),
)


def cells(row: GateRow) -> tuple[str, ...]:
    """A row's texts."""
    return row.test, row.metric, row.base, row.head, row.change, row.limit, row.pairs, row.word


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.012, "+1.2"),
        (-0.004, "−0.4"),
        (0.0, "0.0"),
        (0.0004, "0.0"),
        (-0.0004, "0.0"),
        (0.0006, "+0.1"),
        (12.3456, "+1,234.6"),
        (None, "–"),
    ],
)
def test_a_percentage_has_a_sign_and_one_digit(share: float | None, text: str) -> None:
    """A true minus sign, and none at all where it rounds to nothing."""
    assert text == percent(share)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.05, "5 %"), (0.0125, "1.2 %"), (0.123456, "12.3 %"), (0.005, "0.5 %"), (0.0004, "0.04 %"), (9.99, "999 %")],
)
def test_a_limit_is_as_short_as_it_can_be(share: float, text: str) -> None:
    """It was written by a person, or made of a smallest change."""
    assert text == limit(share)


def test_a_change_has_its_interval_where_there_is_one() -> None:
    """Both ends or none; nothing without a change."""
    assert "+1.2 % [−0.4, +2.8]" == change(0.012, -0.004, 0.028)
    assert "+1.2 %" == change(0.012, None, 0.028) == change(0.012)
    assert "–" == change(None, -0.1, 0.1)


def test_a_row_says_all_of_an_answer() -> None:
    """At six equal pairs of +10 % the interval is the point; so are those of its confirmation."""
    slow = answered("t::a", around(0.1, 0.0, 6), around(0.1, 0.0, 6))
    expected = ("t::a", "total", "200 ms", "220 ms", "+10.0 % [+10.0, +10.0]", "5 %", "6 + 6 fresh", "TOO SLOW")
    assert [expected] == [cells(row) for row in make_gate_rows(gate(slow))]
    quick = answered("t::a", around(0.0, 0.0, 6))
    row = make_gate_rows(gate(quick))[0]
    assert ("0.0 % [0.0, 0.0]", "6", "ok") == (row.change, row.pairs, row.word)


def test_an_answer_without_anything_is_a_row_of_dashes() -> None:
    """No pair gave a value."""
    assert [("t::a", "total", "–", "–", "–", "5 %", "0", "UNDECIDED")] == [
        cells(row) for row in make_gate_rows(gate(EMPTY))
    ]


def test_a_rate_loses_and_bytes_are_too_much() -> None:
    """Words of slowness are for times; a loss says so, whichever way it goes."""
    rate = answered("t::a", around(0.1, 0.0, 6), around(0.1, 0.0, 6), metric="output_throughput", base=44.0)
    row = make_gate_rows(gate(rate))[0]
    # 44 tok/s are 10 % more than 40.
    assert ("44.0 tok/s", "40.0 tok/s", "+10.0 % [+10.0, +10.0] loss", "TOO SLOW") == (
        row.base,
        row.head,
        row.change,
        row.word,
    )
    gain = answered("t::a", around(-0.1, 0.0, 6), metric="output_throughput", base=44.0)
    assert ("−10.0 % [−10.0, −10.0] loss", "FASTER") == (change_of(gain), word_of(gain))
    assert "–" == change_of(msgspec.structs.replace(gain, slowdown=None))
    for metric in ("peak_memory", "energy", "energy_per_token"):
        more = answered("t::a", around(0.1, 0.0, 6), around(0.1, 0.0, 6), metric=metric)
        less = answered("t::a", around(-0.1, 0.0, 6), metric=metric)
        same = answered("t::a", around(0.0, 0.0, 6), metric=metric)
        assert ["TOO MUCH", "LESS", "ok"] == [word_of(answer) for answer in (more, less, same)]


def test_every_metric_has_a_noun_for_its_change() -> None:
    """Times slow down, rates lose, amounts rise."""
    nouns = {name: thing_of(answered("t", metric=name)) for name in METRICS}
    assert {name for name, noun in nouns.items() if noun == "loss"} == {
        name for name, metric in METRICS.items() if metric.better == "higher"
    }
    assert {"peak_memory", "energy", "energy_per_token"} == {name for name, noun in nouns.items() if noun == "rise"}


def test_a_word_for_several_is_that_of_amounts_where_all_agree() -> None:
    """A test, and a gate, that only takes too much memory is not too slow."""
    heavy = answered("t::a", around(0.1, 0.0, 6), around(0.1, 0.0, 6), metric="peak_memory")
    slow = answered("t::b", around(0.1, 0.0, 6), around(0.1, 0.0, 6))
    assert "TOO MUCH" == word_of_gate(gate(heavy))
    assert "TOO SLOW" == word_of_gate(gate(heavy, slow))
    assert "TOO MUCH" == word_of_test(a_test("t::a", "TOO SLOW"), [heavy])
    assert "BROKEN" == word_of_test(BROKEN_TEST, [heavy])
    assert "UNDECIDED" == word_of_gate(gate())


def test_a_word_that_no_gate_says_is_shown_and_never_decides() -> None:
    """No report breaks on it."""
    result = gate(tests=(a_test("t::a", "ODD"), a_test("t::b", "NEW")))
    assert ["ODD", "NEW"] == [row.word for row in make_gate_rows(result)]
    assert "NEW" == word_of_gate(result)
    assert "1 NEW, 1 ODD" == counted(make_gate_rows(result))


def test_a_test_without_an_answer_of_its_word_has_a_row() -> None:
    """New, broken and skipped ones, and one that broke after it was timed; in the order of the tests."""
    fine = answered("t::a", around(0.0, 0.0, 6))
    result = gate(fine, tests=(NEW_TEST, BROKEN_TEST, SKIPPED_TEST))
    assert [(fine.test, "ok"), *((one.test, one.word) for one in (NEW_TEST, BROKEN_TEST, SKIPPED_TEST))] == [
        (row.test, row.word) for row in make_gate_rows(result)
    ]
    assert ("–", "", "", "", "", "") == cells(make_gate_rows(result)[1])[1:7]
    late = msgspec.structs.replace(result, tests=(a_test("t::a", "BROKEN"),))
    assert ["BROKEN", "ok"] == [row.word for row in make_gate_rows(late)]


def test_an_answer_of_no_test_is_shown() -> None:
    """Rather than left out of what a person reads."""
    assert ["ok"] == [row.word for row in make_gate_rows(gate(answered("t::a", around(0.0, 0.0, 6)), tests=()))]
    alone = msgspec.structs.replace(gate(answered("t::a", around(0.0, 0.0, 6))), tests=())
    assert ["t::a"] == [row.test for row in make_gate_rows(alone)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test_a[x]", "f.py::test_a[x]"),
        ("", "f.py::test_a[x]"),
        ("f.py::test_a[x]", "f.py::test_a[x]"),
        ("test_a[x] 2", "f.py::test_a[x] 2"),
        ("warm", "f.py::test_a[x] warm"),
    ],
)
def test_a_name_is_told_where_it_is_not_the_tests(name: str, text: str) -> None:
    """A second llmtime() of a test, or one that was named."""
    assert text == full_name(answered("f.py::test_a[x]", name=name))


def test_answers_are_grouped_in_their_order() -> None:
    """By test, whatever lies between."""
    one, two, three = answered("t::b"), answered("t::a"), answered("t::b", metric="ttft")
    assert {"t::b": [one, three], "t::a": [two]} == by_test([one, two, three])
    assert ["t::b", "t::a"] == list(by_test([one, two, three]))


def test_counts_begin_with_what_weighs_most() -> None:
    """Nothing of nothing."""
    rows = [GateRow(test="t", word=word) for word in ("ok", "NEW", "ok", "BROKEN", "LESS")]
    assert "1 BROKEN, 1 NEW, 1 LESS, 2 ok" == counted(rows)
    assert "" == counted([])
    assert "verdict" == HEADS.word
