"""A verdict in words: `PASS`, `TOO SLOW`, `UNDECIDED`, and why; not the judgement itself."""

from __future__ import annotations

import msgspec

from llm_latency.core.metrics import METRICS, Metric
from llm_latency.core.units import show
from llm_latency.core.verdict import FAIL, PASS, UNDECIDED, Verdict

# A limit on bytes or joules is not exceeded by being slow.
_TOO = {"B": "TOO MUCH", "J": "TOO MUCH", "J/tok": "TOO MUCH"}


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, the word for what became of it, and the reason."""

    budget: str
    word: str
    why: str


def rule(verdict: Verdict) -> Ruling:
    """Put a verdict into words."""
    metric = METRICS.get(verdict.metric)
    if metric is None:  # a file may name a metric of a newer version
        return Ruling(budget=verdict.budget, word=verdict.outcome.upper(), why="; ".join(verdict.reasons))
    words = {PASS: "PASS", FAIL: _TOO.get(metric.unit, "TOO SLOW"), UNDECIDED: "UNDECIDED"}
    word = words.get(verdict.outcome, verdict.outcome.upper())
    return Ruling(budget=verdict.budget, word=word, why=_why(verdict, metric))


def _why(verdict: Verdict, metric: Metric) -> str:
    if verdict.observed is None:
        return "; ".join(verdict.reasons)
    observed = show(verdict.observed, metric.unit)
    if verdict.low is None and verdict.high is None and verdict.outcome != UNDECIDED:
        return f"{'; '.join(verdict.reasons)} is {observed}"  # max and min are facts about the calls made
    parts = [f"observed {observed}"]
    if verdict.outcome != UNDECIDED:
        parts.append(_bound(verdict, metric))
    else:
        parts += verdict.reasons
    return "; ".join(parts)


def _bound(verdict: Verdict, metric: Metric) -> str:
    """The bound that decided: the one nearest the limit for a pass, the other for a failure."""
    is_upper = (metric.better == "lower") == (verdict.outcome == PASS)
    bound = verdict.high if is_upper else verdict.low
    how = ", ".join((f"{verdict.level:.0%}", *verdict.reasons))
    return f"{'upper' if is_upper else 'lower'} bound {show(bound, metric.unit)} ({how})"
