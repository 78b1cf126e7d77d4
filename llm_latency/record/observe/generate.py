"""Seeing `generate` of transformers: entry, emissions and return, in every decoding mode; not counting its tokens.

The stopping criteria are evaluated exactly once an emission in every mode, so their list's `__call__` is the
stamp; the decoding method (`_sample`, `_beam_search`, …) gives the prompt it starts from and the sequences that
it returns, also where `generate` itself was taken before the watch; a draft model's fires lie inside the
decoding method of the main model and do not count. (transformers 5.0 to 5.24, generation/utils.py.)
"""

from __future__ import annotations

import functools
import sys
from types import CodeType, FrameType
from typing import Any

from llm_latency.record.observe.attribution import current_chain, open_request, owners, state
from llm_latency.record.observe.count import Segment, count_generate
from llm_latency.record.observe.forward import lifted
from llm_latency.record.observe.log import RequestLog
from llm_latency.record.observe.patch import Patches

# Where generation modes are mapped to methods; "org/repo" values are downloads and no methods.
_FALLBACK_METHODS = ("_sample", "_beam_search", "_assisted_decoding")
_UTILS = "transformers.generation.utils"
# On the list of criteria of one generate, while its emissions follow in a row, what keeps their instants: it is found
# there in a tenth of the time that a thread's own state takes.
_STAMP = "llm_latency_stamp"
_known_entries: set[CodeType] = set()


def install(patches: Patches) -> None:
    """Wrap what is loaded of transformers' generation; does nothing where it is not imported."""
    utils = sys.modules.get(_UTILS)
    mixin = getattr(utils, "GenerationMixin", None)
    if mixin is None:
        return
    patches.wrap_overrides(mixin, "generate", _wrap_generate)
    patches.wrap_overrides(mixin, "_prepare_generation_config", _wrap_prepare)
    patches.wrap_overrides(mixin, "heal_tokens", _wrap_aside)
    modes = getattr(utils, "GENERATION_MODES_MAPPING", {})
    for name in {*_FALLBACK_METHODS, *(value for value in modes.values() if "/" not in value)}:
        if hasattr(mixin, name):
            patches.wrap_overrides(mixin, name, _wrap_decode)
    criteria = sys.modules.get("transformers.generation.stopping_criteria")
    if criteria is not None and hasattr(criteria, "StoppingCriteriaList"):
        patches.put(criteria.StoppingCriteriaList, _STAMP, None)
        patches.wrap_overrides(criteria.StoppingCriteriaList, "__call__", wrap_criteria)


def _wrap_generate(original: Any) -> Any:
    code = _innermost(original)
    if code is not None:
        _known_entries.add(code)

    @functools.wraps(original)
    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        outermost = not state.frames
        request = None
        if outermost:
            request = _joined_to_unseen_entry() or open_request("generate", count_generate, model=self)
            state.request = state.sink = request
            if request is not None:
                request.facts.setdefault("arguments", _arguments(args, kwargs))
                request.host_waits = kwargs.get("streamer") is not None
        custom = kwargs.get("custom_generate")
        if callable(custom):
            kwargs = {**kwargs, "custom_generate": _wrap_decode(custom)}
        state.frames.append("generate")
        try:
            with lifted(self, outermost=outermost):
                result = original(self, *args, **kwargs)
            if request is not None:
                request.facts["result"] = sequences_of(result)
            return result
        except BaseException as error:
            if request is not None:
                request.failed(error)
            raise
        finally:
            state.frames.pop()
            if outermost:
                state.request = state.sink = None
            if request is not None:
                request.end()

    return generate


def _innermost(function: Any) -> CodeType | None:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return getattr(function, "__code__", None)


def _joined_to_unseen_entry() -> RequestLog | None:
    """The request of a `generate` further out that was taken before the watch and calls this one inside itself."""
    frame: FrameType | None = sys._getframe(2)
    outer = None
    while frame is not None:
        if frame.f_code in _known_entries:
            outer = frame
        frame = frame.f_back
    if outer is None:
        return None
    for call in owners():
        for request in call.requests:
            if request.facts.get("frame") is outer:
                return request
    opened = open_request("generate", count_generate, model=outer.f_locals.get("self"))
    if opened is not None:
        opened.facts["frame"] = outer
        opened.notes.append("its entry was not seen (taken before the watch): counted from its first inner step")
    return opened


def _wrap_prepare(original: Any) -> Any:
    @functools.wraps(original)
    def prepare(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not state.frames and (calls := owners()):
            state.entries[id(self)] = calls[-1].clock.now_ns()
        return original(self, *args, **kwargs)

    return prepare


def _wrap_aside(original: Any) -> Any:
    """Generation inside this method is preparation: it neither opens a request nor counts."""

    @functools.wraps(original)
    def aside(self: Any, *args: Any, **kwargs: Any) -> Any:
        state.frames.append("aside")
        try:
            return original(self, *args, **kwargs)
        finally:
            state.frames.pop()

    return aside


def _wrap_decode(original: Any) -> Any:
    code = _innermost(original)
    # The assisted loop of transformers 5.0 also asks the criteria about the draft's guesses, before each emission.
    every = 2 if code is not None and "is_done_candidate" in code.co_varnames else 1
    # Each fire of transformers' own sampling loop, greedy too, comes behind exactly one new position.
    one_a_fire = code is not None and code.co_name == "_sample" and original.__module__ == _UTILS

    @functools.wraps(original)
    def decode(self: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        inner = "decode" in state.frames or "aside" in state.frames
        opened_here = None
        if not state.frames:
            opened_here = state.request = _open_without_entry(self)
        request = None if inner else state.request
        segment = None
        if request is not None:
            segment = Segment.of(input_ids, kwargs, first_fire=len(request.fires), every=every)
            request.facts.setdefault("segments", []).append(segment)
            request.row = segment.row
            request.one_by_one = one_a_fire and segment.ends_rows_alike(kwargs.get("stopping_criteria"))
        state.frames.append("decode")
        sink_before, state.sink = state.sink, request
        try:
            with lifted(self, outermost=opened_here is not None):
                result = original(self, input_ids, *args, **kwargs)
            if segment is not None:
                segment.result = sequences_of(result)
            return result
        except BaseException as error:
            if request is not None:
                request.failed(error)
            raise
        finally:
            if request is not None and segment is not None:
                request.one_by_one = False
                getattr(kwargs.get("stopping_criteria"), "__dict__", {}).pop(_STAMP, None)
            state.frames.pop()
            state.sink = sink_before
            if not state.frames:
                state.request = state.sink = None
            if opened_here is not None:
                opened_here.end()

    return decode


def _open_without_entry(model: Any) -> RequestLog | None:
    """Open the request of a `generate` that was taken before the watch: from the step it looks up on the model."""
    entered = state.entries.pop(id(model), None)
    calls = owners()
    first = bool(calls) and not calls[-1].requests
    request = open_request("generate", count_generate, model=model)
    if request is None:
        return None
    if entered is not None:
        request.start_ns = entered
    elif first and current_chain():
        request.start_ns = calls[-1].start_ns
        request.notes.append("its entry was not seen (taken before the watch): counted from the call's entry")
    else:
        request.notes.append("its entry was not seen (taken before the watch): counted from its decoding loop")
    return request


def wrap_criteria(original: Any) -> Any:
    """Wrap the stopping criteria's evaluation: an emission exists when it begins."""

    # The list's own parameters: passing *args and **kwargs on costs as much as the stamp.
    @functools.wraps(original)
    def call(self: Any, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        stamp = self.llm_latency_stamp
        if stamp is not None:
            stamp()
            return original(self, input_ids, scores, **kwargs) if kwargs else original(self, input_ids, scores)
        sink = state.sink
        if sink is None:
            return original(self, input_ids, scores, **kwargs)
        mark = None if sink.mark is None else sink.mark()
        instant = sink.now_ns()
        if not sink.fires:
            sink.first(instant)
        done = original(self, input_ids, scores, **kwargs)
        sink.fires.append((instant, input_ids.shape[1], done, mark))
        if sink.look is not None:
            sink.look(sink, instant, input_ids, None)
        elif sink.one_by_one and sink.mark is None:
            self.llm_latency_stamp = sink.stamp()
        return done

    return call


def sequences_of(result: Any) -> Any:
    """The returned ids, without holding on to scores or caches: `.sequences` of an output object, else itself."""
    return getattr(result, "sequences", result)


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What tells the prompt where no decoding method is entered: ids and mask, by reference."""
    given = {name: kwargs[name] for name in ("input_ids", "inputs", "attention_mask") if kwargs.get(name) is not None}
    if args and args[0] is not None:
        given.setdefault("inputs", args[0])
    return given
