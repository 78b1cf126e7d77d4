"""A transformers config as the Architecture that it describes; not the model, and nothing of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm_latency.core.cost import Architecture, Matrices, Stack
from llm_latency.errors import UsageError

Config = Mapping[str, Any]

# Fields by which a config says that a token meets only some of its experts' weights.
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")
# Decoders whose MLP has a gate: three matrices instead of two.
_GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2", "granite", "smollm3")
_PLAIN = ("gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "phi", "starcoder2", "gpt_bigcode")
# Decoders whose layers store a matrix the other way round: a row for each number that goes in (Conv1D).
_TRANSPOSED = ("gpt2",)
_BARTS = ("bart", "mbart", "marian", "pegasus", "m2m_100")


def read_architecture(config: Config) -> Architecture:
    """Read a transformers config as a mapping (`config.to_dict()`).

    Raises UsageError for a mixture of experts, an architecture that is not known, and numbers that are missing or
    impossible.
    """
    kind: Any = config.get("model_type")
    experts = next((name for name in _EXPERTS if _is_count(config.get(name)) and config[name] > 1), None)
    if experts is not None:
        raise UsageError(
            f"{kind} is a mixture of experts ({experts} = {config[experts]}): what a token computes and reads"
            " depends on where it is routed, so its cost does not follow from the config. Measure it: llm-latency time"
        )
    if kind not in _READERS:
        raise UsageError(
            f"no costs are known for model_type {kind!r}; known: {', '.join(sorted(_READERS))}. Measure it: llm-latency"
            " time"
        )
    return _READERS[kind](config)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(config: Config, *names: str, default: int | None = None) -> int:
    """The first of the fields that is there, as a whole number of at least 1."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if not _is_count(value) or value < 1:
            raise UsageError(f"{name} of this config is {value!r}; expected a whole number of at least 1")
        return int(value)
    if default is None:
        raise UsageError(f"this config of {config.get('model_type')} has no {' or '.join(names)}; a cost needs it")
    return default


def _decoder(config: Config) -> Architecture:
    """A decoder-only transformer, dense, with or without grouped heads and a gate."""
    kind = config["model_type"]
    width = _count(config, "hidden_size", "n_embd")
    layers = _count(config, "num_hidden_layers", "n_layer", "num_layers")
    heads = _count(config, "num_attention_heads", "n_head", "num_heads")
    head_size = _count(config, "head_dim", default=max(1, width // heads))
    groups = 1 if config.get("multi_query") else _count(config, "num_key_value_heads", default=heads)
    inner = _count(config, "intermediate_size", "n_inner", "ffn_dim", default=4 * width)
    query, key = heads * head_size, groups * head_size
    own = (*_attention(width, query, key), *_mlp(width, inner, gated=kind in _GATED))
    embedding = _count(config, "word_embed_proj_dim", default=width) if kind == "opt" else width
    window = _count(config, "sliding_window", default=0)
    types = config.get("layer_types") or layers * ("sliding_attention",)
    return Architecture(
        name=kind,
        decoder=Stack(
            layers=layers,
            weights=Matrices.of(*(shape[::-1] if kind in _TRANSPOSED else shape for shape in own)),
            query=query,
            key=key,
            sliding=list(types).count("sliding_attention") if window else 0,
            window=window,
        ),
        head=_head(config, embedding),
        ends=Matrices() if embedding == width else Matrices.of((embedding, width), (width, embedding)),
        context=_context(config),
    )


def _attention(width: int, query: int, key: int) -> tuple[tuple[int, int], ...]:
    """Queries, keys and values as one matrix, and the way out: a row for each number that comes out."""
    return (query + 2 * key, width), (width, query)


def _mlp(width: int, inner: int, *, gated: bool = False) -> tuple[tuple[int, int], ...]:
    return (2 * inner if gated else inner, width), (width, inner)


def _head(config: Config, width: int) -> Matrices:
    return Matrices.of((_count(config, "vocab_size"), width))


def _context(config: Config) -> int | None:
    for name in ("max_position_embeddings", "n_positions", "seq_length"):
        if _is_count(config.get(name)):
            return int(config[name])
    return None


def _mamba(config: Config) -> Architecture:
    """A selective state-space model: the product of state and C, and a convolution of each channel, count beside it."""
    width, state = _count(config, "hidden_size"), _count(config, "state_size")
    inner = _count(config, "intermediate_size", default=_count(config, "expand", default=2) * width)
    rank = config.get("time_step_rank")
    rank = -(-width // 16) if rank in (None, "auto") else _count(config, "time_step_rank")
    kernel = _count(config, "conv_kernel", default=4)
    channel = 2 * inner * kernel
    return Architecture(
        name=config["model_type"],
        decoder=Stack(
            layers=_count(config, "num_hidden_layers"),
            weights=Matrices.of((2 * inner, width), (rank + 2 * state, inner), (inner, rank), (width, inner)),
            state=inner * (state + kernel),
            scan=2 * inner * state + channel,
            edge=(kernel - 1) * channel,
            step_edge=channel,
            loops=True,
        ),
        head=_head(config, width),
    )


def _rwkv(config: Config) -> Architecture:
    """RWKV-4: linear layers, and a recurrence without matrix products."""
    width = _count(config, "hidden_size")
    mixing = _count(config, "attention_hidden_size", default=width)
    inner = _count(config, "intermediate_size", default=4 * width)
    return Architecture(
        name=config["model_type"],
        decoder=Stack(
            layers=_count(config, "num_hidden_layers"),
            weights=Matrices.of(*_attention(width, mixing, mixing), *_mlp(width, inner), (width, width)),
            state=2 * width + 3 * mixing,
            loops=True,
        ),
        head=_head(config, width),
    )


def _encoder(config: Config) -> Architecture:
    """An encoder with a pooler on its first position, as BERT; DistilBERT has none."""
    width = _count(config, "hidden_size", "dim")
    inner = _count(config, "intermediate_size", "hidden_dim")
    return Architecture(
        name=config["model_type"],
        encoder=Stack(
            layers=_count(config, "num_hidden_layers", "n_layers"),
            weights=Matrices.of(*_attention(width, width, width), *_mlp(width, inner)),
            query=width,
        ),
        head=Matrices() if config["model_type"] == "distilbert" else Matrices.of((width, width)),
        context=_context(config),
    )


def _t5(config: Config) -> Architecture:
    width, heads, head_size = (_count(config, name) for name in ("d_model", "num_heads", "d_kv"))
    is_gated = str(config.get("feed_forward_proj", "relu")).startswith("gated")
    mlp = Matrices.of(*_mlp(width, _count(config, "d_ff"), gated=is_gated))
    layers = _count(config, "num_layers", "num_hidden_layers")
    return _pair(
        config,
        layers=(layers, _count(config, "num_decoder_layers", default=layers)),
        query=heads * head_size,
        mlps=(mlp, mlp),
    )


def _bart(config: Config) -> Architecture:
    width = _count(config, "d_model")
    sides = ("encoder", "decoder")
    layers = tuple(_count(config, f"{side}_layers") for side in sides)
    mlps = tuple(Matrices.of(*_mlp(width, _count(config, f"{side}_ffn_dim"))) for side in sides)
    return _pair(config, layers=layers, query=width, mlps=mlps)


def _pair(config: Config, *, layers: tuple[int, ...], query: int, mlps: tuple[Matrices, ...]) -> Architecture:
    """An encoder, and a decoder that looks at it: keys and values of the source are made once."""
    width = _count(config, "d_model")
    own = Matrices.of(*_attention(width, query, query))
    return Architecture(
        name=config["model_type"],
        encoder=Stack(layers=layers[0], weights=own + mlps[0], query=query),
        decoder=Stack(
            layers=layers[1],
            weights=own + mlps[1],
            query=query,
            key=query,
            cross=Matrices.of((query, width), (width, query)),
            source=Matrices.of((2 * query, width)),
        ),
        head=_head(config, width),
        context=_context(config),
    )


_READERS: Mapping[str, Callable[[Config], Architecture]] = (
    dict.fromkeys((*_GATED, *_PLAIN), _decoder)
    | dict.fromkeys(("mamba", "falcon_mamba"), _mamba)
    | {"rwkv": _rwkv}
    | dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "distilbert"), _encoder)
    | dict.fromkeys(("t5", "mt5"), _t5)
    | dict.fromkeys(_BARTS, _bart)
)
