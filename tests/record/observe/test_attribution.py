"""Which watch sees what: nested, threaded, ambiguous, late imports, streams."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from llm_latency.errors import ObservationError
from llm_latency.record.measure import measure
from llm_latency.record.observe.stream import stream, stream_async
from llm_latency.record.timed import timed


def test_a_nested_watch_and_its_outer_one_both_see_the_request() -> None:
    """What the inner block did is part of the outer block."""
    with timed("outer") as outer:
        list(stream(iter("ab")))
        with timed("inner") as inner:
            list(stream(iter("abc")))
    assert [(3,)] == [request.row_tokens for request in inner.measurement.traces[0].requests]
    assert [(2,), (3,)] == [request.row_tokens for request in outer.measurement.traces[0].requests]


def test_a_thread_belongs_to_the_innermost_open_watch() -> None:
    """A thread of the user's has no watch of its own in its context."""
    with timed("outer") as outer, timed("inner") as inner:
        thread = threading.Thread(target=lambda: list(stream(iter("abcd"))))
        thread.start()
        thread.join()
    for t in (outer, inner):
        assert [(4,)] == [request.row_tokens for request in t.measurement.traces[0].requests]


def test_each_thread_with_a_watch_of_its_own_sees_its_own() -> None:
    """Two watches in two threads at once do not mix."""
    barrier = threading.Barrier(2)
    seen: dict[str, object] = {}

    def work(text: str) -> None:
        with timed(text) as t:
            barrier.wait(10)
            list(stream(iter(text)))
            barrier.wait(10)
        seen[text] = [request.row_tokens for request in t.measurement.traces[0].requests]

    threads = [threading.Thread(target=work, args=(text,)) for text in ("ab", "abcde")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"ab": [(2,)], "abcde": [(5,)]} == seen


def test_a_third_thread_beside_two_open_watches_is_refused_in_words() -> None:
    """It cannot be known whose it is: both watches say so, naming each other."""
    opened, go_on = threading.Event(), threading.Event()
    errors: list[str] = []

    def other() -> None:
        try:
            with timed("second"):
                opened.set()
                go_on.wait(10)
        except ObservationError as error:
            errors.append(str(error))

    watcher = threading.Thread(target=other)
    watcher.start()
    opened.wait(10)
    try:
        with pytest.raises(ObservationError, match="'second', 'first'"), timed("first"):
            stranger = threading.Thread(target=lambda: list(stream(iter("ab"))), name="stranger")
            stranger.start()
            stranger.join()
    finally:
        go_on.set()
        watcher.join()
    assert 1 == len(errors)
    assert "thread 'stranger' ran a model while" in errors[0]


def test_tasks_on_one_loop_keep_their_watches_apart() -> None:
    """Two tasks that take turns in one thread each see their own stream."""

    async def items(text: str) -> AsyncIterator[str]:
        for character in text:
            await asyncio.sleep(0)
            yield character

    async def work(text: str) -> object:
        with timed(text) as t:
            async for _ in stream_async(items(text)):
                pass
        return [request.row_tokens for request in t.measurement.traces[0].requests]

    async def both() -> list[object]:
        return await asyncio.gather(work("ab"), work("abcde"))

    assert [[(2,)], [(5,)]] == asyncio.run(both())


def test_a_thread_from_to_thread_belongs_to_its_task() -> None:
    """asyncio.to_thread carries the context, so the watch is known."""

    async def work(text: str) -> object:
        with timed(text) as t:
            await asyncio.to_thread(lambda: list(stream(iter(text))))
        return [request.row_tokens for request in t.measurement.traces[0].requests]

    async def both() -> list[object]:
        return await asyncio.gather(work("ab"), work("abcde"))

    assert [[(2,)], [(5,)]] == asyncio.run(both())


def test_a_stream_outside_of_a_watch_only_passes_through() -> None:
    """Without a watch the items come as they are."""
    assert ["a", "b"] == list(stream(iter("ab")))


def test_two_streams_in_one_call_are_two_requests() -> None:
    """One after another, each from its first next to its end."""

    def both() -> None:
        list(stream(iter("ab")))
        list(stream(iter("abc")))

    trace = measure(both, repeat=1, warmup=0).traces[0]
    assert [(2,), (3,)] == [request.row_tokens for request in trace.requests]


def test_a_stream_that_is_left_early_ends_where_it_was_left() -> None:
    """Breaking out of the loop closes the request; what came is kept."""

    def run() -> None:
        items = stream(iter("abcdef"))
        for item in items:
            if item == "c":
                break
        items.close()  # type: ignore[attr-defined]  # a generator

    (request,) = measure(run, repeat=1, warmup=0).traces[0].requests
    assert (3,) == request.row_tokens


def test_a_call_in_which_nothing_is_recognised_is_one_request_of_kind_call() -> None:
    """End to end only: no tokens, no ttft."""
    measurement = measure(lambda: sum(range(100)), repeat=2, warmup=0)
    assert ["call"] == [request.kind for request in measurement.traces[0].requests]
    assert measurement.e2e.n == 2
    assert not measurement.ttft
    assert measurement.ttft.p50 is None


LATE_IMPORT = """
import sys
from llm_latency import timed

assert "transformers" not in sys.modules
with timed("late") as t:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=50, eos_token_id=None, bos_token_id=1)
    model = GPT2LMHeadModel(config).eval()
    model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, pad_token_id=0)
request, = t.measurement.traces[0].requests
print(request.kind, request.prompt_tokens, request.row_tokens, len(request.emissions))
from transformers import GenerationMixin
print(hasattr(GenerationMixin.generate, "__wrapped__") and "observe" in GenerationMixin.generate.__code__.co_filename)
print([finder for finder in sys.meta_path if "llm_latency" in type(finder).__module__])
"""


def test_transformers_imported_inside_the_block_is_observed_and_left_clean() -> None:
    """The watch is open before transformers exists in the process; nothing stays behind."""
    pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LATE_IMPORT)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ["generate 3 (4,) 4", "False", "[]"] == done.stdout.splitlines(), done.stderr


def test_watching_does_not_import_torch_or_transformers() -> None:
    """A user without them times any callable."""
    code = """import sys, llm_latency
llm_latency.measure(lambda: 1, repeat=2)
print({'torch', 'transformers'} & set(sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "set()" == done.stdout.strip(), done.stderr


def test_generators_inside_measure_are_token_streams() -> None:
    """A callable that returns a new generator each time is consumed, an emission an item."""

    def tokens() -> Iterator[str]:
        yield from "abcd"

    trace = measure(tokens, repeat=1, warmup=0).traces[0]
    assert [("stream", (4,), "chunks")] == [(r.kind, r.row_tokens, r.token_source) for r in trace.requests]
