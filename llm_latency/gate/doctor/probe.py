"""Probe: how unsteady times are here in a few seconds: fixed Python work, and unchanged code in fresh pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from llm_latency.core.contention import delay_ns
from llm_latency.core.stats import quantile
from llm_latency.core.trace import Trace
from llm_latency.gate.doctor.finding import ALONE, NOISY, OK, Finding
from llm_latency.gate.process import Launcher
from llm_latency.gate.ratio import Ratio
from llm_latency.gate.selftest.rates import Spread, spread_of
from llm_latency.gate.selftest.selftest import sides_of
from llm_latency.gate.selftest.trial import Standing, Trial
from llm_latency.workloads.planted import Plant, python_call

_TEST = "unchanged"
# Calls of some 3 to 5 ms: together less than half a second on a quiet machine.
_CALLS, _ADDITIONS = 100, 100_000
# Width of the CPU time of equal work: 0.01 to 0.08 in ten of twelve readings on a busy 2-core VM, and 0.17 and 0.64 in
# those in which the core changed its speed.
_UNEVEN = 0.1
# Share of the calls in which others had the core; a choice.
_DISPLACED = 0.05


class Steadiness(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed piece of Python, again and again: its median, and the middle half's width as a share of the median.

    `waited` is the share of the time in which the process did not run; `cpu_width` is the width of its CPU time.
    """

    calls: int
    median_s: float
    width: float
    cpu_width: float
    waited: float


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Unchanged code in fresh pairs, through the gate's own engine: the ratios of each, and how they scatter.

    `waited` is the share of the calls in which other programs had the core; None where the system does not say.
    `call_s` and `pair_s` are medians.
    """

    work: str
    ratios: tuple[Ratio, ...]
    own: Spread | None
    wall: Spread | None
    waited: float | None
    call_s: float | None
    pair_s: float | None
    notes: tuple[str, ...] = ()
    complete: bool = True


def steadiness(
    *, calls: int = _CALLS, wall: Callable[[], float] = time.perf_counter, cpu: Callable[[], float] = time.process_time
) -> Steadiness:
    """Run the fixed work in this process."""
    work = python_call(_ADDITIONS)
    work()
    walls, cpus = [], []
    for _ in range(calls):
        begin, begin_cpu = wall(), cpu()
        work()
        cpus.append(cpu() - begin_cpu)
        walls.append(wall() - begin)
    ran = sum(cpus)
    return Steadiness(
        calls=calls,
        median_s=quantile(walls, 0.5),
        width=_width(walls),
        cpu_width=_width(cpus),
        waited=max(0.0, 1.0 - ran / sum(walls)),
    )


def speed(steady: Steadiness) -> Finding:
    """Whether equal work took equal CPU time, which neither the run queue nor steal explains where it did not."""
    seen = f"the middle half of equal Python work lies within {steady.cpu_width:.1%} of CPU time".replace("%", " %")
    facts = {"cpu_width": steady.cpu_width}
    if steady.cpu_width < _UNEVEN:
        return Finding(topic="speed", word=OK, seen=seen, facts=facts)
    remedy = (
        "the core itself changes speed: frequency, heat, a sibling thread, or a neighbour on the host. Fix what of it"
        " is yours; compare only what ran in the same moments, as the gate does"
    )
    return Finding(topic="speed", word=NOISY, seen=seen, remedy=remedy, facts=facts)


def crowded(finding: Finding, waited: float | None) -> Finding:
    """What was found about neighbours in a second, and then beside the probe's pairs."""
    if waited is None or waited < _DISPLACED:
        return finding
    seen = f"others had the core for {waited:.1%} of the time of the probe's calls; before, {finding.seen}".replace(
        "%", " %"
    )
    return Finding(topic=finding.topic, word=NOISY, seen=seen, remedy=ALONE, facts={**finding.facts, "probe": waited})


def _width(values: list[float]) -> float:
    return (quantile(values, 0.75) - quantile(values, 0.25)) / max(1e-9, quantile(values, 0.5))


def probe(
    launcher: Launcher,
    *,
    has_model: bool,
    time_budget_s: float,
    begin: float | None = None,
    on_progress: Callable[[Standing], None] = lambda _: None,
) -> Probe:
    """Record pairs for the time; an interrupt ends it with what there is."""
    sides = sides_of(launcher, {_TEST: Plant()}, has_model=has_model)
    trial = Trial((_TEST,), play=sides.play, time_budget_s=time_budget_s, on_progress=on_progress, begin=begin)
    complete = False
    try:
        trial.record()
        complete = True
    except KeyboardInterrupt:
        trial.notes.append("interrupted")
    trial.notes += sides.notes
    if not has_model:
        trial.notes.append("torch or transformers is not installed; plain Python need not scatter as a model does")
    return probed(trial, work="a small GPT-2 shape on one thread" if has_model else "plain Python", complete=complete)


def probed(trial: Trial, *, work: str, complete: bool = True) -> Probe:
    """What the recorded pairs say."""
    ratios = trial.ratios[_TEST]
    traces = [trace for played in trial.played for calls in played.calls for trace in (*calls.base, *calls.head)]
    return Probe(
        work=work,
        ratios=tuple(ratios),
        own=spread_of([found.own for found in ratios]),
        wall=spread_of([found.wall for found in ratios]),
        waited=_waited(traces),
        call_s=quantile([found.base for found in ratios], 0.5) if ratios else None,
        pair_s=quantile(trial.pair_s, 0.5) if trial.pair_s else None,
        notes=tuple(trial.notes),
        complete=complete,
    )


def _waited(traces: Iterable[Trace]) -> float | None:
    delay, span = 0.0, 0
    for trace in traces:
        waited = delay_ns(trace, trace.start_ns, trace.stop_ns)
        if waited is None:
            return None
        delay += waited
        span += trace.stop_ns - trace.start_ns
    return delay / span if span else None
