"""Models by architecture with random weights and no download; not real weights, which `checkpoint` reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from llm_latency.errors import TargetError, UsageError
from llm_latency.workloads.loaded import Kind, LoadedModel, context_of, kernel_notes
from llm_latency.workloads.placement import check_attention, device_of, dtype_of, require_torch
from llm_latency.workloads.tokenizer import BOS, EOS, PAD, byte_tokenizer
from llm_latency.workloads.weights import random_model

RANDOM = (
    "weights are random: the speed is the architecture's and the text means nothing;"
    " what depends on values (accepted speculation, expert routing) is not the real model's"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """An architecture: its transformers `model_type`, what it does, and the numbers of its config."""

    architecture: str
    kind: Kind
    numbers: Mapping[str, Any]


_GPT2 = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
_T5 = {
    "vocab_size": 32128,
    "d_kv": 64,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
_T5_SMALL = {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": 6, "num_heads": 8}
_T5_BASE = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12}

# Every number is the published config.json's; the token ids are those of the byte-level tokenizer.
SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        # Ours, for tests: the architecture of GPT-2 in milliseconds.
        "gpt2-tiny": Shape("gpt2", "decoder", _GPT2 | {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4}),
        # openai-community/gpt2
        "gpt2": Shape("gpt2", "decoder", _GPT2 | {"n_embd": 768, "n_layer": 12, "n_head": 12}),
        # openai-community/gpt2-medium
        "gpt2-medium": Shape("gpt2", "decoder", _GPT2 | {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
        # openai-community/gpt2-large, gpt2-xl
        "gpt2-large": Shape("gpt2", "decoder", _GPT2 | {"n_embd": 1280, "n_layer": 36, "n_head": 20}),
        "gpt2-xl": Shape("gpt2", "decoder", _GPT2 | {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
        # GPT-3 175B (Brown et al. 2020, arXiv:2005.14165, table 2.1) in GPT-2's architecture: to predict, not to build.
        # Its layers of sparse attention are taken as dense ones.
        "gpt3-175b": Shape(
            "gpt2", "decoder", _GPT2 | {"n_positions": 2048, "n_embd": 12288, "n_layer": 96, "n_head": 96}
        ),
        # meta-llama/Llama-3.2-1B
        "llama-3.2-1b": Shape(
            "llama",
            "decoder",
            {
                "vocab_size": 128256,
                "hidden_size": 2048,
                "intermediate_size": 8192,
                "num_hidden_layers": 16,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 64,
                "hidden_act": "silu",
                "max_position_embeddings": 131072,
                "rms_norm_eps": 1e-5,
                "attention_bias": False,
                "mlp_bias": False,
                "tie_word_embeddings": True,
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 500000.0,
                    "factor": 32.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            },
        ),
        # meta-llama/Llama-3.1-8B
        "llama-3.1-8b": Shape(
            "llama",
            "decoder",
            {
                "vocab_size": 128256,
                "hidden_size": 4096,
                "intermediate_size": 14336,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "hidden_act": "silu",
                "max_position_embeddings": 131072,
                "rms_norm_eps": 1e-5,
                "attention_bias": False,
                "mlp_bias": False,
                "tie_word_embeddings": False,
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 500000.0,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            },
        ),
        # Qwen/Qwen2.5-0.5B
        "qwen2.5-0.5b": Shape(
            "qwen2",
            "decoder",
            {
                "vocab_size": 151936,
                "hidden_size": 896,
                "intermediate_size": 4864,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "hidden_act": "silu",
                "max_position_embeddings": 32768,
                "rms_norm_eps": 1e-6,
                "use_sliding_window": False,
                "tie_word_embeddings": True,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
            },
        ),
        # google-t5/t5-small, t5-base
        "t5-small": Shape("t5", "encoder-decoder", _T5 | _T5_SMALL),
        "t5-base": Shape("t5", "encoder-decoder", _T5 | _T5_BASE),
        # google-bert/bert-base-uncased
        "bert-base": Shape(
            "bert",
            "encoder",
            {
                "vocab_size": 30522,
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "intermediate_size": 3072,
                "hidden_act": "gelu",
                "max_position_embeddings": 512,
                "type_vocab_size": 2,
                "layer_norm_eps": 1e-12,
            },
        ),
        # state-spaces/mamba-130m-hf
        "mamba-130m": Shape(
            "mamba",
            "decoder",
            {
                "vocab_size": 50280,
                "hidden_size": 768,
                "state_size": 16,
                "num_hidden_layers": 24,
                "expand": 2,
                "conv_kernel": 4,
                "time_step_rank": 48,
                "use_bias": False,
                "use_conv_bias": True,
                "hidden_act": "silu",
                "layer_norm_epsilon": 1e-5,
                "residual_in_fp32": True,
                "tie_word_embeddings": True,
            },
        ),
        # RWKV/rwkv-4-169m-pile (the default RwkvConfig is the 7 B one: every number matters here)
        "rwkv-169m": Shape(
            "rwkv",
            "decoder",
            {
                "vocab_size": 50277,
                "context_length": 1024,
                "hidden_size": 768,
                "attention_hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "layer_norm_epsilon": 1e-5,
                "rescale_every": 6,
                "tie_word_embeddings": False,
            },
        ),
    }
)


def build(
    name: str, *, dtype: str = "float32", device: str = "cpu", attention: str | None = None, seed: int = 0
) -> LoadedModel:
    """Build the shape called `name` in eval mode; the same seed gives the same weights.

    `dtype` is float32, bfloat16 or float16; `attention` is an attention implementation of transformers, None for
    transformers' own choice. Raises TargetError for an unknown shape, UsageError for an unknown dtype or attention,
    DeviceError when the device is not here.
    """
    shape = find(name)
    require_torch()
    number_type, place = dtype_of(dtype), device_of(device)
    config = configuration(name, attention=attention)
    model = random_model(auto_class(shape.kind), config, dtype=number_type, device=place, seed=seed)
    context = context_of(model)
    return LoadedModel(
        name=name,
        model=model,
        tokenizer=byte_tokenizer(config.vocab_size, padding_side=padding_side(shape.kind), context=context),
        context=context,
        kind=shape.kind,
        notes=(RANDOM, *kernel_notes(model)),
    )


def find(name: str) -> Shape:
    """The shape called `name`; raises TargetError with the nearest name and all known ones."""
    if name in SHAPES:
        return SHAPES[name]
    near = difflib.get_close_matches(name, SHAPES, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise TargetError(f"there is no shape {name!r}.{hint} Known: {', '.join(SHAPES)}")


def configuration(name: str, *, attention: str | None = None) -> Any:
    """The transformers config of the shape called `name`.

    Raises TargetError for an unknown shape, UsageError for an unknown attention or one where there is none.
    """
    from transformers import AutoConfig

    shape = find(name)
    check_attention(attention)
    if attention is not None and shape.architecture in ("mamba", "rwkv"):
        raise UsageError(f"attention {attention!r} was asked for and {name} has no attention; leave it out")
    ids = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    if shape.kind == "encoder-decoder":
        ids["decoder_start_token_id"] = PAD  # as T5 does
    config = AutoConfig.for_model(shape.architecture, **shape.numbers, **ids)
    config._attn_implementation = attention
    return config


def padding_side(kind: Kind) -> Literal["left", "right"]:
    """Where a tokenizer pads for models of this kind: a decoder goes on from the last token of each row."""
    return "left" if kind == "decoder" else "right"


def auto_class(kind: Kind) -> Any:
    """The Auto class of transformers that makes models of this kind."""
    import transformers

    return {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModel,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }[kind]
