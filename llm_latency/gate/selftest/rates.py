"""Rates: how often the gate's rule gives which answer, counted, resampled or simulated; not where pairs come from."""

from __future__ import annotations

import bisect
import functools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist

import msgspec

from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate.decision import LOOKS, Rule, decide

# Pairs of a gate at most: first ones, and as many again that confirm a failure.
MOST_PAIRS = LOOKS[-1]
# Of 1,000 simulated gates a rate of 95 % has a standard error of 0.7 %.
_GATES = 1000
_SEED = 20260
# What a limit is said to support: unchanged code passes, and a slowdown of twice the limit fails, in so many gates.
PASSES, FAILS = 0.99, 0.95
# Limits that people write; the smallest supported one is the first of them that keeps both promises.
LIMITS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
# A slowdown that is looked for at most, as a multiple of the limit.
_FARTHEST = 40.0


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Of how many gates each answer came, and the mean number of pairs until it did."""

    gates: int
    passed: int
    failed: int
    undecided: int
    pairs: float


def resampled(logs: Sequence[float], rule: Rule, *, gates: int = 1000, seed: int = _SEED) -> Rates:
    """Gates whose pairs are drawn from these with replacement.

    They are not independent of each other, and take the mean of these pairs for the truth: a rate without an interval.
    """
    rng = random.Random(seed)
    return _rates((rng.choices(logs, k=2 * MOST_PAIRS) for _ in range(gates)), rule)


def simulated(*, spread: float, slowdown: float, rule: Rule, gates: int = _GATES, seed: int = _SEED) -> Rates:
    """Gates whose pairs have a true slowdown and this standard deviation of the log ratio, with heavy tails.

    The tails are Student's t with 4 degrees, as in tests/gate/test_decision.py.
    """
    center = math.log1p(slowdown)
    return _rates(([center + spread * value for value in noise] for noise in _noise(gates, seed)), rule)


def _rates(gates: Iterable[Sequence[float]], rule: Rule) -> Rates:
    outcomes, pairs = [], 0
    for logs in gates:
        decision = decide(logs[:MOST_PAIRS], rule, confirmation=logs[MOST_PAIRS:], is_over=True)
        outcomes.append(decision.outcome)
        pairs += sum(look.pairs for look in (decision.first, decision.second) if look is not None)
    passed, failed = outcomes.count(PASS), outcomes.count(FAIL)
    undecided = len(outcomes) - passed - failed
    return Rates(
        gates=len(outcomes), passed=passed, failed=failed, undecided=undecided, pairs=pairs / max(1, len(outcomes))
    )


@functools.lru_cache(maxsize=2)
def _noise(gates: int, seed: int) -> tuple[tuple[float, ...], ...]:
    """Standard noise for each gate's pairs; the same for every question, so that answers grow with the slowdown."""
    rng = random.Random(seed)

    def value() -> float:
        chi_square = rng.gammavariate(2.0, 2.0)  # with 4 degrees; Student's t then has the standard deviation √2
        return rng.gauss(0.0, 1.0) / math.sqrt(chi_square / 4.0) / math.sqrt(2.0)

    return tuple(tuple(value() for _ in range(2 * MOST_PAIRS)) for _ in range(gates))


def smallest_visible(spread: float, rule: Rule, *, gates: int = _GATES) -> float | None:
    """The smallest true slowdown that fails in 95 % of simulated gates; None where not even 40 limits would."""

    def fails(slowdown: float) -> bool:
        rates = simulated(spread=spread, slowdown=slowdown, rule=rule, gates=gates)
        return rates.failed >= FAILS * rates.gates

    return _least(fails, low=0.0, high=_FARTHEST * rule.limit)


def smallest_limit(spread: float, *, gates: int = _GATES) -> float | None:
    """The smallest of LIMITS that this spread supports; None where none of them is.

    In simulated gates unchanged code passes in 99 % and a slowdown of twice the limit fails in 95 %.
    """

    def keeps(limit: float) -> bool:
        rule = Rule(limit=limit)
        unchanged = simulated(spread=spread, slowdown=0.0, rule=rule, gates=gates)
        if unchanged.passed < PASSES * unchanged.gates:
            return False
        slower = simulated(spread=spread, slowdown=2 * limit, rule=rule, gates=gates)
        return slower.failed >= FAILS * slower.gates

    at = bisect.bisect_left(LIMITS, True, key=keeps)
    return LIMITS[at] if at < len(LIMITS) else None


def _least(holds: Callable[[float], bool], *, low: float, high: float) -> float | None:
    """The least value for which something holds that holds for all greater ones, to 1 % of itself, from above."""
    if not holds(high):
        return None
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def wilson(count: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson 1927, J. Am. Stat. Assoc. 22, 209); everything where n is 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1.0 + level) / 2)
    share = count / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the interval touches them exactly; rounding must not say otherwise.
    return (0.0 if count == 0 else center - half), (1.0 if count == n else center + half)


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The standard deviation of `n` log ratios from pair to pair, and its bounds at 90 %, one-sided each."""

    sd: float
    low: float
    high: float
    n: int


def spread_of(logs: Sequence[float]) -> Spread | None:
    """The spread of one test's log ratios; None of fewer than two.

    The bounds take them for independent and about normal: chi square by Wilson and Hilferty (1931, PNAS 17, 684).
    """
    n = len(logs)
    if n < 2:
        return None
    mean = math.fsum(logs) / n
    squares = math.fsum((log - mean) ** 2 for log in logs)
    low, high = (math.sqrt(squares / _chi_square(n - 1, q)) for q in (0.9, 0.1))
    return Spread(sd=math.sqrt(squares / (n - 1)), low=low, high=high, n=n)


def _chi_square(freedom: int, q: float) -> float:
    part = 2.0 / (9.0 * freedom)
    cube = 1.0 - part + NormalDist().inv_cdf(q) * math.sqrt(part)
    return float(freedom * max(1e-3, cube) ** 3)
