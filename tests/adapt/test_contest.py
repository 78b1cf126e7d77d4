"""Contests of scripted strategies: who is run when, who is left behind, and the ratios."""

from __future__ import annotations

import math

import pytest

from llm_latency.adapt.contest import Contest, Point, medians, score
from llm_latency.adapt.strategy import BASELINE
from llm_latency.core.trace import Trace
from tests.adapt.scripted_runs import Scripted, call

SHORT, LONG = Point(batch=1, prompt_tokens=10), Point(batch=1, prompt_tokens=100)
TIMES = {
    BASELINE: lambda length: 10.0,
    "fast": lambda length: 5.0,
    "slow": lambda length: 20.0,
    "slower": lambda length: 30.0,
    "slowest": lambda length: 40.0,
    "long": lambda length: 100.0 / length,
}


def contest(script: Scripted, *, objective: str = "ttft", points: tuple[Point, ...] = (SHORT, LONG)) -> Contest:
    """All scripted strategies at two lengths."""
    return Contest(list(script.times), points, script, objective=objective)


def test_a_round_runs_each_strategy_once_at_each_point() -> None:
    """On the same prompt; the first round only warms up."""
    script = Scripted(TIMES)
    found = contest(script)
    found.run(until=math.inf, most=1)
    assert 2 * 12 == len(script.asked)
    assert {(name, point, index) for name in TIMES for point in (SHORT, LONG) for index in (0, 1)} == set(script.asked)
    assert {1} == {len(traces) for traces in found.traces.values()}


def test_the_slower_half_is_left_behind_at_each_point() -> None:
    """Not the same at both: what is slow for a short prompt may be fast for a long one."""
    script = Scripted(TIMES)
    found = contest(script)
    found.run(until=math.inf, most=2)
    assert [BASELINE, "fast", "long", "slow"] == found.left[SHORT]
    assert [BASELINE, "long", "fast", "slow"] == found.left[LONG]
    found.run(until=math.inf, most=6)
    assert [BASELINE, "fast", "long"] == found.left[SHORT]
    assert [BASELINE, "long", "fast"] == found.left[LONG]


def test_ratios_are_of_the_same_rounds() -> None:
    """A machine that grows slower is in both; six rounds have an interval, fewer have none."""
    found = contest(Scripted(TIMES))
    found.run(until=math.inf, most=5)
    assert (pytest.approx(0.5), None, None) == found.ratio("fast", SHORT)
    found.run(until=math.inf, most=6)
    ratio, low, high = found.ratio("fast", SHORT)
    assert [0.5] * 3 == pytest.approx([ratio, low, high])
    assert (math.inf, None, None) == found.ratio("unknown", SHORT)


def test_a_strategy_that_fails_is_out_with_its_reason() -> None:
    """The others go on; the model's own way has to run."""
    script = Scripted(TIMES, slow=ValueError("no such kernel\nmore"))
    found = contest(script)
    found.run(until=math.inf, most=2)
    assert {"slow": "it fails: ValueError: no such kernel"} == found.failed
    assert 1 == sum(name == "slow" for name, _, _ in script.asked)
    assert "slow" not in found.left[SHORT]
    with pytest.raises(ValueError, match="broken"):
        contest(Scripted(TIMES, **{BASELINE: ValueError("broken")})).run(until=math.inf, most=1)


def test_time_that_is_over_ends_it_after_the_warm_up() -> None:
    """Nothing is counted then."""
    found = contest(Scripted(TIMES))
    found.run(until=0.0)
    assert ({}, 0) == (found.traces, found.rounds)
    assert () == found.gains()


class Clocked(Scripted):
    """Every call takes a second of a clock of its own."""

    now = 0.0

    def run(self, strategy: str, point: Point, index: int) -> Trace:
        """The script's call, a second later."""
        self.now += 1
        return super().run(strategy, point, index)


@pytest.mark.parametrize(
    ("until", "latest", "rounds", "left"),
    [
        (20.0, 30.0, 6, 2),  # 6 + 6 calls, then 5 rounds of 4 would end at 32 and of 3 end at 27: beyond `until`
        (0.0, 32.0, 6, 3),  # there is time for three others, of which two stay after four rounds
        (14.0, 16.0, 3, 2),  # not even two leave time for six
        (100.0, 100.0, 16, 2),  # enough for all until the halving that is due anyway
    ],
)
def test_the_slower_go_sooner_where_time_is_short(
    monkeypatch: pytest.MonkeyPatch, until: float, latest: float, rounds: int, left: int
) -> None:
    """Six rounds of a few say more than three of all."""
    script = Clocked(TIMES)
    monkeypatch.setattr("llm_latency.adapt.contest.time.monotonic", lambda: script.now)
    found = contest(script, points=(SHORT,))
    counts = []
    found.run(until=until, latest=latest, on_round=lambda one: counts.append(len(one.left[SHORT]) - 1))
    assert rounds == found.rounds
    assert (5, left) == (counts[0], counts[1] if latest < 100 else counts[-1])
    assert [BASELINE, "fast"] == found.left[SHORT][:2]


def test_two_that_are_compared_alone_stay_alone() -> None:
    """The model's own way does not join them."""
    script = Scripted({name: TIMES[name] for name in ("fast", "long")})
    found = contest(script, points=(SHORT,))
    found.run(until=math.inf, most=7)
    assert ["fast", "long"] == sorted(found.left[SHORT])


def test_gains_have_every_strategy_where_it_ran() -> None:
    """Also those that were left behind, with fewer rounds."""
    found = contest(Scripted(TIMES), points=(SHORT,))
    found.run(until=math.inf, most=6)
    gains = {gain.strategy: gain for gain in found.gains()}
    assert set(TIMES) == set(gains)
    assert (6, 2) == (gains["fast"].n, gains["slowest"].n)
    assert gains["fast"].ratio == pytest.approx(0.5)
    assert {"ttft", "tpot", "e2e", "output_throughput"} == set(gains["fast"].metrics)


@pytest.mark.parametrize(
    ("objective", "seconds"),
    [("ttft", 0.010), ("tpot", 0.002), ("e2e", 0.014), ("first_clause", 0.030), ("output_throughput", 0.014)],
)
def test_scores_are_seconds_that_are_to_be_few(objective: str, seconds: float) -> None:
    """10 ms and two gaps of 2 ms; throughput by the time that its tokens take."""
    assert seconds == pytest.approx(score(call(10, 2), objective))


def test_one_token_has_no_gap_to_score() -> None:
    """The first clause is its first token then."""
    assert 0.010 == pytest.approx(score(call(10, 2, tokens=1), "first_clause"))


def test_medians_are_of_all_calls() -> None:
    """By the names of the metrics."""
    found = medians([call(10, 2), call(20, 2), call(30, 2)])
    assert 0.020 == pytest.approx(found["ttft"])
    assert "peak_memory" not in found
