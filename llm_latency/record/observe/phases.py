"""Loading, tokenizing and decoding inside a call as phases, and pipelines whose result is lazy; not requests."""

from __future__ import annotations

import functools
import sys
from typing import Any

from llm_latency.core.trace import Phase
from llm_latency.record.observe.attribution import owners, state
from llm_latency.record.observe.patch import Patches, Wrap

_ENTRIES = (
    ("transformers.modeling_utils", "PreTrainedModel", "from_pretrained", "load"),
    ("transformers.models.auto.auto_factory", "_BaseAutoModelClass", "from_pretrained", "load"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "from_pretrained", "load"),
    ("transformers.models.auto.tokenization_auto", "AutoTokenizer", "from_pretrained", "load"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "__call__", "tokenize"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "encode", "tokenize"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "apply_chat_template", "tokenize"),
    ("transformers.processing_utils", "ProcessorMixin", "__call__", "tokenize"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "decode", "detokenize"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "batch_decode", "detokenize"),
)


def install(patches: Patches) -> None:
    """Wrap what is loaded of transformers' loading, tokenizers and pipelines."""
    for module, owner_name, method, phase in _ENTRIES:
        owner = getattr(sys.modules.get(module), owner_name, None)
        if owner is not None and hasattr(owner, method):
            patches.wrap_overrides(owner, method, _wrap_phase(phase))
    pipeline = getattr(sys.modules.get("transformers.pipelines.base"), "Pipeline", None)
    if pipeline is not None:
        patches.wrap_overrides(pipeline, "__call__", _wrap_pipeline)


@functools.cache
def _wrap_phase(phase: str) -> Wrap:
    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            if state.phase is not None or not (calls := owners()):
                return original(*args, **kwargs)
            state.phase = phase
            for call in calls:
                call.phase = phase
            start_ns = calls[-1].clock.now_ns()
            try:
                return original(*args, **kwargs)
            except BaseException as error:
                for call in calls:
                    call.failed_in = phase, id(error)
                raise
            finally:
                state.phase = None
                seen = Phase(name=phase, start_ns=start_ns, stop_ns=calls[-1].clock.now_ns())
                for call in calls:
                    call.phase = None
                    call.phases.append(seen)

        return method

    return wrap


def _wrap_pipeline(original: Any) -> Any:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        outermost, state.in_pipeline = not state.in_pipeline, True  # subclasses call their base's __call__
        try:
            result = original(self, *args, **kwargs)
        finally:
            state.in_pipeline = not outermost
        if outermost and is_lazy(result):
            for log in owners():
                log.note("lazy", f"{type(self).__name__} returned a {type(result).__name__}, which has run nothing yet")
        return result

    return call


def is_lazy(result: object) -> bool:
    """Whether a result is an iterator whose work is still to come."""
    return hasattr(result, "__next__") or type(result).__name__ == "PipelineIterator"
