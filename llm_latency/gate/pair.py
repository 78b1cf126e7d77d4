"""Pair: a base and a head, fresh processes that run the same tests call by call in turn; not what the times mean.

Equal for both sides: from a call's end to the next one's begin, of whichever side, there are one message each way and
the spin, and nothing else to wait for. Balanced: either side comes first in half of the rounds and last in the same,
as many calls of each follow one of its own, and from its first call to its last each waits as long for the other.
"""

from __future__ import annotations

import random
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
# The outcome of a report that says no more than that a test has begun.
BEGUN = "begun"
# As in record/sampling.py: successive calls that lie this close agree.
_AGREE = 0.10
_MOST_WARMUPS = 10
_LAST = 1 << 30
_WITHOUT_A_WORD = "its process ended without a word"


class Rounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many rounds of two calls a side: about as many as take `seconds`, `least` to `most`; and the spin.

    More rounds narrow a pair: of a 15 ms call 6, 10, 15 and 30 of them gave a spread over pairs of 4.8, 3.0, 1.9 and
    1.1 % (n = 11 pairs, 2-core AMD EPYC VM with others' work on it). Spins of 0, 5, 20 and 40 ms made no difference
    to it or to the mean (n = 10 or 11 each), so the spin is short.
    """

    seconds: float = 1.5
    least: int = 6
    most: int = 60
    spin_s: float = 0.005

    def of(self, call_s: float) -> int:
        """Rounds for calls of this length, an even number, so that either side comes first in half of them."""
        fitting = round(self.seconds / (8.0 * max(call_s, 1e-6)))
        return 2 * max(1, -(-self.least // 2), min(self.most // 2, fitting))


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

    `orders` has a letter for each call of a round, such as "abba", a for the base. `problem` begins with the side that
    it is about; the whole rounds until then are kept.
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
        self.lost: Lost | None = None
        # The test that it is in, as far as its words tell; empty before the first one.
        self.test = ""
        self.released: set[str] = set()
        self.imported: Imported | None = None
        self.environments: dict[tuple[str, int], Environment | None] = {}
        self.reports: dict[str, Reported] = {}


class _Broken(Exception):
    """A side has ended before its last call; the text says which one and why."""


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
        self._tests = tuple(dict.fromkeys(tests))
        self._place = {test: position for position, test in enumerate(self._tests)}
        self._rounds, self._chance, self._patience_s = rounds, chance, patience_s
        self._cores, self._on_test = cores, on_test
        self._calls: dict[tuple[str, int], Alternated] = {}

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
            calls=tuple(self._calls.values()),
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
            if len(there) == len(self._sides) and first[0] >= 0:
                self._alternate()
            else:
                for side in there:
                    self._release(side)

    def _position(self, side: _Side) -> tuple[int, int]:
        """Tests that were not asked for come before all others, and alone."""
        return (_LAST, 0) if side.ready is None else (self._place.get(side.ready.test, -1), side.ready.index)

    def _advance(self, side: _Side) -> None:
        """Listen until it waits for a turn or has finished."""
        while side.ready is None and not side.is_done:
            self._hear(side)

    def _hear(self, side: _Side) -> None:
        """Listen to a side that nobody has told to run a call."""
        if isinstance(self._listen(side), Called):  # it has gone on in an llmtime() that was over
            self._stop(side, is_whole=False)

    def _listen(self, side: _Side) -> Message | None:
        """Take its next message; None where there will be none, after the end of its last test. Raises Lost."""
        if side.lost is not None:
            raise side.lost
        try:
            message = side.talker.receive(self._patience_s)
        except (EOFError, OSError):
            self._lose(side, _WITHOUT_A_WORD)
            return None
        match message:
            case None:
                self._lose(side, f"it said nothing for {self._patience_s:g} s")
            case Imported():
                side.imported = message
                require_own(side.name, message)
            case Ready():
                side.ready, side.test = message, message.test
            case Ended():
                side.environments[message.test, message.index] = message.environment
            case Reported(outcome=outcome) if outcome == BEGUN:
                side.test = message.test
            case Reported():
                side.reports[message.test] = message
                side.test = self._following(message.test)
            case Finished():
                side.is_done, side.problem = True, message.problem
        return message

    def _following(self, test: str) -> str:
        """What a side is in once it has reported a test; the last one is not over before the process is."""
        return self._tests[min(self._place[test] + 1, len(self._tests) - 1)] if test in self._place else test

    def _lose(self, side: _Side, reason: str) -> None:
        """Give a side up: all is there after its last test, else the pair is lost."""
        side.ready = None
        if all(test in side.reports for test in self._tests):
            side.is_done, side.problem = True, f"{reason} after its last test"
            return
        side.lost = Lost(side.name, side.test, reason)
        raise side.lost

    def _tell(self, side: _Side, message: Go | Stop) -> None:
        try:
            side.talker.send(message)
        except OSError:
            self._lose(side, _WITHOUT_A_WORD)

    def _stop(self, side: _Side, *, is_whole: bool) -> None:
        side.ready = None
        if not is_whole:
            side.released.add(side.test)
        self._tell(side, Stop(is_whole=is_whole))

    def _release(self, side: _Side) -> None:
        """Let a side go that waits alone, and keep that the others have run its test without such an llmtime()."""
        ready = side.ready
        assert ready is not None
        self._stop(side, is_whole=False)
        for other in self._sides:
            report = other.reports.get(ready.test)
            is_through = other is not side and report is not None and report.outcome == "passed"
            if is_through and ready.test in self._place and ready.test not in other.released:
                problem = f"{other.name}: it has run the test without its llmtime() number {ready.index}"
                self._keep(ready, problem=problem)

    def _keep(
        self, ready: Ready, *, problem: str, kept: dict[str, list[Trace]] | None = None, orders: Sequence[str] = ()
    ) -> None:
        """Keep one llmtime(); of a test that was run again the last whole one."""
        key, kept = (ready.test, ready.index), kept or {}
        if problem and key in self._calls:
            return
        found = {side.name: side.environments.get(key) for side in self._sides}
        self._calls[key] = Alternated(
            test=ready.test,
            name=ready.name,
            index=ready.index,
            base=tuple(kept.get(BASE, ())),
            head=tuple(kept.get(HEAD, ())),
            orders=tuple(orders),
            problem=problem,
            environments=(found.get(BASE), found.get(HEAD)),
        )

    def _alternate(self) -> None:
        begun = {side.name: side.ready for side in self._sides}
        ready = self._sides[0].ready
        assert ready is not None
        key = (ready.test, ready.index)
        self._on_test(ready.test)
        threads = max(one.threads for one in begun.values() if one is not None)
        self._go = Go(stage=COLD, spin_ns=round(self._rounds.spin_s * 1e9), cores=self._cores(threads))
        kept: dict[str, list[Trace]] = {side.name: [] for side in self._sides}
        orders: list[str] = []
        problem = ""
        for side in self._sides:
            side.environments.pop(key, None)
        try:
            self._count(self._warm(), kept, orders)
        except _Broken as broken:
            problem = str(broken)
        running = [side for side in self._sides if side.ready is not None and side.ready is begun[side.name]]
        for side in running:
            self._stop(side, is_whole=not problem)
        for side in running:
            while side.ready is None and not side.is_done and key not in side.environments:
                self._hear(side)
        self._keep(ready, problem=problem, kept=kept, orders=orders)

    def _warm(self) -> float:
        """The cold call and the warm-up, in step, until two successive calls agree on every side; seconds a call."""
        last: dict[str, int] = {}
        for number in range(_MOST_WARMUPS + 1):
            agree = True
            for side in self._chance.sample(self._sides, len(self._sides)):
                trace = self._call(side, COLD if number == 0 else WARMUP)
                before, last[side.name] = last.get(side.name), trace.elapsed_ns(trace.start_ns, trace.stop_ns)
                agree &= before is not None and abs(last[side.name] / max(1, before) - 1.0) <= _AGREE
            if agree:
                break
        return max(last.values()) / 1e9

    def _count(self, call_s: float, kept: dict[str, list[Trace]], orders: list[str]) -> None:
        for start in self._starts(self._rounds.of(call_s)):
            outer, inner = self._sides[start % len(self._sides)], self._sides[start - 1]
            calls: dict[str, list[Trace]] = {side.name: [] for side in self._sides}
            order = [outer, inner, inner, outer] if outer is not inner else [outer, outer]
            for side in order:
                calls[side.name].append(self._call(side, COUNTED))
            for name, traces in calls.items():
                kept[name] += traces
            orders.append("".join("a" if side.name == BASE else "b" for side in order))

    def _starts(self, count: int) -> list[int]:
        """Which side comes first in each round: each in half of them, one in the first round and the other in the last.

        So either side's first call is the other's last one seen backwards, and both idle equally long.
        """
        first, last = self._chance.sample((0, 1), 2)
        between = [0, 1] * (count // 2 - 1)
        self._chance.shuffle(between)
        return [first, *between, last]

    def _call(self, side: _Side, stage: str) -> Trace:
        """One call of one side; raises _Broken where there is none."""
        self._tell(side, msgspec.structs.replace(self._go, stage=stage))
        ready, side.ready = side.ready, None
        message = self._listen(side)
        while isinstance(message, Imported):
            message = self._listen(side)
        if isinstance(message, Called):
            side.ready = ready
            return message.trace
        if isinstance(message, Ready):
            raise _Broken(f"{side.name}: another llmtime() began inside of its call")
        problem = message.problem if isinstance(message, Ended) else ""
        raise _Broken(f"{side.name}: {problem or 'it ended before its last call'}")


def merged(first: Played, second: Played) -> Played:
    """Two sides that were played one after the other, as one pair: of each llmtime() as many calls as both have."""
    others = {(one.test, one.index): one for one in second.calls}
    calls: list[Alternated] = []
    for one in first.calls:
        other = others.get((one.test, one.index))
        if other is None:
            continue
        base, head = (one, other) if one.base or other.head else (other, one)
        count = min(len(base.base), len(head.head)) // 2
        calls.append(
            msgspec.structs.replace(
                base,
                base=base.base[: 2 * count],
                head=head.head[: 2 * count],
                orders=tuple(a + b for a, b in zip(one.orders, other.orders, strict=False))[:count],
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
            " nothing. Test files are the same on both sides, and so is all in a folder named tests, bench or perf:"
            " move what is timed into a module of the project, and import it from there, not from an installed copy"
        )
