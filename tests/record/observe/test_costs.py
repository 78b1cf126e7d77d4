"""What requests computed and read, against the costs of their model; and where nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import bert, gpt2, llama, mamba, prompt, rwkv, t5  # noqa: E402  # after the skip
from oracle import watched  # noqa: E402

from llm_latency.core.architecture import read_architecture  # noqa: E402
from llm_latency.record.timed import timed  # noqa: E402


@pytest.mark.parametrize("make", [gpt2, llama, t5, mamba])
def test_a_generate_has_its_prefill_and_a_middle_step(make: Any) -> None:
    """Of all rows; nine tokens have their middle step behind the fourth."""
    model = make()
    request, _, _ = watched(model, inputs=prompt(3, 10), max_new_tokens=9)
    architecture = read_architecture(model.config.to_dict())
    assert architecture.prefill(10, batch=3).flops == request.prefill_flops
    assert architecture.step(10, index=4, batch=3, width=4).bytes == request.step_bytes


def test_narrow_weights_are_fewer_bytes() -> None:
    """Half as many in 16 bits."""
    model = gpt2(seed=7).to(torch.bfloat16)
    try:
        request, _, _ = watched(model, inputs=prompt(1, 10), max_new_tokens=9)
    finally:
        model.to(torch.float32)
    wide, _, _ = watched(model, inputs=prompt(1, 10), max_new_tokens=9)
    assert (wide.prefill_flops, wide.step_bytes) == (request.prefill_flops, 2 * (request.step_bytes or 0))


def test_one_token_has_no_step() -> None:
    """Its prefill is all there is."""
    request, _, _ = watched(rwkv(), inputs=prompt(1, 10), max_new_tokens=1)
    assert request.prefill_flops is not None
    assert request.step_bytes is None


def test_an_encoders_forward_is_a_prefill() -> None:
    """As a whole."""
    model = bert()
    ids = prompt(2, 10)
    with timed("encode") as t, torch.inference_mode():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    (request,) = t.measurement.traces[0].requests
    assert read_architecture(model.config.to_dict()).prefill(10, batch=2).flops == request.prefill_flops


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"num_return_sequences": 2, "do_sample": True},
        {"prompt_lookup_num_tokens": 3},
        {"use_cache": False},
    ],
    ids=str,
)
def test_other_work_than_the_counts_say_has_no_cost(options: dict[str, Any]) -> None:
    """Beams, several answers, guesses of several tokens, and everything computed again at each step."""
    ids = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]]) if "prompt_lookup_num_tokens" in options else prompt(1, 10)
    request, _, _ = watched(gpt2(), inputs=ids, max_new_tokens=9, **options)
    if all(positions == 1 for _, positions in request.emissions) and "prompt_lookup_num_tokens" in options:
        pytest.skip("no guess was right")
    assert (None, None) == (request.prefill_flops, request.step_bytes)


def test_a_prompt_of_unlike_rows_has_none() -> None:
    """Three tokens of two rows are no length."""
    ids = prompt(2, 10)
    mask = torch.ones_like(ids)
    mask[0, 0] = 0
    request, _, _ = watched(gpt2(), inputs=ids, attention_mask=mask, pad_token_id=0, max_new_tokens=3)
    assert 19 == request.prompt_tokens
    assert request.prefill_flops is None


def test_an_architecture_that_is_not_known_has_none() -> None:
    """And is measured all the same."""
    torch.manual_seed(0)
    config = transformers.XGLMConfig(
        num_layers=1, d_model=16, ffn_dim=16, attention_heads=2, vocab_size=120, max_position_embeddings=64
    )
    request, _, _ = watched(transformers.XGLMForCausalLM(config).eval(), inputs=prompt(1, 10), max_new_tokens=3)
    assert (3, None) == (request.new_tokens, request.prefill_flops)


@pytest.mark.filterwarnings("ignore")
def test_quantized_weights_tell_no_bytes() -> None:
    """They are of more than one width; the FLOPs are the same."""
    model = torch.ao.quantization.quantize_dynamic(llama(), {torch.nn.Linear}, dtype=torch.qint8)
    request, _, _ = watched(model, inputs=prompt(1, 10), max_new_tokens=3)
    assert request.prefill_flops is not None
    assert request.step_bytes is None
