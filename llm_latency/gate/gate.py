"""Gate: fresh pairs, one after the other, until every question is answered or the time is over; nothing shows here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace
from llm_latency.core.work import unequally_asked, unequally_done
from llm_latency.errors import UsageError
from llm_latency.gate.imports import require_own
from llm_latency.gate.message import Imported
from llm_latency.gate.pair import BASE, HEAD, Alternated, Lost, Played, require_two_trees
from llm_latency.gate.question import Question
from llm_latency.gate.result import Asked

# Pairs in a row that may be lost, and pairs in which a test may fail without a time, before no more is expected of it.
_MOST_LOST, _MOST_FAILED = 2, 2
Key = tuple[str, int]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gate stands. `open` questions are left; `left_s` is the time that they would take as things are."""

    pair: int
    test: str
    seconds: float
    time_budget_s: float
    tests: int
    open: int
    confirming: int
    widest: tuple[str, float, float, float] | None
    left_s: float | None


class Counted(msgspec.Struct, kw_only=True):
    """What became of one test in the workers: in how many pairs it was timed on both sides, or failed."""

    timed: int = 0
    failed: dict[str, int] = {}
    words: dict[str, str] = {}
    skipped: str = ""
    idle: int = 0


Player = Callable[[Sequence[str], Callable[[str], None]], Played]


class Gate:
    """Asks for pairs until all is answered. What they are is the business of `play`, handed down."""

    def __init__(
        self,
        asked: Sequence[Asked],
        *,
        play: Player,
        time_budget_s: float,
        needs_own_code: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`turn` is held while a pair runs; `needs_own_code` refuses sides that import nothing of their trees."""
        self.asked = {one.test: one for one in asked}
        self.counted = {one.test: Counted() for one in asked}
        self.questions: dict[tuple[str, int, str], Question] = {}
        self.traces: dict[Key, list[Trace]] = {}
        self.environments: dict[str, Environment] = {}
        self.imported: dict[str, Imported] = {}
        self.names: dict[Key, str] = {}
        self.notes: list[str] = []
        self.pairs = 0
        self.seconds = 0.0
        self.stopped_because = ""
        self._play, self._time_budget_s = play, time_budget_s
        self._needs_own_code = needs_own_code
        self._on_progress, self._turn, self._clock = on_progress, turn, clock
        self._lost = 0

    @property
    def family(self) -> int:
        """How many questions the gate asks."""
        return max(1, len(self.questions))

    def run(self) -> None:
        """Run pairs. An interrupt goes on; what was found until then stays in the fields."""
        longest = 0.0
        while (tests := self._open_tests()) and not self.stopped_because:
            if self.pairs and self.seconds + longest > self._time_budget_s:
                self.stopped_because = f"time budget of {self._time_budget_s:g} s used after {self.pairs} pairs"
                return
            with self._turn():
                begin = self._clock()
                try:
                    played = self._play(tests, functools.partial(self._tell, longest))
                    self._take(played)
                finally:
                    took = self._clock() - begin
                    self.seconds += took
                    longest = max(longest, took)
        self.stopped_because = self.stopped_because or f"every question answered after {self.pairs} pairs"

    def _open_tests(self) -> list[str]:
        """Tests that more pairs can tell something about, in their order."""
        return [test for test in self.asked if self._is_open(test)]

    def _is_open(self, test: str) -> bool:
        counted = self.counted[test]
        if counted.skipped or counted.idle >= _MOST_FAILED:
            return False
        own = [question for question in self.questions.values() if question.test == test]
        return not own or any(question.is_open() for question in own)

    def _take(self, played: Played) -> None:
        for side, imported in played.imported.items():
            require_own(side, imported)
            if side not in self.imported:
                self.imported[side] = imported
        if self._needs_own_code:
            require_two_trees(played)
        for problem in played.problems.items():
            raise UsageError(f"the {problem[0]} could not run its tests: {problem[1]}")
        self.pairs += 1
        for calls in played.calls:
            self._add(calls)
        timed = {calls.test for calls in played.calls if not calls.problem}
        for test in self.counted:
            self._count(test, played, is_timed=test in timed)
        if played.lost is None:
            self._lost = 0
            return
        self._lost += 1
        self.notes.append(str(played.lost))
        if played.lost.test in self.counted:
            self._mark_lost(played.lost)
        if self._lost >= _MOST_LOST:
            self.stopped_because = f"{self._lost} pairs in a row were lost: {played.lost}"

    def _mark_lost(self, lost: Lost) -> None:
        counted = self.counted[lost.test]
        counted.failed[lost.side] = counted.failed.get(lost.side, 0) + 1
        counted.words[lost.side] = f"its process was lost: {lost.reason}"
        counted.idle += 1

    def _count(self, test: str, played: Played, *, is_timed: bool) -> None:
        counted = self.counted[test]
        reports = {side: played.reports.get((side, test)) for side in (BASE, HEAD)}
        for side, report in reports.items():
            if report is None:
                continue
            if report.outcome == "failed":
                counted.failed[side] = counted.failed.get(side, 0) + 1
                counted.words.setdefault(side, report.text)
            elif report.outcome == "skipped" and side == HEAD and not is_timed:
                counted.skipped = report.text or "skipped"
        if is_timed:
            counted.timed += 1
            counted.idle = 0
        elif any(report is not None for report in reports.values()):
            counted.idle += 1

    def _add(self, calls: Alternated) -> None:
        key = (calls.test, calls.index)
        asked = self.asked.get(calls.test)
        if asked is None:
            return
        self.names[key] = calls.name
        for side, environment in zip((BASE, HEAD), calls.environments, strict=True):
            if environment is not None:
                self.environments.setdefault(side, environment)
        if calls.problem:
            self.notes.append(f"{calls.test}: {calls.problem}")
            return
        self.traces.setdefault(key, []).extend(calls.head)
        unequal = [*unequally_asked(calls.base, calls.head), *unequally_done(calls.base, calls.head)]
        for metric in asked.metrics:
            question = self.questions.get((*key, metric))
            if question is None:
                question = Question(asked, test=calls.test, name=calls.name, metric=metric)
                self.questions[*key, metric] = question
            if unequal:
                question.withhold(unequal)
        for metric in asked.metrics:
            question = self.questions[*key, metric]
            if question.is_open():
                question.add(calls, family=self.family)

    def _tell(self, longest: float, test: str) -> None:
        if self._on_progress is None:
            return
        questions = list(self.questions.values())
        still = [question for question in questions if question.is_open()]
        looks = [(question.test, look) for question in still if (look := question.look()) is not None]
        widest = max(looks, key=lambda pair: pair[1].high - pair[1].low, default=None)
        more = [count for question in still if (count := question.pairs_to_look()) is not None]
        self._on_progress(
            Progress(
                pair=self.pairs + 1,
                test=test,
                seconds=self.seconds,
                time_budget_s=self._time_budget_s,
                tests=len(self.asked),
                open=len(still) if questions else len(self.asked),
                confirming=sum(question.is_confirming() for question in still),
                widest=None if widest is None else (widest[0], widest[1].center, widest[1].low, widest[1].high),
                left_s=max(more, default=0) * longest if longest and more else None,
            )
        )
