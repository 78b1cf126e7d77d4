"""Two sides in step: what each is told and what is kept, with scripted workers on a manual clock."""

from __future__ import annotations

import random

import pytest

from llm_latency.gate.message import Go
from llm_latency.gate.pair import BASE, COUNTED, HEAD, Pair, Rounds
from tests.gate.scripted_sides import (
    ENVIRONMENTS,
    Failed,
    Released,
    Scripted,
    Skipped,
    Talk,
    both,
    marks,
    played_by,
    timed,
)

MS = 1_000_000
ROUNDS = Rounds(seconds=0.6, least=6, most=40, spin_s=0.02)
# What a side of the shortest whole llmtime() hears: cold, the warm-up that agrees with it, six rounds, the end.
WHOLE = ["cold", "warmup", *["counted"] * 12, "stop"]


def failing(worker: Scripted, test: str) -> Talk:
    """A test that fails before its llmtime()."""
    raise Failed("AssertionError: no model")
    yield None


def skipping(worker: Scripted, test: str) -> Talk:
    """A test that is skipped."""
    raise Skipped("needs a CUDA device")
    yield None


def passing(worker: Scripted, test: str) -> Talk:
    """A test without llmtime()."""
    yield from ()


# --- how many rounds ---


@pytest.mark.parametrize(
    ("call_s", "expected"),
    [(0.015, 10), (0.010, 16), (0.1, 6), (100.0, 6), (1e-6, 40), (0.0, 40), (-1.0, 40), (0.0125, 12)],
)
def test_rounds_take_about_their_seconds(call_s: float, expected: int) -> None:
    """0.6 s of four calls a round, an even number from 6 to 40: 0.6/0.06 = 10 rounds of 15 ms, 0.6/0.04 = 15 of 10."""
    assert expected == ROUNDS.of(call_s)


@pytest.mark.parametrize(
    ("least", "most", "expected"), [(7, 40, 8), (0, 40, 2), (6, 2, 6), (1, 3, 2), (40, 40, 40), (6, 9, 6)]
)
def test_rounds_stay_even_at_odd_limits(least: int, most: int, expected: int) -> None:
    """At least `least`, and never none."""
    assert expected == Rounds(least=least, most=most).of(10.0)


# --- in step ---


def test_both_sides_go_through_a_test_in_step() -> None:
    """Cold, one warm-up that agrees, six rounds: 12 calls a side, of which the first two are not kept."""
    base, head = both([("a", timed())], [("a", timed(takes=[20.0]))])
    played = played_by(base, head, tests="a")
    assert WHOLE == base.stages() == head.stages()
    (calls,) = played.calls
    assert ("a", "a #1", 1, "") == (calls.test, calls.name, calls.index, calls.problem)
    assert ["base a 1 counted"] * 12 == marks(calls.base)
    assert ["head a 1 counted"] * 12 == marks(calls.head)
    assert (ENVIRONMENTS[BASE], ENVIRONMENTS[HEAD]) == calls.environments
    assert {10 * MS} == {trace.stop_ns - trace.start_ns for trace in calls.base}
    assert {("base", "a"): "passed", ("head", "a"): "passed"} == {k: v.outcome for k, v in played.reports.items()}
    assert {BASE, HEAD} == set(played.imported)
    assert ({}, None) == (played.problems, played.lost)


def test_orders_are_those_in_which_the_calls_were_made() -> None:
    """Each round is abba or baab, by the instants of its four calls."""
    base, head = both([("a", timed())], [("a", timed())])
    (calls,) = played_by(base, head, seed=3, rounds=ROUNDS).calls
    assert 16 == len(calls.orders)
    for number, order in enumerate(calls.orders):
        both_sides = [("a", trace) for trace in calls.base[2 * number : 2 * number + 2]]
        both_sides += [("b", trace) for trace in calls.head[2 * number : 2 * number + 2]]
        ordered = sorted(both_sides, key=lambda one: one[1].start_ns)
        assert order == "".join(letter for letter, _ in ordered)
        assert order in ("abba", "baab")


def test_warm_up_goes_on_until_both_agree() -> None:
    """The head's calls of 40, 20, 10 and 10 ms agree at its fourth; the base waits with it."""
    base, head = both([("a", timed())], [("a", timed(takes=[40.0, 20.0, *[10.0] * 13]))])
    played_by(base, head, tests="a")
    assert ["cold", *["warmup"] * 3, *["counted"] * 12, "stop"] == base.stages() == head.stages()


@pytest.mark.parametrize(("second", "warmups"), [(10.9, 1), (11.1, 2), (9.1, 1), (8.9, 2)])
def test_calls_within_a_tenth_agree(second: float, warmups: int) -> None:
    """10 and 10.9 ms do, 10 and 11.1 do not and the second warm-up, again of 11.1 ms, agrees with the first."""
    base, head = both([("a", timed(takes=[10.0, *[second] * 14]))], [("a", timed())])
    played_by(base, head, tests="a")
    assert warmups == base.stages().count("warmup")


def test_calls_that_never_agree_are_warmed_up_ten_times() -> None:
    """10 and 20 ms in turn."""
    base, head = both([("a", timed(takes=[10.0, 20.0]))], [("a", timed())])
    (calls,) = played_by(base, head, tests="a").calls
    assert ["cold", *["warmup"] * 10, *["counted"] * 12, "stop"] == base.stages() == head.stages()
    assert "" == calls.problem


def test_the_slower_side_sets_the_number_of_rounds() -> None:
    """The head's 50 ms: 0.6/0.2 = 3 rounds, so the least, 6; of the base's 5 ms it would be 30."""
    base, head = both([("a", timed(takes=[5.0]))], [("a", timed(takes=[50.0]))])
    assert 6 == len(played_by(base, head, rounds=ROUNDS).calls[0].orders)


def test_both_sides_are_told_the_same_cores_and_spin() -> None:
    """Cores for the most threads that a side has, and 20 ms."""
    base, head = both([("a", timed())], [("a", timed())])
    base._threads, head._threads = 1, 4
    asked: list[int] = []
    seen: list[str] = []

    def cores(threads: int) -> tuple[int, ...]:
        asked.append(threads)
        return (2, 3)

    pair = Pair(
        [base, head],
        tests=["a"],
        rounds=ROUNDS,
        chance=random.Random(1),
        patience_s=1.0,
        cores=cores,
        on_test=seen.append,
    )
    pair.play()
    assert ([4], ["a"]) == (asked, seen)
    told = [one for side in (base, head) for one in side.told if isinstance(one, Go)]
    assert {((2, 3), 20 * MS)} == {(one.cores, one.spin_ns) for one in told}
    assert 2 * 2 * 16 == sum(one.stage == COUNTED for one in told)


def test_two_llmtime_in_one_test_are_kept_apart() -> None:
    """Each with its own cold call, and its number."""

    def twice(worker: Scripted, test: str) -> Talk:
        yield from worker.llmtime(test)
        yield from worker.llmtime(test, takes=[30.0])

    base, head = both([("a", twice), ("b", timed())], [("a", twice), ("b", timed())])
    played = played_by(base, head)
    assert WHOLE * 3 == base.stages() == head.stages()
    assert [("a", 1), ("a", 2), ("b", 1)] == [(calls.test, calls.index) for calls in played.calls]
    for calls in played.calls:
        assert {f"base {calls.test} {calls.index} counted"} == set(marks(calls.base))
        assert {f"head {calls.test} {calls.index} counted"} == set(marks(calls.head))


# --- a side that has nothing to be set against ---


@pytest.mark.parametrize("body", [failing, skipping, passing], ids=lambda body: body.__name__)
@pytest.mark.parametrize("which", [BASE, HEAD])
def test_a_side_that_does_not_time_a_test_leaves_the_other_released(which: str, body: object) -> None:
    """It is let go before its first call, and the next test is played."""
    sides = {side: [("a", timed()), ("b", timed())] for side in (BASE, HEAD)}
    sides[which][0] = ("a", body)  # type: ignore[assignment]  # a body
    base, head = both(sides[BASE], sides[HEAD])
    played = played_by(base, head)
    lone, other = (head, base) if which == BASE else (base, head)
    assert ["released", *WHOLE] == lone.stages()
    assert WHOLE == other.stages()
    whole = [calls for calls in played.calls if not calls.problem]
    assert ["b"] == [calls.test for calls in whole]
    told = [calls.problem for calls in played.calls if calls.problem]
    # Only of one that has passed it is news that it was not timed.
    assert ([f"{which}: it has run the test without its llmtime() number 1"] if body is passing else []) == told


def test_one_that_calls_llmtime_more_often_is_told_so() -> None:
    """The head's second llmtime() has none beside it; the first one stays."""

    def twice(worker: Scripted, test: str) -> Talk:
        yield from worker.llmtime(test)
        yield from worker.llmtime(test)

    base, head = both([("a", timed()), ("b", timed())], [("a", twice), ("b", timed())])
    played = played_by(base, head)
    assert [*WHOLE, "released", *WHOLE] == head.stages()
    told = [(calls.test, calls.index, calls.problem) for calls in played.calls]
    problem = "base: it has run the test without its llmtime() number 2"
    assert [("a", 1, ""), ("a", 2, problem), ("b", 1, "")] == told
    assert ((), ()) == (played.calls[1].base, played.calls[1].head)


def test_tests_that_the_other_side_has_not_are_let_go() -> None:
    """A side that runs b alone, one that nobody asked for, and another order: nothing is mixed up."""
    base, head = both(
        [("x", timed()), ("a", timed()), ("c", timed())], [("y", timed()), ("b", timed()), ("a", timed())]
    )
    played = played_by(base, head)
    assert [] == [calls.test for calls in played.calls if not calls.problem]
    assert ["released"] * 3 == head.stages()
    assert (["released"] * 3, None) == (base.stages(), played.lost)


def test_a_side_that_is_done_before_its_first_test_lets_the_other_go() -> None:
    """Its problem is kept."""
    base, head = both([], [("a", timed()), ("b", timed())])
    base._problem = "ImportError: no"
    played = played_by(base, head)
    assert ["released", "released"] == head.stages()
    assert ({BASE: "ImportError: no"}, (), None) == (played.problems, played.calls, played.lost)


# --- a side that does not come to the end ---


@pytest.mark.parametrize("at", [1, 2, 3, 8, 14])
@pytest.mark.parametrize("which", [BASE, HEAD])
@pytest.mark.parametrize("how", ["raises_at", "ends_at"])
def test_a_call_that_raises_ends_its_llmtime_on_both_sides(which: str, how: str, at: int) -> None:
    """At the cold call, a warm-up or a counted one: whole rounds until then stay, with whose fault it was."""
    bodies = {side: timed() for side in (BASE, HEAD)}
    bodies[which] = timed(**{how: at})
    base, head = both(*([("a", bodies[side]), ("b", timed())] for side in (BASE, HEAD)))
    played = played_by(base, head, seed=at)
    first, second = played.calls
    assert f"{which}: ValueError: no" == first.problem
    # Counted calls before it on its side are at - 3; a round has two.
    assert len(first.base) == len(first.head) == 2 * len(first.orders) == max(0, at - 3) // 2 * 2
    assert ("b", "") == (second.test, second.problem)
    other = head if which == BASE else base
    # It has made as many calls, or those of a round more or less, and hears the same end.
    assert "released" == other.stages()[len(other.stages()) - len(WHOLE) - 1]
    expected = "failed" if how == "raises_at" else "passed"
    assert expected == played.reports[which, "a"].outcome
    assert "passed" == played.reports[other.side, "a"].outcome


def test_a_side_that_ends_without_a_word_is_told_apart() -> None:
    """No Ended, only the report."""
    base, head = both([("a", timed(raises_at=5, is_mute=True))], [("a", timed(is_mute=True))])
    (calls,) = played_by(base, head, tests="a").calls
    assert "base: it ended before its last call" == calls.problem


def test_a_side_without_a_last_word_does_not_hold_up_the_other() -> None:
    """It is at its next llmtime() already."""
    base, head = both(*[[("a", timed(is_mute=True)), ("b", timed())]] * 2)
    played = played_by(base, head)
    assert ["a", "b"] == [calls.test for calls in played.calls if not calls.problem]
    assert (None, None) == played.calls[0].environments


def test_an_llmtime_inside_of_another_ends_both() -> None:
    """Neither the outer nor the inner one has anything beside it; the next test has."""
    base, head = both([("a", timed(nested_at=4)), ("b", timed())], [("a", timed()), ("b", timed())])
    played = played_by(base, head)
    told = [(calls.test, calls.index, calls.problem) for calls in played.calls]
    assert [("a", 1, "base: another llmtime() began inside of its call"), ("b", 1, "")] == told
    assert None is played.lost


def test_one_that_goes_on_after_it_was_released_is_released_again() -> None:
    """It swallows what the inner llmtime() raised, and ends its outer call."""

    def stubborn(worker: Scripted, test: str) -> Talk:
        outer = worker.llmtime(test, nested_at=1)
        message = next(outer)
        while True:
            answer = yield message
            message = outer.send(answer)

    base, head = both([("a", stubborn), ("b", timed())], [("a", timed()), ("b", timed())])
    played = played_by(base, head)
    assert ["b"] == [calls.test for calls in played.calls if not calls.problem]


def test_a_test_that_is_run_again_keeps_its_last_whole_calls() -> None:
    """The first try fails on both sides, the second one counts; a third that breaks off does not."""

    def thrice(worker: Scripted, test: str) -> Talk:
        for how in ({"raises_at": 7}, {}, {"ends_at": 3}):
            worker.again(test)
            try:
                yield from worker.llmtime(test, **how)
            except (Failed, Released):
                continue

    base, head = both([("a", thrice), ("b", timed())], [("a", thrice), ("b", timed())])
    played = played_by(base, head)
    assert [("a", "", 12), ("b", "", 12)] == [(one.test, one.problem, len(one.base)) for one in played.calls]
