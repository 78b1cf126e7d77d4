"""Every decoding mode of transformers: requests, emissions, positions and tokens of each row, against itself."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import VOCABULARY, gpt2, llama, mamba, prompt, rwkv, t5  # noqa: E402  # after the skip

from llm_latency.core.trace import Request, Trace  # noqa: E402
from llm_latency.record.measure import measure  # noqa: E402
from llm_latency.record.timed import timed  # noqa: E402

VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])


class Counting(transformers.StoppingCriteria):
    """The oracle: a user's criterion, which transformers evaluates once an emission."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Note the length, and end nothing."""
        self.lengths.append(input_ids.shape[1])
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def watched(model: Any, **arguments: Any) -> tuple[Request, Counting, Any]:
    """Run generate once under a watch with the oracle among the user's criteria."""
    oracle = Counting()
    with timed("case") as t:
        output = model.generate(stopping_criteria=transformers.StoppingCriteriaList([oracle]), **arguments)
    (request,) = t.measurement.traces[0].requests
    return request, oracle, output


MODES: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 9},
    "sampling": {"max_new_tokens": 9, "do_sample": True},
    "beams": {"max_new_tokens": 9, "num_beams": 3},
    "beam sampling": {"max_new_tokens": 9, "num_beams": 3, "do_sample": True},
    "static cache": {"max_new_tokens": 9, "cache_implementation": "static", "disable_compile": True},
    "chunked prefill": {"max_new_tokens": 9, "prefill_chunk_size": 4},
    "no cache": {"max_new_tokens": 9, "use_cache": False},
    "one token": {"max_new_tokens": 1},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [gpt2, llama])
def test_each_mode_on_a_batch_of_decoders(make: Any, mode: str) -> None:
    """One request; an emission a position; each row has all its tokens, whatever the mode."""
    if mode == "chunked prefill" and VERSION < (5, 1):
        pytest.skip("transformers 5.0 chunks a prompt only into a cache that the caller made")
    new = MODES[mode]["max_new_tokens"]
    request, oracle, output = watched(make(), inputs=prompt(3, 10), **MODES[mode])
    assert (3, 10 + new) == tuple(output.shape)
    assert len(oracle.lengths) == len(request.emissions)
    assert [1] * new == [k for _, k in request.emissions]
    assert (new,) * 3 == request.row_tokens
    assert (3, 30) == (request.rows, request.prompt_tokens)
    assert ("length",) * 3 == request.finish_reasons
    assert "ids" == request.token_source


@pytest.mark.parametrize("make", [t5, mamba, rwkv])
def test_other_architectures(make: Any) -> None:
    """T5's start token is no token; Mamba and RWKV emit once a token too."""
    request, oracle, _ = watched(make(), inputs=prompt(2, 6), max_new_tokens=5)
    assert [1] * 5 == [k for _, k in request.emissions]
    assert 5 == len(oracle.lengths)
    assert ((5, 5), 2, 12) == (request.row_tokens, request.rows, request.prompt_tokens)


def test_t5_beams_return_fewer_rows_than_they_run() -> None:
    """Encoder-decoder beams: the returned sequence is the row, its padded beams are not."""
    request, oracle, _ = watched(t5(), inputs=prompt(2, 6), max_new_tokens=5, num_beams=4)
    assert ((5, 5), 2, 12) == (request.row_tokens, request.rows, request.prompt_tokens)
    assert len(oracle.lengths) == len(request.emissions)


@pytest.mark.parametrize(
    ("extra", "rows"),
    [({"do_sample": True, "num_return_sequences": 4}, 4), ({"num_beams": 3, "num_return_sequences": 2}, 2)],
)
def test_returned_sequences_are_the_rows(extra: dict[str, Any], rows: int) -> None:
    """num_return_sequences multiplies rows; the prompt is counted once."""
    request, _, output = watched(gpt2(), inputs=prompt(1, 10), max_new_tokens=6, **extra)
    assert (rows, 16) == tuple(output.shape)
    assert ((6,) * rows, rows, 10) == (request.row_tokens, request.rows, request.prompt_tokens)


def test_one_beam_search_that_returns_one_sequence_counts_its_tokens_once() -> None:
    """Twelve new tokens from width 3 are 12."""
    request, _, _ = watched(gpt2(), inputs=prompt(1, 10), max_new_tokens=12, num_beams=3)
    assert 12 == request.new_tokens


def test_prompt_lookup_emits_several_positions_at_once() -> None:
    """Fewer emissions than tokens; the positions add up to the tokens."""
    repeated = torch.tensor([[5, 6, 7, 8] * 6])
    request, oracle, output = watched(
        gpt2(), inputs=repeated, max_new_tokens=16, prompt_lookup_num_tokens=4, eos_token_id=2
    )
    new = output.shape[1] - 24
    assert (new,) == request.row_tokens
    assert new == request.positions
    # transformers 5.0 asks the criteria about the guesses too, before each emission.
    lengths = oracle.lengths if VERSION >= (5, 1) else oracle.lengths[1::2]
    assert lengths == [24 + sum(k for _, k in request.emissions[: i + 1]) for i in range(len(request.emissions))]


def test_assisted_decoding_does_not_count_the_draft() -> None:
    """The draft model's own generate runs inside: one request, only the main model's emissions."""
    request, oracle, output = watched(gpt2(), inputs=prompt(1, 10), max_new_tokens=12, assistant_model=gpt2(seed=1))
    # transformers 5.0 hands the user's criteria to the draft too, where they see its guesses.
    assert len(oracle.lengths) == len(request.emissions) or VERSION < (5, 1)
    assert (output.shape[1] - 10,) == request.row_tokens
    assert request.positions == sum(request.row_tokens)


def test_assisted_by_itself_accepts_drafts() -> None:
    """A draft that always agrees: fewer emissions than tokens."""
    request, oracle, _ = watched(gpt2(), inputs=prompt(1, 10), max_new_tokens=12, assistant_model=copy.deepcopy(gpt2()))
    assert (12,) == request.row_tokens
    assert len(oracle.lengths) == len(request.emissions) < 12 or VERSION < (5, 1)


def test_rows_of_a_left_padded_batch_end_at_their_own_eos() -> None:
    """Padding is not prompt; each row counts up to and including its first end of sequence."""
    ids, mask = prompt(3, 8), torch.ones(3, 8, dtype=torch.long)
    mask[0, :5] = 0
    ids[0, :5] = 0
    arguments = {"inputs": ids, "attention_mask": mask, "max_new_tokens": 24, "do_sample": True}
    torch.manual_seed(3)
    free = gpt2().generate(**arguments)[:, 8:].tolist()
    ends = [free[0][4], free[1][9]]
    # The oracle: the draws are the same until all rows have ended, so each row ends where an end first occurs.
    expected = tuple(next((i + 1 for i, token in enumerate(row) if token in ends), 24) for row in free)
    torch.manual_seed(3)
    request, oracle, _ = watched(gpt2(), eos_token_id=ends, **arguments)
    assert expected == request.row_tokens
    assert 8 * 3 - 5 == request.prompt_tokens
    assert max(expected) == len(request.emissions) == len(oracle.lengths)
    assert tuple("eos" if n < 24 or row[23] in ends else "length" for n, row in zip(expected, free, strict=True)) == (
        request.finish_reasons
    )


def test_the_first_eos_ends_a_row_when_it_is_also_the_padding() -> None:
    """Rows are filled with the same id that ended them; those fillings are not tokens."""
    torch.manual_seed(3)
    free = gpt2().generate(prompt(2, 8), max_new_tokens=12, do_sample=True)[:, 8:].tolist()
    end = free[0][2]
    expected = tuple(next((i + 1 for i, token in enumerate(row) if token == end), 12) for row in free)
    torch.manual_seed(3)
    request, _, _ = watched(
        gpt2(), inputs=prompt(2, 8), max_new_tokens=12, do_sample=True, eos_token_id=end, pad_token_id=end
    )
    assert expected == request.row_tokens


def test_a_users_criterion_that_ends_the_call_early_is_a_stop() -> None:
    """A row ended by another criterion than length or eos ends with reason `stop`."""

    class After(transformers.StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return torch.full((input_ids.shape[0],), input_ids.shape[1] >= 14, dtype=torch.bool)

    with timed("case") as t:
        gpt2().generate(prompt(2, 10), max_new_tokens=9, stopping_criteria=[After()])
    (request,) = t.measurement.traces[0].requests
    assert ((4, 4), ("stop", "stop"), 4) == (request.row_tokens, request.finish_reasons, len(request.emissions))


def test_inputs_embeds_return_only_new_tokens() -> None:
    """The prompt is embeddings: its length is counted, the output is all new."""
    ids = prompt(2, 7)
    embeds = llama().get_input_embeddings()(ids).detach()
    request, _, output = watched(llama(), inputs_embeds=embeds, max_new_tokens=5)
    assert (2, 5) == tuple(output.shape)
    assert ((5, 5), 14, 5) == (request.row_tokens, request.prompt_tokens, len(request.emissions))


def test_return_dict_in_generate_is_read_through_its_sequences() -> None:
    """Scores and caches come back to the user; counting looks at the ids."""
    request, _, output = watched(
        gpt2(), inputs=prompt(2, 7), max_new_tokens=5, return_dict_in_generate=True, output_scores=True
    )
    assert 5 == len(output.scores)
    assert ((5, 5), 14) == (request.row_tokens, request.prompt_tokens)


def test_a_users_cache_counts_as_cached_tokens() -> None:
    """A chat that goes on from a cache says how much of the prompt was in it."""
    # transformers renamed the argument in the course of version 5.
    name = "cache" if "cache" in inspect.signature(gpt2().forward).parameters else "past_key_values"
    cache = {name: transformers.DynamicCache(config=gpt2().config)}
    first = gpt2().generate(prompt(1, 8), max_new_tokens=4, **cache)
    with timed("second turn") as t:
        gpt2().generate(torch.cat([first, prompt(1, 5)], dim=1), max_new_tokens=4, **cache)
    (request,) = t.measurement.traces[0].requests
    assert (17, 11, (4,)) == (request.prompt_tokens, request.cached_tokens, request.row_tokens)


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
