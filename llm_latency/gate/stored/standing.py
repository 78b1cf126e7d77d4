"""Standing: how one run stands against stored rows, as pass, fail or undecided; not where either comes from.

A row is one process and so is the run, and processes differ: from R rows with standard deviation s in logs the slowdown
d has the interval d ± t(R - 1) s √(1 + 1/R). More rows narrow it to the noise of one process and no further: a limit
below about five times the noise between processes mostly stays open, and asks for the gate of two refs.

In % of 2,000 simulated runs with heavy tails (Student's t, 4 degrees) against a limit of 5 %, by rows and noise:
unchanged code passes / fails; code 5 % slower passes; code 10 % slower fails. tests/gate/test_standing.py has them.

| rows | noise of 1 % | of 2 % | of 3 % |
| --- | --- | --- | --- |
| 3 | 41 / 0.1; 1.5; 64 | 14 / 0.3; 1.4; 26 | 8 / 0.5; 1.3; 13 |
| 6 | 84 / 0.1; 1.4; 96 | 34 / 0.5; 1.0; 61 | 16 / 0.6; 1.6; 32 |
| 10 | 93 / 0.1; 1.9; 98 | 44 / 0.6; 2.0; 76 | 18 / 0.4; 2.5; 41 |
| 20 | 97 / 0.1; 1.9; 99 | 51 / 0.5; 2.0; 82 | 22 / 0.5; 2.1; 49 |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

import msgspec
from msgspec.structs import replace

from llm_latency.core.metrics import Metric
from llm_latency.core.tolerance import mean_factor
from llm_latency.core.verdict import FAIL, PASS, UNDECIDED
from llm_latency.errors import UsageError
from llm_latency.gate.decision import Rule
from llm_latency.gate.stored.row import Row, is_like, mapping_differences, unlike

# One-sided, of either bound. There is one look, not seven, and no fresh pairs that would have to confirm a failure.
LEVEL = 0.01
# From two rows a bound lies 39 standard deviations away (t of one degree of freedom at 99 %); from three it is 8.
LEAST_ROWS = 3
# Where rows are too few to tell their noise: between processes on one machine it was about this (design of the gate:
# 262 runs in separate processes). Only whether a run may become a row is asked with it.
_USUAL_SPREAD = 0.03
# How often unchanged code has to pass for a limit to be called supported: a normal quantile of 90 %.
_OFTEN = 1.2816
_MOST_LIMIT = 9.99


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a run against the rows of the same work and conditions.

    `slowdown`, with `low` and `high` at LEVEL each, is a share of the base, more is worse; `wall` the same of wall
    time. `base` is the rows' geometric mean and `head` the run's median, in base unit `unit`. `limit` is the effective
    one, what was asked or `min_change` where that is more. `supports` is the limit that unchanged code would pass nine
    times in ten with this noise; `more` how many rows would probably decide. `is_refused` says that the run must not
    become a row unasked, `is_faster` that it is shown to be.
    """

    metric: str
    unit: str
    outcome: str
    limit: float
    rows: int
    reasons: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    wall: float | None = None
    spread: float | None = None
    base: float | None = None
    head: float | None = None
    supports: float | None = None
    more: int | None = None
    is_refused: bool = False
    is_faster: bool = False


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A log ratio of a run to the mean of rows, with its bounds, and what they say."""

    center: float
    low: float
    high: float
    spread: float
    outcome: str


def compared(run: float, rows: Sequence[float], rule: Rule) -> Compared:
    """Set the log of a run's value against those of LEAST_ROWS rows or more; larger is worse.

    Student's interval for the difference of two means, of R values and of one, with a common variance: the prediction
    interval for a single future value (Hahn and Meeker, Statistical Intervals, 4.7) about the difference.
    Raises UsageError for fewer rows, and for a value that is no number.
    """
    if len(rows) < LEAST_ROWS or not all(map(math.isfinite, (run, *rows))):
        raise UsageError(f"{len(rows)} rows; expected {LEAST_ROWS} or more, and finite values")
    mean = math.fsum(rows) / len(rows)
    center, spread = run - mean, math.sqrt(math.fsum((log - mean) ** 2 for log in rows) / (len(rows) - 1))
    reach = _reach(len(rows)) * spread
    low, high = center - reach, center + reach
    outcome = PASS if high < rule.worst else FAIL if low > rule.shown else UNDECIDED
    return Compared(center=center, low=low, high=high, spread=spread, outcome=outcome)


def _reach(rows: int) -> float:
    """t(R - 1) √(1 + 1/R): how many standard deviations a bound lies from the slowdown."""
    return mean_factor(rows, 1.0 - LEVEL) * math.sqrt(rows + 1)


def stand(
    metric: Metric, run: Row, rows: Sequence[Row], *, limit: float, min_change: tuple[float, str] | None = None
) -> Standing:
    """Judge one metric of a run by the stored rows; `limit` as a share, 0.05 for 5 %.

    A change of less than `min_change` (a value in base unit, and that unit) never fails a metric of that unit. Rows of
    other work or other conditions are left out, and said. Raises UsageError for a limit that is none.
    """
    measured = [row for row in rows if metric.definition in row.metrics]
    alike = [row for row in measured if is_like(row, run)]
    head, left_out = run.metrics.get(metric.definition), _left_out(run, measured)
    base = math.exp(math.fsum(math.log(row.metrics[metric.definition].value) for row in alike) / max(1, len(alike)))
    rule = Rule(limit=_effective(metric, limit, min_change, base if alike else None))
    standing = Standing(
        metric=metric.name,
        unit=metric.unit,
        outcome=UNDECIDED,
        limit=rule.limit,
        rows=len(alike),
        differences=mapping_differences((alike or measured)[-1].facts, run.facts) if measured else (),
        base=base if alike else None,
        head=None if head is None else head.value,
    )
    if head is None:
        return replace(standing, reasons=(f"its calls have no value of {metric.name}",))
    if not alike:
        # Of other work no slowdown can be told, and none can be excluded: it needs a word to become the baseline.
        is_refused = bool(measured) and all(row.work != run.work for row in measured)
        return replace(standing, reasons=left_out or (_no_row(metric, rows),), is_refused=is_refused)
    sign = 1.0 if metric.better == "lower" else -1.0
    stored = [row.metrics[metric.definition] for row in alike]
    walls = [math.log(one.wall) for one in stored]
    wall = math.expm1(sign * (math.log(head.wall) - math.fsum(walls) / len(walls)))
    standing = replace(standing, wall=wall, reasons=left_out)
    judged = _judged(standing, sign * math.log(head.value), [sign * math.log(one.value) for one in stored], rule)
    odd = _odd_one([math.log(one.value) for one in stored]) if judged.outcome == UNDECIDED else None
    if odd is None:
        return judged
    share = stored[odd].value / base - 1.0
    apart = f"{100 * abs(share):.0f} % {'above' if share > 0 else 'below'} the mean"
    words = f"the row of {alike[odd].when} ({alike[odd].run}) lies {apart} and makes most of it: if something"
    return replace(judged, reasons=(*judged.reasons, f"{words} disturbed that run, delete its line"))


def _judged(standing: Standing, run: float, rows: Sequence[float], rule: Rule) -> Standing:
    if len(rows) < LEAST_ROWS:
        center = run - math.fsum(rows) / len(rows)
        return replace(
            standing,
            slowdown=math.expm1(center),
            reasons=(*standing.reasons, _too_few(len(rows))),
            more=LEAST_ROWS,
            is_refused=_is_gross(center, len(rows), rule),
        )
    found = compared(run, rows, rule)
    supports = math.expm1((_reach(len(rows)) + _OFTEN * math.sqrt(1 + 1 / len(rows))) * found.spread)
    is_open = found.outcome == UNDECIDED
    more = _rows_to_decide(found, len(rows), rule) if is_open else None
    return replace(
        standing,
        outcome=found.outcome,
        slowdown=math.expm1(found.center),
        low=math.expm1(found.low),
        high=math.expm1(found.high),
        spread=found.spread,
        supports=supports,
        reasons=(*standing.reasons, *([_open(found, rule, supports, more)] if is_open else [])),
        more=more,
        is_refused=found.outcome == FAIL,
        is_faster=found.high < -rule.shown,
    )


def _odd_one(rows: Sequence[float]) -> int | None:
    """Which row makes the noise: without it the standard deviation would be less than a third. None for less."""
    if len(rows) <= LEAST_ROWS:
        return None
    spreads = [stdev([*rows[:index], *rows[index + 1 :]]) for index in range(len(rows))]
    least = min(spreads)
    return spreads.index(least) if least * 3 < stdev(rows) else None


def _effective(metric: Metric, limit: float, min_change: tuple[float, str] | None, base: float | None) -> float:
    if min_change is None or base is None or min_change[1] != metric.unit:
        return limit
    least = min_change[0]
    # For a metric of which more is better the ratio is turned round, and so is the share.
    share = least / base if metric.better == "lower" else least / max(base - least, 1e-3 * base)
    return max(limit, min(share, _MOST_LIMIT))


def _left_out(run: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """In what the rows that are not compared differ from the run."""
    others = [row for row in rows if not is_like(row, run)]
    if not others:
        return ()
    last = others[-1]
    work = [f"{what}: {last.work.get(what, 'none')} → {run.work.get(what, 'none')}" for what in _other_keys(last, run)]
    words = f"unequal work ({', '.join(work)})" if work else f"other conditions ({', '.join(unlike(last, run))})"
    return (f"left out: {len(others)} of {len(rows)} rows, of {words}",)


def _other_keys(first: Row, second: Row) -> list[str]:
    return sorted(key for key in first.work.keys() | second.work.keys() if first.work.get(key) != second.work.get(key))


def _no_row(metric: Metric, rows: Sequence[Row]) -> str:
    if rows:
        return f"no stored row has a value of {metric.definition}; record further ones with --latency-baseline=create"
    return "no row is stored for it; record some with --latency-baseline=create"


def _too_few(rows: int) -> str:
    missing = LEAST_ROWS - rows
    return (
        f"{rows} row{'s' if rows > 1 else ''} stored, and an interval needs {LEAST_ROWS}: run pytest"
        f" --latency-baseline=create {missing} more time{'s' if missing > 1 else ''}, each process adds one"
    )


def _open(found: Compared, rule: Rule, supports: float, more: int | None) -> str:
    where = "the interval holds the limit"
    if found.center > rule.shown:
        where = "the slowdown lies between what is shown to be too slow and the limit"
    passes = f"unchanged code often passes a limit of {100 * supports:.0f} %"
    noise = f"processes differ by {100 * found.spread:.1f} %, and {passes if supports < 1 else 'no limit is of use'}"
    return "; ".join([where, noise, *([] if more is None else [f"{more} rows would probably decide it"])])


def _is_gross(center: float, rows: int, rule: Rule) -> bool:
    """Whether too few rows would show a slowdown if they had the usual noise: a normal quantile in place of t."""
    reach = 2.3263 * _USUAL_SPREAD * math.sqrt(1 + 1 / rows)  # 99 %, as LEVEL
    return center - reach > rule.shown


def _rows_to_decide(found: Compared, rows: int, rule: Rule) -> int | None:
    """How many rows would pass or fail a run that is as this one was; None where none would."""
    for n in (6, 8, 10, 14, 20):
        reach = _reach(n) * found.spread
        if n > rows and (found.center + reach < rule.worst or found.center - reach > rule.shown):
            return n
    return None
