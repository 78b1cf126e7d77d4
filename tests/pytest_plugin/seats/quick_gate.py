"""A plugin that makes real gates quick: rounds of few calls, and with QUICK_PAIRS exactly so many pairs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from llm_latency.gate.gate import Gate
from llm_latency.gate.pair import Played, Rounds
from llm_latency.gate.refs import TwoRefs
from pytest_llm_latency import gating

ROUNDS = Rounds(seconds=0.0, least=6, spin_s=0.001)


class Counted:
    """A clock that goes a second a pair, so that a time budget is a number of pairs."""

    def __init__(self, play: Callable[..., Played]) -> None:
        """Stand still; each pair that `play` gives is a second."""
        self._play = play
        self._now = 0.0

    def play(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played:
        """Play a pair."""
        played = self._play(tests, on_test)
        self._now += 1.0
        return played

    def now(self) -> float:
        """Seconds, which are pairs."""
        return self._now


def _gate(asked: Any, *, play: Callable[..., Played], time_budget_s: float, **others: Any) -> Gate:
    if (pairs := os.environ.get("QUICK_PAIRS")) is None:
        return Gate(asked, play=play, time_budget_s=time_budget_s, **others)
    counted = Counted(play)
    return Gate(asked, play=counted.play, clock=counted.now, time_budget_s=float(pairs), **others)


def pytest_configure() -> None:
    """Take the seats of what the plugin starts a gate with."""
    gating.TwoRefs = functools.partial(TwoRefs, rounds=ROUNDS)  # type: ignore[misc,assignment]  # called alike
    gating.Gate = _gate  # type: ignore[misc,assignment]  # the same
