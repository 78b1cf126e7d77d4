"""Delay by other programs inside a call, and the call as it would have been without it; not how delay is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from llm_latency.core.trace import Request, Trace


def delay_ns(trace: Trace, start_ns: int, stop_ns: int) -> float | None:
    """Delay between two instants of a call, in nanoseconds; None where it was not read, or not up to there.

    Between readings it is taken to grow evenly.
    """
    readings = trace.contention.readings if trace.contention else ()
    if len(readings) < 2 or start_ns < readings[0][0] or stop_ns > readings[-1][0]:
        return None
    return max(0.0, _sofar(readings, stop_ns) - _sofar(readings, start_ns))


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


def relieved(trace: Trace) -> Trace:
    """The call with the delay by other programs taken out, where it was read; else the call itself.

    Within a stretch between two readings the delay is taken out of the longest of the pieces that its instants cut
    it into, until they are equally long: a wait for a core makes a gap longer and never shorter. That is the
    kindest reading of the call, so what is too slow even then is too slow by itself.
    """
    readings = trace.contention.readings if trace.contention else ()
    on_host = all(request.device_ns is None for request in trace.requests)
    if len(readings) < 2 or readings[-1][1] <= readings[0][1] or not on_host:
        return trace
    own = _own_instants(trace, readings)
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
        contention=None,
    )


def _moved(request: Request, own: dict[int, int]) -> Request:
    return msgspec.structs.replace(
        request,
        start_ns=own[request.start_ns],
        stop_ns=own[request.stop_ns],
        emissions=tuple((own[instant], positions) for instant, positions in request.emissions),
    )


def _own_instants(trace: Trace, readings: Sequence[tuple[int, int]]) -> dict[int, int]:
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
        for offset, length in enumerate(_shortened(pieces, after - before)):
            own[ordered[begin + offset + 1]] = own[ordered[begin + offset]] + length
    for earlier, later in pairwise(ordered[position:]):
        own[later] = own[earlier] + later - earlier
    return own


def _shortened(pieces: list[int], delay: int) -> list[int]:
    """Pieces of which the longest were cut to one length, so that their sum is shorter by `delay`."""
    if delay <= 0 or not pieces:
        return pieces
    left = max(0, sum(pieces) - delay)
    ascending = sorted(pieces)
    kept, longest = 0, 0
    for index, piece in enumerate(ascending):
        if kept + piece * (len(ascending) - index) >= left:
            longest = round((left - kept) / (len(ascending) - index))
            break
        kept += piece
    return [min(piece, longest) for piece in pieces]
