"""Configs as architectures: against torch's own counter on real models, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from llm_latency.core.architecture import read_architecture
from llm_latency.core.cost import Architecture
from llm_latency.errors import UsageError

_LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_GEMMA = _LLAMA | {"head_dim": 16, "sliding_window": 8}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_NEOX = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
_T5 = {"d_model": 32, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 16, "d_ff": 48}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 64,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
CONFIGS: dict[str, dict[str, Any]] = (
    dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "olmo2", "granite", "phi3", "smollm3"), _LLAMA)
    | dict.fromkeys(("gemma", "gemma2", "gemma3_text"), _GEMMA)
    | {
        "gpt2": _GPT2,
        "gpt_bigcode": _GPT2,
        "gptj": _GPT2 | {"rotary_dim": 4},
        "gpt_neo": {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
        },
        "gpt_neox": _NEOX,
        "phi": _NEOX,
        "starcoder2": _NEOX | {"num_key_value_heads": 2, "sliding_window": 8},
        "opt": {k: v for k, v in _NEOX.items() if k != "intermediate_size"}
        | {"ffn_dim": 48, "word_embed_proj_dim": 16},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "mamba": _MAMBA,
        "falcon_mamba": _MAMBA,
        "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 64},
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
        "t5": _T5 | {"decoder_start_token_id": 0},
        "mt5": _T5 | {"decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu"},
    }
    | dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT)
    | dict.fromkeys(("bart", "mbart", "marian", "pegasus", "m2m_100"), _BART)
)
TOKENS, BATCH = 12, 3


def described(kind: str) -> tuple[Any, Architecture, Any]:
    """A config, what is read from it, and the class of transformers that makes its model."""
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind], vocab_size=100)
    read = read_architecture(config.to_dict())
    automatic = {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModel,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }[read.kind]
    return config, read, automatic


def counted(call: Any) -> int:
    """FLOPs of a call by torch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CONFIGS)
def test_flops_are_those_that_torch_counts(kind: str) -> None:
    """Of the prefill and of three steps, with eager attention; a window of 8 is shorter than the prompt."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config, read, automatic = described(kind)
    eager = {} if kind in ("mamba", "falcon_mamba", "rwkv") else {"attn_implementation": "eager"}
    model = automatic.from_config(config, **eager).eval()
    # RWKV in transformers 5.24 mixes the rows of a batch in its steps: it computes rows × rows positions.
    batch = 1 if kind == "rwkv" else BATCH
    ids = torch.randint(4, 90, (batch, TOKENS))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if read.kind == "encoder":
        with torch.no_grad():
            assert read.prefill(TOKENS, batch=batch).flops == counted(lambda: model(**inputs))
        return
    model.generation_config.eos_token_id = model.generation_config.forced_eos_token_id = None
    totals = [
        counted(lambda n=n: model.generate(**inputs, max_new_tokens=n, do_sample=False, pad_token_id=0))
        for n in (1, 2, 3, 4)
    ]
    steps = [read.step(TOKENS, index=index, batch=batch).flops for index in (1, 2, 3)]
    assert [read.prefill(TOKENS, batch=batch).flops, *steps] == [
        totals[0],
        *(later - earlier for earlier, later in pairwise(totals)),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CONFIGS)
def test_rows_are_those_of_the_models_own_matrices(kind: str) -> None:
    """A linear layer has a row for each number that comes out, GPT-2's Conv1D one for each that goes in."""
    torch = pytest.importorskip("torch")
    config, read, automatic = described(kind)
    with torch.device("meta"):
        modules = automatic.from_config(config).modules()
    matrices = [
        module.weight.shape
        for module in modules
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    ]
    assert sum(rows for rows, _ in matrices) == read.prefill(1).weight_rows
    assert sum(rows * length for rows, length in matrices) == read.size


@pytest.mark.parametrize("field", ["num_local_experts", "num_experts", "n_routed_experts"])
def test_a_mixture_of_experts_is_refused_in_words(field: str) -> None:
    """What it computes depends on where tokens are routed."""
    with pytest.raises(UsageError, match=rf"mixtral is a mixture of experts \({field} = 8\).*llm-latency time"):
        read_architecture({"model_type": "mixtral", field: 8})


def test_one_expert_is_none() -> None:
    """Some configs name the field and have one."""
    assert "decoder" == read_architecture(_LLAMA | {"model_type": "llama", "vocab_size": 9, "num_experts": 1}).kind


@pytest.mark.parametrize("kind", ["whisper", None, 3])
def test_an_unknown_architecture_names_the_known_ones(kind: object) -> None:
    """And what to do instead."""
    with pytest.raises(UsageError, match=r"no costs are known for model_type .*bert.*qwen2.*Measure it"):
        read_architecture({"model_type": kind})


def test_a_missing_number_is_named() -> None:
    """By the fields that were looked for."""
    with pytest.raises(UsageError, match="this config of gpt2 has no num_hidden_layers or n_layer or num_layers"):
        read_architecture({"model_type": "gpt2", "n_embd": 8})


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "12"])
def test_an_impossible_number_is_shown(value: object) -> None:
    """Only whole numbers of at least 1 count anything."""
    with pytest.raises(UsageError, match=r"n_layer of this config is .*expected a whole number of at least 1"):
        read_architecture({"model_type": "gpt2", "n_embd": 8, "n_layer": value})


def test_contexts_are_read_where_there_is_one() -> None:
    """GPT-2's own name for it, and none for a model with a state."""
    gpt2 = {"model_type": "gpt2", "vocab_size": 10} | _GPT2
    assert 64 == read_architecture(gpt2).context
    assert read_architecture({"model_type": "mamba", "vocab_size": 10} | _MAMBA).context is None
