"""Which watch a thread's model call belongs to; not what is written down about it.

The taps sit on classes, which a process has once, so the register of open watches is the process's too: the
one piece of module state in this room.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from llm_latency.core.trace import Request
from llm_latency.record.observe.log import CallLog, RequestLog

_chain: ContextVar[tuple[CallLog, ...]] = ContextVar("llm_latency_chain", default=())
_open: list[CallLog] = []
_lock = threading.RLock()  # reentrant, as the taps' lock is


class ThreadState(threading.local):
    """What this thread is inside of.

    `frames` names the entries it is in ("generate", "decode", "aside", "batch", "forward"), outermost first;
    `sink` is the request whose emissions count now, None where a fire is nobody's or a draft's. `entries` has the
    instant at which each model, by id, began to prepare a generate whose entry was not seen.
    """

    def __init__(self) -> None:
        """Outside of everything."""
        self.frames: list[str] = []
        self.sink: RequestLog | None = None
        self.request: RequestLog | None = None
        self.entries: dict[int, int] = {}
        self.phase: str | None = None
        self.in_pipeline = False

    def reset(self) -> None:
        """Forget what an interrupted call left behind."""
        self.__init__()  # type: ignore[misc]  # threading.local runs it once a thread; here again on purpose


state = ThreadState()


@contextmanager
def opened(call: CallLog) -> Iterator[None]:
    """Let this thread's and its context's model calls belong to `call` until the block ends."""
    before = _chain.get()
    if not before:
        state.reset()
    try:
        with _lock:
            _open.append(call)
        _chain.set(call.chain)
        yield
    finally:
        try:
            _close(call, before)
        except BaseException:
            _close(call, before)  # an interrupt in the middle of the first leaves nothing to the second
            raise


def _close(call: CallLog, before: tuple[CallLog, ...]) -> None:
    call.open = False
    with _lock:
        if call in _open:
            _open.remove(call)
    # Not reset(token): a generator fixture may be closed in another context than it was opened in.
    _chain.set(before)


def current_chain() -> tuple[CallLog, ...]:
    """Open watches of this context, outermost first."""
    return tuple(call for call in _chain.get() if call.open)


def owners() -> tuple[CallLog, ...]:
    """Watches that a model call in this thread belongs to, outermost first; none when there is none.

    A thread of the user's own has no watch in its context: it belongs to the innermost open one. Where two
    open watches are not nested in each other, that cannot be known: both are told, and refuse when they end.
    """
    if chain := current_chain():
        return chain
    with _lock:
        calls = tuple(_open)
    if not calls:
        return ()
    innermost = max(calls, key=lambda call: len(call.outer))
    if set(calls) <= set(innermost.chain):
        return innermost.chain
    names = ", ".join(repr(call.name) for call in calls)
    for call in calls:
        call.refused.append(f"thread {threading.current_thread().name!r} ran a model while {names} were open")
    return ()


def open_request(kind: str, count: Callable[[RequestLog], Request], *, model: object = None) -> RequestLog | None:
    """Open a request in every watch that this thread belongs to; None when there is none."""
    calls = owners()
    if not calls or any(call.in_batch for call in calls):
        return None
    look = next((call.look for call in calls if call.look is not None), None)
    request = RequestLog(kind, clock=calls[-1].clock, count=count, model=model, gauges=calls[-1].gauges, look=look)
    for call in calls:
        call.requests.append(request)
    return request
