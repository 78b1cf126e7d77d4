"""Onlook: lets a view look at one call while it runs, and keeps what that took; not what the view shows.

It is told by the thread that emits, and the call's clock stands still meanwhile. Where no token can come, such as
while a model loads, a thread of its own looks twice a second, beside the call.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from llm_latency.core.trace import BESIDE, VIEW, Annotation
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.gauges import Gauges
from llm_latency.record.observe.count import Segment
from llm_latency.record.observe.log import CallLog, Fire, RequestLog
from llm_latency.record.view import Moment, View

_PULSE_S = 0.5
_MOST_TEXTS = 12
# A view that failed is asked no more: the user's call goes on.
_NEVER = 1 << 62


class Onlook:
    """Lets a view look at one call, one thread at a time, and keeps what that took."""

    def __init__(self, view: View, *, clock: Clock, gauges: Gauges, call: CallLog) -> None:
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
        self._late: list[tuple[RequestLog, object, int, int]] = []
        self._problem: str | None = None
        self._request: RequestLog | None = None
        self._requests = self._seen = self._entered_ns = self._looked_ns = 0
        self._last = (0, 0)  # an instant of the clock, and the same since the call began without the pauses
        self._texts: deque[str] = deque(maxlen=_MOST_TEXTS)

    def start(self, start_ns: int) -> None:
        """Begin with the call; fakes have no time that passes by itself, and nobody looks beside their calls."""
        self._last = (start_ns, 0)
        if isinstance(self._clock, HostClock):
            threading.Thread(target=self._pulse, name="llm-latency view", daemon=True).start()

    def close(self) -> None:
        """Look no more. A look of the thread beside is waited for, so that none comes after the call's end."""
        self._over.set()
        self._due_ns = _NEVER
        if self._writing.acquire(timeout=1.0):
            self._writing.release()

    def emission(self, request: RequestLog, instant_ns: int, ids: Any = None, text: object = None) -> None:
        """Look, if it is time to, at an emission that has just been written down."""
        if isinstance(text, str):
            self._texts.append(text)
        if instant_ns < self._due_ns or not self._writing.acquire(blocking=False):
            return
        try:
            begin_ns = self._clock.now_ns()
            self._look(self._moment(request, "decode", begin_ns, ids))
            end_ns = self._clock.now_ns()
            self._due_ns = max(self._due_ns, end_ns + self._view.period_ns)
            self._looks, self._looks_ns = self._looks + 1, self._looks_ns + end_ns - begin_ns
            if request.gauges is None or request.readings is None:
                return
            # The delay while it was looked is not that of the step to come.
            request.gauges.read(end_ns)
            if (mark := request.fires[-1][3]) is None:
                request.gauges.pause(request.readings.device, begin_ns, is_idle=True)
            else:
                self._late.append((request, mark, begin_ns, end_ns))
        finally:
            self._writing.release()

    def settle(self) -> None:
        """Take out of the call what a device waited for a look; it may have worked on. After its marks are located."""
        for request, mark, begin_ns, end_ns in self._late:
            if request.readings is None or request.gauges is None:
                continue
            told = request.gauges.instants(request.readings, [mark])
            since_ns = end_ns if told is None else max(begin_ns, told[0])
            if since_ns < end_ns:
                request.gauges.add_pause(since_ns, end_ns)

    def annotations(self, stop_ns: int) -> tuple[Annotation, ...]:
        """What was looked at and what that took; nothing where nobody looked."""
        told = ((VIEW, self._looks, self._looks_ns), (BESIDE, self._beside, self._beside_ns))
        notes = [Annotation(kind=k, at_ns=stop_ns, detail=str(n), duration_ns=ns) for k, n, ns in told if n]
        if self._problem is not None:
            notes.append(Annotation(kind="live view", at_ns=stop_ns, detail=self._problem))
        return tuple(notes)

    def _pulse(self) -> None:
        """Look beside the call while it emits nothing."""
        while not self._over.wait(_PULSE_S):
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
                    self._look(self._moment(request, phase, begin_ns, None))
                    self._beside += 1
                    self._beside_ns += self._clock.now_ns() - begin_ns
            finally:
                self._writing.release()

    def _look(self, moment: Moment) -> None:
        try:
            self._view.look(moment)
        except Exception as error:  # it is inside the user's call, which goes on
            self._due_ns = _NEVER
            self._over.set()
            self._problem = f"it failed and was switched off: {type(error).__name__}: {error}"

    def _moment(self, request: RequestLog | None, phase: str, now_ns: int, ids: Any) -> Moment:
        self._looked_ns = now_ns
        known = self._gauges.so_far(now_ns)
        if request is not self._request and request is not None:
            self._request, self._seen = request, 0
            self._entered_ns, self._requests = self._since_start(request.start_ns), self._requests + 1
        fires = [] if request is None else request.fires[self._seen :]
        first, self._seen = self._seen, self._seen + len(fires)
        texts = tuple(self._texts)[-len(fires) :] if fires else ()
        self._texts.clear()
        return Moment(
            # In order of time: each is counted from the one before.
            instants_ns=tuple(self._since_start(instant) for instant, *_ in fires),
            at_ns=self._since_start(now_ns),
            phase=phase,
            request=self._requests,
            entered_ns=self._entered_ns,
            first=first,
            tokens=0 if request is None else _tokens(request, ids),
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
        before_ns, elapsed_ns = self._last
        if instant_ns < before_ns:
            return self._gauges.elapsed_ns(self._call.start_ns, instant_ns)
        elapsed_ns += self._gauges.elapsed_ns(before_ns, instant_ns)
        self._last = (instant_ns, elapsed_ns)
        return elapsed_ns


def _tokens(request: RequestLog, ids: Any) -> int:
    """New tokens so far: of all rows where the sequences are at hand, else an emission each."""
    segments = request.facts.get("segments")
    if ids is None or not segments:
        return len(request.fires)
    return int(_rows(segments[0]) * (ids.shape[1] - segments[0].length))


def _rows(segment: Segment) -> int:
    return max(1, segment.expanded // (getattr(segment.config, "num_beams", None) or 1))


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
    before = next((fire[1] for fire in request.fires[-len(lengths) - 1 : -len(lengths)]), None)
    begin = before if before is not None else segments[-1].length if segments else lengths[0] - 1
    with suppress(Exception):
        row = ids[0, begin:].tolist()
        starts = [begin, *lengths[:-1]]
        return tuple(tuple(row[a - begin : b - begin]) for a, b in zip(starts, lengths, strict=True))
    return ()
