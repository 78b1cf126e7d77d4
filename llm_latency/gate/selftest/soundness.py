"""Soundness: does the gate work on this machine? Planted slowdowns, what its rule said of them, and how sure that is.

Not how it is shown, nor how pairs are recorded.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from llm_latency.core.stats import quantile
from llm_latency.core.tolerance import mean_factor
from llm_latency.gate.decision import LOOKS, Rule
from llm_latency.gate.ratio import Ratio
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED
from llm_latency.gate.selftest.rates import Rates, Spread, resampled, smallest_limit, smallest_visible, spread_of
from llm_latency.gate.selftest.selftest import Calibration, calibration, launched, sides_of
from llm_latency.gate.selftest.trial import Standing, Trial
from llm_latency.workloads.planted import Plant

SCHEMA = 1
WORKS, FAILS, UNKNOWN = "works", "does not work", "could not tell"
UNCHANGED = "unchanged"
# Of the limit: nothing, what practically never fails, what practically always does, and what it surely has to catch.
# Each once a pair: tests of unchanged code in one pair of processes correlated by 0.01 (26 pairs of five) and, beside
# busy neighbours, by 0.61 (16 pairs of two), so a second one would not count as another gate.
_SHARES = (0.0, 0.6, 1.2, 2.0)
# What the interval of unchanged code has to leave out before the pairs are said to lean to one side.
_LEANS = 0.999
NOT_SEEN = (
    "models other than one small GPT-2 shape on the CPU with one thread; GPUs",
    "imports from two versions of a project, pytest, conftest and fixtures: the calls are built in",
    "a gate of several tests, which asks more of a failure: the level is divided by their number",
    "hours: neighbours come and go, and this is how the machine was while it ran",
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried: the limit on a slowdown as a share, and how long. A quick one ends when each kind had a gate."""

    limit: float = 0.05
    time_budget_s: float = 240.0
    is_quick: bool = False

    def kinds(self) -> dict[str, float]:
        """The slowdowns that are planted, by the names of their tests."""
        shares = (_SHARES[0], _SHARES[-1]) if self.is_quick else _SHARES
        return {_name(share * self.limit): share * self.limit for share in shares}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One size of slowdown: what was planted, what its pairs read with the 95 % interval of their mean, and its gates.

    `gates` counts the answers of whole gates, each of pairs that no other gate has, and `gate_pairs` how many these
    were. `resampled` are rates over drawn pairs. `ratios` are those of each pair.
    """

    name: str
    share: float
    amount: int
    gates: dict[str, int]
    gate_pairs: tuple[int, ...]
    seen: float | None
    low: float | None
    high: float | None
    spread: Spread | None
    resampled: Rates | None
    ratios: tuple[Ratio, ...]

    @property
    def whole(self) -> int:
        """How many whole gates there were."""
        return sum(self.gates.values())


class Visible(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest slowdown that the rule sees in 95 % of simulated gates, and the same at the spread's bounds.

    None where none up to 40 limits is seen.
    """

    smallest: float | None
    low: float | None
    high: float | None


class Soundness(msgspec.Struct, frozen=True, kw_only=True):
    """What a self-test found. `supported` is the smallest limit that the spread supports.

    `call_s` and `pair_s` are medians, of own time and of wall time.
    """

    outcome: str
    reasons: tuple[str, ...]
    limit: float
    kinds: tuple[Kind, ...]
    pairs: int
    seconds: float
    pair_s: float | None
    call_s: float | None
    wall_spread: Spread | None
    supported: float | None
    visible: Visible | None
    stopped_because: str
    notes: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = NOT_SEEN
    complete: bool = True
    recorded_at: str | None = None


def selftest(
    plan: Plan,
    *,
    on_progress: Callable[[Standing], None] = lambda _: None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Soundness:
    """Run it. An interrupt while pairs are recorded ends it with what there is; raises TargetError without torch."""
    begin = time.monotonic()
    on_stage("starting a fork server that imports torch and transformers")
    with launched() as launcher:
        on_stage("sizing the slowdowns in a process of their own")
        sized = calibration(launcher)
        kinds = plan.kinds()
        plants = {test: sized.plant(share) for test, share in kinds.items()}
        sides = sides_of(launcher, plants)
        trial = Trial(
            tuple(plants), play=sides.play, time_budget_s=plan.time_budget_s, on_progress=on_progress, begin=begin
        )
        complete = False
        try:
            trial.record(is_enough=lambda: plan.is_quick and _has_gates(trial, kinds, plan.limit))
            complete = True
        except KeyboardInterrupt:
            trial.stopped_because = f"interrupted after {len(trial.played)} pairs"
        trial.notes += sides.notes
    on_stage("forming gates from the pairs")
    return concluded(trial, plan, sized=sized, complete=complete)


def _has_gates(trial: Trial, kinds: Iterable[str], limit: float) -> bool:
    is_early = len(trial.played) < 2 * LOOKS[0]
    return not is_early and all(trial.gates(test, limit=limit) for test in kinds)


def concluded(trial: Trial, plan: Plan, *, sized: Calibration, complete: bool = True) -> Soundness:
    """What the recorded pairs say."""
    kinds = tuple(_kind(trial, test, share, plan.limit, sized.plant(share)) for test, share in plan.kinds().items())
    unchanged = trial.ratios[UNCHANGED]
    spread = kinds[0].spread
    supported = None if spread is None else smallest_limit(spread.sd)
    outcome, reasons = judged(kinds)
    if outcome == WORKS and (supported is None or supported > plan.limit):
        outcome, reasons = UNKNOWN, ("whole gates were right, and yet pairs scatter too much for this limit",)
    leaning = _leaning(trial.logs(UNCHANGED), plan.limit)
    if leaning is not None and leaning.is_alarm and outcome != FAILS:
        outcome, reasons = FAILS, (leaning.words,)
    return Soundness(
        outcome=outcome,
        reasons=reasons,
        limit=plan.limit,
        kinds=kinds,
        pairs=len(trial.played),
        seconds=trial.seconds,
        pair_s=quantile(trial.pair_s, 0.5) if trial.pair_s else None,
        call_s=quantile([found.base for found in unchanged], 0.5) if unchanged else None,
        wall_spread=spread_of([found.wall for found in unchanged]),
        supported=supported,
        visible=None if spread is None else visible(spread, plan.limit),
        stopped_because=trial.stopped_because,
        notes=(*trial.notes, *([] if leaning is None else [leaning.words])),
        complete=complete,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def visible(spread: Spread, limit: float) -> Visible:
    """What the rule sees of pairs that scatter so."""
    rule = Rule(limit=limit)
    smallest, low, high = (smallest_visible(sd, rule) for sd in (spread.sd, spread.low, spread.high))
    return Visible(smallest=smallest, low=low, high=high)


def judged(kinds: Sequence[Kind]) -> tuple[str, tuple[str, ...]]:
    """Whether whole gates passed unchanged code and caught twice the limit, and why it is not said where it is not.

    What lies near the limit is shown and not judged: how large a plant really is, is known to a part of itself only.
    """
    same, twice = kinds[0], kinds[-1]
    alarms, missed = same.gates.get(TOO_SLOW, 0), twice.gates.get(OK, 0) + twice.gates.get(FASTER, 0)
    found = []
    if alarms:
        found.append(f"{alarms} of {same.whole} whole gates called unchanged code too slow")
    if missed:
        found.append(f"{missed} of {twice.whole} whole gates passed a slowdown of {twice.name}")
    if found:
        return FAILS, tuple(found)
    open_gates = same.gates.get(UNDECIDED, 0) + twice.gates.get(UNDECIDED, 0)
    if open_gates:
        found.append(f"{open_gates} whole gates used all their pairs and could not decide: the machine is too noisy")
    found += [f"no whole gate of {kind.name} came about" for kind in (same, twice) if not kind.whole]
    return (UNKNOWN, tuple(found)) if found else (WORKS, ())


def _kind(trial: Trial, test: str, share: float, limit: float, plant: Plant) -> Kind:
    answers, logs = trial.gates(test, limit=limit), trial.logs(test)
    center, half = _mean(logs, 0.975)
    return Kind(
        name=test,
        share=share,
        amount=plant.amount,
        gates=dict(Counter(answer.word for answer in answers)),
        gate_pairs=tuple(len(answer.pairs) + len(answer.fresh) for answer in answers),
        seen=_share(center),
        low=_share(None if center is None or half is None else center - half),
        high=_share(None if center is None or half is None else center + half),
        spread=spread_of(logs),
        resampled=resampled(logs, Rule(limit=limit)) if len(logs) >= LOOKS[0] else None,
        ratios=tuple(trial.ratios[test]),
    )


class _Leaning(msgspec.Struct, frozen=True, kw_only=True):
    """That unchanged code did not read as unchanged, over all its pairs."""

    words: str
    is_alarm: bool


def _leaning(logs: Sequence[float], limit: float) -> _Leaning | None:
    center, half = _mean(logs, (1 + _LEANS) / 2)
    if center is None or half is None or abs(center) <= half:
        return None
    words = f"unchanged code read {math.expm1(center):+.1%} over all pairs, which chance hardly does"
    return _Leaning(words=words.replace("%", " %"), is_alarm=center - half > Rule(limit=limit).shown)


def _mean(logs: Sequence[float], level: float) -> tuple[float | None, float | None]:
    """Mean and half-width of the interval with this level at each end, by Student's t."""
    if len(logs) < 2:
        return (logs[0] if logs else None), None
    center = math.fsum(logs) / len(logs)
    spread = math.sqrt(math.fsum((log - center) ** 2 for log in logs) / (len(logs) - 1))
    return center, mean_factor(len(logs), level) * spread


def _share(log: float | None) -> float | None:
    return None if log is None else math.expm1(log)


def _name(share: float) -> str:
    return f"+{100 * share:.3g} %" if share else UNCHANGED
