"""Budget + Sample → Verdict: pass, fail or undecided, with reasons; not how it is shown."""

from __future__ import annotations

import math

import msgspec

from llm_latency.core.budget import Budget
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import LEAST_FOR_INTERVAL, Sample, bounds, per_call, quantile, tolerance_upper
from llm_latency.core.units import show

PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"
# One-sided level at which an absolute budget is decided.
LEVEL = 0.95


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a budget makes of a sample. `observed` is the point value; low and high are one-sided 95 % bounds."""

    budget: str
    outcome: str
    metric: str
    observed: float | None
    limit: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    reasons: tuple[str, ...] = ()


def judge(budget: Budget, sample: Sample) -> Verdict:
    """Pass when the bound nearest the limit is inside it, fail when the other bound is outside, else undecided.

    `max` and `min` are facts about the calls that were made and are decided by them alone.
    """
    n, q = len(sample.values), budget.quantile
    if n == 0:
        return _verdict(budget, UNDECIDED, n=n, reason=f"{budget.metric} has no value in these calls")
    if q is None:
        observed = max(sample.values) if budget.statistic == "max" else min(sample.values)
        outcome = PASS if _inside(budget, observed) else FAIL
        return _verdict(budget, outcome, n=n, observed=observed, reason=f"{budget.statistic} of {n}")
    observed = quantile(sample.values, q)
    # One value lies below p95 with 95 %, but a single call may be the cold one, or a disturbed one.
    low, high = bounds(sample, q, level=LEVEL) if sample.call_count > 1 else (None, None)
    outcome, reason = UNDECIDED, None
    inner, outer = (high, low) if budget.is_upper else (low, high)
    if inner is not None and _inside(budget, inner):
        outcome = PASS
    elif outer is not None and not _inside(budget, outer):
        outcome = FAIL
    elif inner is None and budget.is_upper:
        assumed = tolerance_upper(per_call(sample, q), q, level=LEVEL)
        if assumed is not None and _inside(budget, assumed):
            whose = f" on each call's {budget.statistic}" if sample.clustered else ""
            outcome, high, reason = PASS, assumed, f"log-normal tolerance bound{whose} from {sample.call_count} calls"
    if outcome == UNDECIDED:
        reason = _missing(budget, sample, low=low, high=high)
    return _verdict(budget, outcome, n=n, observed=observed, low=low, high=high, reason=reason)


def excused(verdict: Verdict, own: Verdict) -> Verdict:
    """A failure that does not stand without the delay by other programs, `own`, becomes undecided.

    Delay only ever adds time: a disturbed sample may pass a budget and must not fail it by itself.
    """
    if verdict.outcome != FAIL or own.outcome == FAIL:
        return verdict
    unit = METRICS[verdict.metric].unit
    seen = "no value" if own.observed is None else show(own.observed, unit)
    reason = (
        f"{seen} without the delay by other programs, which is not outside of the limit; measure on a quieter machine"
    )
    return msgspec.structs.replace(verdict, outcome=UNDECIDED, reasons=(reason,))


def _inside(budget: Budget, value: float) -> bool:
    return value < budget.limit if budget.is_upper else value > budget.limit


def _missing(budget: Budget, sample: Sample, *, low: float | None, high: float | None) -> str:
    if sample.call_count == 1:
        return "one call has no interval; repeat the call"
    q = budget.quantile or 0.5
    tail = q if budget.is_upper else 1.0 - q
    needed = math.ceil(math.log(1.0 - LEVEL) / math.log(tail))
    calls = sample.call_count
    if sample.clustered and calls < LEAST_FOR_INTERVAL:
        return f"{calls} calls, an interval needs {LEAST_FOR_INTERVAL}"
    if calls < needed:
        return f"needs {needed} calls for a {budget.statistic} at {LEVEL:.0%}, has {calls}"
    unit = budget.row.unit
    return f"the limit lies inside the interval [{show(low, unit)}, {show(high, unit)}]; more calls narrow it"


def _verdict(
    budget: Budget,
    outcome: str,
    *,
    n: int,
    reason: str | None,
    observed: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Verdict:
    return Verdict(
        budget=str(budget),
        outcome=outcome,
        metric=budget.metric,
        observed=observed,
        limit=budget.limit,
        low=low,
        high=high,
        n=n,
        reasons=() if reason is None else (reason,),
    )
