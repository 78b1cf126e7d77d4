"""Pairs that are made by hand, and a player that plays them on a clock of its own; no tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Request, Trace
from llm_latency.gate.gate import Gate, Progress
from llm_latency.gate.message import Imported, Reported
from llm_latency.gate.pair import BASE, HEAD, SIDES, Alternated, Lost, Played
from llm_latency.gate.result import Asked

SECOND = 1_000_000_000
FILES = Imported(files={"project": "src/project/__init__.py"}, versions={"torch": "2.13.0"})


def call(seconds: float, *, tokens: int | None = 100) -> Trace:
    """A call of so many seconds, in which a request has made `tokens`."""
    stop = round(seconds * SECOND)
    request = Request(
        kind="generate",
        start_ns=0,
        stop_ns=stop,
        emissions=((stop // 4, 1), (stop, (tokens or 2) - 1)),
        rows=1,
        prompt_tokens=10,
        row_tokens=(tokens,) if tokens else None,
    )
    return Trace(start_ns=0, stop_ns=stop, requests=(request,) if tokens else ())


def calls(
    test: str,
    share: float = 0.0,
    *,
    index: int = 1,
    problem: str = "",
    tokens: tuple[int | None, int | None] = (100, 100),
    base: float = 1.0,
    torch: str = "2.13.0",
) -> Alternated:
    """One llmtime() of a round: the head takes so much longer; `tokens` of base and head."""
    return Alternated(
        test=test,
        name=test if index == 1 else f"{test} #{index}",
        index=index,
        base=() if problem else (call(base, tokens=tokens[0]),) * 2,
        head=() if problem else (call(base * (1 + share), tokens=tokens[1]),) * 2,
        problem=problem,
        environments=(Environment(torch="2.13.0"), Environment(torch=torch)),
    )


def failed(side: str, test: str, text: str = "AssertionError: no") -> tuple[tuple[str, str], Reported]:
    """A side's report that a test has failed."""
    return (side, test), Reported(test=test, outcome="failed", text=text)


def skipped(side: str, test: str, text: str = "needs a CUDA device") -> tuple[tuple[str, str], Reported]:
    """A side's report that a test was skipped."""
    return (side, test), Reported(test=test, outcome="skipped", text=text)


def played(
    *found: Alternated,
    tests: Iterable[str] = (),
    reports: Iterable[tuple[tuple[str, str], Reported]] = (),
    lost: Lost | None = None,
    problems: dict[str, str] | None = None,
    imported: dict[str, Imported] | None = None,
) -> Played:
    """What a pair gives: both sides have passed what is timed and `tests`, but for what `reports` say."""
    names = dict.fromkeys([*(one.test for one in found), *tests])
    passed = {(side, test): Reported(test=test, outcome="passed") for side in SIDES for test in names}
    return Played(
        calls=found,
        reports=passed | dict(reports),
        imported={BASE: FILES, HEAD: FILES} if imported is None else imported,
        problems=problems or {},
        lost=lost,
    )


class Playing:
    """Plays what `give` makes of a pair's number, from 1, and its tests.

    Pairs take as many seconds as `takes` says, and the last of them from there on. `asked` has the tests of each pair.
    """

    def __init__(self, give: Callable[[int, Sequence[str]], Played], *, takes: Sequence[float] = (2.0,)) -> None:
        self.now = 100.0
        self.asked: list[list[str]] = []
        self._give, self._takes = give, takes

    def __call__(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played:
        """Play one pair; half of its time is over when it says which test it has come to."""
        self.asked.append(list(tests))
        took = self._takes[min(len(self.asked), len(self._takes)) - 1]
        self.now += took / 2
        try:
            for test in tests:
                on_test(test)
            return self._give(len(self.asked), tests)
        finally:
            self.now += took / 2

    def clock(self) -> float:
        """Seconds."""
        return self.now


def gate_of(
    playing: Playing,
    *asked: Asked | str,
    time_budget_s: float = 1000.0,
    on_progress: Callable[[Progress], None] | None = None,
    needs_own_code: bool = True,
) -> Gate:
    """A gate of these tests, by default against a limit of 5 % in the whole call."""
    tests = [Asked(test=one, limit=0.05) if isinstance(one, str) else one for one in asked]
    return Gate(
        tests,
        play=playing,
        time_budget_s=time_budget_s,
        on_progress=on_progress,
        clock=playing.clock,
        needs_own_code=needs_own_code,
    )


def ran(playing: Playing, *asked: Asked | str, time_budget_s: float = 1000.0) -> Gate:
    """The same, run to its end."""
    gate = gate_of(playing, *asked, time_budget_s=time_budget_s)
    gate.run()
    return gate


def alike(number: int, tests: Sequence[str]) -> Played:
    """Both sides the same, in each test."""
    return played(*map(calls, tests))
