"""Pairs made by hand: every call of the base takes 10 ms, the head's longer by what is written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from llm_latency.core.trace import Trace
from llm_latency.gate.pair import Alternated, Lost, Played

BASE_NS = 10_000_000


def pair(shares: Mapping[str, float], *, lost: Lost | None = None, problem: str = "") -> Played:
    """One pair in which each test's head takes longer by a share, two rounds."""
    calls = tuple(
        Alternated(
            test=test,
            name=test,
            index=1,
            base=(Trace(start_ns=0, stop_ns=BASE_NS),) * 4,
            head=(Trace(start_ns=0, stop_ns=round(BASE_NS * (1 + share))),) * 4,
            orders=("abba", "baab"),
            problem=problem,
        )
        for test, share in shares.items()
    )
    return Played(calls=calls, reports={}, imported={}, problems={}, lost=lost)


def around(share: float, spread: float, n: int) -> list[float]:
    """n shares in turns above and below one, so that their log ratios have this mean and standard deviation."""
    step = spread * math.sqrt((n - 1) / n)
    return [math.expm1(math.log1p(share) + (step if index % 2 else -step)) for index in range(n)]


class Script:
    """Plays written pairs, one second each on a clock of its own; raises what is written where a pair should be."""

    def __init__(self, pairs: Sequence[Played | BaseException], *, seconds: float = 1.0) -> None:
        self.now = 0.0
        self._following = iter(pairs)
        self._seconds = seconds

    def clock(self) -> float:
        """The time."""
        return self.now

    def __call__(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played:
        """The next pair."""
        found = next(self._following)
        self.now += self._seconds
        for test in tests:
            on_test(test)
        if isinstance(found, BaseException):
            raise found
        return found
