"""Putting the taps on while a watch is open and taking them off again, and reading what they wrote; not the taps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from types import SimpleNamespace

import msgspec

from llm_latency.core.trace import Annotation, Request
from llm_latency.errors import ObservationError
from llm_latency.record.clock import Clock
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.device import Device
from llm_latency.record.observe import batch, forward, generate, phases
from llm_latency.record.observe.attribution import state
from llm_latency.record.observe.costs import with_costs
from llm_latency.record.observe.count import count_generate
from llm_latency.record.observe.log import CallLog, RequestLog
from llm_latency.record.observe.patch import Patches, after_import

_patches = Patches()
_watching: list[object] = []
# Reentrant: the garbage collector may end an abandoned block while this thread holds it.
_lock = threading.RLock()
_LATE = (
    "transformers.generation.",
    "transformers.modeling_utils",
    "transformers.models.auto.",
    "transformers.pipelines.base",
    "transformers.tokenization_utils_base",
    "transformers.processing_utils",
)


@contextmanager
def tapped(modules: Iterable[object] = ()) -> Iterator[None]:
    """Observe model calls of the process until the block ends; blocks may overlap in threads.

    `modules` are torch modules beside transformers' own whose forwards count. The last block that ends takes
    every tap off, also after an exception or an interrupt.
    """
    token = object()
    try:
        with _lock:
            _watching.append(token)
        _install(modules)
        with after_import("transformers", _after_module):
            yield
    finally:
        try:
            _release(token)
        except BaseException:
            _release(token)  # an interrupt in the middle of the first leaves nothing to the second
            raise


def _release(token: object) -> None:
    with _lock:
        if token in _watching:
            _watching.remove(token)
        if not _watching:
            _restore()


def _restore() -> None:
    forward.restore()
    _patches.restore()


def _install(modules: Iterable[object] = ()) -> None:
    with _lock:
        generate.install(_patches)
        batch.install(_patches)
        forward.install(modules)
        phases.install(_patches)


def _after_module(name: str) -> None:
    if name.startswith(_LATE) or (
        ".models." in name and name.rpartition(".")[2].startswith(("modeling_", "generation_"))
    ):
        _install()


def requests_of(call: CallLog) -> tuple[Request, ...]:
    """Count the requests of a call that has ended, in order of their start; one of kind `call` where none was seen.

    A stream whose items come from a model call that was seen itself gives way to it: ids beat chunks.
    Raises ObservationError when a thread's model call could belong to more than one watch.
    """
    if call.refused:
        raise ObservationError(
            f"{call.refused[0]}: it cannot be known whose it is. Time one block at a time, or open the watch"
            " in the thread that runs the model"
        )
    logs = [log for log in call.requests if not _given_way(log, call.requests)]
    for log in logs:
        if log.stop_ns is None:
            call.note("thread", f"a request in thread {log.thread!r} was still running when the watch ended")
    return tuple(sorted((_counted(log) for log in logs), key=lambda request: request.start_ns))


def _counted(log: RequestLog) -> Request:
    """The Request with the device's instants and the memory of its phases; an inner watch has located them before."""
    request, readings = with_costs(log.count(log), log), log.readings
    if log.gauges is None or readings is None:
        return request
    if log.mark is not None and log.device_ns is None:
        log.device_ns = log.gauges.instants(readings, log.marks)
    peaks = readings.peaks if readings.is_alone and request.emissions else None
    # Assisted decoding reads off the device how many guesses were right, before it asks the criteria.
    waits = log.host_waits or log.kind == "stream" or any(positions > 1 for _, positions in request.emissions)
    return msgspec.structs.replace(
        request,
        device_ns=log.device_ns,
        host_waits=waits and log.device_ns is not None,
        peak_bytes=dict(peaks) if peaks else None,
    )


def _given_way(log: RequestLog, others: list[RequestLog]) -> bool:
    if log.kind != "stream":
        return False
    stop_ns = log.stop_ns if log.stop_ns is not None else log.now_ns()
    return any(o.kind != "stream" and log.start_ns <= o.start_ns <= stop_ns for o in others)


def lazy_notes(call: CallLog) -> tuple[Annotation, ...]:
    """Notes of results that came back before their work was done."""
    return tuple(note for note in call.annotations if note.kind == "lazy")


def emission_cost_ns(clock: Clock, device: Device) -> int:
    """What one observed emission costs the host more than a bare one, in nanoseconds, with its mark on the device.

    Median of 30 paired rounds of 10; the emissions after the first of a request are alike.
    """

    class _Ids:
        shape = (1, 1)

    torch = sys.modules.get("torch")
    ids = _Ids() if torch is None else torch.zeros(1, 1)

    def bare(self: object, input_ids: object, scores: object) -> None:
        return None

    seen = generate.wrap_criteria(bare)
    log = RequestLog("generate", clock=clock, count=count_generate)
    log.mark = None if isinstance(device, Cpu) else device.mark
    before, state.sink = state.sink, log
    criteria = SimpleNamespace(llm_latency_stamp=log.stamp() if log.mark is None else None)
    rounds = []
    try:
        for _ in range(30):
            log.row.clear()
            log.fires = [(0, 0, None, None)]
            first = clock.now_ns()
            for _ in range(10):
                bare(criteria, ids, None)
            middle = clock.now_ns()
            for _ in range(10):
                seen(criteria, ids, None)
            rounds.append(clock.now_ns() - middle - (middle - first))
    finally:
        state.sink = before
    return max(0, round(median(rounds) / 10))
