"""Where generate is entered: taken before the watch, from threads, several at once, overridden, or left by an error."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import VOCABULARY, gpt2, prompt  # noqa: E402  # after the skip
from oracle import watched  # noqa: E402

from llm_latency.core.trace import Trace  # noqa: E402
from llm_latency.record.measure import measure  # noqa: E402
from llm_latency.record.timed import timed  # noqa: E402

VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])


def _trace(run: Any) -> Trace:
    with timed("case") as t:
        run()
    return t.measurement.traces[0]


def test_entries_taken_before_the_watch_count_like_a_direct_call() -> None:
    """A bound method, a partial of it, and a thread made earlier give what the direct call gives."""
    arguments = {"max_new_tokens": 7, "num_beams": 2}
    bound = gpt2().generate
    partial = functools.partial(gpt2().generate, prompt(2, 6), **arguments)
    thread = threading.Thread(target=gpt2().generate, args=(prompt(2, 6),), kwargs=arguments)

    def in_thread() -> None:
        thread.start()
        thread.join()

    (direct,) = _trace(lambda: gpt2().generate(prompt(2, 6), **arguments)).requests
    for run in (lambda: bound(prompt(2, 6), **arguments), partial, in_thread):
        (request,) = _trace(run).requests
        assert (direct.rows, direct.row_tokens, direct.prompt_tokens, len(direct.emissions)) == (
            request.rows,
            request.row_tokens,
            request.prompt_tokens,
            len(request.emissions),
        )
        assert request.start_ns < request.emissions[0][0] <= request.stop_ns


def test_measure_of_a_bound_method_sees_tokens() -> None:
    """measure(partial(model.generate, ...)) repeats with the same counts."""
    measurement = measure(functools.partial(gpt2().generate, prompt(1, 6), max_new_tokens=3), repeat=3, warmup=0)
    assert [(3,)] * 3 == [trace.requests[0].row_tokens for trace in measurement.traces]


def test_streaming_from_a_thread_is_the_generate_request() -> None:
    """The usual streaming idiom: the cell iterates, the thread generates, one request is seen."""
    tokenizer = _tokenizer()
    streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)
    pieces: list[str] = []

    def cell() -> None:
        work = threading.Thread(
            target=gpt2().generate, kwargs={"inputs": prompt(1, 6), "max_new_tokens": 5, "streamer": streamer}
        )
        work.start()
        pieces.extend(streamer)
        work.join()

    (request,) = _trace(cell).requests
    assert ("generate", (5,), 5) == (request.kind, request.row_tokens, len(request.emissions))
    assert pieces


def _tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(VOCABULARY)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w2"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, unk_token="w2", pad_token="w0")


def test_several_requests_in_a_call_are_each_their_own() -> None:
    """Two prompts one after another: two requests in order, the call has its own total."""

    def two() -> None:
        gpt2().generate(prompt(1, 6), max_new_tokens=3)
        gpt2().generate(prompt(1, 9), max_new_tokens=4)

    trace = _trace(two)
    assert [(6, (3,)), (9, (4,))] == [(r.prompt_tokens, r.row_tokens) for r in trace.requests]
    assert trace.requests[0].stop_ns <= trace.requests[1].start_ns
    assert 7 == trace.new_tokens


def test_overlapping_requests_in_two_threads_are_both_seen() -> None:
    """Two generates at once inside one watch belong to it, each with its own emissions."""

    def both() -> None:
        threads = [
            threading.Thread(target=gpt2().generate, args=(prompt(1, 6),), kwargs={"max_new_tokens": n})
            for n in (20, 30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert {(20,), (30,)} == {request.row_tokens for request in _trace(both).requests}


def test_a_users_streamer_criteria_processors_and_hooks_survive() -> None:
    """Everything of the user's is called as often as without the watch, and is still there afterwards."""
    seen = {"hook": 0, "processor": 0, "put": 0}

    class Streamer(transformers.generation.streamers.BaseStreamer):
        def put(self, value: Any) -> None:
            seen["put"] += 1

        def end(self) -> None:
            pass

    def processor(input_ids: Any, scores: Any) -> Any:
        seen["processor"] += 1
        return scores

    handle = gpt2().transformer.h[0].register_forward_hook(lambda *_: seen.__setitem__("hook", seen["hook"] + 1))
    arguments = {"inputs": prompt(1, 6), "max_new_tokens": 4, "logits_processor": [processor]}
    try:
        gpt2().generate(streamer=Streamer(), **arguments)
        bare = dict(seen)
        watched(gpt2(), streamer=Streamer(), **arguments)
    finally:
        handle.remove()
    assert {name: 2 * count for name, count in bare.items()} == seen


def test_the_output_is_the_same_with_and_without_a_watch() -> None:
    """Watching changes no token."""
    bare = gpt2().generate(prompt(2, 6), max_new_tokens=8)
    _, _, output = watched(gpt2(), inputs=prompt(2, 6), max_new_tokens=8)
    assert bare.tolist() == output.tolist()


def test_an_override_that_calls_generate_several_times_is_one_request() -> None:
    """Long-form Whisper and its like: sibling base calls inside an override join, also through a bound method."""

    class Chunked(transformers.GPT2LMHeadModel):
        def generate(self, inputs: Any, **kwargs: Any) -> Any:
            parts = [super(Chunked, self).generate(part, **kwargs) for part in inputs.split(4, dim=1)]
            return parts[-1]

    model = Chunked(gpt2().config).eval()
    model.generation_config.pad_token_id = 0
    bound = model.generate
    for run in (
        lambda: model.generate(prompt(1, 12), max_new_tokens=3),
        lambda: bound(prompt(1, 12), max_new_tokens=3),
    ):
        (request,) = _trace(run).requests
        assert (9, (9,)) == (len(request.emissions), request.row_tokens)


def test_a_custom_generate_function_is_seen_like_a_builtin_loop() -> None:
    """`custom_generate=callable` with a loop of its own that asks the criteria."""

    def loop(
        model: Any, input_ids: Any, stopping_criteria: Any, logits_processor: Any, generation_config: Any, **_: Any
    ) -> Any:
        while True:
            logits = model(input_ids).logits[:, -1]
            input_ids = torch.cat([input_ids, logits.argmax(-1, keepdim=True)], dim=1)
            if stopping_criteria(input_ids, None).all():
                return input_ids

    (request,) = _trace(lambda: gpt2().generate(prompt(1, 6), max_new_tokens=5, custom_generate=loop)).requests
    assert (5, (5,), 6) == (len(request.emissions), request.row_tokens, request.prompt_tokens)


def test_a_criteria_list_that_overrides_its_call_is_seen_once() -> None:
    """A list class of the user's own, made before the watch, fires once an emission."""

    class Mine(transformers.StoppingCriteriaList):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return super().__call__(input_ids, scores, **kwargs)

    def loop(model: Any, input_ids: Any, stopping_criteria: Any, **_: Any) -> Any:
        mine = Mine(stopping_criteria)
        while True:
            logits = model(input_ids).logits[:, -1]
            input_ids = torch.cat([input_ids, logits.argmax(-1, keepdim=True)], dim=1)
            if mine(input_ids, None).all():
                return input_ids

    (request,) = _trace(lambda: gpt2().generate(prompt(1, 6), max_new_tokens=5, custom_generate=loop)).requests
    assert [1] * 5 == [k for _, k in request.emissions]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_middle_keeps_what_was_seen_and_leaves_nothing_patched(error: type[BaseException]) -> None:
    """The partial call travels with the exception, and the classes are as before."""
    before = _patchable()

    def explode(input_ids: Any, scores: Any) -> Any:
        if input_ids.shape[1] >= 9:
            raise error("stop here")
        return scores

    with pytest.raises(error) as caught, timed("case"):
        gpt2().generate(prompt(1, 6), max_new_tokens=9, logits_processor=[explode])
    assert before == _patchable()
    measurement = caught.value.llm_latency_measurement  # type: ignore[attr-defined]  # documented
    (request,) = measurement.traces[0].requests
    assert (3, (3,), False) == (len(request.emissions), request.row_tokens, measurement.complete)
    assert (f"ended by {error.__name__}",) == request.notes


def _patchable() -> tuple[object, ...]:
    mixin = transformers.GenerationMixin
    return (
        mixin.__dict__["generate"],
        mixin.__dict__["_sample"],
        mixin.__dict__["_prepare_generation_config"],
        transformers.StoppingCriteriaList.__dict__["__call__"],
        "__call__" in transformers.PreTrainedModel.__dict__,
        transformers.PreTrainedModel.__dict__["from_pretrained"],
        transformers.PreTrainedTokenizerBase.__dict__["decode"],
    )


def test_nothing_is_patched_outside_of_a_watch() -> None:
    """The classes carry the taps inside, and their own functions before and after."""
    before = _patchable()
    with timed("case"):
        assert before != _patchable()
    assert before == _patchable()


def test_a_thread_that_outlives_its_watch_is_reported() -> None:
    """The watch ends with its block; the request that goes on is named."""
    started, release = threading.Event(), threading.Event()

    def wait(input_ids: Any, scores: Any) -> Any:
        started.set()
        release.wait(10)
        return scores

    thread = threading.Thread(
        target=gpt2().generate,
        args=(prompt(1, 6),),
        kwargs={"max_new_tokens": 2, "logits_processor": [wait]},
        name="late",
    )
    with timed("case") as t:
        thread.start()
        started.wait(10)
    release.set()
    thread.join()
    (note,) = (note for note in t.measurement.traces[0].annotations if note.kind == "thread")
    assert ("thread", "a request in thread 'late' was still running when the watch ended") == (note.kind, note.detail)
    assert "still running when the watch ended" in t.measurement.traces[0].requests[0].notes


def test_what_a_watch_puts_on_the_list_of_criteria_and_beside_its_clock() -> None:
    """The list keeps nothing when generate has returned; the clock stood still once, from the first emission on."""
    model, kept = gpt2(), []
    original = model._get_stopping_criteria

    def get(*args: Any, **kwargs: Any) -> Any:
        kept.append(original(*args, **kwargs))
        return kept[-1]

    model._get_stopping_criteria = get
    try:
        trace = _trace(lambda: model.generate(prompt(1, 6), max_new_tokens=5, pad_token_id=0))
    finally:
        del model._get_stopping_criteria
    assert {} == vars(kept[0])
    ((begin, end),) = trace.pauses
    assert begin == trace.requests[0].emissions[0][0] < end
