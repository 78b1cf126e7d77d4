"""Values whose work has not run."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llm_latency.core.trace import Request, Trace
from llm_latency.notebook.promise import noted, promise, unrun


def tokens() -> Iterator[int]:
    """A token stream."""
    yield 1
    yield 2


async def tokens_async() -> AsyncIterator[int]:
    """An asynchronous token stream."""
    yield 1


class PipelineIterator:
    """Named as transformers' own, which has no `__next__` before `iter`."""


@pytest.mark.parametrize("value", [None, 1, "text", [1], {}, range(3), io.StringIO("a"), tokens, tokens_async])
def test_most_values_are_what_they_are(value: object) -> None:
    """Neither containers nor functions nor files promise anything."""
    assert promise(value) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (tokens(), "a generator, which has run nothing yet"),
        (map(str, [1]), "a map, which"),
        (iter([1]), "a list_iterator, which"),
        (enumerate([1]), "an enumerate, which"),
        (tokens_async(), "an async_generator, which"),
        (PipelineIterator(), "a PipelineIterator, which"),
    ],
)
def test_an_iterator_is_a_promise_and_is_left_alone(value: Any, words: str) -> None:
    """The words name its type; asking consumes nothing."""
    assert words in str(promise(value))
    assert words in str(promise(value))


def test_a_generator_that_has_begun_is_no_promise() -> None:
    """Some of its work has run, and it is not known how much."""
    stream = tokens()
    next(stream)
    assert promise(stream) is None


def test_a_coroutine_has_run_nothing_until_it_is_awaited() -> None:
    """Its creation takes microseconds, its work does not."""

    async def work() -> None: ...

    coroutine = work()
    assert "await" in str(promise(coroutine))
    coroutine.close()
    assert promise(coroutine) is None


def test_a_task_is_a_promise_until_it_is_done() -> None:
    """A task that still runs would be timed by its creation."""

    async def both() -> tuple[str | None, str | None]:
        task = asyncio.create_task(asyncio.sleep(0))
        before = promise(task)
        await task
        return before, promise(task)

    before, after = asyncio.run(both())
    assert "a Task that is still running" in str(before)
    assert after is None


CALL = Trace(start_ns=0, stop_ns=9, requests=(Request(kind="call", start_ns=0, stop_ns=9),))
GENERATE = Trace(start_ns=0, stop_ns=9, requests=(Request(kind="generate", start_ns=0, stop_ns=9),))


def test_a_call_that_promises_says_so() -> None:
    """The note stays with the trace, at its end."""
    trace = noted(CALL, tokens())
    assert [("lazy", 9)] == [(note.kind, note.at_ns) for note in trace.annotations]
    assert "the value is a generator" in str(unrun(trace))


def test_a_call_without_a_promise_stays_itself() -> None:
    """No note and no doubt."""
    assert CALL is noted(CALL, 5)
    assert unrun(CALL) is None


def test_a_call_in_which_a_model_ran_has_times() -> None:
    """A generator as its value does not undo what was seen; the note warns."""
    trace = noted(GENERATE, tokens())
    assert unrun(trace) is None
    assert 1 == len(trace.annotations)
