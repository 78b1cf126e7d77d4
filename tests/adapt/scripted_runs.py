"""Runs of strategies whose times are written by a formula; no model, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llm_latency.adapt.contest import Point
from llm_latency.core.trace import Request, Trace

MS = 1_000_000


def call(ttft_ms: float, gap_ms: float, *, tokens: int = 3) -> Trace:
    """A call of one row by its first token and its gaps."""
    instants = tuple((round((ttft_ms + gap_ms * index) * MS), 1) for index in range(tokens))
    request = Request(
        kind="generate", start_ns=0, stop_ns=instants[-1][0], emissions=instants, rows=1, row_tokens=(tokens,)
    )
    return Trace(start_ns=0, stop_ns=instants[-1][0], requests=(request,))


class Scripted:
    """Each strategy's first token by length, in ms, and gaps of 1 ms; every round is slower than the last, for all."""

    def __init__(self, times: Mapping[str, Callable[[int], float]], **raises: Exception) -> None:
        self.times, self.raises = times, raises
        self.asked: list[tuple[str, Point, int]] = []

    def run(self, strategy: str, point: Point, index: int) -> Trace:
        """The script's call."""
        self.asked.append((strategy, point, index))
        if strategy in self.raises:
            raise self.raises[strategy]
        slower = 1 + 0.1 * index
        return call(slower * self.times[strategy](point.prompt_tokens), slower)
