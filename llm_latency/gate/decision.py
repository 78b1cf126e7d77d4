"""The gate's rule: from the ratios of fresh pairs to pass, fail, undecided or more pairs; not how a pair is run.

A test of non-inferiority. With a limit of 5 % a true slowdown of 5 % or more practically never passes, one of 3 % or
less practically never fails, unchanged code passes, and between 3 and 5 % any of the three may come. The rates are
those of tests/gate/test_decision.py, simulated with heavy tails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from llm_latency.core.tolerance import mean_factor
from llm_latency.core.verdict import FAIL, PASS, UNDECIDED
from llm_latency.errors import UsageError

# Pairs after which the interval is looked at; they grow by about 1.4, so that looks are few.
LOOKS = (6, 9, 13, 18, 25, 34, 46)
# One-sided, at each look: what 2,000 simulated gates a cell needed for the promise above, with seven looks.
LEVEL = 0.003
# What has to be shown for a failure: that the slowdown is more than this share of the limit.
_SHOWN = 0.5
MORE = "more"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed: `limit` as a share, 0.05 for 5 %. `family` is how many such questions one gate asks.

    For a metric of which more is better the limit is on the loss: the ratio base over head. A slowdown of less than
    the share `least` never fails, and where that is more than the limit it may pass too.
    """

    limit: float
    family: int = 1
    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.limit < 10.0:
            raise UsageError(f"a limit of {self.limit!r}; expected a share between 0 and 10, such as 0.05 for 5 %")

    @property
    def allowed(self) -> float:
        """The share that must not pass."""
        return max(self.limit, self.least)

    @property
    def needed(self) -> float:
        """The share that has to be exceeded for a failure."""
        return max(self.limit * _SHOWN, self.least)

    @property
    def worst(self) -> float:
        """The log ratio that must not pass."""
        return math.log1p(self.allowed)

    @property
    def shown(self) -> float:
        """The log ratio above which a slowdown fails."""
        return math.log1p(self.needed)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The mean log ratio over pairs at one look, with the interval of both one-sided levels, and what it says.

    `low` belongs to the failing side, whose level is divided among the family; `high` to the passing side.
    """

    pairs: int
    center: float
    low: float
    high: float
    spread: float
    outcome: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one question. `first` is the look that decided or the last one; `second` that of the fresh pairs
    which a failure needs. `more` are the pairs, of the fresh ones where `first` says fail, that would probably decide,
    where it is undecided and they would.
    """

    outcome: str
    first: Look | None
    second: Look | None = None
    reason: str = ""
    more: int | None = None


def looked(logs: Sequence[float], rule: Rule) -> Look | None:
    """The rule at the last look that the pairs so far have reached; None before the first.

    An earlier look that has decided stays decided: callers stop there. Raises UsageError for a ratio that is no number.
    """
    if any(not math.isfinite(log) for log in logs):
        raise UsageError("a pair's ratio is not finite; a call took no time, or was lost")
    for n in LOOKS:
        if n > len(logs):
            break
        look = _look(logs[:n], rule)
        if look.outcome != MORE:
            return look
    reached = [n for n in LOOKS if n <= len(logs)]
    return _look(logs[: reached[-1]], rule) if reached else None


def _look(logs: Sequence[float], rule: Rule) -> Look:
    n = len(logs)
    center = math.fsum(logs) / n
    spread = math.sqrt(math.fsum((log - center) ** 2 for log in logs) / (n - 1))
    low = center - mean_factor(n, 1.0 - LEVEL / rule.family) * spread
    high = center + mean_factor(n, 1.0 - LEVEL) * spread
    outcome = PASS if high < rule.worst else FAIL if low > rule.shown else MORE
    return Look(pairs=n, center=center, low=low, high=high, spread=spread, outcome=outcome)


def decide(logs: Sequence[float], rule: Rule, *, confirmation: Sequence[float] = (), is_over: bool = False) -> Decision:
    """Decide by the first pairs, and a failure by the pairs of its confirmation too.

    `outcome` is MORE while pairs are missing: of the confirmation where `first` says fail, else of the first ones.
    `is_over` says that there will be none.
    """
    first = looked(logs, rule)
    if first is not None and first.outcome == PASS:
        return Decision(outcome=PASS, first=first)
    if first is None or first.outcome == MORE:
        if not is_over and (first is None or first.pairs < LOOKS[-1]):
            return Decision(outcome=MORE, first=first)
        return Decision(outcome=UNDECIDED, first=first, reason=_open(first, rule), more=pairs_to_decide(first, rule))
    second = looked(confirmation, rule)
    if second is not None and second.outcome == FAIL:
        return Decision(outcome=FAIL, first=first, second=second)
    if second is not None and second.outcome == PASS:
        reason = "the first pairs showed a slowdown and fresh ones none"
        return Decision(outcome=UNDECIDED, first=first, second=second, reason=reason)
    if not is_over and (second is None or second.pairs < LOOKS[-1]):
        return Decision(outcome=MORE, first=first, second=second)
    reason = "a slowdown was seen and fresh pairs could not confirm it"
    more = pairs_to_decide(second, rule) if second is not None else _pairs(first.center, first.spread, rule, above=0)
    return Decision(outcome=UNDECIDED, first=first, second=second, reason=reason, more=more)


def _open(look: Look | None, rule: Rule) -> str:
    if look is None:
        return f"fewer than {LOOKS[0]} pairs were run"
    if rule.shown < look.center < rule.worst:
        return "the slowdown lies between what is shown to be too slow and the limit"
    return "the interval holds the limit; more pairs, or a quieter machine, would narrow it"


def pairs_to_decide(look: Look | None, rule: Rule) -> int | None:
    """How many pairs would probably pass or fail a ratio that is as it was seen; None where no number would."""
    return LOOKS[0] if look is None else _pairs(look.center, look.spread, rule, above=look.pairs)


def _pairs(center: float, spread: float, rule: Rule, *, above: int) -> int | None:
    for n in (*LOOKS, 64, 90, 130, 180, 250, 350, 500):
        if n <= above:
            continue
        passes = center + mean_factor(n, 1.0 - LEVEL) * spread < rule.worst
        fails = center - mean_factor(n, 1.0 - LEVEL / rule.family) * spread > rule.shown
        if passes or fails:
            return n
    return None
