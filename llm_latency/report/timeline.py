"""Timeline: one call laid out on an axis from 0 to 1, its bars, emissions and labels; not how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, sample_of
from llm_latency.core.metrics import METRICS, gaps
from llm_latency.core.trace import Request, Trace
from llm_latency.core.units import show

MOST_TICKS = 400
_MOST_LANES = 6


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the call, `start` and `stop` as shares of it; `kind` is a phase, prefill, decode or a request's."""

    kind: str
    start: float
    stop: float


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Bars that do not overlap, and the instants of emissions as shares of the call."""

    bars: tuple[Bar, ...]
    ticks: tuple[float, ...]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A call ready to be drawn: lanes, axis marks as (share, label), a legend as (kind, label).

    `title` says which call it is; `words` say all of it to those who do not see the picture.
    """

    title: str
    lanes: tuple[Lane, ...]
    axis: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...]
    words: str


def make_timeline(measurement: Measurement) -> Timeline | None:
    """Lay out the middle call by `total`, of two the quicker one, else the first call.

    None where there is none or no time passed.
    """
    trace = _middle_call(measurement)
    if trace is None or trace.elapsed_ns(trace.start_ns, trace.stop_ns) <= 0:
        return None
    total = sample_of((trace,), "total", measurement.environment).values[0]
    stacks = _stacks(trace)
    lanes = _lanes(trace, stacks[:_MOST_LANES])
    legend = tuple(_legend(trace, lanes, measurement.environment))
    which = "first call" if not measurement.traces else "call" if len(measurement.traces) == 1 else "middle call"
    facts = [*(label for _, label in legend), *_facts(trace)] or ["no model call was seen"]
    hidden = sum(len(stack) for stack in stacks[_MOST_LANES:])
    facts += [f"{hidden} overlapping requests not drawn"] if hidden else []
    title = f"{which}, {show(total, 's')}"
    return Timeline(
        title=title,
        lanes=lanes,
        axis=_axis(total),
        legend=legend,
        words=f"Timeline of the {title}: {', '.join(facts)}",
    )


def _middle_call(measurement: Measurement) -> Trace | None:
    ordered = sorted(measurement.traces, key=lambda trace: trace.elapsed_ns(trace.start_ns, trace.stop_ns))
    return ordered[(len(ordered) - 1) // 2] if ordered else measurement.cold


def _share(trace: Trace, instant_ns: int) -> float:
    """Where an instant lies in its call, 0 to 1; a request of a thread may outlive the call."""
    share = trace.elapsed_ns(trace.start_ns, instant_ns) / trace.elapsed_ns(trace.start_ns, trace.stop_ns)
    return min(1.0, max(0.0, share))


def _stacks(trace: Trace) -> list[list[Request]]:
    """Requests that run one after another in one stack, overlapping ones in several."""
    stacks: list[list[Request]] = []
    for request in sorted(trace.requests, key=lambda r: r.start_ns):
        free = next((stack for stack in stacks if stack[-1].stop_ns <= request.start_ns), None)
        if free is None:
            stacks.append([request])
        else:
            free.append(request)
    return stacks


def _lanes(trace: Trace, stacks: list[list[Request]]) -> tuple[Lane, ...]:
    """A lane for each stack; the phases are in the first."""
    phases = [Bar(kind=p.name, start=_share(trace, p.start_ns), stop=_share(trace, p.stop_ns)) for p in trace.phases]
    stacks = stacks or [[]]
    return tuple(
        Lane(
            bars=_merged([*(() if index else phases), *(bar for request in stack for bar in _bars(trace, request))]),
            ticks=_thinned([_share(trace, at) for r in stack for at, _ in r.instants], MOST_TICKS // len(stacks)),
        )
        for index, stack in enumerate(stacks)
    )


def _bars(trace: Trace, request: Request) -> Iterator[Bar]:
    start, stop = _share(trace, request.start_ns), _share(trace, request.stop_ns)
    if not request.emissions:
        yield Bar(kind=request.kind, start=start, stop=stop)
        return
    first, last = (_share(trace, request.instants[index][0]) for index in (0, -1))
    yield Bar(kind="prefill", start=start, stop=first)
    yield Bar(kind="decode", start=first, stop=last)


def _merged(bars: list[Bar]) -> tuple[Bar, ...]:
    """Bars without those that would be drawn over an equal one: a tokenizer may have been called thousands of times."""
    slots = {(bar.kind, int(bar.start * MOST_TICKS), int(bar.stop * MOST_TICKS)): bar for bar in bars}
    return tuple(slots.values())


def _thinned(shares: list[float], slots: int) -> tuple[float, ...]:
    """At most one instant a slot of the axis: crowded emissions lose their number, a stall stays a gap."""
    return tuple({min(slots - 1, int(share * slots)): share for share in shares}.values())


def _axis(total: float) -> tuple[tuple[float, str], ...]:
    """Marks at 1, 2 or 5 times a power of ten seconds, 4 to 10 of them."""
    rough = total / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    return tuple((index * step / total, _mark(index * step)) for index in range(int(total / step + 1e-9) + 1))


def _mark(seconds: float) -> str:
    """A round number of seconds without the zeros that `show` keeps for precision."""
    number, _, unit = show(seconds, "s").partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _legend(trace: Trace, lanes: tuple[Lane, ...], environment: Environment) -> Iterator[tuple[str, str]]:
    """Each kind of bar that is drawn, with its time where a metric has that name."""
    for kind in dict.fromkeys(bar.kind for lane in lanes for bar in sorted(lane.bars, key=lambda bar: bar.start)):
        values = sample_of((trace,), kind, environment).values if kind in METRICS else ()
        yield kind, f"{kind} {show(values[0], 's')}" if values else kind


def _facts(trace: Trace) -> Iterator[str]:
    requests, emissions = len(trace.requests), sum(len(request.emissions) for request in trace.requests)
    if requests > 1:
        yield f"{requests} requests"
    if emissions:
        yield f"{emissions} emission{'' if emissions == 1 else 's'}"
    if (longest := max((gap for gap, _ in gaps(trace)), default=None)) is not None:
        yield f"longest gap {show(longest, 's')}"
