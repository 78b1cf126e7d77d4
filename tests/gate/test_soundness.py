"""Soundness: what a self-test says of written pairs, and that a gate which cannot fail or always fails is found out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate import decision
from llm_latency.gate.decision import Look, Rule
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED
from llm_latency.gate.selftest import soundness
from llm_latency.gate.selftest.selftest import Calibration
from llm_latency.gate.selftest.soundness import (
    FAILS,
    UNKNOWN,
    WORKS,
    Kind,
    Plan,
    Soundness,
    concluded,
    judged,
    selftest,
)
from llm_latency.gate.selftest.trial import Trial
from tests.gate.planted_pairs import Script, around, pair

SIZED = Calibration(call_s=0.014, whole=400.0, threads=2)
PLAN = Plan()
SHARES = (0.0, 0.03, 0.06, 0.1)
TESTS = ("unchanged", "+3 %", "+6 %", "+10 %")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate 100 gates where the command simulates 1,000: what they say is tested with the rates."""
    for name in ("smallest_visible", "smallest_limit"):
        monkeypatch.setattr(soundness, name, partial(getattr(soundness, name), gates=100))


def concluded_from(*columns: Sequence[float], plan: Plan = PLAN) -> Soundness:
    """What a trial says whose tests, in the plan's order, read these shares pair by pair."""
    tests = list(plan.kinds())
    pairs = [pair(dict(zip(tests, shares, strict=True))) for shares in zip(*columns, strict=True)]
    script = Script(pairs)
    trial = Trial(tests, play=script, time_budget_s=len(pairs), clock=script.clock)
    trial.record(is_enough=lambda: len(trial.played) == len(pairs))
    return concluded(trial, plan, sized=SIZED)


def steady(n: int) -> Soundness:
    """Every pair reads what was planted, with a spread of 1 %."""
    return concluded_from(*(around(share, 0.01, n) for share in SHARES))


def test_what_is_planted_scales_with_the_limit() -> None:
    """0, 0.6, 1.2 and 2 times. Quick: nothing and twice the limit."""
    assert dict(zip(TESTS, SHARES, strict=True)) == pytest.approx(PLAN.kinds())
    assert {"unchanged": 0.0, "+20 %": 0.2} == Plan(limit=0.1, is_quick=True).kinds()
    assert ["unchanged", "+1.8 %", "+3.6 %", "+6 %"] == list(Plan(limit=0.03).kinds())


def test_a_steady_machine_gets_its_figures() -> None:
    """26 pairs: gates of six pairs for unchanged code, of twelve for what is too slow."""
    found = steady(26)
    assert (WORKS, (), 26, True) == (found.outcome, found.reasons, found.pairs, found.complete)
    same, within, beyond, twice = found.kinds
    assert ({OK: 4}, (6,) * 4) == (same.gates, same.gate_pairs)
    assert ({TOO_SLOW: 2}, (12,) * 2) == (twice.gates, twice.gate_pairs)
    assert OK in within.gates and TOO_SLOW in beyond.gates
    assert [0, 12, 24, 40] == [kind.amount for kind in found.kinds]
    assert [26] * 4 == [len(kind.ratios) for kind in found.kinds]
    assert same.spread is not None and found.visible is not None and found.visible.smallest is not None
    assert (0.01, 26) == (pytest.approx(same.spread.sd, rel=1e-5), same.spread.n)
    assert found.visible.smallest <= 0.05
    assert found.supported is not None and found.supported <= 0.02
    assert (0.01, 1.0) == (found.call_s, found.pair_s)
    assert same.resampled is not None and twice.resampled is not None
    assert (1000, 1000) == (same.resampled.passed, twice.resampled.failed)


def test_what_a_kind_read_has_students_interval() -> None:
    """26 values around +10 % with a spread of 1 %: ± t(0.975, 25) = 2.0595 over the root of 26, on the log scale."""
    twice = steady(26).kinds[-1]
    assert twice.seen is not None and twice.low is not None and twice.high is not None
    half = 2.0595 * 0.01 / math.sqrt(26)
    assert (0.1, half, half) == (
        pytest.approx(twice.seen, abs=1e-6),
        pytest.approx(math.log(1.1 / (1 + twice.low)), rel=1e-3),
        pytest.approx(math.log((1 + twice.high) / 1.1), rel=1e-3),
    )


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_pairs_tell_nothing(n: int) -> None:
    """And break nothing."""
    found = steady(n) if n else concluded_from(*[[]] * 4)
    assert (UNKNOWN, n) == (found.outcome, found.pairs)
    assert ("no whole gate of unchanged came about", "no whole gate of +10 % came about") == found.reasons
    assert (n > 1) == (found.kinds[0].spread is not None)
    assert [None] * 4 == [kind.resampled for kind in found.kinds]


def test_a_machine_too_noisy_to_decide_is_no_machine_where_the_gate_works() -> None:
    """46 pairs that scatter by 30 %: whole gates, none of which could decide."""
    found = concluded_from(*(around(share, 0.3, 46) for share in SHARES))
    assert UNKNOWN == found.outcome
    assert ("2 whole gates used all their pairs and could not decide: the machine is too noisy",) == found.reasons


def test_a_lucky_gate_on_a_noisy_machine_is_not_enough() -> None:
    """Twelve calm pairs, then wild ones: whole gates were right, and the spread says that others would not be."""
    calm = [around(share, 0.005, 12) for share in SHARES]
    wild = around(0.0, 0.3, 14)
    found = concluded_from(*([*column, *wild] for column in calm))
    assert (WORKS, ()) == judged(found.kinds)
    assert (UNKNOWN, ("whole gates were right, and yet pairs scatter too much for this limit",)) == (
        found.outcome,
        found.reasons,
    )


def test_two_sides_that_run_the_same_are_found_out() -> None:
    """An engine that times one side twice: what was planted reads as nothing, and passes."""
    found = concluded_from(*[around(0.0, 0.01, 26)] * 4)
    assert (FAILS, ("4 of 4 whole gates passed a slowdown of +10 %",)) == (found.outcome, found.reasons)


def test_sides_in_the_wrong_order_are_found_out() -> None:
    """What is slower reads as faster."""
    found = concluded_from(*(around(share, 0.01, 26) for share in (0.0, -0.03, -0.06, -0.1)))
    assert (FAILS, {FASTER: 4}) == (found.outcome, found.kinds[-1].gates)


def test_a_side_that_is_always_slower_is_found_out() -> None:
    """Unchanged code that reads +8 %: a false alarm, and a word that chance hardly does that."""
    found = concluded_from(*(around(share, 0.01, 26) for share in (0.08, 0.11, 0.14, 0.18)))
    assert (FAILS, ("2 of 2 whole gates called unchanged code too slow",)) == (found.outcome, found.reasons)
    assert ("unchanged code read +8.0 % over all pairs, which chance hardly does",) == found.notes


def test_a_lean_is_found_out_before_a_gate_is_whole() -> None:
    """Eight pairs at +8 %: the first six alarm and nothing has confirmed it, but chance hardly does that either."""
    found = concluded_from(*(around(share, 0.01, 8) for share in (0.08, 0.11, 0.14, 0.18)))
    words = "unchanged code read +8.0 % over all pairs, which chance hardly does"
    assert (FAILS, (words,), 0) == (found.outcome, found.reasons, found.kinds[0].whole)


def test_a_small_lean_is_noted_and_the_gate_works() -> None:
    """+1 % with a spread of 0.5 % over 26 pairs: no chance, and no alarm."""
    found = concluded_from(*(around(share, 0.005, 26) for share in (0.01, 0.04, 0.07, 0.11)))
    assert (WORKS, ("unchanged code read +1.0 % over all pairs, which chance hardly does",)) == (
        found.outcome,
        found.notes,
    )


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (PASS, "4 of 4 whole gates passed a slowdown of +10 %"),
        (FAIL, "2 of 2 whole gates called unchanged code too slow"),
    ],
)
def test_a_rule_that_cannot_fail_or_always_fails_is_found_out(
    outcome: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gates go through the gate's own rule, so whatever breaks there shows."""
    look = decision._look

    def stuck(logs: Sequence[float], rule: Rule) -> Look:
        return msgspec.structs.replace(look(logs, rule), outcome=outcome)

    monkeypatch.setattr(decision, "_look", stuck)
    found = steady(26)
    assert (FAILS, (reason,)) == (found.outcome, found.reasons)


def kind(name: str, share: float, **gates: int) -> Kind:
    """A kind with whole gates only."""
    counts = {word.replace("_", " "): count for word, count in gates.items()}
    nothing: dict[str, Any] = {"seen": None, "low": None, "high": None, "spread": None, "resampled": None}
    return Kind(name=name, share=share, amount=0, gates=counts, gate_pairs=(), ratios=(), **nothing)


@pytest.mark.parametrize(
    ("same", "twice", "outcome"),
    [
        ({OK: 3}, {TOO_SLOW: 1}, WORKS),
        ({OK: 3, FASTER: 1}, {TOO_SLOW: 1}, WORKS),
        ({OK: 9, TOO_SLOW: 1}, {TOO_SLOW: 1}, FAILS),
        ({OK: 9}, {TOO_SLOW: 3, OK: 1}, FAILS),
        ({OK: 9}, {TOO_SLOW: 3, UNDECIDED: 1}, UNKNOWN),
        ({OK: 9, UNDECIDED: 1}, {TOO_SLOW: 3}, UNKNOWN),
        ({OK: 9}, {}, UNKNOWN),
        ({}, {TOO_SLOW: 1}, UNKNOWN),
        ({TOO_SLOW: 1}, {}, FAILS),
    ],
)
def test_one_wrong_answer_is_enough_and_one_open_one_too(
    same: dict[str, int], twice: dict[str, int], outcome: str
) -> None:
    """A wrong answer practically never comes by chance: twice at 0.3 %."""
    assert outcome == judged([kind("unchanged", 0.0, **same), kind("+10 %", 0.1, **twice)])[0]


def test_what_lies_near_the_limit_is_not_judged() -> None:
    """Between 3 and 5 % any answer may come, and a plant is known to a part of itself only."""
    kinds = [
        kind("unchanged", 0.0, ok=1),
        kind("+3 %", 0.03, TOO_SLOW=1),
        kind("+6 %", 0.06, ok=1),
        kind("+10 %", 0.1, TOO_SLOW=1),
    ]
    kinds[-1] = kind("+10 %", 0.1, **{TOO_SLOW: 1})
    assert (WORKS, ()) == judged(kinds)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The self-test with written pairs where its processes would be."""
    seen: dict[str, Any] = {"closed": 0}

    @contextlib.contextmanager
    def launched() -> Iterator[str]:
        try:
            yield "launcher"
        finally:
            seen["closed"] += 1

    def sides_of(launcher: str, plants: dict[str, Any]) -> SimpleNamespace:
        seen["plants"] = {test: plant.amount for test, plant in plants.items()}
        return SimpleNamespace(play=seen["script"], notes=["forked workers did not start well"])

    monkeypatch.setattr(soundness, "launched", launched)
    monkeypatch.setattr(soundness, "calibration", lambda launcher: SIZED)
    monkeypatch.setattr(soundness, "sides_of", sides_of)
    return seen


def test_a_quick_one_ends_when_each_kind_had_its_gate(played: dict[str, Any]) -> None:
    """Twelve pairs where nothing disturbs."""
    played["script"] = Script([pair({"unchanged": 0.0, "+10 %": 0.1})] * 50)
    stages: list[str] = []
    found = selftest(Plan(is_quick=True), on_stage=stages.append)
    assert (WORKS, 12, "every kind of test had its gate after 12 pairs") == (
        found.outcome,
        found.pairs,
        found.stopped_because,
    )
    assert {"unchanged": 0, "+10 %": 40} == played["plants"]
    assert (1, ("forked workers did not start well",), 3) == (played["closed"], found.notes, len(stages))


def test_an_interrupt_keeps_what_there_is(played: dict[str, Any]) -> None:
    """The processes are closed, and what was recorded is concluded from."""
    whole = pair(dict(zip(TESTS, SHARES, strict=True)))
    played["script"] = Script([*[whole] * 7, KeyboardInterrupt()])
    found = selftest(PLAN)
    assert (False, 7, "interrupted after 7 pairs", 1) == (
        found.complete,
        found.pairs,
        found.stopped_because,
        played["closed"],
    )
    assert {OK: 1} == found.kinds[0].gates
