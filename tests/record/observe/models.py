"""Small transformers models with random weights, one per architecture, made once a session; no tests."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers

VOCABULARY = 120


@functools.cache
def gpt2(seed: int = 0) -> Any:
    """Two-layer GPT-2."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, n_positions=128, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=None
    )
    return _ready(transformers.GPT2LMHeadModel(config))


@functools.cache
def llama() -> Any:
    """Two-layer Llama with grouped key-value heads."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=None,
    )
    return _ready(transformers.LlamaForCausalLM(config))


@functools.cache
def t5() -> Any:
    """Two-layer T5."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        num_layers=2, d_model=32, d_kv=8, d_ff=64, num_heads=4, vocab_size=VOCABULARY, decoder_start_token_id=0
    )
    config.eos_token_id = None
    model = transformers.T5ForConditionalGeneration(config)
    model.generation_config.eos_token_id = None
    return _ready(model)


@functools.cache
def bert() -> Any:
    """Two-layer BERT without a head."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64, vocab_size=VOCABULARY
    )
    return _ready(transformers.BertModel(config))


@functools.cache
def mamba() -> Any:
    """Two-layer Mamba."""
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        num_hidden_layers=2, hidden_size=32, state_size=4, vocab_size=VOCABULARY, eos_token_id=None, pad_token_id=0
    )
    return _ready(transformers.MambaForCausalLM(config))


@functools.cache
def rwkv() -> Any:
    """Two-layer RWKV."""
    torch.manual_seed(0)
    config = transformers.RwkvConfig(
        num_hidden_layers=2, hidden_size=32, attention_hidden_size=32, vocab_size=VOCABULARY, eos_token_id=None
    )
    return _ready(transformers.RwkvForCausalLM(config))


def _ready(model: Any) -> Any:
    model.eval()
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = 0
    return model


def prompt(rows: int = 1, tokens: int = 10, seed: int = 0) -> torch.Tensor:
    """Ids of shape (rows, tokens), none of them padding or a special token."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (rows, tokens), generator=generator)
