"""A target that is called: its name, the modules it can reach, and the work that its result only promises.

Not how often it is called.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Iterable
from typing import Any

from llm_latency.errors import ObservationError, UsageError
from llm_latency.record.observe.phases import is_lazy
from llm_latency.record.observe.stream import stream, stream_async


def name_of(target: object) -> str:
    """A name for a callable: its own, that of what a partial holds, or its class's."""
    inner = getattr(target, "func", target)
    return str(getattr(inner, "__name__", None) or type(inner).__name__).strip("<>")


def reachable(target: Any) -> Iterable[object]:
    """What a callable can name: itself, the object it is bound to, a partial's arguments, its closure and globals."""
    yield target
    yield getattr(target, "__self__", None)
    inner = getattr(target, "func", None)
    if inner is not None:
        yield from reachable(inner)
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


def is_async(target: object) -> bool:
    """Whether calling the target only makes a coroutine or an asynchronous generator."""
    inner = getattr(target, "func", target)
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(is_kind(function) for function in (inner, type(inner).__call__) for is_kind in kinds)


def in_running_loop() -> bool:
    """Whether this thread is inside an event loop, which cannot be entered twice."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def finish(result: object, runner: asyncio.Runner, *, name: str) -> None:
    """Do the work that a call has only promised: await it, or take a token stream to its end."""
    if inspect.isawaitable(result) or hasattr(result, "__aiter__"):
        if in_running_loop():
            if inspect.iscoroutine(result):
                result.close()
            raise UsageError(
                f"{name!r} returned something to await and an event loop is already running here;"
                " write `await llm_latency.measure_async(...)` with the same arguments"
            )
        # The runner's own context is older than the watch, and what runs in it would belong to none.
        runner.run(finish_async(result), context=contextvars.copy_context())
    else:
        _finish_stream(result)


async def finish_async(result: Any) -> None:
    """Do the work that a call has only promised, on the running event loop."""
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
