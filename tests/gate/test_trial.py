"""Trials with written pairs: what is kept, when it ends, and the gates that the pairs make."""

from __future__ import annotations

import math

import pytest

from llm_latency.errors import TargetError
from llm_latency.gate.pair import Lost, Played
from llm_latency.gate.result import OK, TOO_SLOW, UNDECIDED
from llm_latency.gate.selftest.trial import Standing, Trial
from tests.gate.planted_pairs import Script, around, pair

BROKEN = Played(
    calls=(),
    reports={},
    imported={},
    problems={"base": "Traceback (most recent call last):\n  x\nImportError: torch\n"},
)
LOST = Lost("head", "t", "it said nothing for 5 s")


def trial(script: Script, *tests: str, time_budget_s: float = 1000.0, seen: list[Standing] | None = None) -> Trial:
    """A trial of the script's pairs on the script's clock."""
    return Trial(
        tests or ("t",),
        play=script,
        time_budget_s=time_budget_s,
        clock=script.clock,
        on_progress=(lambda _: None) if seen is None else seen.append,
    )


def filled(*shares: float) -> Trial:
    """A trial that has recorded a pair of the test `t` for each share."""
    found = trial(Script([pair({"t": share}) for share in shares]), time_budget_s=len(shares))
    found.record()
    return found


def test_ratios_are_kept_pair_by_pair() -> None:
    """Of own time; here equal to wall time, since nobody reported a delay."""
    found = trial(Script([pair({"a": 0.0, "b": 0.1}), pair({"a": -0.02, "b": 0.2})]), "a", "b", time_budget_s=2)
    found.record()
    assert [0.0, math.log(0.98)] == pytest.approx(found.logs("a"))
    assert [math.log(1.1), math.log(1.2)] == pytest.approx(found.logs("b"))
    assert "time budget of 2 s used after 2 pairs" == found.stopped_because


@pytest.mark.parametrize(("budget", "expected"), [(0.5, 1), (1.0, 1), (2.9, 2), (3.0, 3)])
def test_another_pair_is_begun_where_the_usual_one_fits(budget: float, expected: int) -> None:
    """Pairs of one second; the first is run without knowing."""
    found = trial(Script([pair({"t": 0.0})] * 9), time_budget_s=budget)
    found.record()
    assert expected == len(found.played)


def test_it_ends_when_it_is_enough() -> None:
    """Asked before each pair."""
    found = trial(Script([pair({"t": 0.0})] * 9))
    found.record(is_enough=lambda: len(found.played) == 3)
    assert (3, "every kind of test had its gate after 3 pairs") == (len(found.played), found.stopped_because)


def test_progress_names_pair_test_time_and_the_last_ratios() -> None:
    """Told when each test begins."""
    seen: list[Standing] = []
    trial(Script([pair({"t": 0.0}), pair({"t": 0.1})]), time_budget_s=2.0, seen=seen).record()
    assert [(1, "t", 1.0, 2.0, {}), (2, "t", 2.0, 2.0, {"t": 0.0})] == [
        (one.pair, one.test, one.seconds, one.time_budget_s, one.last) for one in seen
    ]


def test_a_lost_pair_is_noted_and_two_in_a_row_end_it() -> None:
    """One that was whole in between begins the count anew."""
    broken, whole = pair({}, lost=LOST), pair({"t": 0.0})
    found = trial(Script([broken, whole, broken, broken, whole]))
    found.record()
    assert 1 == len(found.played)
    assert ["a pair was lost: the head was lost in t: it said nothing for 5 s"] * 3 == found.notes
    assert found.stopped_because.startswith("2 pairs in a row were lost: the head was lost in t")


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (pair({"t": 0.0}, problem="head: it ended before its last call"), "head: it ended before its last call"),
        (pair({"t": -1.0}), "a call took no time"),
        (pair({}), "a call took no time"),
    ],
)
def test_a_pair_without_a_ratio_is_a_lost_one(odd: Played, reason: str) -> None:
    """It must not go into the gates."""
    found = trial(Script([odd, odd]))
    found.record()
    assert ([], [f"a pair was lost: {reason}"] * 2) == (found.played, found.notes)


def test_a_side_that_cannot_run_is_an_error() -> None:
    """Such as where torch is broken: no pair would be better."""
    with pytest.raises(TargetError, match=r"^the base could not run its tests: ImportError: torch$"):
        trial(Script([BROKEN])).record()


def test_a_side_that_breaks_later_loses_its_pair_only() -> None:
    """What was recorded before stays."""
    found = trial(Script([pair({"t": 0.0}), BROKEN, BROKEN]))
    found.record()
    assert 1 == len(found.played)
    assert "2 pairs in a row were lost: the base could not run its tests: ImportError: torch" == found.stopped_because


def test_an_interrupt_goes_on_and_leaves_what_there_is() -> None:
    """As for a gate."""
    found = trial(Script([pair({"t": 0.0}), KeyboardInterrupt()]))
    with pytest.raises(KeyboardInterrupt):
        found.record()
    assert 1 == len(found.played)


def test_gates_follow_each_other_and_share_no_pair() -> None:
    """Equal pairs of unchanged code: six pass, and six more; the seven behind them would be a gate and a start."""
    answers = filled(*[0.0] * 19).gates("t", limit=0.05)
    assert [(OK, 6)] * 3 == [(answer.word, len(answer.pairs)) for answer in answers]


def test_a_failure_takes_its_confirmation_from_the_following_pairs() -> None:
    """Six and six of +10 %, twice; of 23 the last eleven are no gate."""
    answers = filled(*[0.1] * 23).gates("t", limit=0.05)
    assert [(TOO_SLOW, 6, 6)] == [(answer.word, len(answer.pairs), len(answer.fresh)) for answer in answers]


def test_a_gate_that_used_all_its_pairs_is_undecided_and_whole() -> None:
    """46 pairs that scatter by 20 %: a gate that could not decide, and no other begun."""
    answers = filled(*around(0.03, 0.2, 46)).gates("t", limit=0.05)
    assert [(UNDECIDED, 46)] == [(answer.word, len(answer.pairs)) for answer in answers]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_pairs_are_no_gate(n: int) -> None:
    """Not even an undecided one."""
    found = trial(Script([pair({"t": 0.0})] * n))
    found.record(is_enough=lambda: len(found.played) == n)
    assert () == found.gates("t", limit=0.05)


def test_the_order_of_the_pairs_decides() -> None:
    """Noise first: the gate goes on where the same pairs in another order would have ended it at six."""
    noise, calm = around(0.0, 0.04, 6), [0.0] * 6
    late, early = (filled(*shares).gates("t", limit=0.05) for shares in ((*noise, *calm), (*calm, *noise)))
    assert [9] == [len(answer.pairs) for answer in late]
    assert [6] == [len(answer.pairs) for answer in early]
