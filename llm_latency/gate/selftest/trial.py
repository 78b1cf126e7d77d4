"""Trial: pairs recorded while there is time, all tests in each, and the gates that they make; not who judges these."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import msgspec

from llm_latency.core.stats import quantile
from llm_latency.errors import TargetError
from llm_latency.gate.gate import Gate, Player
from llm_latency.gate.pair import Played
from llm_latency.gate.ratio import Ratio, ratio
from llm_latency.gate.result import Answer, Asked

METRIC = "total"
# As in the gate itself: so many pairs lost in a row, and no more is expected.
_MOST_LOST = 2


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trial stands: the pair that runs and the test in it, seconds used and allowed, the last pair's ratios."""

    pair: int
    test: str
    seconds: float
    time_budget_s: float
    last: dict[str, float] = {}


class Trial:
    """Records pairs; `play` is the business of who has the sides."""

    def __init__(
        self,
        tests: Sequence[str],
        *,
        play: Player,
        time_budget_s: float,
        on_progress: Callable[[Standing], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        begin: float | None = None,
    ) -> None:
        """Nothing is recorded yet; the time budget counts from `begin` on the clock, or from now."""
        self.tests = tuple(tests)
        self.played: list[Played] = []
        self.ratios: dict[str, list[Ratio]] = {test: [] for test in tests}
        self.pair_s: list[float] = []
        self.notes: list[str] = []
        self.stopped_because = ""
        self._play, self._time_budget_s = play, time_budget_s
        self._on_progress, self._clock = on_progress, clock
        self._begin = clock() if begin is None else begin
        self._lost = 0

    @property
    def seconds(self) -> float:
        """Time since the trial began."""
        return self._clock() - self._begin

    def record(self, *, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Record pairs while one more fits into the time budget; an interrupt goes on, and what there is stays."""
        while not self.stopped_because:
            if is_enough():
                self.stopped_because = f"every kind of test had its gate after {len(self.played)} pairs"
            elif self.seconds + self._usual_s() > self._time_budget_s:
                self.stopped_because = f"time budget of {self._time_budget_s:g} s used after {len(self.played)} pairs"
            else:
                self._add()

    def _usual_s(self) -> float:
        return quantile(self.pair_s, 0.5) if self.pair_s else 0.0

    def _add(self) -> None:
        begin = self._clock()
        played = self._play(self.tests, self._tell)
        self.pair_s.append(self._clock() - begin)
        broken = next(
            (f"the {side} could not run its tests: {last_line(p)}" for side, p in played.problems.items()), ""
        )
        if broken and not self.played:
            raise TargetError(broken)
        found = {calls.test: ratio(calls, METRIC) for calls in played.calls if not calls.problem}
        values = [found.get(test) for test in self.tests]
        if not broken and played.lost is None and None not in values:
            self._lost = 0
            self.played.append(played)
            for test, value in zip(self.tests, values, strict=True):
                self.ratios[test] += [value] if value is not None else []
            return
        self._lost += 1
        problems = "; ".join(calls.problem for calls in played.calls if calls.problem)
        reason = broken or str(played.lost or problems or "a call took no time")
        self.notes.append(f"a pair was lost: {reason}")
        if self._lost >= _MOST_LOST:
            self.stopped_because = f"{self._lost} pairs in a row were lost: {reason}"

    def _tell(self, test: str) -> None:
        self._on_progress(
            Standing(
                pair=len(self.played) + 1,
                test=test,
                seconds=self.seconds,
                time_budget_s=self._time_budget_s,
                last={name: found[-1].own for name, found in self.ratios.items() if found},
            )
        )

    def logs(self, test: str) -> list[float]:
        """A test's log ratios of own time, pair by pair."""
        return [found.own for found in self.ratios[test]]

    def gates(self, test: str, *, limit: float) -> tuple[Answer, ...]:
        """Whole gates of one test, one after the other in the order of the pairs, none of which is in two of them.

        Pairs behind the last answer, which would have needed more, are no gate.
        """
        answers: list[Answer] = []
        begin = 0
        while True:
            gate = Gate(
                [Asked(test=test, limit=limit, metrics=(METRIC,))],
                play=_Replay(self.played[begin:]),
                time_budget_s=math.inf,
                needs_own_code=False,
                clock=lambda: 0.0,
            )
            try:
                gate.run()
            except _NoMore:
                return tuple(answers)
            answers += [question.answer() for question in gate.questions.values()]
            begin += gate.pairs


def last_line(text: str) -> str:
    """What a traceback ends with."""
    return (text.strip().splitlines() or [""])[-1].strip()


class _NoMore(Exception):
    """The recorded pairs are used up."""


class _Replay:
    """Plays recorded pairs in their order; raises _NoMore behind the last one."""

    def __init__(self, played: Sequence[Played]) -> None:
        self._following = iter(played)

    def __call__(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played:
        try:
            return next(self._following)
        except StopIteration:
            raise _NoMore from None
