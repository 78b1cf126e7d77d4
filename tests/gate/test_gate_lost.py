"""A gate whose workers crash, hang or cannot run their tests: what it goes on with, and what it says in the end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llm_latency.errors import UsageError
from llm_latency.gate.conclusion import conclude
from llm_latency.gate.gate import Gate
from llm_latency.gate.pair import BASE, HEAD, Lost, Played
from llm_latency.gate.result import GateResult
from llm_latency.gate.result import Tested as OneTest
from tests.gate.scripted_pairs import Playing, alike, calls, failed, gate_of, played, ran, skipped

GONE = "its process ended without a word; exit status -11; Fatal Python error\n  File ..."


def concluded(gate: Gate, *, is_new: Sequence[str] = ()) -> dict[str, OneTest]:
    """Each test's end."""
    return {one.test: one for one in result_of(gate, is_new=is_new).tests}


def result_of(gate: Gate, *, is_new: Sequence[str] = ()) -> GateResult:
    """The whole result."""
    return conclude(
        gate,
        ref="main",
        what=("base", "head"),
        pythons={BASE: "3.11", HEAD: "3.11"},
        is_new=frozenset(is_new),
    )


def lost_in(test: str, side: str) -> Playing:
    """Pairs that end when a side crashes in a test, after all tests before it."""

    def give(number: int, tests: Sequence[str]) -> Played:
        if test not in tests:
            return alike(number, tests)
        before = tests[: tests.index(test)]
        return played(*map(calls, before), lost=Lost(side, test, GONE))

    return Playing(give)


# --- lost pairs ---


def test_a_test_that_crashes_the_head_each_time_is_broken_and_the_others_keep_their_answers() -> None:
    """It is given up after two pairs; what lies behind it comes to its turn then."""
    playing = lost_in("b", HEAD)
    gate = ran(playing, "a", "b", "c")
    assert [list("abc")] * 2 + [["a", "c"]] * 4 + [["c"]] * 2 == playing.asked
    tests = concluded(gate)
    assert {"a": "ok", "b": "BROKEN", "c": "ok"} == {test: one.word for test, one in tests.items()}
    assert f"its process was lost: {GONE}" == tests["b"].failure
    # The note is one line, since the test has them all.
    assert (f"the head was lost in b: {GONE.splitlines()[0]} (in 2 pairs)",) == gate.notes
    assert "no test was left that more pairs could tell something about, after 8 pairs" == gate.stopped_because


@pytest.mark.parametrize(("is_new", "word"), [((), "UNDECIDED"), (("b",), "NEW")])
def test_a_test_that_crashes_the_base_each_time_is_undecided_or_new(is_new: Sequence[str], word: str) -> None:
    """With the words, and the others keep their answers."""
    tests = concluded(ran(lost_in("b", BASE), "a", "b", "c"), is_new=is_new)
    assert {"a": "ok", "b": word, "c": "ok"} == {test: one.word for test, one in tests.items()}
    assert (f"it fails at the base: its process was lost: {GONE}",) == tests["b"].reasons
    assert "" == tests["b"].failure


def test_several_tests_that_crash_are_given_up_one_after_the_other() -> None:
    """Each takes two pairs."""

    def give(number: int, tests: Sequence[str]) -> Played:
        crashing = next((test for test in tests if test in "ac"), None)
        if crashing is None:
            return alike(number, tests)
        before = tests[: tests.index(crashing)]
        return played(*map(calls, before), lost=Lost(HEAD, crashing, GONE))

    playing = Playing(give)
    tests = concluded(ran(playing, "a", "b", "c", "d"))
    assert ["BROKEN", "ok", "BROKEN", "ok"] == [one.word for one in tests.values()]
    assert [list("abcd")] * 2 + [list("bcd")] * 2 + [list("bd")] * 4 + [["d"]] * 2 == playing.asked


@pytest.mark.parametrize("where", [("", ""), ("a", "b"), ("", "a"), ("b", "")])
def test_two_pairs_in_a_row_that_are_lost_elsewhere_end_the_gate(where: tuple[str, str]) -> None:
    """The machine is to blame, or the whole suite; what came before stays."""

    def give(number: int, tests: Sequence[str]) -> Played:
        if number < 3:
            return alike(number, tests)
        return played(lost=Lost(HEAD, where[number - 3], "gone"))

    gate = ran(Playing(give), "a", "b")
    last = f"in {where[1]}" if where[1] else "before its first test"
    assert (4, f"2 pairs in a row were lost, the last one so: the head was lost {last}: gone") == (
        gate.pairs,
        gate.stopped_because,
    )
    tests = concluded(gate)
    assert {"UNDECIDED"} == {one.word for one in tests.values()}
    assert [2, 2] == [len(answer.pairs) for answer in result_of(gate).answers]


def test_a_good_pair_between_two_that_are_lost_goes_on() -> None:
    """One in two is lost before its first test."""
    gate = ran(Playing(lambda n, tests: alike(n, tests) if n % 2 else played(lost=Lost(BASE, "", "gone"))), "a")
    assert (11, ("the base was lost before its first test: gone (in 5 pairs)",)) == (gate.pairs, gate.notes)
    assert "ok" == concluded(gate)["a"].word


def test_a_test_that_crashes_once_goes_on() -> None:
    """It is ok, and the crash is told."""
    gate = ran(Playing(lambda n, tests: played(lost=Lost(HEAD, "a", "gone")) if n == 1 else alike(n, tests)), "a")
    test = concluded(gate)["a"]
    assert ("ok", ("it fails at the head in 1 of 7 pairs: its process was lost: gone",)) == (test.word, test.reasons)


def test_a_crash_in_its_second_llmtime_gives_a_test_up_too() -> None:
    """The first one is timed each time; nothing behind the test would ever be reached."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(calls("a"), lost=Lost(HEAD, "a", "gone")) if "a" in tests else alike(number, tests)

    playing = Playing(give)
    tests = concluded(ran(playing, "a", "b"))
    assert [list("ab")] * 2 + [["b"]] * 6 == playing.asked
    assert ("BROKEN", "its process was lost: gone") == (tests["a"].word, tests["a"].failure)
    assert "ok" == tests["b"].word
    # What was timed is there for absolute budgets.
    assert [4] == [len(one.traces) for one in tests["a"].measurements]


# --- sides that cannot run their tests ---


def test_a_head_that_cannot_run_any_test_is_refused() -> None:
    """In the first pair there is nothing else to say."""
    playing = Playing(lambda *_: played(problems={HEAD: "ImportError: no module named torch"}))
    with pytest.raises(UsageError, match="the head could not run its tests: ImportError: no module named torch"):
        ran(playing, "a")
    both = Playing(lambda *_: played(problems={BASE: "usage: pytest", HEAD: "usage: pytest"}))
    with pytest.raises(UsageError, match="the head could not"):
        ran(both, "a")


@pytest.mark.parametrize(("is_new", "word"), [((), "UNDECIDED"), (("a",), "NEW")])
def test_a_base_that_cannot_run_any_test_leaves_each_with_its_words(is_new: Sequence[str], word: str) -> None:
    """A conftest of the head's that needs what the base has not is no fault of the change."""
    problem = "ImportError: cannot import name 'helpers'"
    gate = ran(Playing(lambda *_: played(problems={BASE: problem})), "a")
    test = concluded(gate, is_new=is_new)["a"]
    assert (2, word) == (gate.pairs, test.word)
    assert (f"it fails at the base: the base could not run it: {problem}",) == test.reasons
    assert (f"the base could not run all its tests: {problem} (in 2 pairs)",) == gate.notes


def test_a_head_that_cannot_go_on_in_a_later_pair_does_not_take_back_what_was_found() -> None:
    """Its tests have failed in that pair, but for those that it had run by then."""

    def give(number: int, tests: Sequence[str]) -> Played:
        if number == 4:
            return played(calls("a"), problems={HEAD: "INTERNALERROR"})
        return alike(number, tests)

    gate = ran(Playing(give), "a", "b")
    tests = concluded(gate)
    assert (7, ["ok", "ok"]) == (gate.pairs, [one.word for one in tests.values()])
    assert () == tests["a"].reasons
    assert ("it fails at the head in 1 of 7 pairs: the head could not run it: INTERNALERROR",) == tests["b"].reasons


def test_a_head_that_fails_in_each_later_pair_is_broken_where_it_has_no_answer() -> None:
    """Pair 1 was good, and the others brought nothing: two of three are most."""
    gate = ran(Playing(lambda n, tests: alike(n, tests) if n == 1 else played(problems={HEAD: "no space left"})), "a")
    test = concluded(gate)["a"]
    assert (3, "BROKEN", "the head could not run it: no space left") == (gate.pairs, test.word, test.failure)


def test_a_problem_after_all_tests_is_no_more_than_a_note() -> None:
    """A process that dies on its way out."""
    problem = "its process ended without a word after its last test"
    gate = ran(Playing(lambda _, tests: played(*map(calls, tests), problems={HEAD: problem})), "a")
    assert (6, "ok") == (gate.pairs, concluded(gate)["a"].word)
    assert (f"the head could not run all its tests: {problem} (in 6 pairs)",) == gate.notes


def test_a_head_whose_tests_all_fail_is_no_refusal() -> None:
    """They were run; that its process then ended badly is said beside it."""
    pair = played(reports=[failed(HEAD, "a")], problems={HEAD: "INTERNALERROR"})
    gate = ran(Playing(lambda *_: pair), "a")
    assert "BROKEN" == concluded(gate)["a"].word


def test_a_test_that_no_pair_has_reached_says_so() -> None:
    """The first pair was lost in another test, and there was no time for more."""
    gate = gate_of(lost_in("a", HEAD), "a", "b", time_budget_s=1.0)
    gate.run()
    tests = concluded(gate)
    assert ("BROKEN", "UNDECIDED") == (tests["a"].word, tests["b"].word)
    assert ("no pair got as far as this test",) == tests["b"].reasons


def test_an_interrupted_gate_tells_what_it_has() -> None:
    """Two pairs are not enough, and it is not complete."""

    def give(number: int, tests: Sequence[str]) -> Played:
        if number == 3:
            raise KeyboardInterrupt
        return alike(number, tests)

    gate = gate_of(Playing(give), "a")
    with pytest.raises(KeyboardInterrupt):
        gate.run()
    result = conclude(gate, ref="main", what=("b", "h"), pythons={BASE: "3", HEAD: "3"}, complete=False)
    assert ("interrupted", False, "UNDECIDED", 2) == (
        result.stopped_because,
        result.complete,
        result.word,
        result.pairs,
    )
    assert [("fewer than 6 pairs were run",)] == [answer.reasons for answer in result.answers]


def test_a_suite_that_is_skipped_is_never_ok() -> None:
    """All tests skipped are a gate that has guarded nothing."""
    both = [skipped(BASE, "a"), skipped(HEAD, "a")]
    assert "skipped" == result_of(ran(Playing(lambda *_: played(reports=both)), "a")).word
