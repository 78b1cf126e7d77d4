"""Variant: a model's weights as a strategy needs them, a copy where they are other weights; not how it is called."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from llm_latency.adapt.strategy import Strategy
from llm_latency.errors import UsageError


def variant_of(model: Any, strategy: Strategy) -> Any:
    """The model itself, or a copy with other weights; raises UsageError where it cannot be made."""
    if not strategy.is_a_copy:
        return model
    found = copy.deepcopy(model)
    if strategy.drop_layers:
        _drop_layers(found, strategy.drop_layers)
    if strategy.dtype is not None:
        import torch

        found = found.to(getattr(torch, strategy.dtype))
    return _in_int8(found) if strategy.int8 else found


def _in_int8(model: Any) -> Any:
    """Linear layers with 8-bit weights and activations that are quantized as they come; GPT-2's layers made linear.

    Raises UsageError with a torch that has none.
    """
    import torch

    _conv1d_to_linear(model)
    quantization: Any = torch.ao.quantization if hasattr(torch.ao, "quantization") else None  # untyped in torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torchao is to take its place, which is slower on a CPU
        try:
            return quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        except (AttributeError, RuntimeError, NotImplementedError) as error:
            first = str(error).partition("\n")[0]
            raise UsageError(f"this torch {torch.__version__} has no dynamic int8 here: {first}") from error


def _conv1d_to_linear(model: Any) -> None:
    """GPT-2's `Conv1D` is a linear layer with its weight the other way round, which quantizing would skip."""
    import torch

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "Conv1D":
                rows, columns = child.weight.shape
                linear = torch.nn.Linear(rows, columns, dtype=child.weight.dtype)
                with torch.no_grad():
                    linear.weight.copy_(child.weight.t())
                    linear.bias.copy_(child.bias)
                setattr(module, name, linear)


def _drop_layers(model: Any, count: int) -> None:
    """Leave out `count` of the middle layers, evenly; the first and the last stay. Raises UsageError without a list."""
    import torch

    config = model.config.get_text_config()
    layers = int(config.num_hidden_layers)
    place = next(
        (
            (module, name)
            for module in model.modules()
            for name, child in module.named_children()
            if isinstance(child, torch.nn.ModuleList) and len(child) == layers
        ),
        None,
    )
    if place is None or count > layers - 2:
        raise UsageError(f"{count} of {layers} layers cannot be left out of {type(model).__name__}")
    middle = [1 + round(index * (layers - 2) / count + (layers - 2) / (2 * count) - 0.5) for index in range(count)]
    kept = [layer for index, layer in enumerate(getattr(*place)) if index not in set(middle)]
    setattr(*place, torch.nn.ModuleList(kept))
    # The cache has a place for each layer, by its number.
    for index, layer in enumerate(kept):
        for module in layer.modules():
            if getattr(module, "layer_idx", None) is not None:
                module.layer_idx = index
    types = getattr(config, "layer_types", None)
    if types is not None:
        config.layer_types = [one for index, one in enumerate(types) if index not in set(middle)]
    config.num_hidden_layers = len(kept)
