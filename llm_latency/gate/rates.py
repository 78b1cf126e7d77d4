"""Rates: how often the gate's rule gives which answer, counted, resampled or simulated; not where pairs come from."""

from __future__ import annotations

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
# Of 2,000 simulated gates a rate of 95 % has a standard error of 0.5 %.
_GATES = 2000
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
    for limit in LIMITS:
        rule = Rule(limit=limit)
        unchanged = simulated(spread=spread, slowdown=0.0, rule=rule, gates=gates)
        if unchanged.passed < PASSES * unchanged.gates:
            continue
        slower = simulated(spread=spread, slowdown=2 * limit, rule=rule, gates=gates)
        if slower.failed >= FAILS * slower.gates:
            return limit
    return None


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


def spread_of(groups: Iterable[Sequence[float]]) -> Spread | None:
    """The spread of several tests' log ratios, each around its own mean; None where no test has two.

    The tests may share their pairs of processes, so the bounds count each pair once. They take ratios for about normal:
    chi square by Wilson and Hilferty (1931, PNAS 17, 684).
    """
    squares, freedom, n, pairs = 0.0, 0, 0, 0
    for logs in groups:
        if len(logs) < 2:
            continue
        mean = math.fsum(logs) / len(logs)
        squares += math.fsum((log - mean) ** 2 for log in logs)
        freedom, n, pairs = freedom + len(logs) - 1, n + len(logs), max(pairs, len(logs))
    if freedom == 0:
        return None
    sd = math.sqrt(squares / freedom)
    low, high = (sd * math.sqrt((pairs - 1) / _chi_square(pairs - 1, q)) for q in (0.9, 0.1))
    return Spread(sd=sd, low=low, high=high, n=n)


def _chi_square(freedom: int, q: float) -> float:
    part = 2.0 / (9.0 * freedom)
    cube = 1.0 - part + NormalDist().inv_cdf(q) * math.sqrt(part)
    return float(freedom * max(1e-3, cube) ** 3)


def alike(columns: Sequence[Sequence[float]]) -> float | None:
    """How much the ratios of one pair of processes have in common: the intraclass correlation of tests within pairs.

    0 where tests of one pair are as independent as those of different pairs. One-way analysis of variance (Shrout and
    Fleiss 1979, ICC(1,1)); None for fewer than two tests, or three pairs.
    """
    rows = list(zip(*columns, strict=True))
    k, n = len(columns), len(rows)
    if k < 2 or n < 3:
        return None
    means = [math.fsum(row) / k for row in rows]
    mean = math.fsum(means) / n
    between = k * math.fsum((one - mean) ** 2 for one in means) / (n - 1)
    apart = [(value - one) ** 2 for row, one in zip(rows, means, strict=True) for value in row]
    within = math.fsum(apart) / (n * (k - 1))
    total = between + (k - 1) * within
    return (between - within) / total if total else None
