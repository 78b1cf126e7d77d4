"""Onlook: lets a view look at one call while it runs, and keeps what that took; not what the view shows.

It is told by the thread that emits, and the call's clock stands still meanwhile. Where no token can come, such as
while a model loads, a thread of its own looks twice a second, beside the call.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import msgspec

from llm_latency.core.trace import BESIDE, VIEW, Annotation
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.gauges import Gauges
from llm_latency.record.observe.count import Segment
from llm_latency.record.observe.log import CallLog, Fire, RequestLog
from llm_latency.record.view import NEVER_NS, Guard, Moment

_PULSE_S = 0.5
_MOST_TEXTS = 12


class _Told:
    """How far a view has been told of a request, and the texts that it has not been told."""

    __slots__ = ("entered_ns", "number", "seen", "texts")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self.entered_ns: int | None = None
        self.texts: deque[str] = deque(maxlen=_MOST_TEXTS)


class Onlook:
    """Lets a view look at one call, one thread at a time, and keeps what that took."""

    def __init__(self, view: Guard, *, clock: Clock, gauges: Gauges, call: CallLog) -> None:
        """Look at nothing yet; `call` tells its emissions from now on."""
        call.look = self.emission
        self._view = view
        self._clock = clock
        self._gauges = gauges
        self._call = call
        self._due_ns = 0
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._looks = self._looks_ns = 0  # with the clock stopped
        self._beside = self._beside_ns = 0  # while the call went on
        self._told: dict[RequestLog, _Told] = {}
        self._numbers = count(1)
        self._looked_ns = 0
        self._last: tuple[int, int] | None = None  # an instant of the clock, and how much of the call was over then
        self._settled = 0
        self._settled_tokens = {False: 0, True: 0}
        self._forwarding: set[str] = set()

    def start(self) -> None:
        """Begin, before the clock starts; fakes have no time that passes by itself, and nobody looks beside them."""
        if isinstance(self._clock, HostClock):
            threading.Thread(target=self._pulse, name="llm-latency view", daemon=True).start()

    def close(self) -> None:
        """Look no more. A look of the thread beside is waited for, so that none comes after the call's end."""
        self._over.set()
        self._due_ns = NEVER_NS
        if self._writing.acquire(timeout=1.0):
            self._writing.release()
        self._told.clear()  # a request knows its model, which may be large

    def emission(self, request: RequestLog, instant_ns: int, ids: Any = None, text: object = None) -> None:
        """Look, if it is time to, at an emission that has just been written down."""
        if isinstance(text, str):
            self._told_of(request).texts.append(text)
        if request.kind == "forward":
            self._forwarding.add(request.thread)
        if instant_ns < self._due_ns or not self._writing.acquire(blocking=False):
            return
        try:
            overlaps = self._overlaps(request)
            begin_ns = self._clock.now_ns()
            self._view.look(lambda: self._moment(request, "decode", begin_ns, ids))
            end_ns = self._clock.now_ns()
            due_ns = NEVER_NS if self._view.problem is not None else end_ns + self._view.period_ns
            self._due_ns = max(self._due_ns, due_ns)
            if overlaps or self._overlaps(request):
                self._beside, self._beside_ns = self._beside + 1, self._beside_ns + end_ns - begin_ns
                return
            self._looks, self._looks_ns = self._looks + 1, self._looks_ns + end_ns - begin_ns
            if request.gauges is None or request.readings is None:
                return
            if (mark := request.fires[-1][3]) is None:
                request.gauges.pause(request.readings.device, begin_ns, is_idle=True)
            else:
                request.gauges.pause_behind(mark, request.readings.device, begin_ns, end_ns)
        finally:
            self._writing.release()

    def annotations(self, stop_ns: int) -> tuple[Annotation, ...]:
        """What was looked at and what that took; nothing where nobody looked."""
        told = ((VIEW, self._looks, self._looks_ns), (BESIDE, self._beside, self._beside_ns))
        return tuple(Annotation(kind=k, at_ns=stop_ns, detail=str(n), duration_ns=ns) for k, n, ns in told if n)

    def _pulse(self) -> None:
        """Look beside the call while it emits nothing."""
        while not self._over.wait(_PULSE_S) and self._view.problem is None:
            begin_ns = self._clock.now_ns()
            request = self._call.requests[-1] if self._call.requests else None
            is_open = request is not None and request.stop_ns is None
            emits = is_open and request is not None and bool(request.fires)
            is_fresh = self._looked_ns + _PULSE_S * 1e9 > begin_ns
            if emits or is_fresh or not self._writing.acquire(blocking=False):
                continue
            try:
                if not self._over.is_set():
                    phase = "prefill" if is_open else self._call.phase or "running"
                    self._view.look(lambda: self._moment(request, phase, begin_ns, None))  # noqa: B023 - called at once
                    self._beside += 1
                    self._beside_ns += self._clock.now_ns() - begin_ns
            finally:
                self._writing.release()

    def _overlaps(self, request: RequestLog) -> bool:
        """Whether others run meanwhile, whose clock must go on. A forward is known when it is over, not before."""
        others = self._forwarding - {request.thread}
        return bool(others) or (request.gauges is not None and request.gauges.overlaps)

    def _told_of(self, request: RequestLog) -> _Told:
        return self._told.get(request) or self._told.setdefault(request, _Told(next(self._numbers)))

    def _moment(self, request: RequestLog | None, phase: str, now_ns: int, ids: Any) -> Moment:
        self._looked_ns = now_ns
        known = self._gauges.so_far()
        fires: list[Fire] = []
        texts: tuple[str, ...] = ()
        told = _Told(0)
        if request is not None:
            told = self._told_of(request)
            if told.entered_ns is None:
                told.entered_ns = self._since_start(request.start_ns)
            fires = _emissions(request)[told.seen :]
            texts = tuple(told.texts)[-len(fires) :] if fires else ()
            told.texts.clear()
        first, told.seen = told.seen, told.seen + len(fires)
        return Moment(
            # In order of time: each is counted from the one before.
            instants_ns=tuple(self._since_start(instant) for instant, *_ in fires),
            at_ns=self._since_start(now_ns),
            phase="forward" if phase == "decode" and not fires and first == 0 else phase,
            request=told.number,
            entered_ns=told.entered_ns or 0,
            first=first,
            tokens=0 if request is None else _tokens(request),
            total=self._total(),
            limit=None if request is None else _limit(request),
            texts=texts,
            ids=() if ids is None or request is None else _ids(request, ids, fires),
            delay_ns=known.delay_ns,
            peaks=known.peaks,
            annotations=tuple(
                msgspec.structs.replace(note, at_ns=self._since_start(note.at_ns)) for note in known.heard
            ),
        )

    def _since_start(self, instant_ns: int) -> int:
        """An instant as time of the call; from the last one that was asked for, unless it lies before that."""
        before_ns, over_ns = self._last or (self._call.start_ns, 0)
        if instant_ns < before_ns:
            return self._gauges.elapsed_ns(self._call.start_ns, instant_ns)
        over_ns += self._gauges.elapsed_ns(before_ns, instant_ns)
        self._last = (instant_ns, over_ns)
        return over_ns

    def _total(self) -> int:
        """New tokens of all requests so far; streams count where nothing else emits, since they may pass it on."""
        requests = self._call.requests
        tokens = self._settled_tokens
        while self._settled < len(requests) - 1 and requests[self._settled].stop_ns is not None:
            settled = requests[self._settled]
            tokens[settled.kind == "stream"] += _tokens(settled)
            self._settled += 1
        running = dict(tokens)
        for request in requests[self._settled :]:
            running[request.kind == "stream"] += _tokens(request)
        return running[False] or running[True]


def _emissions(request: RequestLog) -> list[Fire]:
    """What has been written down and is an emission: a single forward may be an encoder's, which emits nothing."""
    return [] if request.kind == "forward" and len(request.fires) == 1 else request.fires


def _tokens(request: RequestLog) -> int:
    """New tokens so far: of all rows where the sequences' lengths are known, else an emission each."""
    fires, segments = _emissions(request), request.facts.get("segments")
    if not fires or not segments:
        return len(fires)
    return int(_rows(segments[0]) * (fires[-1][1] - segments[0].length))


def _rows(segment: Segment) -> int:
    """The sequences that will be returned: of beams one of each prompt, or as many as were asked for."""
    beams, returned = (getattr(segment.config, name, None) or 1 for name in ("num_beams", "num_return_sequences"))
    return max(1, segment.expanded // beams * returned if beams > 1 else segment.expanded)


def _limit(request: RequestLog) -> int | None:
    """The most new tokens that the request may have; None where nobody said."""
    segments = request.facts.get("segments")
    if not segments or getattr(segments[0].config, "max_length", None) is None:
        return None
    return int(_rows(segments[0]) * (segments[0].config.max_length - segments[0].length))


def _ids(request: RequestLog, ids: Any, fires: Sequence[Fire]) -> tuple[tuple[int, ...], ...]:
    """The first row's new ids of the last few emissions; reading them waits for the device."""
    lengths = [length for _, length, *_ in fires[-_MOST_TEXTS:]]
    segments = request.facts.get("segments") or ()
    with suppress(Exception):  # whatever was passed as sequences
        before = next((fire[1] for fire in request.fires[-len(lengths) - 1 : -len(lengths)]), None)
        begin = before if before is not None else segments[-1].length if segments else lengths[0] - 1
        row = ids[0, begin:].tolist()
        starts = [begin, *lengths[:-1]]
        return tuple(tuple(row[a - begin : b - begin]) for a, b in zip(starts, lengths, strict=True))
    return ()
