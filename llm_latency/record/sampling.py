"""Cold call, warm-up, when to stop and why; not how a call is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from llm_latency.core.budget import Budget, parse_budget
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import sample_of, verdict_on
from llm_latency.core.stats import LEAST_FOR_INTERVAL, quantile, summarize
from llm_latency.core.trace import Trace
from llm_latency.core.verdict import LEVEL, LOOK_LEVEL, UNDECIDED
from llm_latency.core.work import UNEQUAL_WORK
from llm_latency.errors import UsageError

# Successive calls agree when they lie this close; a fixed single warm-up under-reported prefill by 41 % elsewhere.
_AGREE = 0.10
_MOST_WARMUPS = 10
_WARMUP_SHARE = 0.3
_MOST_CALLS = 10_000
_STEERING = ("total", "ttft", "tpot")
# Looks at an interval grow by about 1.4, so that a budget is not decided by looking after every call.
_LOOKS = (6, 9, 13, 18, 25, 34, 46, 64, 90, 130, 180, 250, 350, 500, 700, 1000, 1400, 2000, 2800, 4000, 5600, 8000)
_DEFAULT_SECONDS, _DEFAULT_SECONDS_WITH_BUDGET = 10.0, 30.0


Budgets = str | Budget | Iterable[str | Budget] | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls to run: counts, or a precision (relative half-width of the 95 % interval) and seconds."""

    repeat: int | None
    warmup: int | None
    budgets: tuple[Budget, ...]
    time_budget_s: float
    precision: float

    @property
    def level(self) -> float:
        """One-sided level at which a budget is decided: a higher one where sampling looks until it is."""
        return LEVEL if self.repeat is not None else LOOK_LEVEL


def make_plan(
    *,
    repeat: int | None = None,
    warmup: int | None = None,
    budget: Budgets = None,
    time_budget: float | None = None,
    precision: float = 0.03,
) -> Plan:
    """Check what the user asked for; raises UsageError that shows the value and what was expected."""
    if repeat is not None and (not isinstance(repeat, int) or isinstance(repeat, bool) or repeat < 1):
        raise UsageError(f"repeat={repeat!r}; expected a whole number of calls, at least 1")
    if warmup is not None and (not isinstance(warmup, int) or isinstance(warmup, bool) or warmup < 0):
        raise UsageError(f"warmup={warmup!r}; expected a whole number of calls, 0 for none")
    if time_budget is not None and not (_is_number(time_budget) and 0 < time_budget < float("inf")):
        raise UsageError(f"time_budget={time_budget!r}; expected seconds, more than 0, such as 10.0")
    if not (_is_number(precision) and 0 < precision < 1):
        raise UsageError(f"precision={precision!r}; expected a share of the median between 0 and 1, such as 0.03")
    listed = [] if budget is None else [budget] if isinstance(budget, str | Budget) else budget
    if not isinstance(listed, Iterable):
        raise UsageError(f'budget={budget!r}; expected text such as "ttft p95 < 250 ms", or several of them')
    budgets = tuple(item if isinstance(item, Budget) else parse_budget(item) for item in listed)
    default = _DEFAULT_SECONDS_WITH_BUDGET if budgets else _DEFAULT_SECONDS
    return Plan(
        repeat=repeat,
        warmup=warmup,
        budgets=budgets,
        time_budget_s=default if time_budget is None else float(time_budget),
        precision=precision,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where sampling stands, told between calls, never inside one.

    `is_live` says whether the next call may be looked at while it runs: calls that are counted together are left alone.
    `stage` is "cold", "warmup" or "counted"; `half_width` is the relative half-width of `total`'s interval;
    `last` is the call that has just ended, None before the first.
    """

    stage: str
    done: int
    of: int | None
    elapsed_s: float
    time_budget_s: float
    half_width: float | None
    last: Trace | None
    is_live: bool = False


Listener = Callable[[Progress], None]


class Pace(Protocol):
    """Says when each call begins and as what, in place of Sampling's rules: so a gate keeps two sides in step."""

    def next_call(self, last: Trace | None) -> str | None:
        """Wait for the next call's turn; its stage ("cold", "warmup" or "counted"), or None for no more.

        `last` is the call that has just ended, None before the first.
        """
        ...


class Sampling:
    """Decides after each call whether another follows, and as what: the cold call, a warm-up or a counted one.

    `width` is the relative half-width of `total`'s interval at the last look, None before the first.
    """

    def __init__(self, plan: Plan, environment: Environment) -> None:
        """Start with nothing measured; times come in with the traces."""
        self.plan = plan
        self.environment = environment
        self.cold: Trace | None = None
        self.warmup: list[Trace] = []
        self.traces: list[Trace] = []
        self.stopped_because: str | None = None
        self.width: float | None = None
        self._first: Trace | None = None
        self._warm = plan.warmup == 0

    def next_stage(self, elapsed_s: float) -> str | None:
        """Say what the next call is, or None when sampling has stopped; `elapsed_s` since the beginning."""
        if self.stopped_because is None and self._warm and self.traces:
            self.stopped_because = self._reason_to_stop(elapsed_s)
        if self.stopped_because is not None:
            return None
        if not self._warm and self.cold is None:
            return "cold"
        if not self._warm and self._needs_warmup(elapsed_s):
            return "warmup"
        self._warm = True
        return "counted"

    def add(self, stage: str, trace: Trace) -> None:
        """Keep a call. One that was asked for other work than the first ends sampling; the first call stays."""
        first = self._first = self._first or trace
        if trace.asked_work() != first.asked_work():
            self.cold, self.warmup, self.traces = None, [], [first]
            self.stopped_because = f"{UNEQUAL_WORK}: {_unequal(first, trace)}; the first call stays"
        elif stage == "cold":
            self.cold = trace
        elif stage == "warmup":
            self.warmup.append(trace)
        else:
            self.traces.append(trace)
            if len(self.traces) in _LOOKS:
                self.width = self.half_width()

    def half_width(self, name: str = "total") -> float | None:
        """Relative half-width of a metric's interval over the counted calls, or None without one."""
        sample = sample_of(self.traces, name, self.environment)
        if len(sample.values) < LEAST_FOR_INTERVAL:
            return None
        summary = summarize(sample)
        if summary.low is None or summary.high is None or summary.center <= 0:
            return None
        return (summary.high - summary.low) / 2 / summary.center

    def _needs_warmup(self, elapsed_s: float) -> bool:
        if self.plan.warmup is not None:
            return len(self.warmup) < self.plan.warmup
        calls = [self.cold, *self.warmup]
        if len(calls) > _MOST_WARMUPS or elapsed_s > _WARMUP_SHARE * self.plan.time_budget_s:
            return False
        return len(calls) < 2 or not all(self._agree(name) for name in ("total", "ttft"))

    def _agree(self, name: str) -> bool:
        before, after = (
            sample_of([trace], name, self.environment).values
            for trace in ([self.cold, *self.warmup][-2:])
            if trace is not None
        )
        if not before or not after:
            return before == after
        return abs(quantile(after, 0.5) / quantile(before, 0.5) - 1.0) <= _AGREE if quantile(before, 0.5) else True

    def _reason_to_stop(self, elapsed_s: float) -> str | None:
        plan, n = self.plan, len(self.traces)
        if plan.repeat is not None:
            return ("one call" if n == 1 else f"{n} calls, as asked") if n >= plan.repeat else None
        if n in _LOOKS:
            if plan.budgets:
                verdicts = [verdict_on(b, self.traces, self.environment, level=plan.level) for b in plan.budgets]
                if all(verdict.outcome != UNDECIDED for verdict in verdicts):
                    return f"every budget decided after {n} calls"
                missing = sorted({verdict.metric for verdict in verdicts if verdict.n == 0})
                if missing and all(verdict.outcome != UNDECIDED or verdict.n == 0 for verdict in verdicts):
                    return f"no value for {', '.join(missing)} in {n} calls: more of them would not decide its budget"
            else:
                widths = [w for name in _STEERING if (w := self.half_width(name)) is not None]
                if widths and max(widths) <= plan.precision:
                    return f"interval within ±{plan.precision:.0%} after {n} calls"
                if widths and self._noise_converged():
                    return f"noise of this machine converged after {n} calls: ±{max(widths):.1%}"
        if elapsed_s >= plan.time_budget_s:
            return f"time budget of {plan.time_budget_s:g} s used after {n} call{'s' if n > 1 else ''}"
        if n >= _MOST_CALLS:
            return f"{n} calls, the most that are kept"
        return None

    def _noise_converged(self) -> bool:
        """Whether twice the calls show the same spread, so that more of them only narrow by their square root."""
        values = sample_of(self.traces, "total", self.environment).values
        if len(values) < 90:
            return False
        spread_of_half, spread = (
            quantile(part, 0.75) - quantile(part, 0.25) for part in (values[: len(values) // 2], values)
        )
        return spread > 0 and abs(spread_of_half / spread - 1.0) <= 0.1


def _unequal(first: Trace, other: Trace) -> str:
    if len(first.requests) != len(other.requests):
        return f"{len(first.requests)} requests in the first call and {len(other.requests)} in a later one"
    for before, after in zip(first.requests, other.requests, strict=True):
        for field, words in (
            ("prompt_tokens", "prompt tokens"),
            ("cached_tokens", "cached tokens"),
            ("rows", "rows"),
            ("kind", "kind of request"),
        ):
            if (old := getattr(before, field)) != (new := getattr(after, field)):
                return f"{words} went from {old} to {new} between calls (the call changes its own input)"
    return "the calls differ"
