"""measure() runs and samples a callable, timed() watches a block once; not when sampling stops."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self


from llm_latency.core.budget import Budget
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, sample_of
from llm_latency.core.trace import Trace
from llm_latency.core.verdict import judge
from llm_latency.errors import ObservationError, UsageError
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.device import Device
from llm_latency.record.machine import read_environment
from llm_latency.record.observe.forward import modules_in
from llm_latency.record.observe.phases import is_lazy
from llm_latency.record.observe.stream import stream, stream_async
from llm_latency.record.observe.taps import emission_cost_ns, tapped
from llm_latency.record.sampling import Listener, Plan, Progress, Sampling, make_plan
from llm_latency.record.watch import Watch

Budgets = str | Budget | Iterable[str | Budget] | None


class Recording:
    """Calls recorded so far, and what they amount to: the state shared by measure, measure_async and timed."""

    def __init__(
        self,
        name: str,
        *,
        plan: Plan,
        workload: Mapping[str, Any] | None,
        clock: Clock | None,
        device: Device | None,
        modules: Iterable[object],
        on_progress: Listener | None,
    ) -> None:
        """Nothing is recorded yet."""
        self.name = name
        self.clock = clock or HostClock()
        self.device = device or Cpu()
        self.modules = tuple(modules)
        self.sampling = Sampling(plan, Environment())
        self._workload = dict(workload or {})
        self._models: dict[int, object] = {}
        self._on_progress = on_progress
        self._begin_ns = self.clock.now_ns()

    def next_stage(self) -> str | None:
        """What the next call is, or None; tells the listener where sampling stands."""
        elapsed_s = (self.clock.now_ns() - self._begin_ns) * 1e-9
        stage = self.sampling.next_stage(elapsed_s)
        if stage is not None and self._on_progress is not None:
            self._on_progress(self._progress(stage, elapsed_s))
        return stage

    def watch(self) -> Watch:
        """A watch for the next call."""
        return Watch(self.name, clock=self.clock, device=self.device, modules=self.modules)

    def add(self, stage: str, watch: Watch) -> None:
        """Keep a call that has ended."""
        self._models |= {id(model): model for model in watch.models}
        self.sampling.add(stage, watch.ended())

    def measurement(self, *, interrupted_by: BaseException | None = None) -> Measurement:
        """What has been recorded, whole or, after an exception, in part."""
        sampling = self.sampling
        environment = read_environment(self._models.values(), device=self.device.describe())
        traces = tuple(sampling.traces)
        because = sampling.stopped_because or f"{len(traces)} calls"
        if interrupted_by is not None:
            because = f"{type(interrupted_by).__name__} after {len(traces)} counted calls"
        budgets = sampling.plan.budgets
        first = sampling.cold or next(iter(traces), None)
        return Measurement(
            name=self.name,
            workload=self._workload | _observed(first),
            environment=environment,
            traces=traces,
            cold=sampling.cold,
            warmup=tuple(sampling.warmup),
            stopped_because=because,
            warnings=_warnings(traces, environment),
            verdicts=tuple(judge(budget, sample_of(traces, budget.metric, environment)) for budget in budgets),
            observer_ns=emission_cost_ns(self.clock) if isinstance(self.clock, HostClock) else None,
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=interrupted_by is None,
        )

    def attach_to(self, error: BaseException) -> None:
        """Let the partial measurement travel with an exception, as `llm_latency_measurement`."""
        sampling = self.sampling
        done = len(sampling.traces) + len(sampling.warmup) + (sampling.cold is not None)
        if done:
            error.llm_latency_measurement = self.measurement(interrupted_by=error)  # type: ignore[attr-defined]  # documented
            error.add_note(
                f"llm-latency: {done} calls of {self.name!r} were recorded before; see .llm_latency_measurement"
            )

    def _progress(self, stage: str, elapsed_s: float) -> Progress:
        sampling, plan = self.sampling, self.sampling.plan
        done, of = {
            "cold": (0, 1),
            "warmup": (len(sampling.warmup), plan.warmup),
            "counted": (len(sampling.traces), plan.repeat),
        }[stage]
        calls = [sampling.cold, *sampling.warmup, *sampling.traces]
        return Progress(
            stage=stage,
            done=done,
            of=of,
            elapsed_s=elapsed_s,
            time_budget_s=plan.time_budget_s,
            half_width=sampling.half_width(),
            last=calls[-1],
        )


def measure(
    target: Callable[[], object],
    *,
    name: str | None = None,
    repeat: int | None = None,
    warmup: int | None = None,
    budget: Budgets = None,
    time_budget: float | None = None,
    precision: float = 0.03,
    workload: Mapping[str, Any] | None = None,
    on_progress: Listener | None = None,
    clock: Clock | None = None,
    device: Device | None = None,
) -> Measurement:
    """Run a callable again and again, unchanged, and measure the model calls inside it.

    With `repeat`: one cold call, the warm-up, exactly that many counted calls; `warmup=0` runs those and nothing
    else. Without: until the 95 % interval of the median is within `precision` (a share of it), every limit in
    `budget` (text such as "ttft p95 < 250 ms") is decided, or `time_budget` seconds have passed. Coroutine
    functions are awaited and generators consumed as token streams, an emission an item.

    Raises UsageError for arguments that do not fit, ObservationError where nothing could be timed rightly. What
    the callable raises goes on, with the calls so far as its `llm_latency_measurement`.
    """
    recording = _start(
        target,
        name,
        make_plan(repeat=repeat, warmup=warmup, budget=budget, time_budget=time_budget, precision=precision),
        workload,
        on_progress,
        clock,
        device,
    )
    if _in_running_loop() and _is_async(target):
        raise UsageError(
            f"{recording.name!r} is asynchronous and an event loop is already running here;"
            " write `await llm_latency.measure_async(...)` with the same arguments"
        )
    try:
        with asyncio.Runner() as runner, tapped(recording.modules):
            while (stage := recording.next_stage()) is not None:
                with recording.watch() as watch:
                    _finish(target(), runner, watch)
                recording.add(stage, watch)
    except BaseException as error:
        recording.attach_to(error)
        raise
    return recording.measurement()


async def measure_async(
    target: Callable[[], object],
    *,
    name: str | None = None,
    repeat: int | None = None,
    warmup: int | None = None,
    budget: Budgets = None,
    time_budget: float | None = None,
    precision: float = 0.03,
    workload: Mapping[str, Any] | None = None,
    on_progress: Listener | None = None,
    clock: Clock | None = None,
    device: Device | None = None,
) -> Measurement:
    """Measure a coroutine function, or one that gives an asynchronous token stream, on the running event loop.

    Arguments and errors as in `measure`.
    """
    recording = _start(
        target,
        name,
        make_plan(repeat=repeat, warmup=warmup, budget=budget, time_budget=time_budget, precision=precision),
        workload,
        on_progress,
        clock,
        device,
    )
    try:
        with tapped(recording.modules):
            while (stage := recording.next_stage()) is not None:
                with recording.watch() as watch:
                    await _finish_async(target())
                recording.add(stage, watch)
    except BaseException as error:
        recording.attach_to(error)
        raise
    return recording.measurement()


class timed:  # noqa: N801  # reads as a verb: with timed("chat") as t
    """Watch a block once: `with timed("chat") as t: ...`, then `t.measurement`.

    `modules` are torch modules beside transformers' own whose forwards count. Inside an exception the
    measurement holds what there was, with `complete` False.
    """

    def __init__(
        self,
        name: str = "block",
        *,
        budget: Budgets = None,
        workload: Mapping[str, Any] | None = None,
        modules: Iterable[object] = (),
        clock: Clock | None = None,
        device: Device | None = None,
    ) -> None:
        """Prepare; raises UsageError for a budget that cannot be read."""
        plan = make_plan(repeat=1, warmup=0, budget=budget)
        self._recording = Recording(
            name, plan=plan, workload=workload, clock=clock, device=device, modules=modules, on_progress=None
        )
        self._watch = self._recording.watch()
        self._measurement: Measurement | None = None

    def __enter__(self) -> Self:
        """Start watching."""
        if self._watch.trace is not None:
            self._watch = self._recording.watch()
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching; the block's exception goes on with its measurement attached."""
        self._watch.__exit__(kind, error, traceback)
        if self._watch.trace is None:
            return
        self._recording.sampling.traces.clear()
        self._recording.sampling.stopped_because = None
        self._recording.add("counted", self._watch)
        self._recording.sampling.stopped_because = "one call"
        self._measurement = self._recording.measurement(interrupted_by=error)
        if error is not None:
            error.llm_latency_measurement = self._measurement  # type: ignore[attr-defined]  # documented

    @property
    def measurement(self) -> Measurement:
        """What was seen; raises ObservationError while the block is still running."""
        if self._measurement is None:
            self._watch.ended()
        assert self._measurement is not None
        return self._measurement


def _start(
    target: Callable[[], object],
    name: str | None,
    plan: Plan,
    workload: Mapping[str, Any] | None,
    on_progress: Listener | None,
    clock: Clock | None,
    device: Device | None,
) -> Recording:
    if not callable(target):
        raise UsageError(
            f"{type(target).__name__} is not callable; measure takes a function without arguments, such as"
            " `lambda: model.generate(**inputs)`"
        )
    return Recording(
        name or name_of(target),
        plan=plan,
        workload=workload,
        clock=clock,
        device=device,
        modules=modules_in(_reachable(target)),
        on_progress=on_progress,
    )


def name_of(target: object) -> str:
    """A name for a callable: its own, that of what a partial holds, or its class's."""
    inner = getattr(target, "func", target)
    return str(getattr(inner, "__name__", None) or type(target).__name__).strip("<>")


def _reachable(target: Any) -> Iterable[object]:
    """What a callable can name: itself, the object it is bound to, a partial's arguments, its closure and globals."""
    yield target
    yield getattr(target, "__self__", None)
    inner = getattr(target, "func", None)
    if inner is not None:
        yield from _reachable(inner)
        yield from getattr(target, "args", ())
        yield from getattr(target, "keywords", {}).values()
    for cell in getattr(target, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    code, scope = getattr(target, "__code__", None), getattr(target, "__globals__", {})
    yield from (scope[name] for name in getattr(code, "co_names", ()) if name in scope)
    yield from getattr(target, "__defaults__", None) or ()


def _is_async(target: object) -> bool:
    inner = getattr(target, "func", target)
    call = getattr(inner, "__call__", None)
    return any(check(f) for f in (inner, call) for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction))


def _in_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _finish(result: object, runner: asyncio.Runner, watch: Watch) -> None:
    """Do the work that a call has only promised: await it, or take a token stream to its end."""
    if inspect.iscoroutine(result) or inspect.isasyncgen(result) or inspect.isawaitable(result):
        if _in_running_loop():
            if inspect.iscoroutine(result):
                result.close()
            raise UsageError(
                f"{watch.name!r} returned something to await and an event loop is already running here;"
                " write `await llm_latency.measure_async(...)` with the same arguments"
            )
        runner.run(_finish_async(result))
    else:
        _finish_stream(result)


async def _finish_async(result: Any) -> None:
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__aiter__"):
        async for _ in stream_async(result):
            pass
    else:
        _finish_stream(result)


def _finish_stream(result: Any) -> None:
    if inspect.isgenerator(result):
        if inspect.getgeneratorstate(result) != inspect.GEN_CREATED:
            raise ObservationError(
                "the call returned a generator that had already started; make a new one in each call"
            )
        for _ in stream(result):
            pass
    elif type(result).__name__.endswith("IteratorStreamer"):
        for _ in result:
            pass
    elif is_lazy(result):
        raise ObservationError(
            f"the call returned a {type(result).__name__}, which has run nothing yet: its time would be that of"
            " making it. Time its consumption, such as `lambda: list(...)`, or pass a token stream through"
            " `llm_latency.stream(...)`"
        )


def _observed(trace: Trace | None) -> dict[str, Any]:
    """What one call was seen to do, as facts of the workload."""
    if trace is None:
        return {}
    kinds = sorted({request.kind for request in trace.requests})
    facts: dict[str, Any] = {"requests": len(trace.requests), "kinds": kinds}
    models = sorted({request.model for request in trace.requests if request.model})
    facts |= {"models": models} if models else {}
    for field in ("rows", "prompt_tokens", "new_tokens"):
        if (value := getattr(trace, field)) is not None:
            facts[field] = value
    return {"observed": facts}


def _warnings(traces: tuple[Trace, ...], environment: Environment) -> tuple[str, ...]:
    found = list(environment.warnings)
    if len({trace.done_work() for trace in traces}) > 1:
        counts = sorted({trace.new_tokens or 0 for trace in traces})
        found.append(
            f"new tokens a call vary from {counts[0]} to {counts[-1]}: compare tpot and itl, not e2e, or fix the"
            " length with min_new_tokens and max_new_tokens"
        )
    notes = {note for trace in traces for request in trace.requests for note in request.notes}
    notes |= {f"{a.kind}: {a.detail}" for trace in traces for a in trace.annotations}
    return (*found, *sorted(notes))
