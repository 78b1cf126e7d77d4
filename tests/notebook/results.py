"""Measurements by hand, told apart by their names; no tests."""

from __future__ import annotations

from typing import Any

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace

MS = 1_000_000


def result(name: str = "chat", *, total_ms: int = 5, calls: int = 1, **fields: Any) -> Measurement:
    """Calls of a few milliseconds, all alike."""
    given = {
        "workload": {},
        "environment": Environment(),
        "traces": (Trace(start_ns=0, stop_ns=total_ms * MS),) * calls,
        "stopped_because": "one call" if calls == 1 else f"{calls} calls, as asked",
    }
    return Measurement(name=name, **given | fields)
