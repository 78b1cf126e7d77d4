"""Question: is one metric of one llmtime() too slow? Its pairs so far, and the answer; not where pairs come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate.decision import LOOKS, MORE, Decision, Look, Rule, decide
from llm_latency.gate.pair import Alternated
from llm_latency.gate.ratio import Ratio, ratio
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED, Answer, Asked

_DECIDED = {PASS: OK, FAIL: TOO_SLOW}


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
        """The limit with its absolute leg, by the base's median over the pairs before the first look, and no later."""
        if self._rule is not None:
            return self._rule
        limit = self._asked.limit
        if self._asked.min_change is not None and self.pairs:
            least, unit = self._asked.min_change
            base = quantile([pair.base for pair in self.pairs], 0.5)
            if unit == self.metric.unit and base > 0:
                # For a metric of which more is better the ratio is turned round, and so is the share.
                share = least / base if self.metric.better == "lower" else least / max(base - least, 1e-3 * base)
                limit = max(limit, min(share, 9.99))
        rule = Rule(limit=limit, family=self._family)
        if len(self.pairs) >= LOOKS[0]:
            self._rule = rule
        return rule

    def add(self, calls: Alternated, *, family: int) -> None:
        """Take a pair: into the first ones, or once those have shown a slowdown into its confirmation."""
        self._family = family
        found = ratio(calls, self.metric.name)
        if found is None:
            self.missing += 1
        elif not self._has_failed_once():
            self.pairs.append(found)
        else:
            self.fresh.append(found)

    def withhold(self, reasons: Sequence[str]) -> None:
        """The two sides do unequal work: no pair can tell anything."""
        self.doubts = tuple(dict.fromkeys((*self.doubts, *reasons)))

    def is_open(self) -> bool:
        """Whether more pairs could change the answer."""
        hopeless = self.missing >= 2 and not self.pairs
        return not self.doubts and not hopeless and self.decision().outcome == MORE

    def is_confirming(self) -> bool:
        """Whether a slowdown was seen and is being looked at again."""
        return self._has_failed_once() and self.is_open()

    def decision(self, *, is_over: bool = False) -> Decision:
        """What the pairs so far say."""
        first, second = self._logs(self.pairs), self._logs(self.fresh)
        return decide(first, self.rule, confirmation=second, is_over=is_over)

    def answer(self) -> Answer:
        """The word and its numbers, with no more pairs to come."""
        decision = self.decision(is_over=True)
        reasons = list(self.doubts) or ([decision.reason] if decision.reason else [])
        if self.missing and not self.pairs:
            reasons = [f"its calls have no value of {self.metric.name}"]
        word = UNDECIDED if self.doubts else _DECIDED.get(decision.outcome, UNDECIDED)
        look = decision.second or decision.first
        if word == OK and look is not None and look.high < -self.rule.shown:
            word = FASTER
        found = self.fresh if decision.second is not None else self.pairs
        wall = [self._sign * pair.wall for pair in found]
        return Answer(
            test=self.test,
            name=self.name,
            metric=self.metric.name,
            unit=self.metric.unit,
            better=self.metric.better,
            word=word,
            limit=self.rule.limit,
            decision=decision,
            slowdown=math.expm1(look.center) if look is not None else None,
            low=math.expm1(look.low) if look is not None else None,
            high=math.expm1(look.high) if look is not None else None,
            wall=math.expm1(math.fsum(wall) / len(wall)) if wall else None,
            base=quantile([pair.base for pair in found], 0.5) if found else None,
            head=quantile([pair.head for pair in found], 0.5) if found else None,
            pairs=tuple(self.pairs),
            fresh=tuple(self.fresh),
            reasons=tuple(reasons),
        )

    def look(self) -> Look | None:
        """The last look, as live progress shows it."""
        decision = self.decision()
        return decision.second or decision.first

    def pairs_to_look(self) -> int | None:
        """How many more pairs there are to the next look; None where there is none."""
        have = len(self.fresh) if self._has_failed_once() else len(self.pairs)
        return next((look - have for look in LOOKS if look > have), None)

    def _has_failed_once(self) -> bool:
        first = decide(self._logs(self.pairs), self.rule).first
        return first is not None and first.outcome == FAIL

    @property
    def _sign(self) -> float:
        return 1.0 if self.metric.better == "lower" else -1.0

    def _logs(self, pairs: Sequence[Ratio]) -> list[float]:
        return [self._sign * pair.own for pair in pairs]
