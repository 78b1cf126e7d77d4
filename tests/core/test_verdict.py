"""Budget and sample to a verdict: pass, fail or undecided, and why."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llm_latency.core.budget import parse_budget
from llm_latency.core.stats import Sample
from llm_latency.core.tolerance import tolerance
from llm_latency.core.verdict import FAIL, LEVEL, LOOK_LEVEL, PASS, UNDECIDED, Verdict, excused, judge

P95, MEDIAN, THROUGHPUT = "ttft p95 < 250 ms", "ttft < 250 ms", "output_throughput p5 > 40 tok/s"


def sample(*values: float) -> Sample:
    """One value a call."""
    return Sample(values=values, calls=tuple(range(len(values))))


def verdict(text: str, *values: float) -> Verdict:
    """What a budget makes of calls with one value each."""
    return judge(parse_budget(text), sample(*values))


def spread(n: int, low: float, high: float) -> tuple[float, ...]:
    """Values evenly from low to high, the large ones first."""
    return tuple(float(value) for value in np.linspace(high, low, n))


@pytest.mark.parametrize("text", [P95, MEDIAN, "ttft max < 1 s", "ttft min < 1 s", THROUGHPUT])
def test_no_values_decide_nothing(text: str) -> None:
    """A call that streamed nothing has no ttft; that neither passes nor fails."""
    found = verdict(text)
    assert (UNDECIDED, None, None, None, 0) == (found.outcome, found.observed, found.low, found.high, found.n)
    assert (f"{found.metric} has no value in these calls",) == found.reasons


def test_one_of_several_looks_asks_for_more() -> None:
    """Six equal calls pass at 95 %; at 99 % a median's bound needs seven and p95's 90, before that an assumption."""
    values = (0.2, 0.21, 0.2, 0.19, 0.2, 0.21)
    fixed, look = (judge(parse_budget("ttft < 150 ms"), sample(*values), level=level) for level in (LEVEL, LOOK_LEVEL))
    assert (FAIL, 0.95, UNDECIDED, 0.99) == (fixed.outcome, fixed.level, look.outcome, look.level)
    assert ("needs 7 calls for a p50 at 99%, has 6",) == look.reasons
    assert ("needs 90 calls for a p95 at 99%, has 6",) == judge(
        parse_budget("ttft p95 < 211 ms"), sample(*values), level=LOOK_LEVEL
    ).reasons
    assumed = tolerance(values, 0.95, level=0.995)
    assert assumed is not None and assumed.upper == pytest.approx(
        judge(parse_budget("ttft p95 < 300 ms"), sample(*values), level=LOOK_LEVEL).high or 0.0
    )


def test_a_failure_by_others_delay_alone_is_undecided() -> None:
    """Too slow by the wall and not without the delay; a pass and a failure that stands are left as they are."""
    wall, own = verdict(MEDIAN, *(0.3,) * 6), verdict(MEDIAN, *(0.2,) * 6)
    found = excused(wall, own)
    assert (FAIL, UNDECIDED, 0.3) == (wall.outcome, found.outcome, found.observed)
    assert found.reasons[0].startswith("200 ms without the delay by other programs, which does not break the limit")
    assert wall is excused(wall, wall)
    assert own is excused(own, wall)
    none = excused(wall, verdict(MEDIAN))
    assert none.reasons[0].startswith("no value without the delay")


@pytest.mark.parametrize("text", [P95, MEDIAN, THROUGHPUT])
@pytest.mark.parametrize("value", [0.0, 0.1, 1000.0])
def test_one_call_has_no_interval(text: str, value: float) -> None:
    """However far from the limit it is; the value is shown."""
    found = verdict(text, value)
    assert (UNDECIDED, value, ("one call has no interval; repeat the call",)) == (
        found.outcome,
        found.observed,
        found.reasons,
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.25,) * 5, FAIL),  # a value at the limit is not below it
        ((0.2499,) * 5, PASS),
        ((0.1, 0.2, 0.2, 0.2, 0.3), UNDECIDED),
        (spread(30, 0.1, 0.24), PASS),
        (spread(30, 0.26, 0.5), FAIL),
        ((math.inf,) * 5, FAIL),
        ((0.0,) * 5, PASS),
    ],
)
def test_a_median_is_decided_by_the_bound_nearest_the_limit(values: tuple[float, ...], expected: str) -> None:
    """From five calls: all of them lie on one side of the median with 2⁻⁵ = 3.1 %."""
    assert expected == verdict(MEDIAN, *values).outcome


def test_five_calls_bound_a_median_by_their_extremes() -> None:
    """And four do not: 2⁻⁴ = 6.3 %."""
    five, four = verdict(MEDIAN, 0.1, 0.3, 0.2, 0.2, 0.2), verdict(MEDIAN, 0.1, 0.3, 0.2, 0.2)
    assert (0.1, 0.3) == (five.low, five.high)
    assert ("the limit lies inside the interval [100 ms, 300 ms]; more calls narrow it",) == five.reasons
    assert (None, None, ("needs 5 calls for a p50 at 95%, has 4",)) == (four.low, four.high, four.reasons)


def test_a_pass_holds_the_upper_bound_and_no_doubt() -> None:
    """Ten calls from 110 to 200 ms: the 9th of them is the median's upper bound, P(X <= 8) = 98.9 %, the 8th 94.5 %."""
    assert scipy_stats.binom.cdf(7, 10, 0.5) < 0.95 <= scipy_stats.binom.cdf(8, 10, 0.5)
    values = tuple(0.01 * i for i in range(20, 10, -1))
    expected = Verdict(
        budget="ttft p50 < 250 ms",
        outcome=PASS,
        metric="ttft",
        observed=pytest.approx(0.155),
        limit=0.25,
        low=0.01 * 12,
        high=0.01 * 19,
        n=10,
        reasons=(),
    )
    assert expected == verdict(MEDIAN, *values)


def test_a_limit_inside_the_interval_asks_for_more_calls() -> None:
    """Ten calls from 200 to 290 ms around 250 ms: from the 2nd to the 9th."""
    found = verdict(MEDIAN, *(0.2 + 0.01 * i for i in range(10)))
    assert UNDECIDED == found.outcome
    assert ("the limit lies inside the interval [210 ms, 280 ms]; more calls narrow it",) == found.reasons


@pytest.mark.parametrize(("n", "expected"), [(58, UNDECIDED), (59, PASS)])
def test_a_p95_is_decided_without_assumptions_from_59_calls(n: int, expected: str) -> None:
    """0.95⁵⁹ = 4.85 %. One call of 1 ns keeps the log-normal bound beyond the limit, so that it does not decide."""
    found = verdict(P95, 1e-9, *[0.2] * (n - 1))
    assert expected == found.outcome
    assert (() if expected == PASS else ("needs 59 calls for a p95 at 95%, has 58",)) == found.reasons
    assert (0.2 if expected == PASS else None) == found.high


def test_a_model_of_100_ms_passes_a_limit_of_250_ms_with_six_calls() -> None:
    """Calls within ±3 %: exp(mean + 3.708 sd) of the logs is 1.1 times 100 ms, far below; it says what it assumes."""
    values = (0.098, 0.101, 0.100, 0.103, 0.099, 0.097)
    logs = np.log(values)
    k = scipy_stats.nct.ppf(0.95, df=5, nc=scipy_stats.norm.ppf(0.95) * math.sqrt(6)) / math.sqrt(6)
    found = verdict(P95, *values)
    assert (PASS, ("log-normal tolerance bound from 6 calls",)) == (found.outcome, found.reasons)
    assert found.high == pytest.approx(math.exp(logs.mean() + k * logs.std(ddof=1)), rel=1e-4)
    assert 0.101 == found.low  # the 5th of 6


@pytest.mark.parametrize("values", [(0.1, 0.1, 0.1, 0.1, 0.1, 0.9), (0.2, 0.21, 0.19, 0.24, 0.2, 0.18)])
def test_a_bound_that_is_assumed_never_fails_a_budget(values: tuple[float, ...]) -> None:
    """One slow call of six, or a spread that reaches the limit: undecided, with no bound shown that is none."""
    found = verdict(P95, *values)
    assert (UNDECIDED, None) == (found.outcome, found.high)
    assert ("needs 59 calls for a p95 at 95%, has 6",) == found.reasons


def test_a_clear_failure_is_seen_with_six_calls() -> None:
    """The 5th of 6 values lies at or below p95 with 96.7 %: 260 ms is over the limit."""
    found = verdict(P95, 0.2, 0.21, 0.22, 0.23, 0.26, 0.3)
    assert (FAIL, 0.26, None, ()) == (found.outcome, found.low, found.high, found.reasons)


def test_one_slow_call_of_six_is_no_failure() -> None:
    """Four of 6 below the limit and the 5th at it: at the limit is outside."""
    assert UNDECIDED == verdict(P95, 0.2, 0.2, 0.2, 0.2, 0.2, 0.9).outcome
    assert FAIL == verdict(P95, 0.2, 0.2, 0.2, 0.2, 0.25, 0.9).outcome


@pytest.mark.parametrize(("n", "needed"), [(2, 299), (298, 299)])
def test_what_is_missing_for_a_p99_is_said(n: int, needed: int) -> None:
    """0.99²⁹⁹ = 4.95 %."""
    values = (1e-9, 0.2) if n == 2 else (1e-9, *[0.2] * (n - 1))
    found = verdict("ttft p99 < 250 ms", *values)
    assert (UNDECIDED, (f"needs {needed} calls for a p99 at 95%, has {n}",)) == (found.outcome, found.reasons)


@pytest.mark.parametrize(
    ("values", "expected", "reason"),
    [
        (spread(59, 41.0, 60.0), PASS, None),
        (spread(59, 39.0, 60.0), UNDECIDED, "the limit lies inside the interval"),
        (spread(58, 41.0, 60.0), UNDECIDED, "needs 59 calls for a p5 at 95%, has 58"),
        (spread(6, 20.0, 39.0), FAIL, None),
        ((40.0,) * 59, FAIL, None),  # at the limit is not above it
        ((0.0,) * 6, FAIL, None),
    ],
)
def test_where_higher_is_better_the_slow_end_decides(
    values: tuple[float, ...], expected: str, reason: str | None
) -> None:
    """`output_throughput p5 > 40 tok/s` mirrors a p95: 59 calls to pass, few for a clear failure."""
    found = verdict(THROUGHPUT, *values)
    assert expected == found.outcome
    assert [reason] if reason else [] == [text[: len(reason or "")] for text in found.reasons]


def test_a_high_percentile_of_a_rate_needs_no_more_calls_than_a_median() -> None:
    """`p95 > 40` is bounded from below by the 5th of 6."""
    assert PASS == verdict("output_throughput p95 > 40 tok/s", 30.0, 41.0, 42.0, 43.0, 44.0, 45.0).outcome


@pytest.mark.parametrize(
    ("text", "values", "expected", "observed"),
    [
        ("e2e max < 1 s", (0.5,), PASS, 0.5),
        ("e2e max < 1 s", (0.5, 1.0, 0.7), FAIL, 1.0),
        ("e2e max < 1 s", (0.5, 0.9, 0.7), PASS, 0.9),
        ("e2e min < 1 s", (0.5, 7.0), PASS, 0.5),
        ("e2e min < 1 s", (1.0, 7.0), FAIL, 1.0),
        ("output_throughput min > 40 tok/s", (41.0, 50.0), PASS, 41.0),
        ("output_throughput min > 40 tok/s", (40.0, 50.0), FAIL, 40.0),
        ("output_throughput max > 40 tok/s", (30.0, 50.0), PASS, 50.0),
        ("e2e max < 1 s", (math.inf,), FAIL, math.inf),
    ],
)
def test_extremes_are_facts_about_the_calls_made(
    text: str, values: tuple[float, ...], expected: str, observed: float
) -> None:
    """They need no interval, and say of how many they are."""
    found = verdict(text, *values)
    assert (expected, observed, None, None) == (found.outcome, found.observed, found.low, found.high)
    assert (f"{text.split()[1]} of {len(values)}",) == found.reasons


def clusters(*calls: tuple[float, ...]) -> Sample:
    """Several values a call."""
    return Sample(
        values=tuple(value for call in calls for value in call),
        calls=tuple(index for index, call in enumerate(calls) for _ in call),
    )


@pytest.mark.parametrize(
    ("calls", "expected", "reason"),
    [
        (clusters((0.01,) * 100), UNDECIDED, "one call has no interval; repeat the call"),
        (clusters(*[(0.03,) * 100] * 5), UNDECIDED, "5 calls, an interval needs 6"),
        (clusters(*[(0.03,) * 100] * 6), FAIL, None),
        (clusters(*[(0.01,) * 2] * 59), PASS, None),
        (clusters(*[(0.01,) * 100] * 6), PASS, "log-normal tolerance bound on each call's p95 from 6 calls"),
        (clusters(*[(0.01,), (0.019,)] * 3, (0.01, 0.01)), UNDECIDED, "needs 59 calls for a p95 at 95%, has 7"),
    ],
)
def test_gaps_within_calls_are_judged_by_call(calls: Sample, expected: str, reason: str | None) -> None:
    """As many calls as independent values would have to be, or the calls' own percentiles under an assumption."""
    found = judge(parse_budget("itl p95 < 20 ms"), calls)
    assert (expected, () if reason is None else (reason,)) == (found.outcome, found.reasons)


def test_the_assumption_is_made_of_calls_and_not_of_gaps() -> None:
    """Calls that differ as wholes keep their spread, however many equal gaps each of them has."""
    spread = [0.010, 0.013, 0.017, 0.011, 0.015, 0.012]
    few = judge(parse_budget("itl p95 < 20 ms"), clusters(*[(value,) * 100 for value in spread]))
    assert few.outcome == judge(parse_budget("itl p95 < 20 ms"), sample(*spread)).outcome == UNDECIDED


def test_true_models_seldom_fail_and_slow_models_seldom_pass() -> None:
    """Log-normal calls whose p95 lies 1 % beside the limit are judged wrong in at most 5 % of 1,000 runs, plus error.

    Three standard errors of 5 % are √(0.05·0.95/1000)·3 = 2.1 points.
    """
    drawn = np.random.default_rng(7).lognormal(sigma=0.1, size=(1000, 6))
    p95 = math.exp(0.1 * scipy_stats.norm.ppf(0.95))
    outcomes = {"inside": [0] * 2, "outside": [0] * 2}
    for values in drawn:
        for side, limit in (("inside", 1.01 * p95), ("outside", 0.99 * p95)):
            scaled = values * 0.25 / limit
            outcome = verdict(P95, *map(float, scaled)).outcome
            outcomes[side][0] += outcome == PASS
            outcomes[side][1] += outcome == FAIL
    assert outcomes["inside"][1] <= 1000 * (0.05 + 0.021)
    assert outcomes["outside"][0] <= 1000 * (0.05 + 0.021)
