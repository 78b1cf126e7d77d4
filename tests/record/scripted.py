"""A clock, a device and a model that share the clock, measured together; no tests."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.record.measure import measure, measure_async
from llm_latency.record.sampling import Plan, Progress
from llm_latency.record.view import Moment
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


class Onlooker:
    """A view whose looks take time on a manual clock. `told` has what it was told, in its order.

    `does` has something to do in one of its methods, by the method's name, such as an error to raise.
    """

    def __init__(self, clock: ManualClock | None = None, *, takes: str = "3 ms", period_ns: int = 0) -> None:
        self.period_ns = period_ns
        self.does: dict[str, Callable[[], object]] = {}
        self.told: list[str] = []
        self.moments: list[Moment] = []
        self.begun_ns: list[int] = []
        self.progress: list[Progress | None] = []
        self.ended: list[tuple[Measurement | None, BaseException | None]] = []
        self.looked = threading.Event()
        self._clock, self._takes = clock, takes

    def begin(self, name: str, plan: Plan) -> None:
        """Note the name."""
        self._do("begin", name)

    def follow(self, progress: Progress | None) -> None:
        """Note the stage."""
        self.progress.append(progress)
        self._do("follow", "over" if progress is None else progress.stage)

    def look(self, moment: Moment) -> None:
        """Take time, and keep what is shown."""
        if self._clock is not None:
            self.begun_ns.append(self._clock.now_ns())
            self._clock.advance(self._takes)
        self.moments.append(moment)
        self.looked.set()
        self._do("look", moment.phase)

    def end(self, measurement: Measurement | None, error: BaseException | None) -> None:
        """Keep how it ended."""
        self.ended.append((measurement, error))
        self._do("end", type(error).__name__)

    def count(self, method: str) -> int:
        """How often it was told by a method."""
        return sum(told.startswith(f"{method} ") for told in self.told)

    def _do(self, method: str, detail: str) -> None:
        self.told.append(f"{method} {detail}")
        if method in self.does:
            self.does[method]()


def raising(error: BaseException) -> Callable[[], object]:
    """Something to do that fails."""

    def fail() -> None:
        raise error

    return fail


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
