"""The gate's rule: its edges by hand, and its rates by seeded simulation with heavy tails."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from llm_latency.core.tolerance import mean_factor
from llm_latency.core.verdict import FAIL, PASS, UNDECIDED
from llm_latency.errors import UsageError
from llm_latency.gate.decision import LOOKS, MORE, Rule, decide, looked, pairs_to_decide

RULE = Rule(limit=0.05)


def around(center: float, spread: float, n: int) -> list[float]:
    """n values, in pairs above and below, with exactly this mean and standard deviation."""
    step = spread * math.sqrt((n - 1) / n)
    return [center + (step if index % 2 else -step) for index in range(n)]


def test_the_factor_is_students() -> None:
    """t(0.997, 5) = 4.4 and t(0.975, 11) = 2.201 (tables), over the root of n."""
    assert 2.201 == pytest.approx(mean_factor(12, 0.975) * math.sqrt(12), abs=2e-3)
    assert 4.570 == pytest.approx(mean_factor(6, 0.997) * math.sqrt(6), abs=5e-3)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_before_the_first_look_nothing_is_said(n: int) -> None:
    """Fewer than six pairs ask for more, or are undecided when there will be none."""
    assert looked(around(0.0, 0.001, n) if n > 1 else [0.0] * n, RULE) is None
    assert MORE == decide([0.0] * n, RULE).outcome
    over = decide([0.0] * n, RULE, is_over=True)
    assert (UNDECIDED, "fewer than 6 pairs were run", 6) == (over.outcome, over.reason, over.more)


def test_the_bounds_decide_to_the_letter() -> None:
    """At six pairs with spread s the bounds lie 1.866 s from the mean: just inside passes, just outside does not."""
    reach = mean_factor(6, 0.997)
    inside, outside = (math.log1p(0.05) - reach * 0.01 - shift for shift in (1e-9, -1e-9))
    assert [PASS, MORE] == [decide(around(center, 0.01, 6), RULE).outcome for center in (inside, outside)]
    above, below = (math.log1p(0.025) + reach * 0.02 + shift for shift in (1e-9, -1e-9))
    found = [looked(around(center, 0.02, 6), RULE) for center in (above, below)]
    assert [FAIL, MORE] == [look.outcome for look in found if look is not None]


def test_without_spread_a_ratio_passes_below_its_limit_and_fails_from_it_on() -> None:
    """Equal pairs decide at once; 3 % is shown to be within a limit of 5 %."""
    for slowdown, expected in ((0.0, PASS), (0.03, PASS), (0.0499, PASS), (0.0501, FAIL), (1.0, FAIL), (-0.5, PASS)):
        logs = [math.log1p(slowdown)] * 6
        assert expected == decide(logs, RULE, confirmation=logs).outcome


def test_a_failure_needs_fresh_pairs_that_fail_too() -> None:
    """None yet: more. They pass: undecided, finally. They cannot say: undecided. They fail: fail."""
    slow, quick, vague = [math.log1p(0.1)] * 6, [0.0] * 6, around(math.log1p(0.04), 0.05, 46)
    assert MORE == decide(slow, RULE).outcome
    for confirmation, expected in ((quick, UNDECIDED), (vague, UNDECIDED), (slow, FAIL)):
        decision = decide(slow, RULE, confirmation=confirmation)
        assert (expected, FAIL) == (decision.outcome, decision.first.outcome if decision.first else None)
    over = decide(slow, RULE, confirmation=slow[:5], is_over=True)
    assert (UNDECIDED, "a slowdown was seen and fresh pairs could not confirm it") == (over.outcome, over.reason)


def test_an_early_look_that_has_decided_stays_decided() -> None:
    """What comes after the sixth pair does not change a pass."""
    logs = [*around(0.0, 0.001, 6), *around(0.5, 0.001, 40)]
    assert 6 == (looked(logs, RULE) or pytest.fail("no look")).pairs
    assert PASS == decide(logs, RULE).outcome


def test_a_family_asks_more_of_a_failure_and_no_more_of_a_pass() -> None:
    """Ten questions at once: the failing side's level is a tenth, the passing side's the same."""
    logs, many = around(0.0, 0.02, 6), Rule(limit=0.05, family=10)
    alone, among = looked(logs, RULE), looked(logs, many)
    assert alone is not None and among is not None
    assert alone.high == among.high
    assert among.low < alone.low
    assert among.low == pytest.approx(-mean_factor(6, 0.9997) * 0.02)


def test_how_many_pairs_would_decide() -> None:
    """From the noise seen: the next look at which the same mean and spread would decide; None on the boundary."""
    look = looked(around(0.0, 0.05, 6), RULE)
    assert look is not None
    expected = next(n for n in LOOKS if mean_factor(n, 0.997) * 0.05 < math.log1p(0.05))
    assert expected == pairs_to_decide(look, RULE)
    stuck = looked(around(math.log1p(0.025), 0.3, 6), RULE)
    assert pairs_to_decide(stuck, RULE) is None


@pytest.mark.parametrize("limit", [0.0, -0.05, math.nan, math.inf, 50.0])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    """Shares above zero only."""
    with pytest.raises(UsageError, match="limit"):
        Rule(limit=limit)


@pytest.mark.parametrize("log", [math.nan, math.inf, -math.inf])
def test_a_ratio_that_is_no_number_is_refused(log: float) -> None:
    """A lost call must not pass for a quick one."""
    with pytest.raises(UsageError, match="not finite"):
        decide([0.0, 0.0, log], RULE)


def gate(rng: random.Random, slowdown: float, spread: float) -> str:
    """One simulated gate: pairs of Student's t with 4 degrees (its standard deviation is the root of 2), one by one."""

    def pair() -> float:
        chi = rng.gammavariate(2.0, 2.0)  # chi square with 4 degrees
        return math.log1p(slowdown) + spread * rng.gauss(0.0, 1.0) / math.sqrt(chi / 4.0) / math.sqrt(2.0)

    logs: list[float] = []
    fresh: list[float] = []
    while True:
        decision = decide(logs, RULE, confirmation=fresh)
        if decision.outcome != MORE:
            return decision.outcome
        confirms = decision.first is not None and decision.first.outcome == FAIL
        growing = fresh if confirms else logs
        following = next(n for n in LOOKS if n > len(growing))
        growing += [pair() for _ in range(following - len(growing))]


# Spread of a pair and slowdown in %: the shares of passes and of failures in %, each from and to.
PROMISES: dict[tuple[float, float], tuple[tuple[float, float], tuple[float, float]]] = {
    (0.6, 0): ((99.5, 100), (0, 0.2)),
    (0.6, 3): ((99, 100), (0, 0.5)),
    (0.6, 5): ((0, 1.5), (98, 100)),
    (0.6, 6): ((0, 0.2), (99.5, 100)),
    (0.6, 10): ((0, 0), (99.9, 100)),
    (2.0, 0): ((99.5, 100), (0, 0.2)),
    (2.0, 3): ((92, 99), (0, 1)),
    (2.0, 4): ((25, 38), (40, 54)),
    (2.0, 5): ((0, 1.5), (97, 100)),
    (2.0, 6): ((0, 0.4), (99, 100)),
    (2.0, 10): ((0, 0), (99.8, 100)),
    (4.7, 0): ((99, 100), (0, 0.2)),
    (4.7, 3): ((53, 65), (0, 1)),
    (4.7, 5): ((0, 3), (57, 71)),
    (4.7, 6): ((0, 1), (90, 98)),
    (4.7, 10): ((0, 0.2), (99.5, 100)),
}


@pytest.mark.slow
@pytest.mark.parametrize("cell", PROMISES, ids=str)
def test_the_rates_are_those_that_are_promised(cell: tuple[float, float]) -> None:
    """2,000 gates with a seed of their own, against a limit of 5 %."""
    spread, slowdown = cell
    rng = random.Random(f"{spread} {slowdown}")
    outcomes = Counter(gate(rng, slowdown / 100, spread / 100) for _ in range(2_000))
    for outcome, (least, most) in zip((PASS, FAIL), PROMISES[cell], strict=True):
        assert least <= outcomes[outcome] / 20 <= most
