"""A plugin that makes real gates quick: rounds of few calls, and with QUICK_PAIRS exactly so many pairs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any


class Counted:
    """A clock that goes a second a pair, so that a time budget is a number of pairs."""

    def __init__(self, play: Callable[..., Any]) -> None:
        """Stand still; each pair that `play` gives is a second."""
        self._play = play
        self._now = 0.0

    def play(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Any:
        """Play a pair."""
        played = self._play(tests, on_test)
        self._now += 1.0
        return played

    def now(self) -> float:
        """Seconds, which are pairs."""
        return self._now


def pytest_configure() -> None:
    """Take the seats of what the plugin starts a gate with."""
    # Not above: pytest has yet to rewrite the asserts of what it imports here.
    from llm_latency.gate.gate import Gate
    from llm_latency.gate.pair import Rounds
    from llm_latency.gate.refs import TwoRefs
    from pytest_llm_latency import gating

    def gate(asked: Any, *, play: Callable[..., Any], time_budget_s: float, **others: Any) -> Gate:
        pairs = os.environ.get("QUICK_PAIRS", "")
        if not pairs:
            return Gate(asked, play=play, time_budget_s=time_budget_s, **others)
        counted = Counted(play)
        return Gate(asked, play=counted.play, clock=counted.now, time_budget_s=float(pairs), **others)

    rounds = Rounds(seconds=0.0, least=6, spin_s=0.001)
    gating.TwoRefs = functools.partial(TwoRefs, rounds=rounds)  # type: ignore[misc,assignment]  # called alike
    gating.Gate = gate  # type: ignore[misc,assignment]  # the same
