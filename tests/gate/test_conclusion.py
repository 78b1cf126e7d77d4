"""A gate that has ended, as a result: each test's word and reasons, what moved, what differs, and the head's calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.gate.conclusion import conclude
from llm_latency.gate.decision import LEVEL
from llm_latency.gate.gate import Gate
from llm_latency.gate.message import Imported
from llm_latency.gate.pair import BASE, HEAD, Played
from llm_latency.gate.result import Asked, GateResult, Side
from tests.gate.scripted_pairs import Playing, alike, calls, failed, gate_of, played, ran, skipped


def result_of(
    gate: Gate,
    *,
    is_new: Sequence[str] = (),
    pythons: tuple[str, str] = ("3.11.2", "3.11.2"),
    notes: Sequence[str] = (),
    changed: Sequence[str] = (),
) -> GateResult:
    """The result of a gate against main."""
    return conclude(
        gate,
        ref="main",
        what=("1a2b3c", "working tree"),
        pythons=dict(zip((BASE, HEAD), pythons, strict=True)),
        is_new=frozenset(is_new),
        notes=notes,
        changed=changed,
    )


def word_of(gate: Gate, *, is_new: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The only test's word and reasons."""
    (test,) = result_of(gate, is_new=is_new).tests
    return test.word, test.reasons


# --- the whole ---


def test_a_result_tells_what_was_asked_and_how_long_it_took() -> None:
    """Two tests, six pairs of two seconds, and an hour that can be read."""
    gate = ran(Playing(alike), "a", "b")
    result = result_of(gate, changed=("src/a.py",))
    assert ("main", 6, 2, LEVEL, 12.0) == (result.ref, result.pairs, result.family, result.level, result.seconds)
    assert ("every question answered after 6 pairs", True, "ok") == (
        result.stopped_because,
        result.complete,
        result.word,
    )
    assert (("src/a.py",), ()) == (result.changed, result.differences)
    assert result.recorded_at is not None and datetime.fromisoformat(result.recorded_at).tzinfo is not None
    expected = Side(
        what="1a2b3c",
        python="3.11.2",
        files={"project": "src/project/__init__.py"},
        versions={"torch": "2.13.0"},
        environment=Environment(torch="2.13.0"),
    )
    assert (expected, msgspec.structs.replace(expected, what="working tree")) == (result.base, result.head)


def test_answers_stand_in_the_order_of_the_tests() -> None:
    """Also where a test came to its first time later, and its second llmtime() before its first."""

    def give(number: int, tests: Sequence[str]) -> Played:
        found = [calls("b", index=2)] if number == 1 else [calls("b", index=2), calls("b"), calls("a")]
        return played(*found, tests="ab")

    result = result_of(ran(Playing(give), "a", Asked(test="b", limit=0.05, metrics=("ttft", "total"))))
    told = [(answer.test, answer.name, answer.metric) for answer in result.answers]
    expected = [(name, metric) for name in ("b", "b #2") for metric in ("ttft", "total")]
    assert [("a", "a", "total"), *(("b", name, metric) for name, metric in expected)] == told


def test_notes_of_both_come_once() -> None:
    """The sides' own before the gate's."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(calls("a", problem="" if number % 2 else "head: ValueError: no"))

    result = result_of(ran(Playing(give), "a"), notes=("they run in turn", "they run in turn"))
    assert ("they run in turn", "a: head: ValueError: no (in 5 pairs)") == result.notes


def test_nothing_asked_is_undecided() -> None:
    """No test is never ok."""
    result = result_of(ran(Playing(alike)))
    assert ("UNDECIDED", (), ()) == (result.word, result.tests, result.answers)


# --- a test's word ---


def test_the_worst_answer_speaks_for_a_test() -> None:
    """One of its two llmtime() calls is slower."""
    gate = ran(Playing(lambda *_: played(calls("a"), calls("a", 0.1, index=2))), "a")
    assert ("TOO SLOW", ()) == word_of(gate)
    assert ["ok", "TOO SLOW"] == [answer.word for answer in result_of(gate).answers]


@pytest.mark.parametrize(
    ("side", "is_new", "word"), [(HEAD, False, "BROKEN"), (BASE, False, "UNDECIDED"), (BASE, True, "NEW")]
)
def test_a_test_that_fails_before_it_is_timed(side: str, is_new: bool, word: str) -> None:
    """At the head it is broken; at the base it is new, or cannot be compared."""
    gate = ran(Playing(lambda *_: played(tests="a", reports=[failed(side, "a", "E   KeyError: 'x'")])), "a")
    (test,) = result_of(gate, is_new=["a"] if is_new else []).tests
    assert word == test.word
    expected = ("E   KeyError: 'x'", ()) if side == HEAD else ("", ("it fails at the base: E   KeyError: 'x'",))
    assert expected == (test.failure, test.reasons)


def test_a_test_that_fails_on_both_sides_is_broken() -> None:
    """New or not."""
    both = [failed(BASE, "a", "no"), failed(HEAD, "a", "neither")]
    gate = ran(Playing(lambda *_: played(reports=both)), "a")
    (test,) = result_of(gate, is_new=["a"]).tests
    assert ("BROKEN", "neither") == (test.word, test.failure)


def test_a_failure_without_words_gets_some() -> None:
    """BROKEN with an empty reason would look like nothing."""
    (test,) = result_of(ran(Playing(lambda *_: played(reports=[failed(HEAD, "a", "")])), "a")).tests
    assert ("BROKEN", "it failed without a word") == (test.word, test.failure)


@pytest.mark.parametrize(("failures", "word"), [(1, "ok"), (3, "ok"), (4, "BROKEN")])
def test_a_test_that_fails_in_more_than_half_of_its_pairs_is_broken(failures: int, word: str) -> None:
    """Timed in all of six, and failing behind that at the head in some; another test runs on for long."""

    def give(number: int, tests: Sequence[str]) -> Played:
        noise = calls("z", 0.2 if number % 2 else -0.1)
        # The last ones, so that it is not given up before it was timed six times.
        fails = "a" in tests and number > 6 - failures
        found = [calls("a"), noise] if "a" in tests else [noise]
        return played(*found, reports=[failed(HEAD, "a", "flaky")] if fails else [])

    test = result_of(ran(Playing(give), "a", "z")).tests[0]
    assert word == test.word
    often = f"it fails at the head in {failures} of 6 pairs: flaky"
    assert (("", (often,)) if word == "ok" else ("flaky", ())) == (test.failure, test.reasons)


def test_a_base_that_fails_behind_its_times_is_told_and_no_more() -> None:
    """Its budget was too strict for it, say; the head is faster, and the word is that."""
    gate = ran(Playing(lambda *_: played(calls("a", -0.2), reports=[failed(BASE, "a", "too slow")])), "a")
    assert ("FASTER", ("it fails at the base: too slow",)) == word_of(gate)


@pytest.mark.parametrize(
    ("sides", "is_new", "expected"),
    [
        ((BASE, HEAD), False, ("skipped", ("needs a CUDA device",))),
        ((HEAD,), False, ("UNDECIDED", ("it is skipped at the head: needs a CUDA device",))),
        ((BASE,), False, ("UNDECIDED", ("it is skipped at the base: needs a CUDA device",))),
        ((BASE,), True, ("NEW", ("it is skipped at the base: needs a CUDA device",))),
        ((HEAD,), True, ("UNDECIDED", ("it is skipped at the head: needs a CUDA device",))),
    ],
)
def test_only_what_both_sides_skip_is_skipped(
    sides: tuple[str, ...], is_new: bool, expected: tuple[str, tuple[str, ...]]
) -> None:
    """The same test runs on both; a head that skips it alone would guard nothing."""
    gate = ran(Playing(lambda *_: played(tests="a", reports=[skipped(side, "a") for side in sides])), "a")
    assert expected == word_of(gate, is_new=["a"] if is_new else [])


def test_a_test_that_never_calls_llmtime_says_so() -> None:
    """It was run, and nothing came of it."""
    reason = "it was never timed on both sides: llmtime() was not called, or did not get to its end"
    assert ("UNDECIDED", (reason,)) == word_of(ran(Playing(lambda *_: played(tests="a")), "a"))


@pytest.mark.parametrize(("is_new", "word"), [(False, "UNDECIDED"), (True, "NEW")])
def test_an_llmtime_that_is_never_whole_is_not_passed_over(is_new: bool, word: str) -> None:
    """The first one is ok; of the second one there is nothing, since the base raises in it."""
    problem = "base: ValueError: no"
    pair = played(calls("a"), calls("a", index=2, problem=problem), reports=[failed(BASE, "a", "ValueError")])
    found = word_of(ran(Playing(lambda *_: pair), "a"), is_new=["a"] if is_new else [])
    assert (word, ("it fails at the base: ValueError", f"{problem} (in 6 pairs)")) == found


def test_an_llmtime_that_breaks_off_now_and_then_is_answered() -> None:
    """It has pairs enough; that it broke off is a note."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(calls("a", problem="" if number % 2 else "head: unequal work: 1 and 2 rows"))

    gate = ran(Playing(give), "a")
    assert ("ok", ()) == word_of(gate)
    assert ("a: head: unequal work: 1 and 2 rows (in 5 pairs)",) == result_of(gate).notes


def test_an_llmtime_that_came_once_is_undecided_and_says_why() -> None:
    """One that was answered and broke off only then stays as it is."""

    def give(number: int, tests: Sequence[str]) -> Played:
        long = calls("a", 0.2 if number % 2 else -0.1, index=2)
        return played(calls("a", problem="" if number <= 6 else "head: no"), long)

    result = result_of(ran(Playing(give), "a"))
    assert ["ok", "UNDECIDED"] == [answer.word for answer in result.answers]
    assert () == result.tests[0].reasons
    once = Playing(lambda n, _: played(calls("a"), calls("a", index=2, problem="" if n == 1 else "head: no")))
    assert ("UNDECIDED", ("head: no (in 5 pairs)",)) == word_of(ran(once, "a"))


def test_unequal_work_is_told_by_its_answer() -> None:
    """The test is undecided, for the reason that its answer has."""
    gate = ran(Playing(lambda *_: played(calls("a", tokens=(16, 24)))), "a")
    assert ("UNDECIDED", ()) == word_of(gate)
    (answer,) = result_of(gate).answers
    assert "unequal work: 16 and 24 new tokens" == answer.reasons[0].partition(";")[0]
    assert () == answer.moved


# --- what moved ---


@pytest.mark.parametrize("share", [0.1, -0.1, 0.0])
def test_what_moved_is_told_where_something_did(share: float) -> None:
    """Of a call whose ttft and decode are a quarter and the rest of it: both; of one that is ok nothing."""
    (answer,) = result_of(ran(Playing(lambda *_: played(calls("a", share))), "a")).answers
    moved = {one.metric: one.seconds for one in answer.moved}
    assert ({"ttft", "tpot", "decode"} if share else set()) == set(moved)
    if share:
        assert (share / 4, share * 3 / 4) == pytest.approx((moved["ttft"], moved["decode"]))


def test_what_moved_is_told_by_each_llmtime_for_itself() -> None:
    """The second one's parts, and all its pairs: twelve with those of the confirmation."""
    gate = ran(Playing(lambda *_: played(calls("a"), calls("a", 0.1, index=2, base=2.0))), "a")
    first, second = result_of(gate).answers
    assert () == first.moved
    ttft = next(one for one in second.moved if one.metric == "ttft")
    assert (0.5, 0.55) == pytest.approx((ttft.base, ttft.head))


def test_an_answer_of_one_pair_has_nothing_that_moved() -> None:
    """An interval over pairs needs two."""
    gate = gate_of(Playing(alike), "a", time_budget_s=1.0)
    gate.run()
    (answer,) = result_of(gate).answers
    assert ("UNDECIDED", ()) == (answer.word, answer.moved)


# --- the head's calls, and what differs ---


def test_the_heads_calls_of_all_pairs_are_one_measurement() -> None:
    """Of the test's own pairs, also where the gate went on with another; with the head's environment."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(*(calls(test, 0.1 if test == "b" else 0.0, torch="2.14.0") for test in tests))

    result = result_of(ran(Playing(give), "a", "b"))
    (first,), (second,) = (test.measurements for test in result.tests)
    assert ("a", 12, "12 calls in 6 pairs of fresh processes") == (
        first.name,
        len(first.traces),
        first.stopped_because,
    )
    assert ("24 calls in 12 pairs of fresh processes", Environment(torch="2.14.0")) == (
        second.stopped_because,
        second.environment,
    )
    assert 1.1 == pytest.approx(float(second.total.p50))
    assert () == first.warnings


def test_what_differs_between_the_sides_is_listed_once() -> None:
    """Interpreter, environment and installed packages."""
    base = Imported(files={"p": "p.py"}, versions={}, inventory={"torch": "2.12.0", "msgspec": "0.19", "old": "1"})
    head = Imported(files={"p": "p.py"}, versions={}, inventory={"torch": "2.13.0", "msgspec": "0.19", "New": "2"})
    pair = played(calls("a", torch="2.14.0"), imported={BASE: base, HEAD: head})
    gate = ran(Playing(lambda *_: pair), "a")
    assert (
        "python: 3.11.2 → 3.12.0",
        "torch: 2.13.0 → 2.14.0",
        "New: none → 2",
        "old: 1 → none",
        "torch: 2.12.0 → 2.13.0",
    ) == result_of(gate, pythons=("3.11.2", "3.12.0")).differences


def test_without_both_inventories_no_package_differs() -> None:
    """Only the first pair's workers are asked for them."""
    base = Imported(files={"p": "p.py"}, versions={}, inventory={"torch": "2.12.0"})
    head = msgspec.structs.replace(base, inventory={})
    gate = ran(Playing(lambda *_: played(calls("a"), imported={BASE: base, HEAD: head})), "a")
    assert () == result_of(gate).differences
    assert None is result_of(gate_of(Playing(alike), "a")).base.environment
