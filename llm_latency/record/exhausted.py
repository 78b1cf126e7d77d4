"""Exhausted: a call that ran out of memory, and in which of its phases; not how much memory there was."""

from __future__ import annotations

from llm_latency.core.units import show
from llm_latency.record.observe.log import CallLog

# torch.OutOfMemoryError is a RuntimeError, and so is the CPU allocator's (c10/core/impl/alloc_cpu.cpp), which says:
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def is_exhausted(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on a device."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def explained(log: CallLog, error: BaseException, peak_bytes: int | None) -> str:
    """In which phase a call ran out of memory, and the most that it had used until then."""
    used = "" if peak_bytes is None else f"; at most {show(float(peak_bytes), 'B')} were in use"
    return f"llm-latency: memory ran out in {_phase(log, error)}{used}"


def _phase(log: CallLog, error: BaseException) -> str:
    for request in log.requests:
        if request.facts.get("error_id") == id(error):
            rows = [segment.row for segment in request.facts.get("segments", ())]
            emissions = len(request.fires) + sum(map(len, rows))
            if not emissions:
                return "prefill, before the first new token"
            return f"decode, after {emissions} emission{'' if emissions == 1 else 's'}"
    if log.failed_in is not None and log.failed_in[1] == id(error):
        return log.failed_in[0]
    return "the call, outside of a request that was seen"
