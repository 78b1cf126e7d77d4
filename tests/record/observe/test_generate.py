"""Every decoding mode of transformers: requests, emissions, positions and tokens of each row, against itself."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import gpt2, llama, mamba, prompt, rwkv, t5  # noqa: E402  # after the skip
from oracle import watched  # noqa: E402

from llm_latency.record.observe.count import hashed  # noqa: E402
from llm_latency.record.timed import timed  # noqa: E402

VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])


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


class EndsFirstRow(transformers.StoppingCriteria):
    """Ends the first row after three tokens, whatever they are; the others go on."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """A row each."""
        ended = torch.zeros(input_ids.shape[0], dtype=torch.bool)
        ended[0] = input_ids.shape[1] >= 6 + 3
        return ended


def test_a_users_criterion_ends_one_row_of_a_batch() -> None:
    """Its tokens are counted up to there, by what the criterion said and not by any token."""
    with timed("case") as t:
        gpt2().generate(prompt(2, 6), max_new_tokens=7, stopping_criteria=[EndsFirstRow()], pad_token_id=0)
    (request,) = t.measurement.traces[0].requests
    assert ((3, 7), 7) == (request.row_tokens, len(request.emissions))


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


def test_the_output_is_the_hash_of_the_generated_tokens() -> None:
    """The same for the same tokens of all rows, and another for others; without the prompt and what pads a row."""
    first, _, output = watched(gpt2(), inputs=prompt(2, 10), max_new_tokens=6)
    again, _, _ = watched(gpt2(), inputs=prompt(2, 10), max_new_tokens=6)
    longer, _, _ = watched(gpt2(), inputs=prompt(2, 10), max_new_tokens=7)
    assert hashed(output[:, 10:].tolist()) == first.output == again.output
    assert first.output != longer.output
    assert hashed([[1, 2], [3]]) != hashed([[1], [2, 3]])
    # The second row has ended where it has an end, and its padding is no answer.
    end = output[1, 12].item()
    request, _, cut = watched(gpt2(), inputs=prompt(2, 10), max_new_tokens=6, eos_token_id=end, pad_token_id=0)
    rows = [row[: row.index(end) + 1] if end in row else row for row in cut[:, 10:].tolist()]
    assert hashed(rows) == request.output
