"""A user's project with stored baselines, whose calls take what an environment variable says; no tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_latency.gate.stored.baseline import Baseline, from_json
from llm_latency.gate.stored.fingerprint import Machine

if TYPE_CHECKING:
    from conftest import Seen, Suite

# What llmtime would measure: calls of as many ms as the environment variable MS says, on a machine of its own.
CONFTEST = """
import json, os
import pytest
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, verdict_on
from llm_latency.core.trace import Contention, Request, Trace

def measured(target, *, name, budget=(), **_):
    machine = {"device": "cpu", "processor": "AMD EPYC", "cores": 2, "memory_bytes": 8 * 2**30, "system": "Linux 6.1"}
    environment = Environment(**(machine | {"torch": "2.6.0"} | json.loads(os.environ.get("FACTS", "{}"))))
    calls = []
    for ms in target():
        stop, delay = round(ms * 1e6), round(float(os.environ.get("DELAY", "0")) * ms * 1e6)
        request = Request(kind="call", start_ns=0, stop_ns=stop)
        contention = Contention(readings=((0, 0), (stop, delay)))
        calls.append(Trace(start_ns=0, stop_ns=stop, requests=(request,), contention=contention))
    return Measurement(
        name=name, workload={}, environment=environment, traces=tuple(calls), stopped_because="as told",
        verdicts=tuple(verdict_on(one, calls, environment) for one in budget),
        recorded_at=os.environ.get("WHEN", "2026-11-25T08:00:00+00:00"),
    )

@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr("pytest_llm_latency.llmtime.measure", measured)
"""
SOURCE = """
import os

guarded = limits(max_slowdown="5%")

def calls(factor=1.0):
    return lambda: [float(os.environ.get("MS", "10")) * factor] * 6

@guarded
def test_a(llmtime):
    llmtime(calls())

@guarded
def test_b(llmtime):
    llmtime(calls(2))

def test_untimed():
    pass
"""
MACHINE = Machine(cores=2, device="cpu", memory_gib=8, processor="AMD EPYC", system="Linux")
FILE = Path("latency_baselines") / "test_it" / f"{MACHINE.fingerprint}.json"


class Project:
    """A user's project whose times are told."""

    def __init__(self, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is stored yet."""
        self.suite, self._monkeypatch = suite, monkeypatch
        self.path = suite.pytester.path
        self.file = self.path / FILE
        suite.pytester.makeconftest(CONFTEST)
        for name in ("BASELINE", "ACCEPT", "REQUIRE_BASELINE", "BASE"):
            monkeypatch.delenv(f"LLM_LATENCY_{name}", raising=False)

    def run(self, *arguments: str, source: str = SOURCE, ms: float = 10.0, **environment: Any) -> Seen:
        """Run the tests in `source`, whose calls take `ms`; FACTS are of their environment, WHEN their time."""
        with self._monkeypatch.context() as patch:
            patch.setenv("MS", repr(ms))
            for name, value in environment.items():
                patch.setenv(name.upper(), value if isinstance(value, str) else json.dumps(value))
            return self.suite.run(source, *arguments)

    def create(self, *times: float, source: str = SOURCE, suite: Suite | None = None) -> None:
        """Store a row for each of the times, on a day of its own; in one process, which is quicker, or by `suite`."""
        own, self.suite = self.suite, suite or type(self.suite)(self.suite.pytester)
        for day, ms in enumerate(times, start=1):
            seen = self.run("--latency-baseline=create", source=source, ms=ms, when=f"2026-11-{day:02}T08:00:00+00:00")
            assert 0 == seen.code, seen.text
        self.suite = own

    @property
    def baseline(self) -> Baseline:
        """What is stored."""
        return from_json(self.file.read_bytes(), source="stored")

    def values(self, test: str = "test_a", name: str = "") -> list[float]:
        """The totals in ms of the rows that count."""
        if not self.file.exists():
            return []
        return [round(1e3 * row.metrics["total@1"].value, 6) for row in self.baseline.rows_of(test, name or test)]
