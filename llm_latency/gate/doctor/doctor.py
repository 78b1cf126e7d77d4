"""Doctor: what makes this machine noisy, what to do about it, and which limit it supports; not how that is shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from llm_latency.errors import LLMLatencyError
from llm_latency.gate.decision import Rule
from llm_latency.gate.doctor import cores, host, interpreter
from llm_latency.gate.doctor.cards import cards
from llm_latency.gate.doctor.finding import MISSING, Finding
from llm_latency.gate.doctor.probe import Probe, Steadiness, crowded, probe, speed, steadiness
from llm_latency.gate.selftest.rates import simulated, smallest_limit
from llm_latency.gate.selftest.selftest import has_models, launched, torch_threads
from llm_latency.gate.selftest.trial import Standing

SCHEMA = 1
FINE, UNFIT, UNTOLD = "fine", "not fine", "could not tell"
# How long others are watched while this process sleeps.
_WATCH_S = 1.0
# Ratios below which no spread is told: of two, the upper bound would lie eight times as high.
_LEAST_PAIRS = 3
NOT_SEEN = (
    "what neighbours will do later, and those on the same host outside of this virtual machine or container",
    "your own workload: the probe times a small model on one thread, and a larger one may be steadier or less so",
    "GPUs under load: their findings are those of cards at rest, and of NVIDIA's alone",
    "memory bandwidth and caches that neighbours share: nobody counts these without privileges",
)


class Supported(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe's spread allows: the smallest limit that is supported, and at the spread's bounds; None is none.

    Seconds are those of a gate with one test like the probe's, of unchanged code and of a slowdown twice the limit.
    """

    limit: float | None
    at_low: float | None
    at_high: float | None
    unchanged_s: float | None
    slower_s: float | None


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: each finding, the probe, and whether a gate at `max_slowdown` is fine here."""

    outcome: str
    reasons: tuple[str, ...]
    max_slowdown: float
    findings: tuple[Finding, ...]
    steadiness: Steadiness | None
    probe: Probe | None
    supported: Supported | None
    seconds: float
    notes: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = NOT_SEEN
    complete: bool = True
    recorded_at: str | None = None


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What only grows; None where this system does not count it."""

    ticks: cores.Ticks | None
    throttles: int | None
    swapped: int | None
    heat: int | None


def counters(root: Path, available: tuple[int, ...]) -> Counters:
    """Read them now."""
    return Counters(
        ticks=cores.ticks(root, available),
        throttles=host.throttles(root),
        swapped=host.swapped_pages(root),
        heat=cores.heat_events(root, available),
    )


def checkup(
    *,
    max_slowdown: float = 0.05,
    time_budget_s: float = 20.0,
    folder: Path,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
    on_stage: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[Standing], None] = lambda _: None,
) -> Checkup:
    """Look around in the folder of a project and below `root`, then probe for the time that is left."""
    begin = time.monotonic()
    available = available_cores()
    on_stage(f"watching who else is busy, for {_WATCH_S:g} s")
    before = counters(root, available)
    found = [_watched(root, available, before.ticks), *_still(root, available, folder=folder, environ=environ)]
    steady, probed, threads, notes = None, None, None, []
    try:
        on_stage("timing a fixed piece of Python")
        steady = steadiness()
        if hasattr(os, "fork"):
            on_stage("starting a fork server")
            with launched() as launcher:
                has_model = has_models()
                threads = torch_threads(launcher) if has_model else None
                probed = probe(
                    launcher, has_model=has_model, time_budget_s=time_budget_s, begin=begin, on_progress=on_progress
                )
    except LLMLatencyError as error:
        notes.append(f"the probe could not run: {error}")
    except KeyboardInterrupt:
        notes.append("interrupted before the probe")
    found.append(interpreter.threads(environ=environ, torch_threads=threads, cores=len(available)))
    found += _grown(before, counters(root, available), is_guest=host.is_guest(root))
    if steady is not None:
        found.append(speed(steady))
    if probed is not None:
        found[0] = crowded(found[0], probed.waited)
        on_stage("working out what that supports")
    supported = None if probed is None else supported_by(probed, max_slowdown)
    outcome, reasons = judged(found, probed, supported, max_slowdown)
    return Checkup(
        outcome=outcome,
        reasons=reasons,
        max_slowdown=max_slowdown,
        findings=tuple(found),
        steadiness=steady,
        probe=probed,
        supported=supported,
        seconds=time.monotonic() - begin,
        notes=tuple(notes),
        complete=not any(note.startswith("interrupted") for note in notes) and (probed is None or probed.complete),
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def available_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may run on; where the system has no such thing, all."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _watched(root: Path, available: tuple[int, ...], before: cores.Ticks | None) -> Finding:
    """Sleep, and see who did not."""
    seen, spent, begin = cores.processes(root), time.process_time(), cores.ticks(root, available) or before
    time.sleep(_WATCH_S)
    own_s = time.process_time() - spent
    after = cores.ticks(root, available)
    later = cores.processes(root)
    return cores.neighbours(begin, after, cores=len(available), own_s=own_s, seen=(seen, later), own=os.getpid())


def _still(root: Path, available: tuple[int, ...], *, folder: Path, environ: Mapping[str, str]) -> list[Finding]:
    """What does not change while this runs."""
    return [
        cores.count(available, os.cpu_count()),
        host.quota(root, cores=len(available)),
        host.layers(root),
        cores.siblings(root, available),
        cores.governor(root, available),
        cores.turbo(root),
        cores.nodes(root),
        cores.clock(root),
        host.memory(root),
        host.power(root),
        host.own_time(root),
        interpreter.tracers(environ=environ),
        interpreter.hash_seed(environ),
        host.forking(),
        host.git(folder),
        *cards(root),
    ]


def _grown(before: Counters, after: Counters, *, is_guest: bool | None) -> list[Finding]:
    return [
        cores.stolen(before.ticks, after.ticks, is_guest=is_guest),
        host.throttled(before.throttles, after.throttles),
        host.swapping(before.swapped, after.swapped),
        cores.heat(before.heat, after.heat),
    ]


def supported_by(probed: Probe, max_slowdown: float) -> Supported | None:
    """Which limit the probe's spread supports, by the simulation that the self-test uses; None from too few pairs."""
    if probed.own is None or probed.own.n < _LEAST_PAIRS:
        return None
    limit, low, high = (smallest_limit(sd) for sd in (probed.own.sd, probed.own.low, probed.own.high))
    rule = Rule(limit=max_slowdown)
    times = [
        None
        if probed.pair_s is None
        else probed.pair_s * simulated(spread=probed.own.sd, slowdown=slowdown, rule=rule).pairs
        for slowdown in (0.0, 2 * max_slowdown)
    ]
    return Supported(limit=limit, at_low=low, at_high=high, unchanged_s=times[0], slower_s=times[1])


def judged(
    findings: list[Finding], probed: Probe | None, supported: Supported | None, max_slowdown: float
) -> tuple[str, tuple[str, ...]]:
    """Whether a gate is fine here, where the spread's bounds agree on it, and why not."""
    missing = tuple(f"{finding.topic}: {finding.seen}" for finding in findings if finding.word == MISSING)
    if missing:
        return UNFIT, missing
    if probed is None or supported is None:
        count = 0 if probed is None else len(probed.ratios)
        return UNTOLD, (f"the probe gave {count} pairs, and {_LEAST_PAIRS} are the fewest that tell a spread",)
    if supported.at_high is not None and supported.at_high <= max_slowdown:
        return FINE, ()
    if supported.at_low is None or supported.at_low > max_slowdown:
        return UNFIT, ("times scatter too much from pair to pair",)
    return UNTOLD, (f"{len(probed.ratios)} pairs do not tell the spread well enough",)
