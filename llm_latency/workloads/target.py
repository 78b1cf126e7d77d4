"""A target by name to a Workload that can be called over and over; not the measuring of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from llm_latency.errors import TargetError, UsageError
from llm_latency.workloads.checkpoint import load_checkpoint
from llm_latency.workloads.feed import Feed
from llm_latency.workloads.loaded import LoadedModel
from llm_latency.workloads.placement import default_device, require_torch
from llm_latency.workloads.program import is_program, load_callable
from llm_latency.workloads.shapes import build

# A short question and a short answer: seconds on a CPU for the small shapes, and enough steps for a decode rate.
PROMPT_TOKENS = 64
NEW_TOKENS = 32
BATCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model is loaded and called; None where nothing was asked for, which then takes its default.

    `prompt_tokens` and `new_tokens` count tokens a row, `batch` counts rows. `dtype` is float32 for a shape and the
    stored one for weights on disk, `device` the first accelerator, else the CPU, `attention` transformers' choice,
    `threads` (of torch, on the CPU) torch's choice, `seed` (of random weights and prompts) 0.
    """

    prompt_tokens: int | None = None
    new_tokens: int | None = None
    batch: int | None = None
    dtype: str | None = None
    device: str | None = None
    attention: str | None = None
    threads: int | None = None
    seed: int | None = None

    def given(self) -> tuple[str, ...]:
        """What was asked for, as options of the command line."""
        asked = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        return tuple(f"--{name.replace('_', '-')}" for name in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is timed: `call` does one unit of it, with fresh inputs, and returns its result.

    `facts` describe it in values that JSON holds. `check` runs the model once, before and outside of any timing,
    and raises TargetError when it cannot run or yields NaN; it does nothing for a callable out of a file, whose
    effects are its own. It warms the model: whoever wants the first call of all as the cold one checks afterwards.
    """

    name: str
    call: Callable[[], object]
    facts: Mapping[str, object]
    check: Callable[[], None]


def load(target: str, *, settings: Settings | None = None, model: LoadedModel | None = None) -> Workload:
    """Load `shape:NAME`, a folder with weights, a hub id or `file.py:callable`.

    Raises TargetError when the target cannot be loaded, UsageError for settings that do not fit it, DeviceError for
    a device that is not here. `model` is what `load_model` gave for the same target. `settings.threads` stays set in
    this process, so that what reads the environment afterwards sees it.
    """
    asked = settings or Settings()
    if is_program(target):
        return _program(target, asked)
    prompt_tokens = _count("--prompt-tokens", asked.prompt_tokens, PROMPT_TOKENS)
    new_tokens = _count("--new-tokens", asked.new_tokens, NEW_TOKENS)
    batch = _count("--batch", asked.batch, BATCH)
    loaded = model or load_model(target, settings=asked)
    set_threads(asked)
    if loaded.kind == "encoder" and asked.new_tokens is not None:
        raise UsageError(f"--new-tokens {new_tokens} was asked for and {target} is an encoder, which makes none")
    _check_context(loaded, prompt_tokens, new_tokens)
    seed = asked.seed or 0
    feed = Feed(loaded, tokens=prompt_tokens, batch=batch, seed=seed)
    encodes = loaded.kind == "encoder"
    facts = {
        "target": target,
        "kind": loaded.kind,
        "architecture": loaded.model.config.model_type,
        "parameters": loaded.parameters,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": str(loaded.model.device),
        "attention": getattr(loaded.model.config, "_attn_implementation", None),
        "prompt_tokens": prompt_tokens,
        "new_tokens": None if encodes else new_tokens,
        "batch": batch,
        "context": loaded.context,
        "seed": seed,
        "notes": list(loaded.notes),
    }
    return Workload(
        name=target if target.startswith("shape:") else loaded.name,
        call=_encode(loaded, feed) if encodes else _generate(loaded, feed, new_tokens),
        facts=facts,
        check=lambda: _check_finite(loaded, feed),
    )


def _program(target: str, asked: Settings) -> Workload:
    refused = [option for option in asked.given() if option != "--threads"]
    if refused:
        raise UsageError(
            f"{', '.join(refused)} say how a model is loaded and called, and {target} loads and calls its own;"
            " leave them out, or set them in the file"
        )
    set_threads(asked)
    function = load_callable(target)
    file, _, name = target.rpartition(":")
    facts = {"target": target, "kind": "callable"}
    return Workload(name=f"{Path(file).name}:{name}", call=function, facts=facts, check=lambda: None)


def _count(option: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{option} is {value!r}; expected a whole number of at least 1")
    return value


def load_model(target: str, *, settings: Settings | None = None) -> LoadedModel:
    """Load the model of a target that is no file; raises as `load` does."""
    asked = settings or Settings()
    require_torch()
    device = asked.device or default_device()
    head, separator, name = target.partition(":")
    if not separator:
        return load_checkpoint(target, dtype=asked.dtype or "auto", device=device, attention=asked.attention)
    if head != "shape":
        raise TargetError(
            f"{target!r} begins with {head!r}; expected shape:NAME, a folder, a hub id or file.py:callable"
        )
    if asked.dtype == "auto":
        raise UsageError(f"--dtype auto is the one that weights are stored in, and {target} has none stored; name one")
    return build(
        name,
        dtype=asked.dtype or "float32",
        device=device,
        attention=asked.attention,
        seed=asked.seed or 0,
    )


def set_threads(asked: Settings) -> None:
    """Set torch's threads in this process, where a number was asked for; raises UsageError for an impossible one."""
    if asked.threads is not None:
        require_torch()
        import torch

        torch.set_num_threads(_count("--threads", asked.threads, 1))


def _check_context(loaded: LoadedModel, prompt_tokens: int, new_tokens: int) -> None:
    """Raise UsageError when the model cannot look at that many positions."""
    if loaded.context is None:
        return
    asked, meant = prompt_tokens, f"{prompt_tokens} prompt tokens"
    if loaded.kind == "decoder":
        asked, meant = prompt_tokens + new_tokens, f"{prompt_tokens} prompt and {new_tokens} new tokens"
    elif loaded.kind == "encoder-decoder" and new_tokens > prompt_tokens:  # each side has positions of its own
        asked, meant = new_tokens, f"{new_tokens} new tokens"
    if asked > loaded.context:
        raise UsageError(
            f"{meant} were asked for and {loaded.name} has a context of {loaded.context}; lower --prompt-tokens or"
            " --new-tokens"
        )


def _generate(loaded: LoadedModel, feed: Feed, new_tokens: int) -> Callable[[], object]:
    """Greedy decoding of exactly `new_tokens` a row: the least as well as the most, so that no EOS ends it."""
    # In the closure by itself: that is where recording looks for the modules that a callable can reach.
    model, mask = loaded.model, feed.mask

    def generate() -> object:
        return model.generate(
            input_ids=feed.take(),
            attention_mask=mask,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
        )

    return generate


def _encode(loaded: LoadedModel, feed: Feed) -> Callable[[], object]:
    import torch

    model, mask = loaded.model, feed.mask  # in the closure, as above

    def encode() -> object:
        with torch.inference_mode():
            return model(input_ids=feed.take(), attention_mask=mask)

    return encode


def _check_finite(loaded: LoadedModel, feed: Feed) -> None:
    """Run one forward; raise TargetError when it fails or yields NaN or +inf, with which nothing would be timed right.

    -inf is no fault: it is how a model forbids a token.
    """
    import torch

    ids = feed.take()
    inputs = {"input_ids": ids, "attention_mask": feed.mask}
    if loaded.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = ids[:, :1]
    try:
        with torch.inference_mode():
            output = loaded.model(**inputs)
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise TargetError(f"{loaded.name} cannot run: {type(error).__name__}: {first}") from error
    what = "logits" if "logits" in output else "last_hidden_state"
    values = output[what]
    if bool((values.isnan() | (values == float("inf"))).any()):
        kind = "NaN" if bool(values.isnan().any()) else "infinite"
        dtype = str(values.dtype).removeprefix("torch.")
        raise TargetError(
            f"{loaded.name} produced {kind} {what.replace('_', ' ')} in {dtype}; its weights are broken or do not fit"
            " the number type. Try another --dtype (float32, bfloat16)"
        )
