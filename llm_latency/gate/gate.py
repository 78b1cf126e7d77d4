"""Gate: fresh pairs, one after the other, until every question is answered or the time is over; nothing shows here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace
from llm_latency.core.work import unequal_output, unequally_asked, unequally_done
from llm_latency.errors import UsageError
from llm_latency.gate.decision import Look
from llm_latency.gate.imports import require_own
from llm_latency.gate.message import Imported
from llm_latency.gate.moved import Parts
from llm_latency.gate.pair import BASE, HEAD, SIDES, Alternated, Lost, Played, require_two_trees
from llm_latency.gate.question import Question
from llm_latency.gate.result import Asked

# Pairs in a row that may be lost, and pairs in which a test may fail without a time, before no more is expected of it.
_MOST_LOST, _MOST_FAILED = 2, 2
# What is said of unequal lengths where metrics can be chosen, and here, where each of them is asked for.
_ELSEWHERE, _HERE = "compare tpot and itl, not e2e", "fix the length with min_new_tokens and max_new_tokens"
Key = tuple[str, int]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gate stands, in the middle of pair number `pair`. Of its `tests` so many are `open`.

    `confirming` questions have shown a slowdown. `widest` is the test of the widest interval with its slowdown and
    bounds as shares. `left_s` is the time to the next look, by that of the latest pair; None in the first one.
    """

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
    """What became of one test in the workers: in how many pairs it was run at all, timed on both sides, and failed.

    `words` are those of each side's first failure, `skips` of its first skip; `is_skipped` where nothing is left to be
    timed. `idle` are the pairs in a row that have brought no time, or lost a process in it.
    """

    ran: int = 0
    timed: int = 0
    failed: dict[str, int] = {}
    words: dict[str, str] = {}
    skips: dict[str, str] = {}
    is_skipped: bool = False
    idle: int = 0


class Noted(msgspec.Struct, kw_only=True):
    """A problem in the words in which it first came, and in how many pairs it was met."""

    words: str
    pairs: int = 0

    def __str__(self) -> str:
        return self.words if self.pairs == 1 else f"{self.words} (in {self.pairs} pairs)"


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
        self.parts: dict[Key, Parts] = {}
        self.environments: dict[str, Environment] = {}
        self.imported: dict[str, Imported] = {}
        self.names: dict[Key, str] = {}
        # Of each llmtime() in how many pairs it was whole, and what has stopped it in others.
        self.whole: dict[Key, int] = {}
        self.stopped: dict[Key, Noted] = {}
        self.pairs = 0
        self.stopped_because = ""
        self._play, self._time_budget_s = play, time_budget_s
        self._needs_own_code = needs_own_code
        self._on_progress, self._turn, self._clock = on_progress, turn, clock
        self._notes: dict[tuple[str, ...], Noted] = {}
        self._took: list[float] = []
        self._begun = 0.0
        self._lost, self._lost_in = 0, ""

    @property
    def family(self) -> int:
        """How many questions the gate asks; a test that may still be timed will ask one a metric."""
        timed = {question.test for question in self.questions.values()}
        waiting = [one for test, one in self.asked.items() if test not in timed and self._is_open(test)]
        return max(1, len(self.questions) + sum(len(set(one.metrics)) for one in waiting))

    @property
    def seconds(self) -> float:
        """The time that pairs have taken."""
        return math.fsum(self._took)

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong in pairs, each problem once; of an llmtime() that was never whole its test tells."""
        stopped = (f"{key[0]}: {noted}" for key, noted in self.stopped.items() if key in self.whole)
        return (*stopped, *map(str, self._notes.values()))

    def run(self) -> None:
        """Run pairs. An interrupt goes on; what was found until then stays in the fields."""
        while (tests := self._open_tests()) and not self.stopped_because:
            # The first pair is spawned and slower than those that are forked after it.
            if self.pairs and self.seconds + max((self._took[1:] or self._took)[-2:]) > self._time_budget_s:
                self.stopped_because = f"time budget of {self._time_budget_s:g} s used after {_pairs(self.pairs)}"
                return
            with self._turn():
                self._begun = self._clock()
                try:
                    self._take(self._play(tests, self._tell), tests)
                finally:
                    self._took.append(self._clock() - self._begun)
        self.stopped_because = self.stopped_because or self._end()

    def _end(self) -> str:
        timed = {question.test for question in self.questions.values()}
        if all(test in timed or counted.is_skipped for test, counted in self.counted.items()):
            return f"every question answered after {_pairs(self.pairs)}"
        return f"no test was left that more pairs could tell something about, after {_pairs(self.pairs)}"

    def _open_tests(self) -> list[str]:
        """Tests that more pairs can tell something about, in their order."""
        return [test for test in self.asked if self._is_open(test)]

    def _is_open(self, test: str) -> bool:
        counted = self.counted[test]
        always_fails = counted.failed.get(HEAD, 0) >= max(_MOST_FAILED, counted.ran)
        if counted.is_skipped or counted.idle >= _MOST_FAILED or always_fails:
            return False
        return test not in {question.test for question in self.questions.values()} or bool(self._open_questions(test))

    def _open_questions(self, test: str | None = None) -> list[Question]:
        """Those of a test, or all, that more pairs can tell something about."""
        return [
            question
            for (of, index, _), question in self.questions.items()
            if (test is None or of == test) and question.is_open() and not self._is_given_up((of, index))
        ]

    def _is_given_up(self, key: Key) -> bool:
        """Whether an llmtime() has come to its end in two pairs less than it has not."""
        return self.counted[key[0]].ran >= _MOST_FAILED + 2 * self.whole.get(key, 0)

    def _take(self, played: Played, tests: Sequence[str]) -> None:
        for side, imported in played.imported.items():
            require_own(side, imported)
        calls = [one for one in played.calls if one.test in self.asked]
        whole = [one for one in calls if not one.problem]
        has_begun = any((HEAD, test) in played.reports for test in tests)
        if HEAD in played.problems and not has_begun and not self.whole:
            raise UsageError(f"the head could not run its tests: {played.problems[HEAD]}")
        # Later pairs run fewer tests, which may need nothing of the project.
        if self._needs_own_code and not any(one.files for one in self.imported.values()):
            require_two_trees(played)
        self.imported = played.imported | self.imported
        self.pairs += 1
        for one in calls:
            self._see(one)
        family = self.family
        for one in whole:
            self._add(one, family)
        for test in tests:
            self._count(test, played, is_timed=test in {one.test for one in whole})
        for side, problem in played.problems.items():
            lines = problem.splitlines()  # those tests have it all
            words = lines[-1] if "Traceback (" in lines[0] else lines[0]
            self._note(f"the {side} could not run all its tests: {words}", side)
        if played.lost is None:
            self._lost, self._lost_in = 0, ""
        else:
            self._count_lost(played.lost)

    def _note(self, words: str, *key: str) -> None:
        self._notes.setdefault(key, Noted(words=words)).pairs += 1

    def _count_lost(self, lost: Lost) -> None:
        """Two in a row end the gate; where both were lost in one test, that test alone is given up."""
        # The last lines of its log are told with the test that it was lost in, where there is one.
        self._note(str(lost).splitlines()[0] if lost.test in self.counted else str(lost), lost.side, lost.test)
        is_again = lost.test in self.counted and lost.test == self._lost_in
        self._lost, self._lost_in = (0 if is_again else self._lost + 1), lost.test
        if self._lost >= _MOST_LOST:
            self.stopped_because = (
                f"{self._lost} pairs in a row were lost, the last one so: {str(lost).splitlines()[0]}"
            )

    def _count(self, test: str, played: Played, *, is_timed: bool) -> None:
        counted = self.counted[test]
        troubles = {side: words for side in SIDES if (words := _trouble(test, side, played))}
        reports = {side: report for side in SIDES if (report := played.reports.get((side, test))) is not None}
        if not (is_timed or troubles or reports):
            return  # the pair did not get as far
        counted.ran += 1
        counted.timed += is_timed
        for side, words in troubles.items():
            counted.failed[side] = counted.failed.get(side, 0) + 1
            counted.words.setdefault(side, words)
        is_lost = played.lost is not None and played.lost.test == test
        counted.idle = 0 if is_timed and not is_lost else counted.idle + 1
        for side, report in reports.items():
            if report.outcome == "skipped":
                counted.skips.setdefault(side, report.text or "no reason was given")
        # Both sides run the same tests: one that the head alone skips is skipped by the code that is gated.
        outcomes = {side: "failed" if side in troubles else report.outcome for side, report in reports.items()}
        if outcomes.get(HEAD) == "skipped" and outcomes.get(BASE, "passed") != "passed" and not counted.timed:
            counted.is_skipped = True

    def _see(self, calls: Alternated) -> None:
        """Note an llmtime(), and ask what there is to ask about it."""
        key = (calls.test, calls.index)
        self.names.setdefault(key, calls.name)
        for side, environment in zip(SIDES, calls.environments, strict=True):
            if environment is not None:
                self.environments.setdefault(side, environment)
        if calls.problem:
            self.stopped.setdefault(key, Noted(words=calls.problem)).pairs += 1
            return
        self.whole[key] = self.whole.get(key, 0) + 1
        asked = self.asked[calls.test]
        for metric in asked.metrics:
            if (*key, metric) not in self.questions:
                self.questions[*key, metric] = Question(asked, test=calls.test, name=calls.name, metric=metric)

    def _add(self, calls: Alternated, family: int) -> None:
        key = (calls.test, calls.index)
        self.traces.setdefault(key, []).extend(calls.head)
        asking = [self.questions[*key, metric] for metric in dict.fromkeys(self.asked[calls.test].metrics)]
        asking = [question for question in asking if question.is_open()]
        unequal = [*unequally_asked(calls.base, calls.head), *unequally_done(calls.base, calls.head)]
        if self.asked[calls.test].same_output:
            unequal += unequal_output(calls.base, calls.head)
        if unequal:
            for question in asking:
                question.withhold([reason.replace(_ELSEWHERE, _HERE) for reason in unequal])
            return
        if asking:
            self.parts.setdefault(key, Parts()).add(calls)
        for question in asking:
            question.add(calls, family=family)

    def _tell(self, test: str) -> None:
        if self._on_progress is None:
            return
        still = self._open_questions()
        looks = [(question.test, look) for question in still if (look := question.look()) is not None]
        widest = max(looks, key=lambda one: one[1].high - one[1].low, default=None)
        more = [count for question in still if (count := question.pairs_to_look()) is not None]
        elapsed = self._clock() - self._begun
        self._on_progress(
            Progress(
                pair=self.pairs + 1,
                test=test,
                seconds=self.seconds + elapsed,
                time_budget_s=self._time_budget_s,
                tests=len(self.asked),
                open=len(self._open_tests()),
                confirming=sum(question.is_confirming() for question in still),
                widest=None if widest is None else (widest[0], *_shares(widest[1])),
                left_s=max(0.0, min(more) * self._took[-1] - elapsed) if more and self._took else None,
            )
        )


def _trouble(test: str, side: str, played: Played) -> str:
    """What went wrong with a test on a side; nothing where it has run to its end, was skipped or was not reached."""
    report = played.reports.get((side, test))
    if played.lost is not None and (played.lost.side, played.lost.test) == (side, test):
        return f"its process was lost: {played.lost.reason}"
    if report is not None:
        return (report.text or "it failed without a word") if report.outcome == "failed" else ""
    return f"the {side} could not run it: {played.problems[side]}" if side in played.problems else ""


def _shares(look: Look) -> tuple[float, float, float]:
    return math.expm1(look.center), math.expm1(look.low), math.expm1(look.high)


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'}"
