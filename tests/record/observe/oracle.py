"""A user's own criterion as the oracle of what a watch of generate must see; no tests."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from llm_latency.core.trace import Request
from llm_latency.record.timed import timed


class Counting(transformers.StoppingCriteria):
    """The oracle: a user's criterion, which transformers evaluates once an emission."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Note the length, and end nothing."""
        self.lengths.append(input_ids.shape[1])
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def watched(model: Any, **arguments: Any) -> tuple[Request, Counting, Any]:
    """Run generate once under a watch with the oracle among the user's criteria."""
    oracle = Counting()
    with timed("case") as t:
        output = model.generate(stopping_criteria=transformers.StoppingCriteriaList([oracle]), **arguments)
    (request,) = t.measurement.traces[0].requests
    return request, oracle, output
