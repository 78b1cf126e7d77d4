"""A target's name, what it can reach, and whether calling it only makes a promise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from llm_latency.record.target import is_async, name_of, reachable
from llm_latency.testing import ManualClock, ScriptedModel


class Chat:
    """A callable object."""

    def __call__(self) -> None:
        """Answer."""

    def method(self) -> None:
        """Answer by name."""


class AsyncChat:
    """A callable object whose call is a coroutine."""

    async def __call__(self) -> None:
        """Answer, awaited."""


def function() -> None:
    """A function."""


async def coroutine() -> None:
    """A coroutine function."""


def promising() -> Coroutine[None, None, None]:
    """A function whose result is to be awaited."""
    return coroutine()


async def tokens() -> AsyncIterator[int]:
    """An asynchronous generator function."""
    yield 1


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (function, "function"),
        (lambda: None, "lambda"),
        (Chat().method, "method"),
        (Chat(), "Chat"),
        (Chat, "Chat"),
        (partial(function), "function"),
        (partial(partial(function)), "function"),
        (partial(Chat()), "Chat"),
        (ScriptedModel(ManualClock()).stream, "stream"),
        (len, "len"),
    ],
)
def test_a_callable_has_a_name(target: Callable[[], object], expected: str) -> None:
    """Its own, that of what a partial holds, or its class's; without the brackets of a lambda."""
    assert expected == name_of(target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (function, False),
        (Chat(), False),
        (partial(function), False),
        (len, False),
        (coroutine, True),
        (tokens, True),
        (partial(coroutine), True),
        (AsyncChat(), True),
        (partial(AsyncChat()), True),
        (ScriptedModel(ManualClock()).stream_async, True),
        (promising, False),  # only its result shows it
    ],
)
def test_a_promise_is_known_before_the_call(target: Callable[[], object], expected: bool) -> None:
    """Where the function, or a callable object's method, says so."""
    assert expected == is_async(target)


MODEL = object()
OTHER = object()


def test_a_target_reaches_what_it_can_name() -> None:
    """Where a model may be: the bound object, a partial's arguments, the closure, globals and defaults."""
    chat, inside = Chat(), object()
    late: Any

    def closure(default: object = OTHER) -> object:
        return (inside, default, late)  # late is an empty cell: it is assigned below, and not yet

    def global_name() -> object:
        return MODEL

    assert chat in list(reachable(chat.method))
    assert chat in list(reachable(chat))
    assert {MODEL, OTHER, function} <= set(reachable(partial(function, MODEL, key=OTHER)))
    assert {inside, OTHER} <= set(reachable(closure))
    assert MODEL in set(reachable(global_name))
    assert OTHER not in list(reachable(global_name))
    late = None
    assert None in list(reachable(closure))
