"""Prompts as tensors, prepared before the calls that read them; not how their ids are chosen."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from llm_latency.workloads.loaded import LoadedModel
from llm_latency.workloads.prompts import token_ids, usable_ids

if TYPE_CHECKING:
    import torch

# Bodies are made ahead in pure Python, at some 4 million ids a second (measured on 2 cores): this many are ready within
# a tenth of a second, and a long prompt has at least two.
_READY_IDS = 400_000
_MOST_BODIES = 16


class Feed:
    """A ring of prompts on the model's device, from which each call takes the next.

    The bodies repeat after a lap of the ring; the first tokens go on through the whole vocabulary, so that no two
    calls share a prefix. The first lap is what `token_ids` gives. Taking costs one copy of (batch, tokens) ids.
    """

    def __init__(self, loaded: LoadedModel, *, tokens: int, batch: int, seed: int) -> None:
        import torch

        device, size, avoid = loaded.model.device, loaded.vocab_size, loaded.special_ids
        lap = max(2, min(_MOST_BODIES, _READY_IDS // (batch * tokens)))
        bodies = (
            token_ids(size, tokens=tokens, batch=batch, index=index, seed=seed, avoid=avoid) for index in range(lap)
        )
        self._bodies = [torch.tensor(rows, device=device) for rows in bodies]
        usable = usable_ids(size, avoid=avoid)
        self._usable, self._batch, self._seed = len(usable), batch, seed
        # Once around and on for one batch, so that every call's first tokens are one slice.
        around = itertools.islice(itertools.cycle(usable), len(usable) + batch)
        self._firsts = torch.tensor(list(around), device=device)
        self._indices = itertools.count()
        self.mask = torch.ones_like(self._bodies[0])

    def take(self) -> torch.Tensor:
        """The next prompt, of shape (batch, tokens); the caller's own."""
        index = next(self._indices)
        begin = (self._seed + index * self._batch) % self._usable
        ids = self._bodies[index % len(self._bodies)].clone()
        ids[:, 0] = self._firsts[begin : begin + self._batch]
        return ids
