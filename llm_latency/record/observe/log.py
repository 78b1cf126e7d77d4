"""RequestLog and CallLog: what the taps write down while a call runs; counting waits until the clock has stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import repeat, starmap
from typing import Any

from llm_latency.core.trace import Annotation, Phase, Request
from llm_latency.record.clock import Clock
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.gauges import Gauges

Fire = tuple[int, int, Any, object]
# Who looks on: told the request, the emission's instant, the sequences so far and the text that was emitted, if known.
Look = Callable[["RequestLog", int, Any, object], None]


class RequestLog:
    """One open request. The taps append; `count` turns it into a Request once the clock has stopped.

    `fires` holds (instant, length of the sequences so far, tensor that tells which rows are done, mark on the
    device); `marks` are those of the emissions that `count` has kept, and `device_ns` their instants. `mark` is None
    where the host's clock is the device's.

    `one_by_one` says that every fire brings one position and ends all rows or none. Once the first is written down,
    and where nothing is marked, the rest follow in a row: only their instants are kept, in `row`, as numbers, which
    the collector does not have to look after.
    `host_waits` says that something else waits for the device at each emission, such as a streamer.
    """

    __slots__ = (
        "count",
        "device_ns",
        "facts",
        "fires",
        "gauges",
        "host_waits",
        "kind",
        "look",
        "mark",
        "marks",
        "model",
        "notes",
        "now_ns",
        "one_by_one",
        "readings",
        "row",
        "start_ns",
        "stop_ns",
        "thread",
    )

    def __init__(
        self,
        kind: str,
        *,
        clock: Clock,
        count: Callable[[RequestLog], Request],
        model: object = None,
        gauges: Gauges | None = None,
        look: Look | None = None,
    ) -> None:
        """Open at once; `count` is called after the clock has stopped."""
        self.look = look
        self.kind = kind
        self.now_ns = clock.now_ns
        self.count = count
        self.model = model
        self.gauges = gauges
        self.readings = None if gauges is None else gauges.enter(model)
        on_host = self.readings is None or isinstance(self.readings.device, Cpu)
        self.mark = None if on_host or self.readings is None else self.readings.device.mark
        self.marks: list[object] = []
        self.fires: list[Fire] = []
        self.row: list[int] = []
        self.one_by_one = self.host_waits = False
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.thread = threading.current_thread().name
        self.device_ns: tuple[int, ...] | None = None
        self.stop_ns: int | None = None
        self.start_ns = self.now_ns()

    def fire(self, length: int, done: Any = None, *, text: object = None) -> None:
        """Stamp an emission after which the sequences have `length`; `text` is what was emitted, for who looks on."""
        mark = None if self.mark is None else self.mark()
        instant_ns = self.now_ns()
        if not self.fires:
            self.first(instant_ns)
        self.fires.append((instant_ns, length, done, mark))
        if self.look is not None:
            self.look(self, instant_ns, None, text)

    def stamp(self) -> Callable[[], object]:
        """What keeps an instant in `row` each time it is called, all of it in C: that halves its cost."""
        return map(self.row.append, starmap(self.now_ns, repeat(()))).__next__

    def first(self, instant_ns: int) -> None:
        """Read what belongs to the first emission."""
        if self.gauges is not None and self.readings is not None:
            try:
                self.gauges.first(self.readings, instant_ns)
            except Exception as error:  # inside the user's call, which goes on
                self.notes.append(f"nothing was read at the first emission: {error}")

    def end(self) -> None:
        """Stamp the request's end; the last one counts. A device that does not mark is waited for first."""
        mark = None if self.mark is None else self.mark()
        self.stop_ns = self.now_ns()
        if self.gauges is not None and self.readings is not None:
            self.readings.stop_mark = mark
            try:
                self.gauges.leave(self.readings, self.stop_ns)
            except Exception as error:  # as above, and it may be on its way out with an exception of its own
                self.notes.append(f"nothing was read at the request's end: {error}")

    def failed(self, error: BaseException) -> None:
        """Remember the exception that left the request, by what it is called and which it was."""
        self.facts["error"] = type(error).__name__
        self.facts["error_id"] = id(error)


class CallLog:
    """Everything seen of one call while it runs: its requests, its phases and what to remember about it.

    `failed_in` is what was running beside the requests when an exception left it, a phase or a forward, with the
    exception's id. `look` is told of each emission, where someone looks on; `phase` is the one that is open.
    """

    __slots__ = (
        "annotations",
        "clock",
        "failed_in",
        "gauges",
        "in_batch",
        "look",
        "name",
        "open",
        "outer",
        "phase",
        "phases",
        "refused",
        "requests",
        "start_ns",
        "thread_id",
    )

    def __init__(
        self, name: str, *, clock: Clock, outer: tuple[CallLog, ...] = (), gauges: Gauges | None = None
    ) -> None:
        """Open a log below the `outer` ones, which see the same requests."""
        self.gauges = gauges
        self.name = name
        self.clock = clock
        self.outer = outer
        self.thread_id = threading.get_ident()
        self.requests: list[RequestLog] = []
        self.phases: list[Phase] = []
        self.annotations: list[Annotation] = []
        self.refused: list[str] = []
        self.failed_in: tuple[str, int] | None = None
        self.look: Look | None = None
        self.phase: str | None = None
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
