"""Delay by other programs inside a call, and the call as it would have been without it; not how delay is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from llm_latency.core.trace import Contention, Request, Trace


def delay_ns(trace: Trace, start_ns: int, stop_ns: int) -> float | None:
    """Delay between two instants of a call, in nanoseconds; None where it was not read, or not up to there.

    Between readings it is taken to grow evenly.
    """
    readings = trace.contention.readings if trace.contention else ()
    if len(readings) < 2 or start_ns < readings[0][0] or stop_ns > readings[-1][0]:
        return None
    return max(0.0, _sofar(readings, stop_ns) - _sofar(readings, start_ns))


def has_own_time(trace: Trace) -> bool:
    """Whether the delay of the process is that of each request: on the CPU, and no two at once in threads of their own.

    Of threads that run side by side it is not told which one waited.
    """
    if any(request.device_ns is not None for request in trace.requests):
        return False
    if len({request.thread for request in trace.requests}) < 2:
        return True
    ordered = sorted(trace.requests, key=lambda request: request.start_ns)
    return all(before.stop_ns <= after.start_ns for before, after in pairwise(ordered))


def delay_share(trace: Trace) -> float | None:
    """Share of a call that was delay by other programs, 0 to 1; None where it was not read."""
    delay = delay_ns(trace, trace.start_ns, trace.stop_ns)
    span = trace.stop_ns - trace.start_ns
    return None if delay is None else min(1.0, delay / span) if span > 0 else 0.0


def _sofar(readings: Sequence[tuple[int, int]], instant_ns: int) -> float:
    index = min(max(bisect_right(readings, instant_ns, key=lambda reading: reading[0]), 1), len(readings) - 1)
    (before_ns, before), (after_ns, after) = readings[index - 1], readings[index]
    if after_ns == before_ns:
        return after
    return before + (after - before) * (instant_ns - before_ns) / (after_ns - before_ns)


def relieved(trace: Trace, *, limit_ns: int | None = None) -> Trace:
    """The call with the delay by other programs taken out, where it was read; else the call itself.

    Within a stretch between two readings the delay is taken out of the longest of the pieces that its instants cut
    it into, until they are equally long: a wait for a core makes a gap longer and never shorter. With `limit_ns`
    the pieces that are hardly too long are first brought below it. That is the kindest reading of the call, so what
    is too slow even then is too slow by itself.
    """
    readings = trace.contention.readings if trace.contention else ()
    if len(readings) < 2 or readings[-1][1] <= readings[0][1] or not has_own_time(trace):
        return trace
    own = _own_instants(trace, readings, limit_ns)
    return msgspec.structs.replace(
        trace,
        start_ns=own[trace.start_ns],
        stop_ns=own[trace.stop_ns],
        requests=tuple(_moved(request, own) for request in trace.requests),
        phases=tuple(
            msgspec.structs.replace(phase, start_ns=own[phase.start_ns], stop_ns=own[phase.stop_ns])
            for phase in trace.phases
        ),
        pauses=tuple((own[begin], own[end]) for begin, end in trace.pauses),
        contention=Contention(readings=((own[readings[0][0]], 0), (own[readings[-1][0]], 0))),
    )


def _moved(request: Request, own: dict[int, int]) -> Request:
    return msgspec.structs.replace(
        request,
        start_ns=own[request.start_ns],
        stop_ns=own[request.stop_ns],
        emissions=tuple((own[instant], positions) for instant, positions in request.emissions),
    )


def _own_instants(trace: Trace, readings: Sequence[tuple[int, int]], limit_ns: int | None) -> dict[int, int]:
    """Each instant of the call as it would have been; before the first reading and after the last nothing moves."""
    instants = {trace.start_ns, trace.stop_ns}
    instants |= {i for r in trace.requests for i in (r.start_ns, r.stop_ns, *(at for at, _ in r.emissions))}
    instants |= {i for p in trace.phases for i in (p.start_ns, p.stop_ns)}
    instants |= {i for pause in trace.pauses for i in pause}
    ordered = sorted(instants | {at for at, _ in readings})
    own = {ordered[0]: ordered[0]}
    position = 0
    for (start_ns, before), (stop_ns, after) in pairwise(readings):
        while ordered[position] < start_ns:
            position += 1
            own[ordered[position]] = own[ordered[position - 1]] + ordered[position] - ordered[position - 1]
        begin = position
        while ordered[position] < stop_ns:
            position += 1
        pieces = [b - a for a, b in pairwise(ordered[begin : position + 1])]
        for offset, length in enumerate(_shortened(pieces, after - before, limit_ns)):
            own[ordered[begin + offset + 1]] = own[ordered[begin + offset]] + length
    for earlier, later in pairwise(ordered[position:]):
        own[later] = own[earlier] + later - earlier
    return own


def _shortened(pieces: list[int], delay: int, limit: int | None) -> list[int]:
    """Pieces that together are shorter by `delay`: brought below `limit` while it lasts, then cut to one length."""
    if delay <= 0 or not pieces:
        return pieces
    pieces = list(pieces)
    if limit is not None:
        for index in sorted(range(len(pieces)), key=pieces.__getitem__):
            if pieces[index] >= limit and pieces[index] - limit + 1 <= delay:
                delay -= pieces[index] - limit + 1
                pieces[index] = limit - 1
    left = max(0, sum(pieces) - delay)
    ascending = sorted(pieces)
    kept, longest = 0, 0
    for index, piece in enumerate(ascending):
        if kept + piece * (len(ascending) - index) >= left:
            longest = round((left - kept) / (len(ascending) - index))
            break
        kept += piece
    return [min(piece, longest) for piece in pieces]
