"""The calls of a timed cell, on a clock that is told."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.errors import ClockError
from llm_latency.notebook.timed_cell import TimedCell
from llm_latency.notebook.transform import CALL, VALUE
from llm_latency.record.observe.attribution import current_chain
from llm_latency.record.recording import Recording
from llm_latency.record.sampling import make_plan
from llm_latency.testing import ManualClock


class Ending:
    """A timed cell on a manual clock, and what it said at its end."""

    def __init__(self, **plan: Any) -> None:
        self.clock = ManualClock()
        self.names: dict[str, Any] = {}
        self.told: list[tuple[Measurement | None, BaseException | None]] = []
        recording = Recording("cell", plan=make_plan(**plan), clock=self.clock)
        self.cell = TimedCell(recording, namespace=self.names, ended=lambda *said: self.told.append(said))

    def run(self, *durations: str, error: BaseException | None = None) -> None:
        """Loop as a rewritten cell does; the last duration's call raises `error`."""
        waiting = list(durations)
        for call in self.cell:
            self.names[CALL] = call
            with call:
                assert {} == self.names
                self.clock.advance(waiting.pop(0))
                if error is not None and not waiting:
                    raise error
                self.names[VALUE] = f"value {len(waiting)}"
        assert [] == waiting

    @property
    def measurement(self) -> Measurement:
        """The only one that was told."""
        ((measurement, _),) = self.told
        assert measurement is not None
        return measurement


def test_one_call_is_one_call() -> None:
    """The measurement has the call's time and nothing beside it."""
    ending = Ending(repeat=1, warmup=0)
    ending.run("30 ms")
    assert (0.03,) == ending.measurement.total.values
    assert (None, (), "one call", True) == (
        ending.measurement.cold,
        ending.measurement.warmup,
        ending.measurement.stopped_because,
        ending.measurement.complete,
    )
    assert "value 0" == ending.cell.value
    assert {} == ending.names


def test_repetition_is_that_of_measure() -> None:
    """The first call is kept apart, warm-up ends when two calls agree within 10 %, then the counted calls follow."""
    ending = Ending(repeat=3)
    ending.run("900 ms", "110 ms", "100 ms", "101 ms", "102 ms", "103 ms")
    assert (0.101, 0.102, 0.103) == ending.measurement.total.values
    assert 900_000_000 == ending.measurement.cold.stop_ns
    assert 2 == len(ending.measurement.warmup)
    assert "value 0" == ending.cell.value


def test_an_exception_ends_with_what_there_was() -> None:
    """Finished calls count, the broken one does not, and the exception goes on."""
    ending = Ending(repeat=3, warmup=0)
    error = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        ending.run("10 ms", "11 ms", "5 ms", error=error)
    assert error is ending.told[0][1]
    assert (0.01, 0.011) == ending.measurement.total.values
    assert (False, "ValueError after 2 counted calls") == (
        ending.measurement.complete,
        ending.measurement.stopped_because,
    )
    assert {} == ending.names


def test_a_first_call_that_breaks_is_all_there_is() -> None:
    """It is kept, and called what it is."""
    ending = Ending(repeat=3)
    with pytest.raises(KeyboardInterrupt):
        ending.run("5 ms", error=KeyboardInterrupt())
    assert (0.005,) == ending.measurement.total.values
    assert (False, "KeyboardInterrupt in the first call") == (
        ending.measurement.complete,
        ending.measurement.stopped_because,
    )


def test_a_promise_is_not_made_again() -> None:
    """A call that has run nothing would run nothing again: repeating stops and says why."""
    ending = Ending(repeat=5)
    for _ in ending.cell:
        with ending.cell:
            ending.clock.advance("1 µs")
            ending.names[VALUE] = iter([1])
    assert 1 == len(ending.measurement.traces)
    assert "has run nothing yet" in ending.measurement.stopped_because


def test_a_clock_that_steps_back_is_an_error_without_a_traceback() -> None:
    """The doubt is shown as one line; no measurement is told."""
    ending = Ending(repeat=1, warmup=0)

    def step_back() -> None:
        with next(iter(ending.cell)):
            ending.clock.step_back("1 ms")

    with pytest.raises(ClockError) as doubt:
        step_back()
    assert [f"ClockError: {doubt.value}"] == doubt.value._render_traceback_()
    assert [(None, doubt.value)] == ending.told


@pytest.mark.parametrize("where", ["next_stage", "watch"])
def test_an_interrupt_between_calls_ends_the_cell(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Also outside of the user's code the end is told once, and no watch stays open."""
    ending = Ending(repeat=2, warmup=0)

    def interrupted(self: Recording) -> None:
        raise KeyboardInterrupt

    calls = iter(ending.cell)
    with next(calls):
        ending.clock.advance("1 ms")
    monkeypatch.setattr(Recording, where, interrupted)

    def go_on() -> None:
        with next(calls):
            pass

    with pytest.raises(KeyboardInterrupt):
        go_on()
    assert (0.001,) == ending.measurement.total.values
    assert () == current_chain()
