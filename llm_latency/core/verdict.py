"""Budget + Sample → Verdict: pass, fail or undecided, with reasons; not how it is shown."""

from __future__ import annotations

import math

import msgspec
from msgspec.structs import replace

from llm_latency.core.budget import Budget
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import LEAST_FOR_INTERVAL, Sample, bounds, per_call, quantile
from llm_latency.core.tolerance import Tolerance, tolerance
from llm_latency.core.units import show

PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"
# One-sided level at which an absolute budget is decided by a number of calls that was fixed beforehand.
LEVEL = 0.95
# And by each look where calls go on until it is decided. Looking up to twelve times at 95 %, a median exactly at its
# limit passes in 14 % and fails in 16.5 %; at 99 % in 3.8 and 3.3 %. The tolerance bound is then taken at 99.5 %: a
# p95 at its limit passes in 4.8 % (600 runs; benchmarks/bench_coverage.py).
LOOK_LEVEL = 0.99
# Below as many calls an exact upper bound of p95 over clusters is close to their maximum.
_FEW_CLUSTERS = 100


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a budget makes of a sample. `observed` is the point value; low and high are one-sided bounds at `level`."""

    budget: str
    outcome: str
    metric: str
    observed: float | None
    limit: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    reasons: tuple[str, ...] = ()
    level: float = LEVEL


def judge(budget: Budget, sample: Sample, *, level: float = LEVEL) -> Verdict:
    """Pass when the bound nearest the limit is inside it, fail when the other bound is outside, else undecided.

    `level` is LEVEL, or LOOK_LEVEL where this is one of several looks at a growing sample. `max` and `min` are facts
    about the calls that were made and are decided by them alone.
    """
    n, q = len(sample.values), budget.quantile
    verdict = Verdict(
        budget=str(budget),
        outcome=UNDECIDED,
        metric=budget.metric,
        observed=None,
        limit=budget.limit,
        n=n,
        level=level,
    )
    if n == 0:
        return replace(verdict, reasons=(f"{budget.metric} has no value in these calls",))
    if q is None:
        observed = max(sample.values) if budget.statistic == "max" else min(sample.values)
        outcome = PASS if _inside(budget, observed) else FAIL
        return replace(verdict, outcome=outcome, observed=observed, reasons=(f"{budget.statistic} of {n}",))
    # One value lies below p95 with 95 %, but a single call may be the cold one, or a disturbed one.
    low, high = bounds(sample, q, level=level) if sample.call_count > 1 else (None, None)
    verdict = replace(verdict, observed=quantile(sample.values, q), low=low, high=high)
    inner, outer = (high, low) if budget.is_upper else (low, high)
    if inner is not None and _inside(budget, inner):
        return replace(verdict, outcome=PASS)
    if outer is not None and not _inside(budget, outer):
        return replace(verdict, outcome=FAIL)
    assumed = _assumed(budget, sample, q, level) if inner is None or (sample.clustered and q > 0.5) else None
    if assumed is not None and _inside(budget, assumed.upper):
        whose = f" on each call's {budget.statistic}" if sample.clustered else ""
        reason = f"{assumed.assumption} tolerance bound{whose} from {sample.call_count} calls"
        return replace(verdict, outcome=PASS, high=assumed.upper, reasons=(reason,))
    return replace(verdict, reasons=(_missing(budget, sample, low=low, high=high, level=level),))


def _assumed(budget: Budget, sample: Sample, q: float, level: float) -> Tolerance | None:
    """An upper bound from few calls under an assumption; the few are its reason."""
    if not budget.is_upper or sample.call_count >= _FEW_CLUSTERS or sample.call_count < 2:
        return None
    return tolerance(per_call(sample, q), q, level=level if level <= LEVEL else 1.0 - (1.0 - level) / 2)


def excused(verdict: Verdict, own: Verdict) -> Verdict:
    """A failure that does not stand without the delay by other programs, `own`, becomes undecided.

    Delay only ever adds time: a disturbed sample may pass a budget and must not fail it by itself.
    """
    if verdict.outcome != FAIL or own.outcome == FAIL:
        return verdict
    unit = METRICS[verdict.metric].unit
    seen = "no value" if own.observed is None else show(own.observed, unit)
    reason = f"{seen} without the delay by other programs, which does not break the limit; measure on a quieter machine"
    return replace(verdict, outcome=UNDECIDED, reasons=(reason,))


def _inside(budget: Budget, value: float) -> bool:
    return value < budget.limit if budget.is_upper else value > budget.limit


def _missing(budget: Budget, sample: Sample, *, low: float | None, high: float | None, level: float) -> str:
    if sample.call_count == 1:
        return "one call has no interval; repeat the call"
    q = budget.quantile or 0.5
    tail = q if budget.is_upper else 1.0 - q
    needed = math.ceil(math.log(1.0 - level) / math.log(tail))
    calls = sample.call_count
    if sample.clustered and calls < LEAST_FOR_INTERVAL:
        return f"{calls} calls, an interval needs {LEAST_FOR_INTERVAL}"
    if calls < needed:
        return f"needs {needed} calls for a {budget.statistic} at {level:.0%}, has {calls}"
    unit = budget.row.unit
    return f"the limit lies inside the interval [{show(low, unit)}, {show(high, unit)}]; more calls narrow it"
