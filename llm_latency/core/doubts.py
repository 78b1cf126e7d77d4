"""Doubts: what a measurement's own calls say against its numbers, as sentences; nothing is corrected or removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from llm_latency.core.contention import delay_ns, delay_share, has_own_time
from llm_latency.core.drift import drift
from llm_latency.core.outliers import outliers
from llm_latency.core.trace import BESIDE, VIEW, Annotation, Request, Trace
from llm_latency.core.units import show

# A delay below this share of a call is inside what its interval says anyway: undisturbed calls differ by 2.7 % (CV).
_MATERIAL = 0.05
# An event that took less of the calls' time is in their traces, and no line of the report.
_WORTH_A_WORD = 0.01
_WORDS = {
    "gc": "garbage collection (gc.freeze() after loading shortens it)",
    "compile": "compiling",
    "steal": "the hypervisor gave cores of this machine to others",
    "throttled": "the container's CPU quota was used up and its processes stopped",
    "held back": "the device did not run at its full clock",
    "neighbours": "the device is shared",
    "lazy": "a result that is lazy",
}
# A process that only turned was switched off 2.5 to 5 times a second alone on its machine (3 spans of 2 s), and 102, 83
# and 62 times beside one, two and four busy neighbours (a span of 3 s each; 2 cores, Linux 6.18).
_MANY_SWITCHES_PER_SECOND = 30.0
# The device has caught up with the host when less than this share of a step is left to do at the emission's stamp.
_CAUGHT_UP = 0.1


def doubts(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Sentences about counted calls: unequal work, what disturbed them, who set their pace, what was not seen."""
    notes = {note for trace in traces for request in trace.requests for note in request.notes}
    found = [
        *_unequal_work(traces),
        *_delayed(traces),
        *_switched(traces),
        *_annotated(traces),
        *_unsteady(traces),
        *_launch_bound(traces),
        *sorted(notes),
    ]
    return tuple(dict.fromkeys(found))


def is_contended(traces: Sequence[Trace]) -> bool:
    """Whether other programs delayed a tenth of the calls, or more, materially."""
    return _count_delayed(traces) * 10 >= max(1, len(traces))


def _count_delayed(traces: Sequence[Trace]) -> int:
    return sum((delay_share(trace) or 0.0) > _MATERIAL for trace in traces)


def _unequal_work(traces: Sequence[Trace]) -> Iterator[str]:
    if len({trace.done_work() for trace in traces}) > 1:
        counts = sorted({trace.new_tokens or 0 for trace in traces})
        yield (
            f"new tokens a call vary from {counts[0]} to {counts[-1]}: compare tpot and itl, not e2e, or fix the"
            " length with min_new_tokens and max_new_tokens"
        )


def _delayed(traces: Sequence[Trace]) -> Iterator[str]:
    delayed = _count_delayed(traces)
    if delayed:
        worst = max(delay_share(trace) or 0.0 for trace in traces)
        which = _in_calls(delayed, len(traces))
        most = "" if len(traces) == 1 else "up to "
        yield (
            f"other programs had this process's cores for {most}{worst:.0%} of the time of {which}"
            + ("; ttft_own, tpot_own and e2e_own are without it" if any(map(has_own_time, traces)) else "")
        )


def _in_calls(count: int, of: int) -> str:
    return "the call" if of == 1 else f"all {of} calls" if count == of else f"{count} of {of} calls"


def _switched(traces: Sequence[Trace]) -> Iterator[str]:
    """Where the system does not report delay, how often it took cores away is all that there is."""
    told = [(t.contention.switches or 0, t) for t in traces if t.contention and not t.contention.readings]
    seconds = sum(trace.elapsed_ns(trace.start_ns, trace.stop_ns) for _, trace in told) / 1e9
    count = sum(switches for switches, _ in told)
    if told and seconds > 0 and count / seconds > _MANY_SWITCHES_PER_SECOND:
        yield (
            f"cores were taken from this process {count} times in {show(seconds, 's')}: other programs ran; this"
            " system does not report for how long"
        )


def _annotated(traces: Sequence[Trace]) -> Iterator[str]:
    """A sentence for each kind and detail of annotation, with in how many calls and how long."""
    groups: dict[tuple[str, str], list[tuple[int, Annotation]]] = {}
    for index, trace in enumerate(traces):
        for note in trace.annotations:
            if note.kind in (VIEW, BESIDE):  # said where the observer's cost is
                continue
            groups.setdefault((note.kind, note.detail), []).append((index, note))
    total_ns = sum(trace.elapsed_ns(trace.start_ns, trace.stop_ns) for trace in traces)
    for (kind, detail), notes in groups.items():
        spent_ns = sum(note.duration_ns for _, note in notes)
        if spent_ns and spent_ns < _WORTH_A_WORD * total_ns:
            continue
        calls = len({index for index, _ in notes})
        words = _WORDS.get(kind, kind)
        words += f": {detail}" if detail else ""
        words += f", {show(spent_ns / 1e9, 's')}" if spent_ns else ""
        yield words if len(traces) == 1 else f"{words} in {_in_calls(calls, len(traces))}"


def _unsteady(traces: Sequence[Trace]) -> Iterator[str]:
    """Drift and outliers of the calls' time, and whether delay explains the outliers."""
    totals = [trace.elapsed_ns(trace.start_ns, trace.stop_ns) / 1e9 for trace in traces]
    if (moved := drift(totals)) is not None and (said := moved.warning("total")):
        yield said
    far = outliers(totals)
    if far is None or not (said := far.warning("total")):
        return
    own = [
        max(0.0, total - (delay_ns(t, t.start_ns, t.stop_ns) or 0.0) / 1e9)
        for t, total in zip(traces, totals, strict=True)
    ]
    left = outliers(own)
    explained = far.severe - (left.severe if left else 0)
    yield f"{said}; the delay by other programs explains {explained} of {far.severe}" if explained > 0 else said


def _launch_bound(traces: Iterable[Trace]) -> Iterator[str]:
    shares = [share for trace in traces for request in trace.requests if (share := lag_share(request)) is not None]
    if shares and (share := median(shares)) < _CAUGHT_UP:
        yield (
            f"launch-bound: at the median emission the device had {share:.0%} of the step left to do when the host had"
            " given it all its work, so Python and kernel launches set the pace; a CUDA graph (torch.compile with"
            ' mode="reduce-overhead"), a larger batch or a faster host would change it, a faster device would not'
        )


def lag_share(request: Request) -> float | None:
    """How much of a decoding step the device still had to do when the host had given it all, at the median emission.

    About 0 where the device waits for the host, towards 1 where the host waits for the device; None on the host's
    own processor, without two emissions, and where something waits for the device at each of them anyway.
    """
    if request.device_ns is None or request.host_waits or len(request.emissions) < 2:
        return None
    instants = [instant for instant, _ in request.instants]
    return median(
        min(1.0, max(0, device_ns - host_ns) / (now_ns - before_ns)) if now_ns > before_ns else 0.0
        for before_ns, now_ns, device_ns, (host_ns, _) in zip(
            instants, instants[1:], request.device_ns[1:], request.emissions[1:], strict=False
        )
    )
