"""Rates of the rule: counts and intervals by hand, simulations with a seed against the rule's own table."""

from __future__ import annotations

import math

import pytest

from llm_latency.gate.decision import Rule
from llm_latency.gate.selftest.rates import (
    LIMITS,
    resampled,
    simulated,
    smallest_limit,
    smallest_visible,
    spread_of,
    wilson,
)

RULE = Rule(limit=0.05)


@pytest.mark.parametrize(
    ("count", "n", "expected"),
    [
        (0, 0, (0.0, 1.0)),
        # 0 of n: (0, z²/(n + z²)) with z² = 3.8415.
        (0, 6, (0.0, 3.8415 / 9.8415)),
        (6, 6, (6 / 9.8415, 1.0)),
        # Newcombe 1998, Stat. Med. 17, 857, table I: 81 of 263 and 15 of 148.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
    ],
)
def test_wilsons_interval_is_that_of_the_literature(count: int, n: int, expected: tuple[float, float]) -> None:
    """At the ends it touches 0 and 1 exactly; without a gate it is everything."""
    assert expected == pytest.approx(wilson(count, n), abs=5e-5)


def test_the_spread_is_the_standard_deviation_with_bounds_of_chi_square() -> None:
    """Squares 2 with 2 degrees: chi square 0.2107 at 10 % and 4.6052 at 90 %; the approximation is within 7 % there."""
    found = spread_of([1.0, 0.0, -1.0])
    assert found is not None
    assert (1.0, 3) == (pytest.approx(found.sd), found.n)
    assert math.sqrt(2 / 4.6052) == pytest.approx(found.low, rel=0.01)
    assert math.sqrt(2 / 0.2107) == pytest.approx(found.high, rel=0.04)


def test_the_bounds_of_many_ratios_are_those_of_chi_square() -> None:
    """With 20 degrees: 12.4426 at 10 % and 28.4120 at 90 %."""
    found = spread_of([0.01 if index % 2 else -0.01 for index in range(20)] + [0.0])
    assert found is not None
    assert math.sqrt(20 * 1e-4 / 28.4120) == pytest.approx(found.low, rel=2e-3)
    assert math.sqrt(20 * 1e-4 / 12.4426) == pytest.approx(found.high, rel=2e-3)


def test_without_two_ratios_there_is_no_spread() -> None:
    """Not a spread of nothing."""
    assert [None, None] == [spread_of([]), spread_of([0.1])]


def test_resampled_gates_of_equal_pairs_all_say_the_same() -> None:
    """Six pairs pass, six and six fail; the number of pairs is counted with the confirmation's."""
    same, slow = resampled([0.0] * 8, RULE, gates=10), resampled([math.log1p(0.1)] * 8, RULE, gates=10)
    assert (10, 10, 0, 0, 6.0) == (same.gates, same.passed, same.failed, same.undecided, same.pairs)
    assert (10, 0, 10, 0, 12.0) == (slow.gates, slow.passed, slow.failed, slow.undecided, slow.pairs)


def test_resampling_and_simulating_again_gives_the_same() -> None:
    """They have seeds."""
    logs = [0.02, -0.03, 0.01, 0.04, -0.02, 0.0]
    assert resampled(logs, RULE, gates=50) == resampled(logs, RULE, gates=50)
    asked = {"spread": 0.02, "slowdown": 0.03, "rule": RULE, "gates": 50}
    assert simulated(**asked) == simulated(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spread", "slowdown", "passed", "failed"),
    # The rule's own table (llm_latency/gate/decision.py, simulated with other seeds), in %.
    [(0.02, 0.0, (99.5, 100), (0, 0.2)), (0.02, 0.06, (0, 1), (99, 100)), (0.047, 0.05, (0, 4), (55, 73))],
)
def test_simulated_rates_are_those_of_the_rules_own_table(
    spread: float, slowdown: float, passed: tuple[float, float], failed: tuple[float, float]
) -> None:
    """1,000 gates each."""
    found = simulated(spread=spread, slowdown=slowdown, rule=RULE, gates=1000)
    assert passed[0] <= found.passed / 10 <= passed[1]
    assert failed[0] <= found.failed / 10 <= failed[1]


def test_without_noise_what_is_seen_begins_at_the_limit() -> None:
    """Equal pairs pass below 5 % and fail from there on; the search ends within 1 %."""
    found = smallest_visible(0.0, RULE, gates=20)
    assert found is not None and 0.05 <= found <= 0.05 * 1.01


def test_what_is_seen_grows_with_the_spread_and_ends() -> None:
    """By the same gates; where not even 40 limits are seen there is none."""
    seen = [smallest_visible(spread, RULE, gates=200) for spread in (0.02, 0.05, 0.1)]
    assert None not in seen and seen == sorted(seen, key=lambda share: share or 0.0)
    assert seen[0] is not None and seen[0] <= 0.05
    assert smallest_visible(10.0, RULE, gates=50) is None


def test_the_smallest_limit_keeps_both_promises_and_no_smaller_one_does() -> None:
    """At a spread of 3 %: 99 % of unchanged code passes, 95 % of twice the limit fails."""
    found = smallest_limit(0.03, gates=400)
    assert found is not None
    smaller = LIMITS[LIMITS.index(found) - 1]

    def keeps(limit: float) -> bool:
        rule = Rule(limit=limit)
        same = simulated(spread=0.03, slowdown=0.0, rule=rule, gates=400)
        slower = simulated(spread=0.03, slowdown=2 * limit, rule=rule, gates=400)
        return same.passed >= 396 and slower.failed >= 380

    assert (True, False) == (keeps(found), keeps(smaller))


def test_a_machine_without_noise_supports_the_smallest_limit_and_a_wild_one_none() -> None:
    """The ends of the list."""
    assert (LIMITS[0], None) == (smallest_limit(0.0, gates=20), smallest_limit(5.0, gates=50))
