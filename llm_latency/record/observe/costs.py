"""What a request computed and read, by its model's config and the tokens that were counted; not how long it took."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_latency.core.architecture import read_architecture
from llm_latency.core.cost import Architecture
from llm_latency.core.trace import Request
from llm_latency.errors import UsageError
from llm_latency.record.observe.log import RequestLog


def with_costs(request: Request, log: RequestLog) -> Request:
    """The request with the FLOPs of its prefill and the bytes of its middle step, where its model's config tells.

    It does not for beams, several answers to one prompt, guesses of several tokens, no cache and a prompt that was in
    one already: then other work was done than the counts of prompt and tokens say.
    """
    model = log.model
    for segment in log.facts.get("segments", ()):
        if segment.copies > 1 or getattr(segment.config, "use_cache", None) is False:
            return request
    architecture = None if model is None else _architecture(model)
    rows, prompt = request.rows, request.prompt_tokens
    if architecture is None or not rows or not prompt or prompt % rows or request.cached_tokens:
        return request
    tokens, width = prompt // rows, _width(model)
    if request.kind == "forward" and not request.emissions and architecture.kind == "encoder":
        return msgspec.structs.replace(request, prefill_flops=architecture.prefill(tokens, batch=rows).flops)
    if request.kind != "generate" or not _is_plain(request) or architecture.kind == "encoder":
        return request
    middle = max(1, len(request.emissions) // 2)
    read = None if width is None else architecture.step(tokens, index=middle, batch=rows, width=width).bytes
    return msgspec.structs.replace(
        request,
        prefill_flops=architecture.prefill(tokens, batch=rows).flops,
        step_bytes=read if len(request.emissions) > 1 else None,
    )


def _is_plain(request: Request) -> bool:
    """One loop, a token a row and emission: what greedy decoding and sampling do."""
    return bool(request.emissions) and all(positions == 1 for _, positions in request.emissions) and not request.notes


def _architecture(model: Any) -> Architecture | None:
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    try:
        # Not `to_dict`, which copies deeply: this runs after every call.
        return read_architecture({**vars(config), "model_type": kind})
    except (TypeError, UsageError):
        return None


def _width(model: Any) -> int | None:
    """Bytes of a weight; None where they are quantized, and so of more than one width."""
    if getattr(model.config, "quantization_config", None) is not None:
        return None
    if any("quantized" in type(module).__module__ for module in model.modules()):
        return None
    size = getattr(getattr(model, "dtype", None), "itemsize", None)
    return size if isinstance(size, int) else None
