"""Workers that keep to a script on a manual clock, and notice whoever talks out of turn; no tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from itertools import count, cycle

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Annotation, Trace
from llm_latency.gate.message import (
    Called,
    Ended,
    Finished,
    Go,
    Imported,
    Message,
    Ready,
    Reported,
    Stop,
)
from llm_latency.gate.pair import BASE, HEAD, Alternated, Pair, Played, Rounds
from llm_latency.testing import ManualClock

MS = 1_000_000
# What a message takes on the manual clock; real ones take less.
MESSAGE_NS = 100_000

Talk = Generator[Message | None, Go | Stop | None, None]
Body = Callable[["Scripted", str], Talk]


class Released(Exception):
    """What an llmtime() raises that has nothing to be set against."""


class Failed(Exception):
    """What a test's own code raises."""


class Skipped(Exception):
    """What pytest.skip() raises."""


class Dead(Exception):
    """The process has ended."""


class Scripted:
    """A worker: its tests in order, each a generator that yields messages and is sent what it is told.

    None stands for silence.
    """

    def __init__(
        self,
        side: str,
        tests: Sequence[tuple[str, Body]],
        *,
        clock: ManualClock | None = None,
        imported: Imported | None = None,
        problem: str = "",
        threads: int = 1,
    ) -> None:
        self.side = side
        self.clock = clock or ManualClock()
        self.told: list[Go | Stop] = []
        # Begin and end of each call on the clock.
        self.spans: list[tuple[int, int]] = []
        self.is_gone = False
        self.listened = 0
        self._threads = threads
        self._problem = problem
        self._imported = imported or Imported(files={"project": "project/__init__.py"}, versions={"torch": "2.13.0"})
        # The numbers of the llmtime() calls that have begun in each test.
        self.begun: dict[str, set[int]] = {}
        self._counts: dict[str, count[int]] = {}
        self._talk = self._run(tests)
        self._answer: Go | Stop | None = None
        self.waits = False

    def receive(self, timeout_s: float) -> Message | None:
        """Say what comes next; AssertionError where nothing can come, since it waits itself."""
        self.listened += 1
        assert not self.waits, f"the {self.side} was listened to while it waited for its turn"
        if self.is_gone:
            raise EOFError
        try:
            message = self._talk.send(self._answer)
        except (StopIteration, Dead):
            self.is_gone = True
            raise EOFError from None
        self._answer = None
        self.waits = isinstance(message, Ready | Called)
        self.clock.advance(round(timeout_s * 1e9) if message is None else MESSAGE_NS)
        return message

    def send(self, message: Message) -> None:
        """Take an answer; AssertionError where it did not wait for one."""
        assert isinstance(message, Go | Stop)
        assert self.waits, f"the {self.side} was told {message} out of turn"
        self.clock.advance(MESSAGE_NS)
        self.waits = False
        if self.is_gone:
            raise BrokenPipeError
        self.told.append(message)
        self._answer = message

    def stages(self) -> list[str]:
        """What it was told, in short."""
        return [one.stage if isinstance(one, Go) else "stop" if one.is_whole else "released" for one in self.told]

    def llmtime(
        self,
        test: str,
        *,
        takes: Sequence[float] = (10.0,),
        raises_at: int | None = None,
        dies_at: int | None = None,
        silent_at: int | None = None,
        ends_at: int | None = None,
        nested_at: int | None = None,
        is_mute: bool = False,
        problem: str = "ValueError: no",
    ) -> Talk:
        """Calls that take so many ms in turn; what happens at a call, from 1, happens in the place of its end.

        `ends_at` ends by itself with `problem`; `is_mute` leaves the last word out.
        """
        index = next(self._counts.setdefault(test, count(1)))
        self.begun.setdefault(test, set()).add(index)
        answer = yield Ready(test=test, name=f"{test} #{index}", index=index, threads=self._threads)
        for number, milliseconds in zip(count(1), cycle(takes), strict=False):
            if not isinstance(answer, Go):
                break
            trace = self._call(answer, f"{self.side} {test} {index}", milliseconds)
            if number == dies_at:
                raise Dead
            if number == silent_at:
                yield None
            if number == nested_at:
                yield from self.llmtime(test)
            if number in (raises_at, ends_at):
                if not is_mute:
                    yield Ended(test=test, index=index, problem=problem)
                if number == raises_at:
                    raise Failed(problem)
                return
            answer = yield Called(trace=trace)
        assert isinstance(answer, Stop)
        if not is_mute:
            told = {"environment": ENVIRONMENTS[self.side]} if answer.is_whole else {"problem": "Released: nothing"}
            yield Ended(test=test, index=index, **told)  # type: ignore[arg-type]  # one of both
        if not answer.is_whole:
            raise Released

    def again(self, test: str) -> None:
        """A test begins anew."""
        self._counts.pop(test, None)

    def _run(self, tests: Sequence[tuple[str, Body]]) -> Talk:
        if tests:
            yield self._imported
        for test, body in tests:
            outcome, text = "passed", ""
            try:
                yield from body(self, test)
            except Released:  # told as the plugin tells it
                pass
            except (Failed, Skipped) as error:
                outcome, text = type(error).__name__.lower(), str(error)
            yield Reported(test=test, outcome=outcome, text=text)
        yield Finished(problem=self._problem)

    def _call(self, go: Go, mark: str, milliseconds: float) -> Trace:
        self.clock.advance(go.spin_ns)
        begin = self.clock.now_ns()
        self.clock.advance(round(milliseconds * MS))
        self.spans.append((begin, self.clock.now_ns()))
        note = Annotation(kind="mark", at_ns=begin, detail=f"{mark} {go.stage}")
        return Trace(start_ns=begin, stop_ns=self.clock.now_ns(), annotations=(note,))


ENVIRONMENTS = {BASE: Environment(torch="2.12.0"), HEAD: Environment(torch="2.13.0")}


def timed(**how: object) -> Body:
    """A test of one llmtime()."""
    return lambda worker, test: worker.llmtime(test, **how)  # type: ignore[arg-type]  # its own arguments


def played_by(
    *workers: Scripted, tests: Sequence[str] | None = None, seed: int = 0, rounds: Rounds | None = None
) -> Played:
    """Play a pair of these; by default over the tests a, b, c, with the fewest rounds."""
    pair = Pair(
        workers,
        tests="abc" if tests is None else tests,
        rounds=rounds or Rounds(seconds=0.0),
        chance=random.Random(seed),
        patience_s=60.0,
    )
    return pair.play()


def both(base: Sequence[tuple[str, Body]], head: Sequence[tuple[str, Body]]) -> tuple[Scripted, Scripted]:
    """A base and a head on one clock."""
    clock = ManualClock()
    return Scripted(BASE, base, clock=clock), Scripted(HEAD, head, clock=clock)


def marks(traces: Sequence[Trace]) -> list[str]:
    """Whose calls these are: side, test, index and stage."""
    return [trace.annotations[0].detail for trace in traces]


def alternated(base: Sequence[Trace], head: Sequence[Trace], *, test: str = "a", index: int = 1) -> Alternated:
    """Calls of both sides as a pair gives them."""
    return Alternated(test=test, name=test, index=index, base=tuple(base), head=tuple(head))
