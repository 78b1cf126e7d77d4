"""A clock, a device and a model that share the clock, measured together; no tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.record.measure import measure, measure_async
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel


class Bench:
    """A clock, a device and a model that share the clock; 200 ms to the first token, then 20, 20 and 40 ms."""

    def __init__(self, **script: Any) -> None:
        self.clock = ManualClock()
        self.device = FakeDevice(self.clock)
        self.model = ScriptedModel(self.clock, **{"prefill": "200 ms", "steps": ["20 ms", "20 ms", "40 ms"]} | script)

    def measure(self, target: Callable[[], object], **arguments: Any) -> Measurement:
        """Measure with the bench's clock and device; one call, unless more are asked for."""
        defaults = {"clock": self.clock, "device": self.device, "repeat": 1, "warmup": 0}
        return measure(target, **defaults | arguments)

    async def measure_async(self, target: Callable[[], object], **arguments: Any) -> Measurement:
        """The same on the running loop."""
        defaults = {"clock": self.clock, "device": self.device, "repeat": 1, "warmup": 0}
        return await measure_async(target, **defaults | arguments)


def attached(error: BaseException) -> Measurement:
    """The partial measurement that travels with an exception."""
    found = error.llm_latency_measurement  # type: ignore[attr-defined]
    assert isinstance(found, Measurement)
    return found


class Awaited:
    """Something to await that is no coroutine."""

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model

    def __await__(self) -> Generator[Any, None, tuple[int, ...]]:
        return self.model.generate_async().__await__()


class Chunks:
    """An asynchronous stream that is no generator, as clients of servers return."""

    def __init__(self, model: ScriptedModel) -> None:
        self._tokens = model.stream_async()

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        return await anext(self._tokens)


def returning(function: Callable[[], object]) -> Callable[[], object]:
    """A callable that shows only by its result what the function is."""

    def call() -> object:
        return function()

    return call
