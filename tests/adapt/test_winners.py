"""Winners of scripted contests: what is shown to be better, and what a policy takes where two are alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from llm_latency.adapt.contest import Contest, Point
from llm_latency.adapt.strategy import BASELINE
from llm_latency.adapt.winners import winners
from tests.adapt.scripted_runs import Scripted

POINTS = tuple(Point(batch=1, prompt_tokens=length) for length in (10, 100, 1000))


def played(*, rounds: int = 6, noisy: dict[str, Callable[[int], float]] | None = None, **times: object) -> Contest:
    """A contest of first tokens by length, in ms, the model's own way taking 10 ms."""
    script = Scripted({BASELINE: lambda length: 10.0, **times})  # type: ignore[dict-item]
    found = Contest([BASELINE, *times], POINTS, script, objective="ttft")
    found.run(until=math.inf, most=rounds)
    return found


def test_the_best_wins_at_each_point() -> None:
    """Where they cross, another one."""
    found = played(short=lambda length: 5.0 if length < 500 else 9.0, long=lambda length: 9.5 if length < 500 else 4.0)
    assert ["short", "short", "long"] == list(winners(found, setup_s={}).values())


def test_nothing_wins_that_is_not_better() -> None:
    """Then the model runs its own way, there or everywhere."""
    found = played(short=lambda length: 5.0 if length < 50 else 15.0)
    assert ["short", BASELINE, BASELINE] == list(winners(found, setup_s={}).values())
    assert {BASELINE} == set(winners(played(slow=lambda length: 10.5), setup_s={}).values())


def test_fewer_than_six_rounds_show_nothing() -> None:
    """However fast it was."""
    assert {BASELINE} == set(winners(played(rounds=5, fast=lambda length: 1.0), setup_s={}).values())


def test_of_two_that_are_alike_the_better_one_over_all_is_taken_everywhere() -> None:
    """At 1000 tokens the other's ratio is a little better, by less than its own rounds differ."""

    class Bumpy(Scripted):
        """The challenger's rounds at 1000 tokens are faster and slower in turn."""

        def run(self, strategy: str, point: Point, index: int) -> object:  # type: ignore[override]
            own = self.times
            if strategy == "other" and point.prompt_tokens == 1000:
                self.times = {**own, "other": lambda length: 4.0 if index % 3 else 6.0}
            try:
                return super().run(strategy, point, index)
            finally:
                self.times = own

    times = {
        BASELINE: lambda length: 10.0,
        "steady": lambda length: 5.0,
        "other": lambda length: 8.0,
    }
    found = Contest(list(times), POINTS, Bumpy(times), objective="ttft")  # type: ignore[arg-type]
    found.run(until=math.inf, most=8)
    assert found.ratio("other", POINTS[2])[0] < found.ratio("steady", POINTS[2])[0]
    assert {"steady"} == set(winners(found, setup_s={}).values())


@pytest.mark.parametrize(("setup_s", "name"), [(0.004, "fast"), (0.006, BASELINE)])
def test_set_up_counts(setup_s: float, name: str) -> None:
    """5 ms are saved a call, of some 14 ms, and a set-up spread over the calls takes its share."""
    found = played(fast=lambda length: 5.0)
    assert {name} == set(winners(found, setup_s={"fast": setup_s * 1.35}).values())
