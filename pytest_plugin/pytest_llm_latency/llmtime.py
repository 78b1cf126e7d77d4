"""What the llmtime fixture gives to a test: call it with a callable and get a Measurement; not what fails the test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from llm_latency.core.budget import Budget, parse_budget
from llm_latency.core.measurement import Measurement
from llm_latency.core.units import parse
from llm_latency.core.work import UNEQUAL_WORK
from llm_latency.errors import UsageError
from llm_latency.record.measure import measure, measure_async
from pytest_llm_latency.limits import Limits
from pytest_llm_latency.lock import DeviceLock
from pytest_llm_latency.settings import Settings

if TYPE_CHECKING:
    from llm_latency.gate.worker import Turns


class LlmTime:
    """Times callables for one test and keeps what was measured, also in part, in `measurements`."""

    def __init__(
        self,
        test: str,
        *,
        limits: Callable[[], Limits],
        settings: Settings,
        lock: DeviceLock,
        turns: Callable[[str], Turns] | None = None,
    ) -> None:
        """Nothing is timed yet; `limits` are read from the test's markers at each call.

        With `turns`, given a name, a gate's conductor says when calls begin and end; it also holds the lock.
        """
        self.measurements: list[Measurement] = []
        self.settings = settings
        self.lock = lock
        self._targets: dict[int, object] = {}
        self._test = test
        self._limits = limits
        self._turns = turns
        self._calls = 0
        self._is_open = True

    def __call__(
        self,
        target: Callable[[], object],
        *,
        name: str | None = None,
        repeat: int | None = None,
        warmup: int | None = None,
        budget: str | Budget | Iterable[str | Budget] | None = None,
        time_budget: str | float | None = None,
        precision: float | None = None,
    ) -> Any:
        """Run a callable again and again and measure the model calls inside it; arguments as in `measure`.

        `time_budget` is text such as "30 s", or seconds. The limits of the test's latency_budget marker apply to each
        call, one in `budget` in place of the marker's for the same statistic. Returns a Measurement; inside a running
        event loop, for a callable that gives something to await or an asynchronous stream: `await llmtime(...)`.
        """
        __tracebackhide__ = True
        if not self._is_open:
            raise UsageError("llmtime() was called after its test had ended, where no budget would be judged")
        arguments = self._arguments(name, budget, time_budget, precision) | {"repeat": repeat, "warmup": warmup}
        if not _in_running_loop():
            with self._turn():
                return self._kept(measure, target, arguments)
        if _is_asynchronous(target):
            return self._measure_async(target, arguments)
        try:
            with self._turn():
                return self._kept(measure, _OnLoop(target), arguments)
        except _GaveAwaitable:
            return self._measure_async(target, arguments)

    def __repr__(self) -> str:
        return f"<llmtime of {self._test}, {len(self.measurements)} measured>"

    def target_of(self, measurement: Measurement) -> object:
        """What was timed for one of the measurements; None where it broke off."""
        return self._targets.get(id(measurement))

    def close(self) -> None:
        """Take no further calls: the test has ended."""
        self._is_open = False

    def _arguments(
        self,
        name: str | None,
        budget: str | Budget | Iterable[str | Budget] | None,
        time_budget: str | float | None,
        precision: float | None,
    ) -> dict[str, Any]:
        limits = self._limits()
        asked = [budget] if isinstance(budget, str | Budget) else list(budget or ())
        own = [item if isinstance(item, Budget) else parse_budget(item) for item in asked]
        budgets = {(item.metric, item.statistic): item for item in (*limits.budgets, *own)}
        if isinstance(time_budget, str):
            time_budget = parse(time_budget, unit="s")
        chosen = (time_budget, limits.time_budget_s, self.settings.time_budget_s)
        self._calls += 1
        arguments: dict[str, Any] = {
            "name": name or (self._test if self._calls == 1 else f"{self._test} #{self._calls}"),
            "budget": tuple(budgets.values()),
            "time_budget": next((value for value in chosen if value is not None), None),
        }
        if self._turns is not None:
            return {"name": arguments["name"], "pace": self._turns(arguments["name"])}
        precision = self.settings.precision if precision is None else precision
        return arguments if precision is None else arguments | {"precision": precision}

    def _kept(
        self, run: Callable[..., Measurement], target: Callable[[], object], arguments: dict[str, Any]
    ) -> Measurement:
        __tracebackhide__ = True
        try:
            measurement = run(target, **arguments)
        except BaseException as error:
            self._keep_part(error, arguments)
            raise
        return self._keep(measurement, target, arguments)

    async def _measure_async(self, target: Callable[[], object], arguments: dict[str, Any]) -> Measurement:
        __tracebackhide__ = True
        async with self._turn_async():
            try:
                measurement = await measure_async(target, **arguments)
            except BaseException as error:
                self._keep_part(error, arguments)
                raise
        return self._keep(measurement, target, arguments)

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turns is not None else self.lock.held()

    def _turn_async(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._turns is not None else self.lock.held_async()

    def _keep(self, measurement: Measurement, target: object, arguments: dict[str, Any]) -> Measurement:
        if (turns := arguments.get("pace")) is not None:
            because = measurement.stopped_because
            problem = because if because.startswith(UNEQUAL_WORK) else ""
            turns.ended(problem=problem, environment=measurement.environment)
        self.measurements.append(measurement)
        self._targets[id(measurement)] = target.func if isinstance(target, _OnLoop) else target
        return measurement

    def _keep_part(self, error: BaseException, arguments: dict[str, Any]) -> None:
        # What did not look asynchronous and was is tried again, in the same turn.
        if (turns := arguments.get("pace")) is not None and not isinstance(error, _GaveAwaitable):
            turns.ended(problem=f"{type(error).__name__}: {error}")
        part = getattr(error, "llm_latency_measurement", None)
        if isinstance(part, Measurement):
            self.measurements.append(part)


class _GaveAwaitable(Exception):
    """A callable that did not look asynchronous gave something to await."""


class _OnLoop:
    """A callable on a running loop: `lambda: client.chat()` shows only by what it returns that it is asynchronous.

    `func` is where a partial keeps its callable too, and where measure looks for the models that it can reach.
    """

    def __init__(self, target: Callable[[], object]) -> None:
        self.func = target

    def __call__(self) -> object:
        __tracebackhide__ = True
        result = self.func()
        if not isinstance(result, Awaitable) and not hasattr(result, "__aiter__"):
            return result
        if inspect.iscoroutine(result):
            result.close()
        elif isinstance(result, asyncio.Future):
            result.cancel()
        raise _GaveAwaitable


def _in_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_asynchronous(target: object) -> bool:
    inner = getattr(target, "func", target)
    call = getattr(inner, "__call__", None)  # noqa: B004  # the method itself is asked, not whether there is one
    return any(check(f) for f in (inner, call) for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction))
