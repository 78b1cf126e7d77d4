"""A worker's turns: pinned and spinning before each call, and what a test's beginning says."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.gate import worker
from llm_latency.gate.message import Go, Stop
from llm_latency.gate.pair import BEGUN
from pytest_llm_latency.worker import GateWorker


class Said:
    """A baton that answers by script and notes what it is told."""

    def __init__(self, *answers: Go | Stop) -> None:
        self.answers = list(answers)
        self.told: list[Any] = []

    def turn(self, message: Any) -> Go | Stop:
        """Give the next answer."""
        return self.answers.pop(0)

    def introduced(self) -> None:
        """Say nothing."""

    def again(self, test: str) -> None:
        """Note it."""
        self.told.append(test)

    def reported(self, test: str, outcome: str) -> None:
        """Note it."""
        self.told.append((test, outcome))


def test_each_call_comes_from_a_spin_on_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned where the cores change only; the spin is as long as the conductor says."""
    done: list[Any] = []
    monkeypatch.setattr(worker, "spin", lambda ns: done.append(("spin", ns)))
    monkeypatch.setattr(worker, "pin", lambda cores: done.append(("pin", cores)))
    monkeypatch.setattr(worker, "memory_room", lambda: (None, None))
    baton: Any = Said(Go(stage="cold", spin_ns=7, cores=(1,)), Go(stage="counted", spin_ns=9, cores=(1,)), Stop())
    turns = worker.Turns(baton, test="t", name="t", index=1)
    trace: Any = worker.Trace(start_ns=0, stop_ns=1)
    assert ["cold", "counted", None] == [turns.next_call(None), turns.next_call(trace), turns.next_call(trace)]
    assert [("pin", (1,)), ("spin", 7), ("spin", 9)] == done


def test_a_test_that_begins_is_told_before_it_can_be_lost() -> None:
    """A crash in its fixtures is then its own."""
    baton: Any = Said()
    plugin = GateWorker.__new__(GateWorker)
    plugin._baton = baton
    plugin.pytest_runtest_logstart("tests/test_it.py::test_a")
    assert ["tests/test_it.py::test_a", ("tests/test_it.py::test_a", BEGUN)] == baton.told
