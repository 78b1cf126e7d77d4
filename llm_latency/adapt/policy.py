"""Policy: which strategy for which input, with the numbers that say so, in a file; and generating by it.

Not how it is learned: that is the tuner's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from llm_latency.adapt.equivalence import Agreement
from llm_latency.adapt.prepared import Prepared
from llm_latency.adapt.strategy import Strategy
from llm_latency.core.environment import Environment, differences
from llm_latency.core.filed import read_struct, write_struct
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.record.devices.device import find
from llm_latency.record.machine import facts_of, read_environment

SCHEMA = 1
# What makes a policy's numbers another machine's; other versions only make it stale.
_MACHINE = ("device", "processor", "cores", "memory_bytes")
_VERSIONS = ("torch", "transformers", "python", "driver", "threads", "openmp")


class Gain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy at one input, beside the model's own way in the same rounds.

    `ratio` is its score over the other's (of times; of throughput the other way round), below 1 better, with its 95 %
    interval where there are rounds enough. `metrics` have medians of ttft, tpot, e2e, output_throughput, peak_memory.
    """

    strategy: str
    prompt_tokens: int
    batch: int
    ratio: float
    low: float | None
    high: float | None
    n: int
    metrics: dict[str, float]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For a batch of at most `batch` rows and prompts of at most `prompt_tokens`, a strategy; None has no end."""

    batch: int | None
    prompt_tokens: int | None
    strategy: str


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What a search has learned for one model, machine and scenario.

    `entries` go by rising batch and length, and the first that holds an input is its. `excluded` has the reason why a
    strategy was left out. `search_s` is what the search took, `setup_s` what each strategy takes to set up.
    """

    model: str
    config: str
    scenario: str
    objective: str
    entries: tuple[Entry, ...]
    strategies: tuple[Strategy, ...]
    gains: tuple[Gain, ...]
    excluded: dict[str, str]
    agreements: dict[str, Agreement]
    setup_s: dict[str, float]
    environment: Environment
    search_s: float
    notes: tuple[str, ...] = ()
    complete: bool = True

    def choose(self, *, prompt_tokens: int, batch: int = 1) -> Strategy:
        """The strategy for an input: `prompt_tokens` a row and `batch` rows. Raises UsageError for counts below 1."""
        if prompt_tokens < 1 or batch < 1:
            raise UsageError(
                f"{prompt_tokens} prompt tokens and {batch} rows were asked for; expected at least 1 of each"
            )
        for entry in self.entries:
            fits = entry.batch is None or batch <= entry.batch
            if fits and (entry.prompt_tokens is None or prompt_tokens <= entry.prompt_tokens):
                return next(one for one in self.strategies if one.name == entry.strategy)
        return self.strategies[0]

    def generate(self, model: Any, inputs: Mapping[str, Any], **options: Any) -> Any:
        """Generate with a transformers model, by the strategy for the length and batch of `inputs["input_ids"]`.

        `options` are generate's. Strategies are set up when an input needs them, and kept. Raises UsageError for
        another model than the policy's or on another machine; warns where versions or threads are others.
        """
        bound = self._bound.get(id(model))
        if bound is None or bound.model is not model:
            bound = self._bound[id(model)] = Bound(self, model)
        return bound.generate(inputs, **options)

    @cached_property
    def _bound(self) -> dict[int, Bound]:
        return {}


class Bound:
    """A policy with its model, checked to fit each other and this machine; strategies as they are needed."""

    def __init__(self, policy: Policy, model: Any) -> None:
        """Raises UsageError for another model or machine; warns where the policy is stale."""
        self.policy, self.model = policy, model
        self._prepared: dict[str, Prepared] = {}
        if fingerprint(model) != policy.config:
            raise UsageError(
                f"this policy is for {policy.model} and the model given is another ({type(model).__name__}): its"
                " numbers say nothing of it. Learn one with llm_latency.tune"
            )
        here = environment_of(model)
        changed = [
            one for one in differences(policy.environment, here) if one.partition(":")[0] in (*_MACHINE, *_VERSIONS)
        ]
        elsewhere = [one for one in changed if one.partition(":")[0] in _MACHINE]
        if elsewhere:
            raise UsageError(
                f"this policy was learned on another machine: {'; '.join(elsewhere)}. Learn one here: llm-latency tune"
            )
        if changed:
            warnings.warn(
                f"this policy is stale: {'; '.join(changed)}. What was fastest then may not be now; learn it again",
                stacklevel=3,
            )

    def generate(self, inputs: Mapping[str, Any], **options: Any) -> Any:
        """Generate by the strategy of the inputs' shape."""
        rows, tokens = inputs["input_ids"].shape
        return self.prepared(prompt_tokens=tokens, batch=rows).generate(inputs, **options)

    def prepared(self, *, prompt_tokens: int, batch: int) -> Prepared:
        """What runs such an input, set up where it is not yet."""
        strategy = self.policy.choose(prompt_tokens=prompt_tokens, batch=batch)
        if strategy.name not in self._prepared:
            self._prepared[strategy.name] = Prepared(self.model, strategy, assistant=assistant_of(strategy, self.model))
        return self._prepared[strategy.name]


def assistant_of(strategy: Strategy, model: Any) -> Any:
    """The smaller model that guesses, loaded on the model's device; None where the strategy has none."""
    if strategy.assistant is None:
        return None
    from llm_latency.workloads.target import Settings, load_model

    return load_model(strategy.assistant, settings=Settings(device=str(model.device))).model


def environment_of(model: Any) -> Environment:
    """What can change a number of this model, here and now."""
    return read_environment([facts_of(model)], device=find(str(model.device)).describe())


def fingerprint(model: Any) -> str:
    """What makes two models alike in time: their config's numbers, number type and class."""
    import hashlib

    config = model.config.to_dict()
    unsaid = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "use_cache")
    told = {name: repr(value) for name, value in sorted(config.items()) if name not in unsaid}
    whole = msgspec.json.encode([type(model).__name__, str(model.dtype), told])
    return hashlib.sha256(whole).hexdigest()[:16]


def save_policy(policy: Policy, path: str | os.PathLike[str]) -> None:
    """Write readable JSON atomically."""
    write_struct(policy, path, schema=SCHEMA)


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy; raises MeasurementFileError when it is missing, broken or of another schema."""
    found = read_struct(path, Policy, schema=SCHEMA, what="policy of llm-latency (learned by llm-latency tune)")
    names = {strategy.name for strategy in found.strategies}
    unknown = [entry.strategy for entry in found.entries if entry.strategy not in names]
    if unknown or not names:
        raise MeasurementFileError(f"{path}: an entry names the strategy {unknown[:1]}, which the policy does not have")
    return found
