"""Equivalence: how far a strategy's answers are the model's own, by teacher-forced logits and by tokens; not its speed.

Greedy answers alone mislead both ways: one near tie early in an answer makes all later tokens others, and two models
that differ may agree for a while by luck. So the model's own answer is fed to both, and their logits are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from llm_latency.adapt.prepared import Prepared

# Up to this mean divergence, in nats, numbers are the same but for rounding, by their bytes; and logits nearer to each
# other than that are a tie that rounding may decide. Kernels that add in another order differ by far less in float32,
# and bfloat16 differs from float32 by more (tests/adapt/test_prepared.py).
_SAME_KL = {4: 1e-7, 2: 1e-3}
_TIE = {4: 1e-3, 2: 0.1}
LEAST_TOP1 = 0.95


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How two models agree on the same text.

    `kl` is the mean divergence of their next-token distributions in nats, `top1` the share of positions with the same
    first choice, `beyond_tie` the share with another one though the model's own was no tie. `tokens` is the share of
    rows whose generated tokens are the same up to a tie. `positions` were compared. `is_same` says that only rounding
    tells them apart.
    """

    kl: float
    top1: float
    beyond_tie: float
    tokens: float
    positions: int
    is_same: bool

    @property
    def words(self) -> str:
        """In one line."""
        if self.is_same:
            return "the same answers"
        share = f"{self.top1:.1%}".replace("%", " %")
        return f"first choice the same at {share} of {self.positions} positions, divergence {self.kl:.2g} nats"


def agreement(own: Prepared, other: Prepared, prompts: Sequence[Mapping[str, Any]], *, new_tokens: int) -> Agreement:
    """Compare a strategy with the model's own way on prompts, each a batch of one length.

    Raises what the strategy raises.
    """
    import torch

    width = min(4, own.model.dtype.itemsize)
    divergences: list[float] = []
    same = beyond = rows = equal = 0
    for inputs in prompts:
        length = inputs["input_ids"].shape[1]
        options = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False}
        with torch.inference_mode():
            answer = own.generate(inputs, **options)
            logits = _logits(own, answer, length)
            theirs = _logits(other, answer, length)
            first = logits.topk(2, dim=-1)
            ties = (first.values[..., 0] - first.values[..., 1]) <= _TIE[width]
            choice = theirs.argmax(dim=-1) == first.indices[..., 0]
            same += int(choice.sum())
            beyond += int((~choice & ~ties).sum())
            # In float64: in float32 the sum over a vocabulary rounds by more than two kernels differ.
            log_own, log_other = (one.double().log_softmax(dim=-1) for one in (logits, theirs))
            divergences += (log_own.exp() * (log_own - log_other)).sum(dim=-1).clamp_min(0).flatten().tolist()
            produced = other.generate(inputs, **options)
        for row in range(answer.shape[0]):
            rows += 1
            equal += _is_same_row(answer[row, length:], produced[row, length:], ties[row])
    positions = len(divergences)
    kl = math.fsum(divergences) / positions
    return Agreement(
        kl=kl,
        top1=same / positions,
        beyond_tie=beyond / positions,
        tokens=equal / rows,
        positions=positions,
        is_same=kl <= _SAME_KL[width] and beyond == 0 and equal == rows,
    )


def _logits(prepared: Prepared, answer: Any, length: int) -> Any:
    """Logits of every new position with the model's own answer before it, (batch, new tokens, vocabulary), float32."""
    with prepared.switched():
        found = prepared.model(input_ids=answer, use_cache=False)
    return found.logits[:, length - 1 : -1].float()


def _is_same_row(own: Any, other: Any, ties: Any) -> bool:
    """Whether two answers are the same, or part at a tie; what follows a tie is another text."""
    if own.shape != other.shape:
        return False
    different = (own != other).nonzero()
    return len(different) == 0 or bool(ties[int(different[0])])


def reason_against(found: Agreement, *, is_lossy: bool, least_top1: float = LEAST_TOP1) -> str | None:
    """Why a strategy is left out for its answers; None where it may stay."""
    if math.isnan(found.kl):
        return "its logits are not numbers"
    if not is_lossy and not found.is_same:
        return f"it produces other answers: {found.words}"
    if is_lossy and found.top1 < least_top1:
        return f"it loses too much: {found.words}, and {100 * least_top1:g} % is the least"
    return None
