"""Prepared: a model ready to generate by a strategy, call by call; not which strategy that is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llm_latency.adapt.strategy import Strategy
from llm_latency.adapt.variant import variant_of


class Prepared:
    """A strategy's model and options. `setup_s` is what it took to make them, without its first call."""

    def __init__(self, model: Any, strategy: Strategy, *, assistant: Any = None) -> None:
        """Make the weights; raises UsageError where the strategy cannot be had."""
        begin = time.monotonic()
        self.strategy = strategy
        self.base = model
        self.model = variant_of(model, strategy)
        self.assistant = assistant
        self.setup_s = time.monotonic() - begin
        self._own_attention = getattr(model.config, "_attn_implementation", None)

    def generate(self, inputs: Mapping[str, Any], **options: Any) -> Any:
        """Generate as transformers does, by the strategy; threads and attention are put back behind the call.

        `inputs` hold `input_ids` (batch, tokens) and `attention_mask`; `options` are generate's. Padding that the
        strategy adds is taken off the answer again.
        """
        given, added = self._padded(dict(inputs))
        with self._threads() as processors, self.switched():
            asked = self._options() | options
            if processors:
                asked["logits_processor"] = [*asked.get("logits_processor", ()), *processors]
            found = self.model.generate(**given, **asked)
        return found[:, added:] if added and hasattr(found, "dim") else found

    def _options(self) -> dict[str, Any]:
        strategy = self.strategy
        found: dict[str, Any] = {}
        if strategy.cache is not None:
            found |= {"cache_implementation": strategy.cache, "disable_compile": not strategy.compile}
        if strategy.compile and self.model.device.type == "cpu":
            from transformers import CompileConfig

            config: Any = CompileConfig()
            # transformers compiles on accelerators only unless it is told to (generation/utils.py).
            config._compile_all_devices = True
            found["compile_config"] = config
        if strategy.lookup is not None:
            found["prompt_lookup_num_tokens"] = strategy.lookup
        if strategy.chunk is not None:
            found["prefill_chunk_size"] = strategy.chunk
        if self.assistant is not None:
            found["assistant_model"] = self.assistant
        return found

    def _padded(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Inputs padded on the left to a multiple of the bucket, and by how many tokens."""
        bucket, ids = self.strategy.bucket, inputs["input_ids"]
        added = 0 if bucket is None else -ids.shape[1] % bucket
        if not added:
            return inputs, 0
        import torch

        mask = inputs.get("attention_mask", torch.ones_like(ids))
        pad = getattr(self.model.generation_config, "pad_token_id", None) or 0
        rows = ids.shape[0]
        inputs["input_ids"] = torch.cat([ids.new_full((rows, added), pad), ids], dim=1)
        inputs["attention_mask"] = torch.cat([mask.new_zeros((rows, added)), mask], dim=1)
        return inputs, added

    @property
    def models(self) -> tuple[Any, ...]:
        """What it keeps in memory: its weights, and those of the model that guesses."""
        return (self.model,) if self.assistant is None else (self.model, self.assistant)

    @contextmanager
    def _threads(self) -> Iterator[list[Any]]:
        """Set torch's threads for the call, and others behind the first token, by a processor that leaves scores be."""
        strategy = self.strategy
        if strategy.threads is None and strategy.decode_threads is None:
            yield []
            return
        import torch

        before = torch.get_num_threads()
        if strategy.threads is not None:
            torch.set_num_threads(strategy.threads)

        def after_prefill(input_ids: Any, scores: Any) -> Any:
            if strategy.decode_threads is not None and torch.get_num_threads() != strategy.decode_threads:
                torch.set_num_threads(strategy.decode_threads)
            return scores

        try:
            yield [] if strategy.decode_threads is None else [after_prefill]
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def switched(self) -> Iterator[None]:
        """Switch the model's attention for the call, where the strategy has another."""
        name = self.strategy.attention
        if name is None or name == self._own_attention:
            yield
            return
        self.model.set_attn_implementation(name)
        try:
            yield
        finally:
            self.model.set_attn_implementation(self._own_attention)
