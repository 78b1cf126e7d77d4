"""A small model with slowdowns planted in it, by which a gate can be tried; not the gate, nor a workload to measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from llm_latency.core.stats import quantile
from llm_latency.errors import UsageError
from llm_latency.workloads.placement import require_torch

NONE = "unchanged"
_PROMPT_TOKENS, _NEW_TOKENS = 48, 8


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """What is done beside the model: `kind` of work, and how much of it in the kind's own unit (see KINDS)."""

    kind: str = NONE
    amount: int = 0


def _multiply(amount: int, state: dict[str, Any]) -> None:
    import torch

    if "one" not in state:
        state["one"] = torch.full((48, 48), 0.01)
    one = state["one"]
    for _ in range(amount):
        torch.mm(one, one)


def _compute(amount: int, state: dict[str, Any]) -> None:
    total = 0
    for number in range(amount):
        total += number & 7
    state["total"] = total


def _copy(amount: int, state: dict[str, Any]) -> None:
    import torch

    if "from" not in state:
        # Memory of its own from the start: what an allocation costs differs from process to process by far more.
        state["from"], state["to"] = torch.ones(1 << 20), torch.ones(1 << 20)
    for begin in range(0, amount, 1 << 20):
        count = min(amount - begin, 1 << 20)
        state["to"][:count].copy_(state["from"][:count])
    cuda: Any = torch.cuda
    if cuda.is_initialized():
        cuda.synchronize()


def _leak(amount: int, state: dict[str, Any]) -> None:
    import torch

    if amount:
        state.setdefault("kept", []).append(torch.zeros(amount))


# Kind: what it does at each step (or, for "prefill", at the first one only), and the unit of its amount.
KINDS: dict[str, tuple[Callable[[int, dict[str, Any]], None], str]] = {
    NONE: (lambda amount, state: None, "nothing"),
    "step": (_multiply, "small matrix products a step"),
    "prefill": (_multiply, "small matrix products in the prefill"),
    "python": (_compute, "Python additions a step"),
    "copy": (_copy, "floats copied a step, and a wait for the device"),
    "leak": (_leak, "floats allocated a step and kept"),
}


class Extra:
    """Work beside the model, as a logits processor, so that both sides have the same parts."""

    def __init__(self, plant: Plant) -> None:
        """Raises UsageError for an unknown kind."""
        if plant.kind not in KINDS:
            raise UsageError(f"there is no plant {plant.kind!r}; known: {', '.join(KINDS)}")
        self._plant = plant
        self._work = KINDS[plant.kind][0]
        self._state: dict[str, Any] = {}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Leave the scores as they are, (batch, vocabulary)."""
        if self._plant.kind != "prefill" or input_ids.shape[1] == _PROMPT_TOKENS:
            self._work(self._plant.amount, self._state)
        return scores


def planted_call(plant: Plant, *, threads: int = 1, model: Any = None) -> Callable[[], object]:
    """A call of `generate` on a GPT-2 shape of 2 layers and width 256, 48 + 8 tokens: 10 to 20 ms on one core.

    `model` may be one that an earlier call has made, as its `model` attribute.
    """
    require_torch()
    import torch
    import transformers

    torch.set_num_threads(threads)
    if model is None:
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            n_layer=2, n_embd=256, n_head=4, vocab_size=1000, eos_token_id=None, bos_token_id=1
        )
        made: Any = transformers.GPT2LMHeadModel(config)
        model = made.eval()
    ids = torch.arange(5, 5 + _PROMPT_TOKENS).reshape(1, _PROMPT_TOKENS)
    extra = transformers.LogitsProcessorList([Extra(plant)])

    def call() -> object:
        return model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=_NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
            logits_processor=extra,
        )

    call.model = model  # type: ignore[attr-defined]  # so that several calls of one process share it
    return call


def default_threads() -> int:
    """How many threads torch takes when nobody says; raises TargetError without torch."""
    require_torch()
    import torch

    return torch.get_num_threads()


def python_call(additions: int = 200_000) -> Callable[[], object]:
    """A call of plain Python that makes so many additions: some 10 ms, for machines without torch."""
    state: dict[str, Any] = {}

    def call() -> object:
        _compute(additions, state)
        return state["total"]

    return call


def calibrated(kind: str, share: float, *, call_s: float, tries: int = 40) -> Plant:
    """How much of a kind of work takes a share of a call of `call_s` seconds, timed on this machine as it is now."""
    if kind == NONE or share == 0:
        return Plant()
    work = KINDS[kind][0]
    steps = 1 if kind == "prefill" else _NEW_TOKENS
    wanted_s = share * call_s / steps
    amount, state = 16, dict[str, Any]()
    while (took_s := _fastest(work, amount, state, tries)) < wanted_s and amount < 1 << 28:
        amount *= 2
    nothing_s = _fastest(work, 1, state, tries)
    per_unit = max(1e-12, (took_s - nothing_s) / amount)
    return Plant(kind=kind, amount=max(1, round((wanted_s - nothing_s) / per_unit)))


def _fastest(work: Callable[[int, dict[str, Any]], None], amount: int, state: dict[str, Any], tries: int) -> float:
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        work(amount, state)
        times.append(time.perf_counter() - begin)
    state.pop("kept", None)
    return quantile(times, 0.25)
