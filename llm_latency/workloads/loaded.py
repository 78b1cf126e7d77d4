"""LoadedModel, a model with what timing it needs to know; not how it was built or read from disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["decoder", "encoder", "encoder-decoder"]

# Models that carry a state instead of looking at positions: a longer text costs time, not correctness. Their configs
# may still name a length (RWKV's `context_length` is the one that it was trained with).
_RECURRENT = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in eval mode on its device.

    `tokenizer` is None where none lies beside the weights. `context` is the most positions that the model can look
    at, None where it has no such limit. `notes` say what a reader of its latency should know.
    """

    name: str
    model: Any
    tokenizer: Any | None
    context: int | None
    kind: Kind
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def vocab_size(self) -> int:
        """Number of rows of the input embedding: ids below it can be fed."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that mean something to the tokenizer or to generation (pad, bos, eos, ...), and so are no prompt."""
        held = getattr(self.model, "generation_config", None) or self.model.config
        named = [getattr(held, f"{role}_token_id", None) for role in ("pad", "bos", "eos", "decoder_start")]
        listed = [one for ids in named for one in (ids if isinstance(ids, list) else [ids])]
        spoken = self.tokenizer.all_special_ids if self.tokenizer is not None else []
        return frozenset(int(one) for one in [*listed, *spoken] if one is not None)


def held_bytes(*models: Any) -> int:
    """Bytes that the models' tensors take, packed ones included; what they share counts once."""
    import torch

    tensors: list[Any] = []
    for model in models:
        for value in model.state_dict(keep_vars=True).values():
            tensors += [one for one in (value if isinstance(value, tuple) else (value,)) if torch.is_tensor(one)]
    stores = [tensor.untyped_storage() for tensor in tensors]
    return sum({store.data_ptr(): store.nbytes() for store in stores}.values())


def context_of(model: Any) -> int | None:
    """The most positions that a transformers model can look at; None where it has no such limit.

    T5's config names none (relative positions). RoBERTa counts positions from `padding_idx + 1`, so that its 514 rows
    are 512 positions (transformers, modeling_roberta.py, `create_position_ids_from_input_ids`).
    """
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if config.model_type in _RECURRENT or not isinstance(limit, int) or limit < 1:
        return None
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return limit if padding is None else limit - padding - 1


def kernel_notes(model: Any) -> tuple[str, ...]:
    """Where the model's own kernels are missing and transformers runs its reference loop instead."""
    from importlib.util import find_spec

    architecture = model.config.model_type
    if architecture == "mamba":
        missing = [name for name in ("mamba_ssm", "causal_conv1d") if find_spec(name) is None]
        packages = " and ".join(name.replace("_", "-") for name in missing)
        return (f"mamba runs its slow reference loop: {packages} kernels are not installed",) if missing else ()
    if architecture == "rwkv" and (model.device.type != "cuda" or find_spec("kernels") is None):
        return ("rwkv runs its slow reference loop: its kernel needs a CUDA device and the package kernels",)
    return ()
