"""Random weights in seconds, for a model given by its config; not which configs there are."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from llm_latency.core.units import show
from llm_latency.errors import TargetError

if TYPE_CHECKING:
    import torch

# Standard deviation of GPT-2, BERT, Llama and Qwen2 at birth (`initializer_range` of their configs).
_STD = 0.02
# A prime (the largest below 2**20), so that the rows of a matrix begin at different places of the tile. With a tile of
# 2**20 the rows of a 1024 wide embedding would repeat, and tokens would tie.
_TILE = 1_048_573


def random_model(auto: Any, config: Any, *, dtype: torch.dtype, device: torch.device, seed: int) -> Any:
    """Build the model of `config` with `auto` (an Auto class of transformers), in eval mode, with random weights.

    Nothing is written twice: the modules are made on the meta device, matrices are filled from one tile of normal
    numbers, and everything else (norms, biases, decays, buffers such as rotary frequencies) comes from the
    architecture's own initialization. Raises TargetError when transformers refuses the config, and when the weights
    are more than all memory that there is.
    """
    import torch

    try:
        with torch.device("meta"):
            model = auto.from_config(config, dtype=dtype)
            model.tie_weights()  # transformers 5.0 leaves that to the loading of a checkpoint
    except (ImportError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise TargetError(f"transformers cannot build {config.model_type}: {first}") from error
    _check_room(model, device)
    with torch.no_grad():
        _materialize(model, device)
        _fill(model, torch.Generator().manual_seed(seed))
    cards = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cards):
        torch.manual_seed(seed)
        # Skips what is marked as done, as it does for the keys that a checkpoint holds; it also computes the buffers,
        # which `to_empty` would leave as garbage (transformers, modeling_utils.py, `_initialize_missing_keys`).
        model.initialize_weights()
    return model.eval()


def _check_room(model: Any, device: torch.device) -> None:
    """Raise TargetError before a system that promises more memory than it has ends this process, or another one."""
    import torch

    needed = sum(one.numel() * one.element_size() for one in {id(one): one for one in model.parameters()}.values())
    if device.type == "cuda":
        there = int(torch.cuda.mem_get_info(device)[1])
    else:
        try:
            there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, OSError, ValueError):  # not told here
            return
    if needed > there:
        raise TargetError(
            f"the weights need {show(float(needed), 'B')} and {device} has {show(float(there), 'B')} in all; choose a"
            " smaller shape or a narrower dtype. llm-latency predict says what such a model would take"
        )


def _materialize(model: Any, device: torch.device) -> None:
    """Give every parameter and buffer memory, not yet values; a tied parameter stays one."""
    import torch

    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, old in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(old) not in made:
                made[id(old)] = torch.nn.Parameter(torch.empty_like(old, device=device), old.requires_grad)
            setattr(module, name, made[id(old)])
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, torch.empty_like(buffer, device=device))


def _fill(model: Any, generator: torch.Generator) -> None:
    """Write the matrices as one endless repetition of a tile of normal numbers, and mark them as done."""
    import torch

    matrices = [one for name, one in model.named_parameters() if one.ndim == 2 and name.endswith("weight")]
    length = min(_TILE, max(matrix.numel() for matrix in matrices))
    tile = torch.randn(length, generator=generator).mul_(_STD)
    # Twice in a row, so that the tile from any place on is a slice and no copy.
    tiles = {one.dtype: tile.to(one.device, one.dtype).repeat(2) for one in matrices}
    begins = itertools.accumulate((matrix.numel() % length for matrix in matrices), initial=0)
    for matrix, begin in zip(matrices, begins, strict=False):
        piece = tiles[matrix.dtype].narrow(0, begin % length, length)
        flat = matrix.view(-1)
        whole = flat.numel() // length * length
        flat[:whole].view(-1, length).copy_(piece)
        flat[whole:].copy_(piece[: flat.numel() - whole])
        matrix._is_hf_initialized = True
