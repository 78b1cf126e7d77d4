"""RequestLog and CallLog: what the taps write down while a call runs; counting waits until the clock has stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from llm_latency.core.trace import Annotation, Phase, Request
from llm_latency.record.clock import Clock


class RequestLog:
    """One open request. The taps append; `count` turns it into a Request once the clock has stopped.

    `fires` holds (instant, length of the sequences so far, tensor that tells which rows are done).
    """

    __slots__ = ("count", "facts", "fires", "kind", "model", "notes", "now_ns", "start_ns", "stop_ns", "thread")

    def __init__(
        self, kind: str, *, clock: Clock, count: Callable[[RequestLog], Request], model: object = None
    ) -> None:
        """Open at once; `count` is called after the clock has stopped."""
        self.kind = kind
        self.now_ns = clock.now_ns
        self.count = count
        self.model = model
        self.fires: list[tuple[int, int, Any]] = []
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.thread = threading.current_thread().name
        self.stop_ns: int | None = None
        self.start_ns = self.now_ns()


class CallLog:
    """Everything seen of one call while it runs: its requests, its phases and what to remember about it."""

    __slots__ = (
        "annotations",
        "clock",
        "in_batch",
        "name",
        "open",
        "outer",
        "phases",
        "refused",
        "requests",
        "start_ns",
        "thread_id",
    )

    def __init__(self, name: str, *, clock: Clock, outer: tuple[CallLog, ...] = ()) -> None:
        """Open a log below the `outer` ones, which see the same requests."""
        self.name = name
        self.clock = clock
        self.outer = outer
        self.thread_id = threading.get_ident()
        self.requests: list[RequestLog] = []
        self.phases: list[Phase] = []
        self.annotations: list[Annotation] = []
        self.refused: list[str] = []
        self.in_batch = 0
        self.open = True
        self.start_ns = clock.now_ns()

    @property
    def chain(self) -> tuple[CallLog, ...]:
        """The outer logs and this one."""
        return (*self.outer, self)

    def note(self, kind: str, detail: str) -> None:
        """Remember something about the call, at this instant."""
        self.annotations.append(Annotation(kind=kind, at_ns=self.clock.now_ns(), detail=detail))
