"""Question: is one metric of one llmtime() too slow? Its pairs so far, and the answer; not where pairs come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate.decision import LOOKS, MORE, Decision, Look, Rule, decide, looked
from llm_latency.gate.pair import Alternated
from llm_latency.gate.ratio import Ratio, ratio
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED, Answer, Asked

# So many more pairs without a value than with one, and no more is expected of the metric.
_MOST_MISSING = 2


class Question:
    """One metric of one llmtime() of a test."""

    def __init__(self, asked: Asked, *, test: str, name: str, metric: str) -> None:
        """Nothing is known yet."""
        self.test, self.name = test, name
        self.metric = METRICS[metric]
        self._asked = asked
        self.pairs: list[Ratio] = []
        self.fresh: list[Ratio] = []
        self._family = 1
        self._rule: Rule | None = None
        self.doubts: tuple[str, ...] = ()
        self.missing = 0

    @property
    def rule(self) -> Rule:
        """The limit with its absolute leg, by the base's median over the pairs up to the first look, and no later."""
        if self._rule is not None:
            return self._rule
        first = self.pairs[: LOOKS[0]]
        rule = Rule(limit=self._asked.limit, family=self._family, least=self._least(first))
        if len(first) == LOOKS[0]:
            self._rule = rule
        return rule

    def _least(self, pairs: Sequence[Ratio]) -> float:
        """The share of the base that a change has to be more than to count."""
        least, unit = self._asked.min_change or (0.0, self.metric.unit)
        if unit != self.metric.unit or not pairs:
            return 0.0
        base = quantile([pair.base for pair in pairs], 0.5)
        # For a metric of which more is better the ratio is turned round, and so is the share.
        return least / base if self.metric.better == "lower" else least / max(base - least, 1e-3 * base)

    def add(self, calls: Alternated, *, family: int) -> None:
        """Take a pair: into the first ones, or once those have shown a slowdown into its confirmation."""
        self._family = family
        found = ratio(calls, self.metric.name)
        if found is None:
            self.missing += 1
        elif self._is_seen():
            self.fresh.append(found)
        else:
            self.pairs.append(found)

    def withhold(self, reasons: Sequence[str]) -> None:
        """The two sides do unequal work: no pair can tell anything."""
        self.doubts = tuple(dict.fromkeys((*self.doubts, *reasons)))

    def is_open(self) -> bool:
        """Whether more pairs could change the answer."""
        is_hopeless = self.missing >= _MOST_MISSING + len(self.pairs) + len(self.fresh)
        return not self.doubts and not is_hopeless and self.decision().outcome == MORE

    def is_confirming(self) -> bool:
        """Whether a slowdown was seen and is being looked at again."""
        return self._is_seen() and self.is_open()

    def decision(self, *, is_over: bool = False) -> Decision:
        """What the pairs so far say."""
        first, second = self._logs(self.pairs), self._logs(self.fresh)
        return decide(first, self.rule, confirmation=second, is_over=is_over)

    def answer(self) -> Answer:
        """The word and its numbers, with no more pairs to come."""
        decision, rule = self.decision(is_over=True), self.rule
        look = decision.second or decision.first
        found = self.fresh if decision.second is not None else self.pairs
        wall = [self._sign * pair.wall for pair in found]
        return Answer(
            test=self.test,
            name=self.name,
            metric=self.metric.name,
            unit=self.metric.unit,
            better=self.metric.better,
            word=self._word(decision),
            limit=rule.allowed,
            shown=rule.needed,
            decision=decision,
            slowdown=math.expm1(look.center) if look is not None else None,
            low=math.expm1(look.low) if look is not None else None,
            high=math.expm1(look.high) if look is not None else None,
            wall=math.expm1(math.fsum(wall) / len(wall)) if wall else None,
            base=quantile([pair.base for pair in found], 0.5) if found else None,
            head=quantile([pair.head for pair in found], 0.5) if found else None,
            pairs=tuple(self.pairs),
            fresh=tuple(self.fresh),
            reasons=self._reasons(decision),
        )

    def _word(self, decision: Decision) -> str:
        if self.doubts or decision.outcome not in (PASS, FAIL):
            return UNDECIDED
        if decision.outcome == FAIL:
            return TOO_SLOW
        return FASTER if decision.first is not None and decision.first.high < -self.rule.shown else OK

    def _reasons(self, decision: Decision) -> tuple[str, ...]:
        """Why it is undecided, if it is."""
        if self.doubts:
            return self.doubts
        without = f"its calls have no value of {self.metric.name}"
        if self.missing and not self.pairs:
            return (without,)
        found = [decision.reason] if decision.reason else []
        if self.missing and decision.outcome not in (PASS, FAIL):
            found.append(f"{without} in {self.missing} of {self.missing + len(self.pairs) + len(self.fresh)} pairs")
        return tuple(found)

    def look(self) -> Look | None:
        """The last look, as live progress shows it."""
        decision = self.decision()
        return decision.second or decision.first

    def pairs_to_look(self) -> int | None:
        """How many more pairs there are to the next look; None where there is none."""
        have = len(self.fresh) if self._is_seen() else len(self.pairs)
        return next((look - have for look in LOOKS if look > have), None)

    def _is_seen(self) -> bool:
        """Whether the first pairs have shown a slowdown."""
        first = looked(self._logs(self.pairs), self.rule)
        return first is not None and first.outcome == FAIL

    @property
    def _sign(self) -> float:
        return 1.0 if self.metric.better == "lower" else -1.0

    def _logs(self, pairs: Sequence[Ratio]) -> list[float]:
        return [self._sign * pair.own for pair in pairs]
