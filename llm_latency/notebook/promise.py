"""Values that are promises: nothing of their work has run, so their making must not be taken for it."""

from __future__ import annotations

import inspect
import io
import sys
from typing import Any

import msgspec

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation, Trace
from llm_latency.record.observe.phases import is_lazy


def promise(value: object) -> str | None:
    """Say what a value is that has run nothing yet and what to write instead, or None; nothing is consumed."""
    kind = type(value).__name__
    if inspect.iscoroutine(value):
        created = inspect.getcoroutinestate(value) == inspect.CORO_CREATED
        return "a coroutine, which has run nothing yet: write `await` before it" if created else None
    # Where nobody has imported asyncio there is no future; its import takes 17 ms.
    asyncio: Any = sys.modules.get("asyncio")
    future: Any = value
    if asyncio is not None and asyncio.isfuture(future):
        return None if future.done() else f"a {kind} that is still running: write `await` before it"
    if hasattr(value, "__anext__"):
        return f"{_a(kind)}, which has run nothing yet: take its items in the cell, such as `[x async for x in ...]`"
    if inspect.isgenerator(value) and inspect.getgeneratorstate(value) != inspect.GEN_CREATED:
        return None
    if is_lazy(value) and not isinstance(value, io.IOBase):
        return f"{_a(kind)}, which has run nothing yet: take its items in the cell, such as `list(...)`"
    return None


def noted(trace: Trace, value: object) -> Trace:
    """The trace, with a note where the call's value is a promise."""
    words = promise(value)
    if words is None:
        return trace
    note = Annotation(kind="lazy", at_ns=trace.stop_ns, detail=f"the value is {words}")
    return msgspec.structs.replace(trace, annotations=(*trace.annotations, note))


def unrun(trace: Trace) -> str | None:
    """Why a call's time says nothing: its result is a promise, and no model was seen to run; else None."""
    if any(request.kind != "call" for request in trace.requests):
        return None
    return next((note.detail for note in trace.annotations if note.kind == "lazy"), None)


def unrun_measurement(measurement: Measurement) -> str | None:
    """Why a measurement's times say nothing, or None."""
    calls = (*((measurement.cold,) if measurement.cold else ()), *measurement.warmup, *measurement.traces)
    return next((words for trace in calls if (words := unrun(trace)) is not None), None)


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
