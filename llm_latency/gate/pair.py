"""Pair: a base and a head, fresh processes that run the same tests call by call in turn; not what the times mean."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace
from llm_latency.errors import UsageError
from llm_latency.gate.imports import require_own
from llm_latency.gate.message import Called, Ended, Finished, Go, Imported, Message, Ready, Reported, Stop

BASE, HEAD = "base", "head"
SIDES = (BASE, HEAD)
COLD, WARMUP, COUNTED = "cold", "warmup", "counted"
_AGREE = 0.10
_MOST_WARMUPS = 10
_LAST = 1 << 30


class Rounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many rounds of two calls a side: as many as take `seconds`, at least 12 calls a side, and the spin.

    Ten rounds of a 15 ms call gave pairs a spread of 1.7 % on a quiet machine (docs/gate.md).
    """

    seconds: float = 0.6
    least: int = 6
    most: int = 40
    spin_s: float = 0.02

    def of(self, call_s: float) -> int:
        """Rounds for calls of this length."""
        return max(self.least, min(self.most, round(self.seconds / (4.0 * max(call_s, 1e-6)))))


class Talker(Protocol):
    """A worker as its pair sees it."""

    side: str

    def send(self, message: Message) -> None:
        """Tell it something; raises OSError where it is gone."""
        ...

    def receive(self, timeout_s: float) -> Message | None:
        """What it says next; None after the time. Raises EOFError or OSError where it is gone."""
        ...


class Lost(Exception):
    """A worker crashed, hung or was killed; `side` and `test` say which and in what."""

    def __init__(self, side: str, test: str, reason: str) -> None:
        super().__init__(f"the {side} was lost{f' in {test}' if test else ' before its first test'}: {reason}")
        self.side, self.test, self.reason = side, test, reason


class Alternated(msgspec.Struct, frozen=True, kw_only=True):
    """One llmtime() of a test on both sides: the counted calls of each, two a round, and what stopped it if anything.

    `orders` has a letter for each call of a round, such as "abba", a for the base.
    """

    test: str
    name: str
    index: int
    base: tuple[Trace, ...]
    head: tuple[Trace, ...]
    orders: tuple[str, ...] = ()
    problem: str = ""
    environments: tuple[Environment | None, Environment | None] = (None, None)


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What one pair gave: `calls` by test, `reports` by (side, test), `imported` by side, `lost` where it broke off."""

    calls: tuple[Alternated, ...]
    reports: dict[tuple[str, str], Reported]
    imported: dict[str, Imported]
    problems: dict[str, str]
    lost: Lost | None = None


class _Side:
    """Where one worker stands."""

    def __init__(self, talker: Talker) -> None:
        self.talker = talker
        self.name = talker.side
        self.ready: Ready | None = None
        self.is_done = False
        self.problem = ""
        self.test = ""
        self.imported: Imported | None = None
        self.environments: dict[tuple[str, int], Environment | None] = {}
        self.reports: dict[str, Reported] = {}


class Pair:
    """Plays one pair, or its only side where both do not fit into memory at once."""

    def __init__(
        self,
        talkers: Sequence[Talker],
        *,
        tests: Sequence[str],
        rounds: Rounds,
        chance: random.Random,
        patience_s: float,
        cores: Callable[[int], tuple[int, ...] | None] = lambda _: None,
        on_test: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`patience_s` is how long a worker may say nothing; `cores` picks some for a number of threads."""
        self._sides = [_Side(talker) for talker in talkers]
        self._place = {test: position for position, test in enumerate(tests)}
        self._rounds, self._chance, self._patience_s = rounds, chance, patience_s
        self._cores, self._on_test = cores, on_test
        self._calls: list[Alternated] = []

    def add(self, talker: Talker) -> None:
        """The second side, where it is started after the first."""
        self._sides.append(_Side(talker))

    def first_ready(self) -> Ready | None:
        """Wait until the first side waits for its turn; None where it never will. Raises Lost."""
        self._advance(self._sides[0])
        return self._sides[0].ready

    def play(self) -> Played:
        """Run to the end; a side that is lost ends the pair, and what was measured until then stays."""
        lost: Lost | None = None
        try:
            self._play()
        except Lost as error:
            lost = error
        return Played(
            calls=tuple(self._calls),
            reports={(side.name, test): report for side in self._sides for test, report in side.reports.items()},
            imported={side.name: side.imported for side in self._sides if side.imported is not None},
            problems={side.name: side.problem for side in self._sides if side.problem},
            lost=lost,
        )

    def _play(self) -> None:
        while True:
            for side in self._sides:
                self._advance(side)
            if all(side.is_done for side in self._sides):
                return
            first = min(self._position(side) for side in self._sides)
            there = [side for side in self._sides if self._position(side) == first]
            if len(there) == len(self._sides):
                self._alternate()
            else:
                for side in there:
                    self._tell(side, Stop(is_whole=False))

    def _position(self, side: _Side) -> tuple[int, int]:
        return (_LAST, 0) if side.ready is None else (self._place.get(side.ready.test, -1), side.ready.index)

    def _advance(self, side: _Side) -> None:
        """Listen until it waits for a turn or has finished."""
        while side.ready is None and not side.is_done:
            self._listen(side)

    def _listen(self, side: _Side) -> Message:
        try:
            message = side.talker.receive(self._patience_s)
        except (EOFError, OSError) as error:
            raise Lost(side.name, side.test, "its process ended without a word") from error
        match message:
            case None:
                raise Lost(side.name, side.test, f"it said nothing for {self._patience_s:g} s")
            case Imported():
                side.imported = message
                require_own(side.name, message)
            case Ready():
                side.ready, side.test = message, message.test
            case Ended():
                side.environments[message.test, message.index] = message.environment
            case Reported():
                side.reports[message.test] = message
            case Finished():
                side.is_done, side.problem = True, message.problem
        return message

    def _tell(self, side: _Side, message: Go | Stop) -> None:
        if isinstance(message, Stop):
            side.ready = None
        try:
            side.talker.send(message)
        except OSError as error:
            raise Lost(side.name, side.test, "its process ended without a word") from error

    def _alternate(self) -> None:
        ready = self._sides[0].ready
        assert ready is not None
        self._on_test(ready.test)
        threads = max(side.ready.threads for side in self._sides if side.ready is not None)
        self._go = Go(stage=COLD, spin_ns=round(self._rounds.spin_s * 1e9), cores=self._cores(threads))
        kept: dict[str, list[Trace]] = {side.name: [] for side in self._sides}
        orders: list[str] = []
        problem = self._warm()
        if not problem:
            problem = self._count(kept, orders)
        running = [side for side in self._sides if side.ready is not None]
        for side in running:
            self._tell(side, Stop(is_whole=not problem))
        for side in running:
            while not side.is_done and (ready.test, ready.index) not in side.environments:
                self._listen(side)
        self._calls.append(
            Alternated(
                test=ready.test,
                name=ready.name,
                index=ready.index,
                base=tuple(kept.get(BASE, ())),
                head=tuple(kept.get(HEAD, ())),
                orders=tuple(orders),
                problem=problem,
                environments=tuple(  # type: ignore[arg-type]  # two
                    next((s.environments.get((ready.test, ready.index)) for s in self._sides if s.name == name), None)
                    for name in SIDES
                ),
            )
        )

    def _warm(self) -> str:
        """The cold call and the warm-up, in step, until two successive calls agree on every side."""
        last: dict[str, int] = {}
        for number in range(_MOST_WARMUPS + 1):
            stage = COLD if number == 0 else WARMUP
            agree = True
            for side in self._shuffled():
                trace = self._call(side, stage)
                if isinstance(trace, str):
                    return trace
                before, last[side.name] = last.get(side.name), trace.elapsed_ns(trace.start_ns, trace.stop_ns)
                agree &= before is not None and abs(last[side.name] / max(1, before) - 1.0) <= _AGREE
            if agree:
                break
        self._call_s = max(last.values()) / 1e9
        return ""

    def _count(self, kept: dict[str, list[Trace]], orders: list[str]) -> str:
        count = self._rounds.of(self._call_s)
        # Balanced: each side comes first, and last, in half of the rounds.
        starts = [index % 2 for index in range(count)]
        self._chance.shuffle(starts)
        for start in starts:
            outer, inner = self._sides[start % len(self._sides)], self._sides[start - 1]
            calls: dict[str, list[Trace]] = {side.name: [] for side in self._sides}
            order = [outer, inner, inner, outer] if outer is not inner else [outer, outer]
            for side in order:
                trace = self._call(side, COUNTED)
                if isinstance(trace, str):
                    return trace
                calls[side.name].append(trace)
            for name, traces in calls.items():
                kept[name] += traces
            orders.append("".join("a" if side.name == BASE else "b" for side in order))
        return ""

    def _call(self, side: _Side, stage: str) -> Trace | str:
        """One call of one side, or why there is none."""
        self._tell(side, msgspec.structs.replace(self._go, stage=stage))
        message = self._listen(side)
        if isinstance(message, Called):
            return message.trace
        side.ready = None
        problem = message.problem if isinstance(message, Ended) else ""
        return f"{side.name}: {problem or 'it ended before its last call'}"

    def _shuffled(self) -> list[_Side]:
        return self._chance.sample(self._sides, len(self._sides))


def merged(first: Played, second: Played) -> Played:
    """Two sides that were played one after the other, as one pair."""
    others = {(one.test, one.index): one for one in second.calls}
    calls = deque[Alternated]()
    for one in first.calls:
        other = others.get((one.test, one.index))
        if other is None:
            continue
        base, head = (one, other) if one.base else (other, one)
        count = min(len(base.base), len(head.head))
        calls.append(
            msgspec.structs.replace(
                base,
                base=base.base[:count],
                head=head.head[:count],
                problem=one.problem or other.problem,
                environments=(base.environments[0], head.environments[1]),
            )
        )
    return Played(
        calls=tuple(calls),
        reports=first.reports | second.reports,
        imported=first.imported | second.imported,
        problems=first.problems | second.problems,
        lost=first.lost or second.lost,
    )


def require_two_trees(played: Played) -> None:
    """Refuse a pair of which neither side has imported anything of its tree: they would be the same."""
    if len(played.imported) == len(SIDES) and not any(one.files for one in played.imported.values()):
        raise UsageError(
            "neither side has imported anything of the project, so both ran the same code and the gate would guard"
            " nothing. What is timed has to live in the project's modules, not in the test files; to gate the test"
            " files too, say --latency-tests=base"
        )
