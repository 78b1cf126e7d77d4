"""The doctor with made-up machines and written probes; one short real one."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import TargetError
from llm_latency.gate.doctor import doctor, host
from llm_latency.gate.doctor.doctor import (
    FINE,
    UNFIT,
    UNTOLD,
    Checkup,
    Supported,
    checkup,
    counters,
    judged,
    supported_by,
)
from llm_latency.gate.doctor.finding import MISSING, NOISY, OK, RISK, UNKNOWN, Finding
from llm_latency.gate.doctor.probe import Probe, Steadiness
from llm_latency.gate.ratio import Ratio
from llm_latency.gate.selftest.rates import spread_of
from tests.gate.machine_trees import LINUX, made
from tests.gate.planted_pairs import around

Look = Callable[..., Checkup]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate 100 gates where the command simulates 1,000: what they say is tested with the rates."""
    for name in ("smallest_limit", "simulated"):
        monkeypatch.setattr(doctor, name, partial(getattr(doctor, name), gates=100))


def probe_of(spread: float, n: int, *, pair_s: float | None = 2.0, complete: bool = True) -> Probe:
    """n pairs that scatter so."""
    logs = [math.log1p(share) for share in around(0.0, spread, n)]
    ratios = tuple(Ratio(own=log, wall=log, base=0.01, head=0.01) for log in logs)
    seen = spread_of(logs)
    return Probe(
        work="w", ratios=ratios, own=seen, wall=seen, waited=0.0, call_s=0.01, pair_s=pair_s, complete=complete
    )


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """Examine a made-up machine, whose probe is written and takes no time."""

    def run(*trees: dict[str, str | None], probe: Probe | BaseException | None = None, **settings: Any) -> Checkup:
        @contextlib.contextmanager
        def launched() -> Iterator[str]:
            yield "launcher"

        def probing(launcher: str, **options: Any) -> Probe:
            if isinstance(probe, BaseException):
                raise probe
            return probe or probe_of(0.01, 8)

        monkeypatch.setattr(doctor, "_WATCH_S", 0.0)
        monkeypatch.setattr(doctor, "available_cores", lambda: (0, 1))
        monkeypatch.setattr(doctor, "launched", launched)
        monkeypatch.setattr(doctor, "has_models", lambda: True)
        monkeypatch.setattr(doctor, "torch_threads", lambda launcher: 2)
        monkeypatch.setattr(doctor, "probe", probing)
        monkeypatch.setattr(
            doctor, "steadiness", lambda: Steadiness(calls=1, median_s=1, width=0, cpu_width=0, waited=0)
        )
        return checkup(folder=tmp_path, root=made(tmp_path / "root", *trees), environ={}, **settings)

    return run


def words(found: Checkup) -> dict[str, str]:
    """Each topic's word."""
    return {finding.topic: finding.word for finding in found.findings}


def test_a_quiet_linux_machine_is_ok_but_for_what_stood_still(look: Look) -> None:
    """Every topic once; files that do not change tell neither neighbours nor steal."""
    found = look(LINUX)
    assert {
        "neighbours": UNKNOWN,
        "cores": OK,
        "CPU quota": OK,
        "virtualization": OK,
        "SMT": OK,
        "frequency": OK,
        "turbo": OK,
        "NUMA": OK,
        "clock": OK,
        "memory": OK,
        "power": OK,
        "own time": OK,
        "tracers": words(found)["tracers"],
        "hash seed": OK,
        "processes": OK,
        "git": UNKNOWN,
        "GPU": OK,
        "threads": RISK,
        "steal": UNKNOWN,
        "throttling": OK,
        "swap": OK,
        "heat": OK,
        "speed": OK,
    } == words(found)
    assert (FINE, (), True, 0.05) == (found.outcome, found.reasons, found.complete, found.max_slowdown)


def test_a_system_that_says_nothing_is_examined_all_the_same(look: Look) -> None:
    """No /proc and no /sys, as on macOS: words for each topic."""
    found = look({})
    unknown = {topic for topic, word in words(found).items() if word == UNKNOWN}
    assert {"neighbours", "steal", "frequency", "memory", "power", "virtualization", "GPU"} <= unknown
    assert (23, RISK) == (len(found.findings), words(found)["own time"])
    assert FINE == found.outcome


def test_what_grows_while_it_looks_is_noise(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters are read before and after."""
    counts = iter([3, 5])
    monkeypatch.setattr(host, "throttles", lambda root: next(counts))
    found = look(LINUX)
    assert NOISY == words(found)["throttling"]
    assert "stopped 2 times for its quota while this ran" in [finding.seen for finding in found.findings]


def test_counters_that_are_not_there_are_none(tmp_path: Path) -> None:
    """Each by itself."""
    nothing, linux = counters(tmp_path / "none", (0, 1)), counters(made(tmp_path, LINUX), (0, 1))
    assert (None, None, None, None) == (nothing.ticks, nothing.throttles, nothing.swapped, nothing.heat)
    assert (0, 10, 0) == (linux.throttles, linux.swapped, linux.heat)


@pytest.mark.parametrize(
    ("error", "note", "complete"),
    [
        (TargetError("torch is broken"), "the probe could not run: torch is broken", True),
        (KeyboardInterrupt(), "interrupted before the probe", False),
    ],
)
def test_without_a_probe_the_findings_stay(look: Look, error: BaseException, note: str, complete: bool) -> None:
    """And it could not be told."""
    found = look(LINUX, probe=error)
    assert (UNTOLD, (note,), complete, None) == (found.outcome, found.notes, found.complete, found.supported)
    assert len(found.findings) >= 22


def test_a_probe_that_was_interrupted_is_an_incomplete_checkup(look: Look) -> None:
    """What it had found counts."""
    found = look(LINUX, probe=probe_of(0.01, 8, complete=False))
    assert (False, FINE) == (found.complete, found.outcome)


def test_without_fork_there_is_no_probe_and_no_gate(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr("os.fork")
    found = look({})
    assert (UNFIT, None) == (found.outcome, found.probe)
    assert ("processes: cannot be forked, and a gate cannot run",) == found.reasons


@pytest.mark.parametrize(
    ("supported", "outcome"),
    [
        (Supported(limit=0.02, at_low=0.01, at_high=0.05, unchanged_s=1, slower_s=1), FINE),
        (Supported(limit=0.02, at_low=0.01, at_high=0.06, unchanged_s=1, slower_s=1), UNTOLD),
        (Supported(limit=0.02, at_low=0.01, at_high=None, unchanged_s=1, slower_s=1), UNTOLD),
        (Supported(limit=0.1, at_low=0.05, at_high=0.2, unchanged_s=1, slower_s=1), UNTOLD),
        (Supported(limit=0.1, at_low=0.06, at_high=0.2, unchanged_s=1, slower_s=1), UNFIT),
        (Supported(limit=None, at_low=None, at_high=None, unchanged_s=1, slower_s=1), UNFIT),
        (None, UNTOLD),
    ],
)
def test_it_is_told_where_the_spreads_bounds_agree(supported: Supported | None, outcome: str) -> None:
    """Fine at the upper one, or not even at the lower one."""
    assert outcome == judged([], probe_of(0.02, 8), supported, 0.05)[0]


def test_what_is_missing_comes_first() -> None:
    """Without git there is no gate, however steady times are."""
    missing = Finding(topic="git", word=MISSING, seen="cannot be run")
    supported = Supported(limit=0.01, at_low=0.01, at_high=0.01, unchanged_s=1, slower_s=1)
    assert (UNFIT, ("git: cannot be run",)) == judged([missing], probe_of(0.01, 8), supported, 0.05)


@pytest.mark.parametrize("n", [0, 2])
def test_too_few_pairs_support_nothing(n: int) -> None:
    """And it is said how many there were."""
    probe = (
        probe_of(0.01, n)
        if n
        else probe_of(0.01, 2).__class__(
            work="w", ratios=(), own=None, wall=None, waited=None, call_s=None, pair_s=None
        )
    )
    assert supported_by(probe, 0.05) is None
    assert (f"the probe gave {n} pairs, and 3 are the fewest that tell a spread",) == judged([], probe, None, 0.05)[1]


def test_what_is_supported_grows_with_the_spread_and_a_gates_time_with_its_pairs() -> None:
    """Equal pairs of 2 s: six pass, six and six fail. Wide ones support less."""
    calm, wild = supported_by(probe_of(0.0, 8), 0.05), supported_by(probe_of(0.2, 8), 0.05)
    assert calm is not None and wild is not None
    assert (0.01, 0.01, 0.01, 12.0, 24.0) == (
        calm.limit,
        calm.at_low,
        calm.at_high,
        calm.unchanged_s,
        calm.slower_s,
    )
    assert wild.limit is not None and wild.limit > 0.05
    timeless = supported_by(probe_of(0.01, 8, pair_s=None), 0.05)
    assert timeless is not None and timeless.unchanged_s is None


@pytest.mark.slow
def test_a_real_look_at_this_machine_ends_in_time(tmp_path: Path) -> None:
    """Whatever it finds: every topic has a word, the probe has pairs of this machine, nothing is left behind."""
    begin = time.monotonic()
    found = checkup(folder=tmp_path, time_budget_s=8.0)
    assert time.monotonic() - begin < 120
    assert 22 <= len(found.findings)
    assert {finding.word for finding in found.findings} <= {OK, RISK, NOISY, MISSING, UNKNOWN}
    assert all(finding.seen for finding in found.findings)
    assert found.probe is not None and found.steadiness is not None
    assert len(found.probe.ratios) >= 1
    assert [] == list(tmp_path.iterdir())
