"""The host clock, out of reach of libraries that freeze time, and the check that it advanced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from llm_latency.errors import ClockError
from llm_latency.record.clock import HostClock, check_advanced, ticks
from llm_latency.testing import ManualClock


def test_the_host_clock_never_goes_back() -> None:
    """Over 10,000 readings, in integers."""
    clock = HostClock()
    readings = [clock.now_ns() for _ in range(10_000)]
    assert all(isinstance(reading, int) for reading in readings)
    assert all(after >= before for before, after in pairwise(readings))
    assert readings[-1] > readings[0]


# Run in a fresh interpreter, because a library that freezes time walks through every loaded module. The span ends by
# the kernel's ticks, which nobody freezes: 40 ms of them are at least 30 ms, since a tick is 10 ms long.
PROBE = """
import os, time
from datetime import datetime

def span(clock):
    began, elapsed = clock.now_ns(), os.times().elapsed
    while os.times().elapsed < elapsed + 0.04:
        pass
    return clock.now_ns() - began, os.times().elapsed - elapsed

def check(clock):
    from llm_latency.record.clock import check_advanced
    elapsed_ns, elapsed_ticks = span(clock)
    check_advanced(clock, 0, elapsed_ns, elapsed_ticks=elapsed_ticks)
    assert elapsed_ns > 25_000_000, elapsed_ns

"""
LATE = """
with {freezing}:
    from llm_latency.record.clock import HostClock
    check(HostClock())
check(HostClock())
"""
EARLY = """
from llm_latency.record.clock import HostClock
before = HostClock()
with {freezing}:
    check(before)
    during = HostClock()
    check(during)
check(before)
check(during)
check(HostClock())

from llm_latency.record.measure import measure
with {freezing}:
    m = measure(lambda: time.sleep(0.03), repeat=2, warmup=0, budget="total max < 29 ms")
assert m.total.min >= "30 ms", m.total.min
assert m.verdicts[0].outcome == "fail", m.verdicts
"""
FREEZINGS = {
    "freezegun": "freezegun.freeze_time('2020-01-01')",
    "freezegun that ticks": "freezegun.freeze_time('2020-01-01', tick=True)",
    "freezegun that steps": "freezegun.freeze_time('2020-01-01', auto_tick_seconds=15)",
    "time-machine": "time_machine.travel(datetime(2020, 1, 1), tick=False)",
    "time-machine that ticks": "time_machine.travel(datetime(2020, 1, 1))",
    "both": "time_machine.travel(datetime(2020, 1, 1), tick=False), freezegun.freeze_time('2020-01-01')",
}


@pytest.mark.parametrize("freezing", FREEZINGS)
@pytest.mark.parametrize("script", [EARLY, LATE], ids=["imported before", "imported while frozen"])
def test_frozen_time_is_out_of_reach(script: str, freezing: str) -> None:
    """Clocks made before, during and after run on, and no frozen time passes a budget."""
    code = "import freezegun, time_machine" + PROBE + script.format(freezing=FREEZINGS[freezing])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (0, "") == (run.returncode, run.stderr)


def fake_counter() -> int:
    """What freezegun puts in the place of time.perf_counter_ns: a function of Python's."""
    return 0


def test_a_replaced_counter_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is made while the counter is a fake asks the kernel."""
    monkeypatch.setattr(time, "perf_counter_ns", fake_counter)
    clock = HostClock()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert before <= clock.now_ns() <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_a_replaced_counter_without_another_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no clock_gettime: then there is no true clock, and the message says what to do."""
    monkeypatch.setattr(time, "perf_counter_ns", fake_counter)
    monkeypatch.delattr(time, "clock_gettime_ns")
    with pytest.raises(ClockError, match="import llm_latency before the clock is frozen"):
        HostClock()


S = 1_000_000_000


@pytest.mark.parametrize(
    ("elapsed_ns", "elapsed_ticks"),
    [
        (1, 0.0),
        (1, None),
        (S, 1.0),
        (S, None),
        (S, 1.24),  # 0.05 s + 20 % of 1.24 s is 0.298 s
        (S, 0.76),
        (49_000_000, 0.0),
        (100 * S, 81.0),
    ],
)
def test_a_clock_that_agrees_with_the_ticks_is_believed(elapsed_ns: int, elapsed_ticks: float | None) -> None:
    """Within 50 ms and 20 %: ticks are coarse and a span may be cut by a busy machine."""
    check_advanced(HostClock(), 7, 7 + elapsed_ns, elapsed_ticks=elapsed_ticks)


@pytest.mark.parametrize(
    ("elapsed_ns", "elapsed_ticks"),
    [
        (0, 0.0),
        (0, None),
        (0, 0.5),  # frozen
        (1, 0.1),  # frozen but for a nanosecond
        (S, 0.0),  # stepped forward, as auto_tick_seconds does
        (S, 1.4),  # 0.05 s + 20 % of 1.4 s is 0.33 s
        (100 * S, 79.0),
    ],
)
def test_a_clock_that_disagrees_with_the_ticks_is_an_error(elapsed_ns: int, elapsed_ticks: float | None) -> None:
    """A time that is wrong is never a result."""
    with pytest.raises(ClockError, match="time is frozen or was stepped") as refusal:
        check_advanced(HostClock(), 7, 7 + elapsed_ns, elapsed_ticks=elapsed_ticks)
    assert f"the call took {elapsed_ns / S:.6f} s" in str(refusal.value)


@pytest.mark.parametrize("clock", [HostClock(), ManualClock()])
@pytest.mark.parametrize("elapsed_ticks", [None, 0.0, 1.0])
def test_a_clock_that_steps_back_is_an_error(clock: HostClock | ManualClock, elapsed_ticks: float | None) -> None:
    """Whosever clock it is."""
    with pytest.raises(ClockError, match="the clock went from 7 ns back to 6 ns"):
        check_advanced(clock, 7, 6, elapsed_ticks=elapsed_ticks)


def test_a_manual_clock_may_stand_still() -> None:
    """It is told when to advance, so the ticks do not bind it."""
    check_advanced(ManualClock(), 7, 7, elapsed_ticks=1.0)
    check_advanced(ManualClock(), 7, 7 + 9 * S, elapsed_ticks=0.0)


def test_ticks_advance_in_seconds() -> None:
    """They are coarse, but never go back."""
    before = ticks()
    after = ticks()
    assert before is not None
    assert after is not None
    assert 0.0 <= after - before < 5.0


def test_a_system_without_ticks_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows reports an elapsed time of 0."""
    monkeypatch.setattr(os, "times", lambda: SimpleNamespace(elapsed=0.0))
    assert ticks() is None
