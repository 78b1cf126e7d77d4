"""Seeing continuous batching, `generate_batch`: its own stamps of each token, one request a prompt."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from llm_latency.core.trace import Request
from llm_latency.record.observe.attribution import owners, state
from llm_latency.record.observe.count import hashed
from llm_latency.record.observe.log import RequestLog
from llm_latency.record.observe.patch import Patches


def install(patches: Patches) -> None:
    """Wrap `generate_batch` where transformers' generation is loaded and has it."""
    mixin = getattr(sys.modules.get("transformers.generation.utils"), "GenerationMixin", None)
    if mixin is not None and hasattr(mixin, "generate_batch"):
        patches.wrap_overrides(mixin, "generate_batch", _wrap_batch)


def _wrap_batch(original: Any) -> Any:
    has_stamps = "record_timestamps" in inspect.signature(original).parameters

    @functools.wraps(original)
    def generate_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls = owners()
        if not calls or "batch" in state.frames:
            return original(self, *args, **kwargs)
        if has_stamps:
            kwargs = {**kwargs, "record_timestamps": True}
        if state.request is not None:  # a generate that was rerouted here: its requests are the batch's
            for call in calls:
                call.requests.remove(state.request)
        start_ns = calls[-1].clock.now_ns()
        for call in calls:
            call.in_batch += 1
        state.frames.append("batch")
        try:
            outputs = original(self, *args, **kwargs)
        finally:
            state.frames.pop()
            for call in calls:
                call.in_batch -= 1
        stop_ns = calls[-1].clock.now_ns()
        for output in outputs.values():
            request = RequestLog("batch", clock=calls[-1].clock, count=_count, model=self)
            request.start_ns, request.stop_ns = start_ns, stop_ns
            request.facts = {"output": output}
            for call in calls:
                call.requests.append(request)
        return outputs

    return generate_batch


def _count(log: RequestLog) -> Request:
    output = log.facts["output"]
    # transformers stamps with perf_counter, the host clock's other spelling, in seconds.
    stamps = [round(stamp * 1e9) for stamp in (output.timestamps or ())]
    tokens = len(output.generated_tokens)
    notes = [*log.notes]
    emissions = tuple((stamp, 1) for stamp in stamps)
    if len(stamps) != tokens:
        notes.append(f"{len(stamps)} stamps for {tokens} tokens: emissions are not known")
        emissions = ()
    stop_ns = log.stop_ns or log.start_ns
    return Request(
        kind="batch",
        start_ns=log.start_ns,
        stop_ns=max(stop_ns, emissions[-1][0] if emissions else 0),
        emissions=emissions,
        rows=1,
        prompt_tokens=len(output.prompt_ids),
        row_tokens=(tokens,),
        finish_reasons=("error" if getattr(output, "error", None) else "unknown",),
        token_source="ids",
        output=hashed([output.generated_tokens]),
        model=type(log.model).__name__,
        thread=log.thread,
        notes=tuple(notes),
    )
