"""Subjects: the models and calls that facts are about; random weights, so that no network is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpu.fact import Setting


def toy(setting: Setting) -> Any:
    """Two layers of GPT-2's shape: a step is a few small kernels, so Python and launches take longer than they do."""
    from llm_latency.workloads import shapes

    return shapes.build("gpt2-tiny", device=setting.device).model


def large(setting: Setting) -> Any:
    """The shape of Llama 3.2 1B in bfloat16; in a rehearsal the toy."""
    from llm_latency.workloads import shapes

    if setting.is_rehearsal:
        return toy(setting)
    return shapes.build("llama-3.2-1b", dtype="bfloat16", device=setting.device).model


def generation(
    model: Any, setting: Setting, *, prompt_tokens: int, new_tokens: int, batch: int = 1, **options: Any
) -> Callable[[], Any]:
    """A greedy generate call of exactly so many tokens on the same prompt."""
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 500, (batch, prompt_tokens), generator=generator).to(setting.device)
    arguments = {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens, "do_sample": False} | options

    def generate() -> Any:
        with torch.inference_mode():
            return model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **arguments)

    return generate


def wait(setting: Setting) -> None:
    """Wait for the device by torch itself, not by what is checked here."""
    import torch

    if not setting.is_rehearsal:
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], setting: Setting) -> float:
    """Wall time of a call and its work on the device."""
    import time

    wait(setting)
    start = time.perf_counter()
    call()
    wait(setting)
    return time.perf_counter() - start
