"""Seeing token streams: passing an iterator's items through and stamping each; not where the items come from."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeVar

from llm_latency.core.trace import Request
from llm_latency.record.observe.attribution import open_request
from llm_latency.record.observe.log import RequestLog

Item = TypeVar("Item")


def stream(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of a token stream, one emission each; a request from its first `next` to its end.

    Outside of a watch the items only pass through.
    """
    request = open_request("stream", count_stream)
    try:
        for item in items:
            if request is not None:
                request.fire(1, text=item)
            yield item
    except Exception as error:
        if request is not None:
            request.failed(error)
        raise
    finally:
        if request is not None:
            request.end()


async def stream_async(items: AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Yield the items of an asynchronous token stream, one emission each."""
    request = open_request("stream", count_stream)
    try:
        async for item in items:
            if request is not None:
                request.fire(1, text=item)
            yield item
    except Exception as error:
        if request is not None:
            request.failed(error)
        raise
    finally:
        if request is not None:
            request.end()


def count_stream(log: RequestLog) -> Request:
    """Make the Request of a stream; what an item holds is not looked at, so each counts as one token."""
    emissions = tuple((instant, 1) for instant, *_ in log.fires)
    log.marks = [mark for *_, mark in log.fires]
    return Request(
        kind="stream",
        start_ns=log.start_ns,
        stop_ns=log.stop_ns if log.stop_ns is not None else log.now_ns(),
        emissions=emissions,
        rows=1,
        row_tokens=(len(emissions),),
        token_source="chunks",
        thread=log.thread,
        notes=(*log.notes, "each item of the stream counts as one token"),
    )
