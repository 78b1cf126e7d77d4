"""Seeing plain forwards of models: one request each, or one request for a hand-written loop that hands a cache on.

Not the forwards inside a generate, a batch or another forward. A class-level `__call__` is wrapped, no module
hook: hooks make compiled code recompile, and the ones added after compiling are lost.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llm_latency.core.trace import Request
from llm_latency.record.devices.used import places
from llm_latency.record.observe.attribution import open_request, owners, state
from llm_latency.record.observe.count import cached_tokens
from llm_latency.record.observe.log import CallLog, RequestLog
from llm_latency.record.observe.patch import Patches

_CACHES = ("cache", "past_key_values", "cache_params", "state", "rnn_state")
_INPUTS = ("input_ids", "inputs_embeds", "decoder_input_ids")


# Apart from the other taps: these come off while compiled code runs.
_patches = Patches()
# The torch modules beside transformers' own that count: those very objects, not each layer of their class.
_named: weakref.WeakSet[object] = weakref.WeakSet()
# Whether a model is compiled, as it was found when first called: asking takes 6 µs, at every forward.
_compiled: weakref.WeakKeyDictionary[object, bool] = weakref.WeakKeyDictionary()


def install(modules: Iterable[object] = ()) -> None:
    """Wrap the models of transformers that are loaded, compiled modules, and the classes of `modules`."""
    if "torch" not in sys.modules:
        return
    models = getattr(sys.modules.get("transformers.modeling_utils"), "PreTrainedModel", None)
    if models is not None:
        _patches.wrap_overrides(models, "__call__", _wrap_call)
    compiled = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
    if compiled is not None:
        _patches.wrap(compiled, "__call__", _wrap_call)
    for module in modules:
        if not (models is not None and isinstance(module, models)):
            _named.add(module)
            _patches.wrap(type(module), "__call__", _wrap_named)


def restore() -> None:
    """Take the taps off forwards."""
    _patches.restore()
    _named.clear()
    _compiled.clear()


@contextmanager
def lifted(model: Any, *, outermost: bool) -> Iterator[None]:
    """Take the taps off the forwards of a model while a request of its runs; they would see nothing in it.

    Code that dynamo compiles under a tap is guarded by it, and would be compiled again when the watch is over: there
    every tap comes off. Putting them on and off costs the next forward some 40 µs of attribute look-ups, so any other
    model is given the method below the tap as its own attribute: generate looks `__call__` up once, and without it
    each step would pay 1.5 µs for a tap that only passes on.
    """
    if not outermost:
        yield
    elif _is_compiled(model):
        _patches.lift()
        try:
            yield
        finally:
            _patches.lower()
    elif (below := _below_tap(model)) is not None:
        try:
            model.__dict__["__call__"] = below
            yield
        finally:
            model.__dict__.pop("__call__", None)
    else:
        yield


def _below_tap(model: object) -> Any:
    """The model's own `__call__`, bound; None where it has no tap, or an attribute of that name already."""
    tap: Any = getattr(type(model), "__call__", None)  # noqa: B004 - not whether, but which
    if not getattr(tap, "is_tap", False) or "__call__" in getattr(model, "__dict__", ("__call__",)):
        return None
    return tap.__wrapped__.__get__(model)


def _is_compiled(model: Any) -> bool:
    """Whether dynamo compiled the model, or transformers may do so by itself (it does on accelerators)."""
    known = _compiled.get(model)
    if known is None:
        known = _compiled[model] = _asked_whether_compiled(model)
    return known


def _asked_whether_compiled(model: Any) -> bool:
    if "torch._dynamo" not in sys.modules:
        return False
    if hasattr(getattr(model, "forward", None), "_torchdynamo_orig_callable"):
        return True
    # In its own dict: torch's __getattr__ takes 2 µs to find nothing.
    return "_compiled_call" in getattr(model, "__dict__", ()) or not set(places(model)) <= {"cpu"}


def modules_in(values: Iterable[object]) -> tuple[object, ...]:
    """Those of `values` that are torch modules; none where torch is not imported."""
    module = getattr(sys.modules.get("torch.nn"), "Module", None)
    return () if module is None else tuple(value for value in values if isinstance(value, module))


def _wrap_call(original: Any) -> Any:
    from torch.compiler import is_compiling

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or state.frames:
            return original(self, *args, **kwargs)
        calls = owners()
        if not calls or any(log.in_batch for log in calls):
            return original(self, *args, **kwargs)
        # In a loop over a cache only the prompt's forward is read: a reading is 10 µs.
        cached = cached_tokens(
            kwargs
        )  # asked before the forward adds to it; a cache that holds nothing begins a request
        gauges = calls[-1].gauges if _cache_of(kwargs) is None or cached == 0 else None
        now_ns = calls[-1].clock.now_ns
        compiled = _is_compiled(self)
        if gauges is not None:
            gauges.read(now_ns())
        state.frames.append("forward")
        start_ns = now_ns()
        try:
            if compiled:
                with lifted(self, outermost=True):
                    output = original(self, *args, **kwargs)
            else:
                output = original(self, *args, **kwargs)
        except BaseException as error:
            for log in calls:
                log.failed_in = "a forward", id(error)
            raise
        finally:
            state.frames.pop()
        stop_ns = now_ns()
        if gauges is not None:
            gauges.read(stop_ns)
        _record(calls, self, _Forward(args, kwargs, output, start_ns, stop_ns, cached))
        return output

    call.is_tap = True  # type: ignore[attr-defined]  # what `lifted` looks for
    return call


@dataclass(slots=True)
class _Forward:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    start_ns: int
    stop_ns: int
    cached: int | None


def _wrap_named(original: Any) -> Any:
    from torch.compiler import is_compiling

    seen = _wrap_call(original)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or self not in _named:
            return original(self, *args, **kwargs)
        return seen(self, *args, **kwargs)

    return call


def _record(calls: tuple[CallLog, ...], model: Any, seen: _Forward) -> None:
    given, handed_on = _cache_of(seen.kwargs), _cache_of(seen.output)
    ids = _tensor_of(seen.args, seen.kwargs)
    request = None if given is None or seen.cached == 0 else _continued(calls, model, given)
    if request is None:
        request = open_request("forward", count_forward, model=model)
        if request is None:
            return
        request.start_ns = seen.start_ns
        if request.gauges is not None and request.readings is not None:
            request.gauges.drop(request.readings)
        mask = seen.kwargs.get("attention_mask")
        request.facts = {"ids": ids, "mask": mask, "cached": seen.cached, "caches": {}}
    stop_ns = seen.stop_ns
    mark = None if request.mark is None else request.mark()
    if request.mark is not None and mark is None:  # a device that does not mark was waited for just now
        stop_ns = request.now_ns()
    if request.readings is not None:
        request.readings.stop_mark = mark
    request.stop_ns = stop_ns
    # fires: (return of the forward, tokens fed to it, nothing to tell who is done, mark)
    fed = int(ids.shape[1]) if ids is not None and ids.dim() >= 2 else 1
    request.fires.append((stop_ns, fed, None, mark))
    request.facts["caches"] |= {id(cache): _reference(cache) for cache in (given, handed_on) if cache is not None}
    if len(request.fires) == 1 and request.gauges is not None and request.readings is not None:
        request.gauges.pause(request.readings.device, stop_ns)
    if request.look is not None:
        request.look(request, stop_ns, None, None)


def _continued(calls: tuple[CallLog, ...], model: Any, cache: object) -> RequestLog | None:
    for request in reversed(calls[-1].requests):
        known = request.facts.get("caches", {}).get(id(cache)) if request.kind == "forward" else None
        if known is not None and request.model is model and known() in (cache, None):
            return request
    return None


def _reference(cache: object) -> Callable[[], object]:
    """A reference that does not keep a cache alive: ids are used again. Tuples cannot have one, and give None."""
    try:
        return weakref.ref(cache)
    except TypeError:
        return _nothing


def _nothing() -> None:
    """Stand for what cannot be asked for."""


def _cache_of(holder: Any) -> object | None:
    for name in _CACHES:
        # dict.get, since a ModelOutput's own `get` warns the user of names that only we asked for.
        found = dict.get(holder, name) if isinstance(holder, dict) else getattr(holder, name, None)
        if found is not None and not isinstance(found, bool):
            return found  # type: ignore[no-any-return]  # whatever the model calls its cache
    return None


def _tensor_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    values = (*(kwargs[name] for name in _INPUTS if kwargs.get(name) is not None), *args, *kwargs.values())
    return next((value for value in values if hasattr(value, "dim") and hasattr(value, "shape")), None)


def count_forward(log: RequestLog) -> Request:
    """Make the Request of a forward, or of a loop of them: each forward from the end of the prompt is an emission."""
    ids, mask = log.facts["ids"], log.facts["mask"]
    rows = int(ids.shape[0]) if ids is not None and ids.dim() >= 1 else None
    prompt_tokens = None
    if mask is not None and hasattr(mask, "dim") and mask.dim() == 2 and not mask.is_floating_point():
        prompt_tokens = int(mask.sum())
    elif ids is not None and ids.dim() == 2 and not ids.is_floating_point():
        prompt_tokens = int(ids.numel())
    elif ids is not None and ids.dim() == 3:
        prompt_tokens = int(ids.shape[0] * ids.shape[1])
    notes = list(log.notes)
    emissions: tuple[tuple[int, int], ...] = ()
    if len(log.fires) > 1:
        fed = [tokens for _, tokens, _, _ in log.fires]
        # Leading forwards of several tokens feed the prompt in chunks; the last of them gives the first new token.
        first = next((index for index, tokens in enumerate(fed) if index > 0 and tokens == 1), len(fed)) - 1
        emissions = tuple((instant, 1) for instant, *_ in log.fires[first:])
        log.marks = [mark for *_, mark in log.fires[first:]]
        if prompt_tokens is not None and rows:
            prompt_tokens += rows * sum(fed[1 : first + 1])
        if any(tokens != 1 for tokens in fed[first + 1 :]):
            notes.append("a later forward was fed several tokens: each forward is counted as one position")
    return Request(
        kind="forward",
        start_ns=log.start_ns,
        stop_ns=log.stop_ns or log.start_ns,
        emissions=emissions,
        rows=rows,
        prompt_tokens=prompt_tokens,
        cached_tokens=log.facts["cached"],
        row_tokens=(len(emissions),) * (rows or 1) if emissions else None,
        token_source="forwards" if emissions else None,
        model=type(log.model).__name__,
        thread=log.thread,
        notes=tuple(notes),
    )
