"""A gate from its first pair to its end: which pairs it asks for and when it stops, with pairs made by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import pytest

from llm_latency.errors import UsageError
from llm_latency.gate.gate import Gate, Progress
from llm_latency.gate.message import Imported
from llm_latency.gate.pair import BASE, HEAD, Alternated, Lost, Played
from llm_latency.gate.result import Asked
from tests.gate.scripted_pairs import Playing, alike, calls, failed, gate_of, played, ran, skipped


def noisy(number: int, tests: Sequence[str]) -> Played:
    """+20 % and -10 % in turn, which no number of pairs up to 46 decides."""
    return played(*(calls(test, 0.2 if number % 2 else -0.1) for test in tests))


def words(gate: Gate) -> dict[tuple[str, str], str]:
    """Each question's word, by test and metric."""
    return {(one.test, one.metric): one.word for one in (asked.answer() for asked in gate.questions.values())}


# --- how many pairs ---


def test_unchanged_code_is_ok_after_six_pairs() -> None:
    """Of two seconds each."""
    gate = ran(Playing(alike), "a", "b")
    assert (6, 12.0, "every question answered after 6 pairs") == (gate.pairs, gate.seconds, gate.stopped_because)
    assert {("a", "total"): "ok", ("b", "total"): "ok"} == words(gate)
    assert ((), 2) == (gate.notes, gate.family)


def test_a_failure_takes_six_pairs_more() -> None:
    """Only of the test that is slower; the one that is answered is not run again."""
    playing = Playing(lambda _, tests: played(*(calls(test, 0.1 if test == "b" else 0.0) for test in tests)))
    gate = ran(playing, "a", "b", "c")
    assert [list("abc")] * 6 + [["b"]] * 6 == playing.asked
    assert ["ok", "TOO SLOW", "ok"] == list(words(gate).values())
    assert [2 * 6, 2 * 12, 2 * 6] == [len(traces) for traces in gate.traces.values()]


def test_a_gate_that_is_asked_nothing_plays_nothing() -> None:
    """And has no answer."""
    playing = Playing(alike)
    gate = ran(playing)
    assert ([], 0, {}, 1) == (playing.asked, gate.pairs, gate.questions, gate.family)


def test_a_question_is_given_up_after_the_last_look() -> None:
    """46 pairs."""
    gate = ran(Playing(noisy), "a")
    assert (46, {("a", "total"): "UNDECIDED"}) == (gate.pairs, words(gate))


def test_each_metric_and_llmtime_is_a_question() -> None:
    """Two metrics of two llmtime() calls are four; what is named twice is asked once; what nobody asked for is left."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(calls("a"), calls("a", 0.1, index=2), calls("x", 0.5))

    gate = ran(Playing(give), Asked(test="a", limit=0.05, metrics=("total", "ttft", "total")))
    assert [("a", 1, "total"), ("a", 1, "ttft"), ("a", 2, "total"), ("a", 2, "ttft")] == list(gate.questions)
    assert (12, 4) == (gate.pairs, gate.family)
    assert [6, 6, 6, 6] == [len(question.pairs) for question in gate.questions.values()]
    assert [0, 0, 6, 6] == [len(question.fresh) for question in gate.questions.values()]


def test_the_family_counts_what_may_still_be_asked() -> None:
    """A test that was not reached yet asks a question a metric; one that is skipped or given up asks none."""
    gate = gate_of(Playing(alike), "a", Asked(test="b", limit=0.05, metrics=("ttft", "tpot")))
    assert 3 == gate.family
    lost = Lost(HEAD, "b", "gone")
    gate = ran(Playing(lambda n, _: played(calls("a"), lost=lost) if n == 1 else alike(n, "ab")), "a", "b")
    assert [2, 2] == [question.rule.family for question in gate.questions.values()]
    both = [skipped(BASE, "b"), skipped(HEAD, "b")]
    gate = ran(Playing(lambda _, __: played(calls("a"), reports=both)), "a", "b")
    assert (1, [1]) == (gate.family, [question.rule.family for question in gate.questions.values()])


# --- time ---


@pytest.mark.parametrize(
    ("takes", "budget", "pairs"),
    [
        # 2 s a pair: the fifth ends at 10.
        ([2.0], 10.0, 5),
        ([2.0], 11.9, 5),
        ([2.0], 12.0, 6),
        # The first one, spawned, takes a minute: 60 + 10 · 6 = 120, and 130 would be too much.
        ([60.0, 10.0], 125.0, 7),
        # Of the second one nothing else is known than that the first took 60.
        ([60.0, 10.0], 119.0, 1),
        # The longer one of the last two: 10 + 3 + 8 + 3 = 24, and 8 more than 31; else 3 and 3 more.
        ([10.0, 3.0, 8.0, 3.0], 31.0, 4),
        ([10.0, 3.0, 8.0, 3.0], 32.0, 6),
        # The first pair is always played.
        ([60.0], 1.0, 1),
    ],
)
def test_no_pair_is_begun_that_would_take_too_long(takes: list[float], budget: float, pairs: int) -> None:
    """By the longer one of the last two, without the first where there are others."""
    gate = ran(Playing(noisy, takes=takes), "a", time_budget_s=budget)
    assert pairs == gate.pairs
    said = f"time budget of {budget:g} s used after {pairs} pair{'' if pairs == 1 else 's'}"
    assert said == gate.stopped_because


def test_an_interrupt_goes_on_and_leaves_what_was_found() -> None:
    """In the middle of the fourth pair, whose time counts."""

    def give(number: int, tests: Sequence[str]) -> Played:
        if number == 4:
            raise KeyboardInterrupt
        return alike(number, tests)

    gate = gate_of(Playing(give), "a")
    with pytest.raises(KeyboardInterrupt):
        gate.run()
    assert (3, 8.0, "") == (gate.pairs, gate.seconds, gate.stopped_because)
    assert 3 == len(gate.questions["a", 1, "total"].pairs)


def test_the_turn_is_held_while_a_pair_runs_and_not_between() -> None:
    """Waiting for it takes no time of the gate's."""
    playing = Playing(alike)
    held: list[int] = []

    @contextmanager
    def turn() -> Iterator[None]:
        playing.now += 1000.0
        held.append(len(playing.asked))
        yield
        held.append(len(playing.asked))

    asked = [Asked(test="a", limit=0.05)]
    gate = Gate(asked, play=playing, time_budget_s=100.0, turn=turn, clock=playing.clock)
    gate.run()
    assert [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6] == held
    assert 12.0 == gate.seconds


def test_progress_is_told_in_the_middle_of_each_pair() -> None:
    """Test b is slower and is confirmed; half of each pair's 2 s is over, and the next look is told by the latest."""
    told: list[Progress] = []

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(*(calls(test, 0.1 if test == "b" else 0.0) for test in tests))

    gate_of(Playing(give, takes=[8.0, 2.0]), "a", "b", on_progress=told.append).run()
    assert [1] * 2 + [2] * 2 == [one.pair for one in told][:4]
    first, second, seventh, last = told[0], told[2], told[12], told[-1]
    assert ("a", 4.0, 1000.0, 2, 2, 0) == (
        first.test,
        first.seconds,
        first.time_budget_s,
        first.tests,
        first.open,
        first.confirming,
    )
    assert (None, None) == (first.widest, first.left_s)
    # Five pairs to the look, as long as the first: 40 s, of which one is over.
    assert (9.0, 39.0) == (second.seconds, second.left_s)
    # 8 + 5 · 2 + 1; six pairs to the look of the confirmation.
    assert ("b", 19.0, 1, 1, 11.0) == (seventh.test, seventh.seconds, seventh.open, seventh.confirming, seventh.left_s)
    assert seventh.widest is not None
    assert ("b", 0.1, 0.1, 0.1) == pytest.approx(seventh.widest)
    assert (12, 1.0) == (last.pair, last.left_s)


def test_what_is_left_is_never_less_than_nothing() -> None:
    """A pair that takes longer than the one before."""
    told: list[Progress] = []
    gate_of(Playing(alike, takes=[1.0] * 5 + [30.0]), "a", on_progress=told.append).run()
    assert (0.0, 20.0) == (told[-1].left_s, told[-1].seconds)


# --- where the code came from ---


def test_sides_that_import_nothing_of_the_project_are_refused_in_the_first_pair_only() -> None:
    """Later pairs run fewer tests, and those need not import it."""
    nothing = Imported(files={}, versions={})

    def give(number: int, tests: Sequence[str]) -> Played:
        pair = played(calls("a"), calls("b", 0.1))
        return pair if number == 1 else played(calls("b", 0.1), imported={BASE: nothing, HEAD: nothing})

    gate = ran(Playing(give), "b")
    assert (12, {"project": "src/project/__init__.py"}) == (gate.pairs, gate.imported[HEAD].files)
    none = Playing(lambda *_: played(calls("a"), imported={BASE: nothing, HEAD: nothing}))
    with pytest.raises(UsageError, match="would guard"):
        ran(none, "a")
    gate = gate_of(none, "a", needs_own_code=False)
    gate.run()
    assert 6 == gate.pairs


@pytest.mark.parametrize("field", ["foreign", "copies"])
def test_a_side_that_runs_other_code_stops_it(field: str) -> None:
    """In any pair."""
    wrong = Imported(files={}, versions={}, **{field: ("project is /elsewhere/project.py",)})
    with pytest.raises(UsageError, match=r"/elsewhere/project\.py"):
        ran(Playing(lambda *_: played(calls("a"), imported={HEAD: wrong})), "a")


# --- unequal work and missing values ---


def test_unequal_work_is_withheld_and_not_asked_again() -> None:
    """Another test goes on; of the times of the first nothing is told, and its advice fits a gate."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(*(calls(test, 0.2, tokens=(16, 24) if test == "a" else (9, 9)) for test in tests))

    playing = Playing(give)
    gate = ran(playing, Asked(test="a", limit=0.05, metrics=("total", "tpot")), "b")
    assert [list("ab"), *[["b"]] * 11] == playing.asked
    assert ["UNDECIDED", "UNDECIDED", "TOO SLOW"] == list(words(gate).values())
    advice = "unequal work: 16 and 24 new tokens; fix the length with min_new_tokens and max_new_tokens"
    assert (advice,) == gate.questions["a", 1, "tpot"].answer().reasons
    assert {("b", 1)} == set(gate.parts)


def test_an_answer_that_was_given_is_not_taken_back() -> None:
    """The total passes after six pairs; the seventh, for a ttft that wavers, does unequal work."""

    def give(number: int, tests: Sequence[str]) -> Played:
        pair = calls("a", tokens=(100, 100) if number < 7 else (100, 99))
        (request,) = pair.head[0].requests
        first = (request.emissions[0][0] * (2 if number % 2 else 1), 1)
        request = msgspec.structs.replace(request, emissions=(first, request.emissions[1]))
        head = msgspec.structs.replace(pair.head[0], requests=(request,))
        return played(msgspec.structs.replace(pair, head=(head, head)))

    gate = ran(Playing(give), Asked(test="a", limit=0.05, metrics=("ttft", "total")))
    assert ({("a", "ttft"): "UNDECIDED", ("a", "total"): "ok"}, 7) == (words(gate), gate.pairs)
    assert ["unequal work: 100 and 99 new tokens"] == [
        reason.partition(";")[0] for reason in gate.questions["a", 1, "ttft"].doubts
    ]


def test_a_metric_without_values_is_given_up_and_the_others_go_on() -> None:
    """No device memory was read."""
    gate = ran(Playing(alike), Asked(test="a", limit=0.05, metrics=("peak_memory", "total")))
    assert {("a", "peak_memory"): "UNDECIDED", ("a", "total"): "ok"} == words(gate)
    assert 6 == gate.pairs
    gate = ran(Playing(alike), Asked(test="a", limit=0.05, metrics=("peak_memory",)))
    assert (2, "every question answered after 2 pairs") == (gate.pairs, gate.stopped_because)


# --- tests that fail, are skipped or never timed ---


@pytest.mark.parametrize("side", [BASE, HEAD])
def test_a_test_that_fails_is_given_up_after_two_pairs(side: str) -> None:
    """The other one is answered."""
    playing = Playing(lambda _, tests: played(calls("a"), reports=[failed(side, "b")] if "b" in tests else []))
    gate = ran(playing, "a", "b")
    assert [list("ab")] * 2 + [["a"]] * 4 == playing.asked
    assert ({side: 2}, {side: "AssertionError: no"}) == (gate.counted["b"].failed, gate.counted["b"].words)
    assert "no test was left that more pairs could tell something about, after 6 pairs" == gate.stopped_because


def test_a_test_that_fails_after_it_was_timed_is_not_timed_for_nothing() -> None:
    """At the head each time; at the base, whose times are there, it goes on."""
    for side, pairs in ((HEAD, 2), (BASE, 6)):
        gate = ran(Playing(lambda _, __, side=side: played(calls("a"), reports=[failed(side, "a")])), "a")
        assert (pairs, pairs) == (gate.pairs, gate.counted["a"].timed)


def test_a_test_that_fails_now_and_then_goes_on() -> None:
    """In every second pair at the head, without a time: twelve pairs for six values."""

    def give(number: int, tests: Sequence[str]) -> Played:
        return played(calls("a")) if number % 2 else played(tests="a", reports=[failed(HEAD, "a", f"no {number}")])

    gate = ran(Playing(give), "a")
    counted = gate.counted["a"]
    assert (11, 6, 11, {HEAD: 5}) == (gate.pairs, counted.timed, counted.ran, counted.failed)
    assert ({HEAD: "no 2"}, {("a", "total"): "ok"}) == (counted.words, words(gate))


def test_a_test_that_both_sides_skip_is_not_run_again() -> None:
    """One pair tells."""
    both = [skipped(BASE, "b"), skipped(HEAD, "b")]
    playing = Playing(lambda _, tests: played(calls("a"), reports=both if "b" in tests else []))
    gate = ran(playing, "a", "b")
    assert ([list("ab"), *[["a"]] * 5], True) == (playing.asked, gate.counted["b"].is_skipped)
    assert "every question answered after 6 pairs" == gate.stopped_because


@pytest.mark.parametrize("side", [BASE, HEAD])
def test_a_test_that_one_side_skips_is_no_skipped_one(side: str) -> None:
    """The code that is compared has skipped it, since both run the same tests."""
    gate = ran(Playing(lambda *_: played(tests="a", reports=[skipped(side, "a")])), "a")
    counted = gate.counted["a"]
    assert (2, False, {side: "needs a CUDA device"}) == (gate.pairs, counted.is_skipped, counted.skips)


def test_a_skip_at_the_head_beside_a_failure_is_one() -> None:
    """There is nothing at the head to gate."""
    gate = ran(Playing(lambda *_: played(reports=[failed(BASE, "a"), skipped(HEAD, "a")])), "a")
    assert (1, True) == (gate.pairs, gate.counted["a"].is_skipped)


def test_a_test_that_was_timed_is_not_skipped_any_more() -> None:
    """What its first pairs have told stays."""
    both = [skipped(BASE, "a"), skipped(HEAD, "a")]
    gate = ran(Playing(lambda n, _: played(calls("a")) if n < 4 else played(reports=both)), "a")
    assert (5, False, 3) == (gate.pairs, gate.counted["a"].is_skipped, len(gate.questions["a", 1, "total"].pairs))


def test_a_test_that_never_calls_llmtime_is_given_up() -> None:
    """After two pairs that it has passed."""
    gate = ran(Playing(lambda *_: played(tests="a")), "a")
    assert (2, 2, 0) == (gate.pairs, gate.counted["a"].ran, gate.counted["a"].timed)


def test_the_same_problem_is_said_once() -> None:
    """With how often it came, in the words in which it came first; however many pairs there were."""

    def give(number: int, tests: Sequence[str]) -> Played:
        noise = calls("a", 0.2 if number % 2 else -0.1)
        broken = calls("a", index=2, problem=f"head: ValueError at 0x{number:x}" if number > 1 else "")
        return played(noise, broken, calls("a", index=3, problem="base: ValueError"))

    gate = ran(Playing(give), "a")
    # What never came to its end is told with its test.
    assert ("a: head: ValueError at 0x2 (in 45 pairs)",) == gate.notes
    assert (46, {("a", 1): 46, ("a", 2): 1}) == (gate.pairs, gate.whole)
    assert "base: ValueError (in 46 pairs)" == str(gate.stopped["a", 3])


@pytest.mark.parametrize("later", [(), (calls("a", index=2, problem="head: no"),)], ids=["not begun", "broken off"])
def test_an_llmtime_that_does_not_come_again_is_given_up(later: tuple[Alternated, ...]) -> None:
    """Whole in the first pair only: the first llmtime() decides after six, and nothing waits for the second."""
    gate = ran(Playing(lambda n, _: played(calls("a"), *((calls("a", index=2),) if n == 1 else later))), "a")
    assert (6, [6, 1]) == (gate.pairs, [len(question.pairs) for question in gate.questions.values()])


def test_a_limit_of_time_that_is_none_is_kept() -> None:
    """As a replay of recorded pairs has it."""
    assert 46 == ran(Playing(noisy), "a", time_budget_s=math.inf).pairs
