"""The probe with written pairs and clocks."""

from __future__ import annotations

import math
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from llm_latency.core.trace import Contention, Trace
from llm_latency.gate.doctor import probe as module
from llm_latency.gate.doctor.finding import NOISY, OK, Finding
from llm_latency.gate.doctor.probe import Probe, Steadiness, crowded, probe, probed, speed, steadiness
from llm_latency.gate.selftest.trial import Trial
from tests.gate.planted_pairs import Script, around, pair

TEST = "unchanged"


def test_fixed_work_has_a_median_a_width_and_a_share_of_waiting() -> None:
    """Walls of 1, 2, 3, 4 s and CPU times of 1, 1, 2, 2 s: quartiles 1.75 and 3.25, 1 and 2; 4 of 10 s not run."""
    walls = iter([0.0, 1.0, 1.0, 3.0, 3.0, 6.0, 6.0, 10.0])
    cpus = iter([0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0])
    found = steadiness(calls=4, wall=lambda: next(walls), cpu=lambda: next(cpus))
    assert (4, 2.5) == (found.calls, found.median_s)
    assert (1.5 / 2.5, 1.0 / 1.5, 0.4) == pytest.approx((found.width, found.cpu_width, found.waited))


def test_cpu_time_that_is_coarser_than_the_wall_is_no_negative_waiting() -> None:
    """As where it counts in ticks."""
    walls, cpus = count(0.0, 1.0), count(0.0, 2.0)
    assert 0.0 == steadiness(calls=3, wall=lambda: next(walls), cpu=lambda: next(cpus)).waited


def of(*shares: float) -> Probe:
    """What is told of these pairs."""
    script = Script([pair({TEST: share}) for share in shares])
    trial = Trial((TEST,), play=script, time_budget_s=len(shares), clock=script.clock)
    trial.record(is_enough=lambda: len(trial.played) == len(shares))
    return probed(trial, work="w")


def test_pairs_scatter_by_their_standard_deviation() -> None:
    """Six pairs of a second with a spread of 2 %; here wall time is own time."""
    found = of(*around(0.0, 0.02, 6))
    assert found.own is not None and found.wall is not None
    assert (0.02, 6) == (pytest.approx(found.own.sd, rel=1e-4), found.own.n)
    assert (found.own, 0.01, 1.0, "w") == (found.wall, found.call_s, found.pair_s, found.work)


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_pairs_there_is_no_spread(n: int) -> None:
    """And what there is stays."""
    found = of(*[0.0] * n)
    assert (None, None, n) == (found.own, found.wall, len(found.ratios))
    assert (n == 0) == (found.call_s is None)


def test_where_nobody_tells_the_delay_its_share_is_not_known() -> None:
    """Not nothing."""
    assert of(0.0, 0.0).waited is None


def test_the_share_of_delay_is_that_of_all_calls() -> None:
    """Calls of 10 ms, of which 1 ms was other programs', on both sides."""
    delayed = Trace(start_ns=0, stop_ns=10_000_000, contention=Contention(readings=((0, 0), (10_000_000, 1_000_000))))
    played = pair({TEST: 0.0})
    calls = [msgspec.structs.replace(one, base=(delayed,) * 4, head=(delayed,) * 4) for one in played.calls]
    script = Script([msgspec.structs.replace(played, calls=tuple(calls))])
    trial = Trial((TEST,), play=script, time_budget_s=1, clock=script.clock)
    trial.record()
    assert 0.1 == pytest.approx(probed(trial, work="w").waited)


def test_an_interrupt_keeps_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as an incomplete probe."""
    seen: dict[str, Any] = {}

    def sides_of(launcher: object, plants: dict[str, Any], *, has_model: bool) -> SimpleNamespace:
        seen.update(plants=plants, has_model=has_model)
        return SimpleNamespace(play=Script([pair({TEST: 0.0}), KeyboardInterrupt()]), notes=["a note"])

    monkeypatch.setattr(module, "sides_of", sides_of)
    found = probe(None, has_model=False, time_budget_s=1000.0)  # type: ignore[arg-type]  # goes to the stand-in only
    assert (False, 1, ("interrupted", "a note")) == (found.complete, len(found.ratios), found.notes[:2])
    assert found.notes[2].startswith("torch or transformers is not installed")
    assert ("plain Python", False, [TEST]) == (found.work, seen["has_model"], list(seen["plants"]))
    assert math.isclose(0.0, found.ratios[0].own, abs_tol=1e-12)


@pytest.mark.parametrize(("width", "word"), [(0.0, OK), (0.099, OK), (0.1, NOISY), (0.64, NOISY)])
def test_equal_work_that_takes_unequal_cpu_time_is_noise(width: float, word: str) -> None:
    """Nobody had the core then: it changed its speed."""
    found = speed(Steadiness(calls=100, median_s=0.003, width=1.0, cpu_width=width, waited=0.4))
    assert (word, word == NOISY, width) == (found.word, bool(found.remedy), found.facts["cpu_width"])


@pytest.mark.parametrize(
    ("waited", "word", "seen"),
    [
        (None, OK, "others used 0.00 of 2 cores"),
        (0.049, OK, "others used 0.00 of 2 cores"),
        (
            0.126,
            NOISY,
            "others had the core for 12.6 % of the time of the probe's calls; before, others used 0.00 of 2 cores",
        ),
    ],
)
def test_neighbours_that_come_with_the_probe_are_told(waited: float | None, word: str, seen: str) -> None:
    """A second without them says little."""
    before = Finding(topic="neighbours", word=OK, seen="others used 0.00 of 2 cores", facts={"cores": 0.0})
    found = crowded(before, waited)
    assert (word, seen) == (found.word, found.seen)
    assert 0.0 == found.facts["cores"]
