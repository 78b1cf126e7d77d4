"""measure(): running a callable again and again, unchanged; not when sampling stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.errors import UsageError
from llm_latency.record.clock import Clock
from llm_latency.record.devices.device import Device
from llm_latency.record.observe.forward import modules_in
from llm_latency.record.observe.taps import tapped
from llm_latency.record.recording import Recording
from llm_latency.record.sampling import Budgets, Listener, Pace, Plan, make_plan
from llm_latency.record.target import finish, finish_async, in_running_loop, is_async, name_of, reachable
from llm_latency.record.view import View


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
    view: View | None = None,
    clock: Clock | None = None,
    device: Device | None = None,
    pace: Pace | None = None,
) -> Measurement:
    """Run a callable again and again, unchanged, and measure the model calls inside it.

    With `repeat`: one cold call, the warm-up, exactly that many counted calls; `warmup=0` runs those and nothing
    else. Without: until the 95 % interval of the median is within `precision` (a share of it), every limit in
    `budget` (text such as "ttft p95 < 250 ms") is decided, or `time_budget` seconds have passed. Coroutine
    functions are awaited and generators consumed as token streams, an emission an item. `view` shows the calls while
    they run and the result when they have, such as `llm_latency.live()`. `pace` takes the place of all rules of when to
    stop: a gate's conductor.

    Raises UsageError for arguments that do not fit, ObservationError where nothing could be timed rightly. What
    the callable raises goes on, with the calls so far as its `llm_latency_measurement`.
    """
    plan = make_plan(repeat=repeat, warmup=warmup, budget=budget, time_budget=time_budget, precision=precision)
    recording = _start(
        target,
        name=name,
        plan=plan,
        workload=workload,
        on_progress=on_progress,
        view=view,
        clock=clock,
        device=device,
        pace=pace,
    )
    if in_running_loop() and is_async(target):
        raise UsageError(
            f"{recording.name!r} is asynchronous and an event loop is already running here;"
            " write `await llm_latency.measure_async(...)` with the same arguments"
        )
    try:
        with closing(asyncio.Runner(loop_factory=asyncio.new_event_loop)) as runner, tapped(recording.modules):
            while (stage := recording.next_stage()) is not None:
                with recording.watch() as watch:
                    finish(target(), runner, name=recording.name)
                recording.add(stage, watch)
    except BaseException as error:
        recording.attach_to(error)
        raise
    return recording.finish()


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
    view: View | None = None,
    clock: Clock | None = None,
    device: Device | None = None,
    pace: Pace | None = None,
) -> Measurement:
    """Measure a coroutine function, or one that gives an asynchronous token stream, on the running event loop.

    Arguments and errors as in `measure`.
    """
    plan = make_plan(repeat=repeat, warmup=warmup, budget=budget, time_budget=time_budget, precision=precision)
    recording = _start(
        target,
        name=name,
        plan=plan,
        workload=workload,
        on_progress=on_progress,
        view=view,
        clock=clock,
        device=device,
        pace=pace,
    )
    try:
        with tapped(recording.modules):
            while (stage := recording.next_stage()) is not None:
                with recording.watch() as watch:
                    await finish_async(target())
                recording.add(stage, watch)
    except BaseException as error:
        recording.attach_to(error)
        raise
    return recording.finish()


def _start(
    target: Callable[[], object],
    *,
    name: str | None,
    plan: Plan,
    workload: Mapping[str, Any] | None,
    on_progress: Listener | None,
    view: View | None,
    clock: Clock | None,
    device: Device | None,
    pace: Pace | None,
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
        modules=modules_in(reachable(target)),
        on_progress=on_progress,
        view=view,
        pace=pace,
    )
