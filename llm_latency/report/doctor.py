"""A checkup as plain text: the findings with their words, what to do, the probe and what it allows; no computing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from llm_latency.core.units import show
from llm_latency.gate.doctor.doctor import FINE, UNFIT, Checkup, Supported
from llm_latency.gate.doctor.finding import NOISY, OK, WORDS, Finding
from llm_latency.gate.doctor.probe import Probe, Steadiness
from llm_latency.report.escape import plain
from llm_latency.report.selftest import percent
from llm_latency.report.text import LEAST_WIDTH, joined, wrapped


def checkup_table(found: Checkup, *, width: int = 100) -> str:
    """Write it in lines of at most `width` columns, without a final line break."""
    width = max(width, LEAST_WIDTH)
    head = ("doctor", f"max slowdown {percent(found.max_slowdown)}", show(found.seconds, "s"))
    ordered = sorted(found.findings, key=lambda finding: WORDS.index(finding.word))
    blocks = [
        joined(head, width),
        list(_findings(ordered, width)),
        list(_remedies(ordered, width)),
        list(_probed(found, width)),
        [line for note in found.notes for line in wrapped(f"note: {note}", width)],
        [line for text in found.not_seen for line in wrapped(f"not seen: {text}", width)],
        list(wrapped(verdict(found), width, indent=0)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def verdict(found: Checkup) -> str:
    """The one sentence to remember."""
    limit = percent(found.max_slowdown)
    stopped = "" if found.complete else "Interrupted: this is what there was. "
    noisy = [finding.topic for finding in found.findings if finding.word == NOISY]
    now = f" Noisy now: {', '.join(noisy)}." if noisy else ""
    smallest = found.supported.limit if found.supported is not None else None
    if found.outcome == FINE:
        return f"{stopped}A gate at {limit} is fine here; the smallest supported limit is {percent(smallest)}.{now}"
    reasons = "; ".join(found.reasons)
    if found.outcome == UNFIT:
        instead = "" if smallest is None else f"; they support {percent(smallest)}"
        return f"{stopped}A gate at {limit} is not fine here: {reasons}{instead}.{now}"
    return (
        f"{stopped}Whether a gate at {limit} is fine here could not be told: {reasons}. More time (--time-budget, up to"
        f" 30s) or `llm-latency selftest` would tell.{now}"
    )


def _findings(findings: Sequence[Finding], width: int) -> Iterator[str]:
    words = max(len(finding.word) for finding in findings)
    topics = max(len(plain(finding.topic)) for finding in findings)
    for finding in findings:
        start = f"{finding.word.ljust(words)}  {plain(finding.topic).ljust(topics)}  "
        yield from textwrap.wrap(
            start + plain(finding.seen), width, subsequent_indent=" " * len(start), break_on_hyphens=False
        )


def _remedies(findings: Sequence[Finding], width: int) -> Iterator[str]:
    todo = [finding for finding in findings if finding.word != OK and finding.remedy]
    if todo:
        yield "what to do, the worst first"
    for finding in todo:
        text = f"- {plain(finding.topic)}: {plain(finding.remedy)}"
        yield from textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _probed(found: Checkup, width: int) -> Iterator[str]:
    if found.steadiness is not None:
        yield from wrapped(_steady(found.steadiness), width)
    if found.probe is not None:
        yield from wrapped(_pairs(found.probe), width)
        yield from (line for note in found.probe.notes for line in wrapped(f"note: {note}", width))
    if found.supported is not None:
        yield from wrapped(_supported(found.supported), width)
        yield from wrapped(_time(found.supported, found.max_slowdown), width)


def _steady(steady: Steadiness) -> str:
    return (
        f"fixed Python work: {steady.calls} times {show(steady.median_s, 's')}; the middle half lies within"
        f" {percent(steady.width)} of wall time and {percent(steady.cpu_width)} of CPU time, and"
        f" {percent(steady.waited)} of the time it did not run"
    )


def _pairs(probe: Probe) -> str:
    if probe.own is None or probe.wall is None:
        return f"pairs of unchanged code ({probe.work}): {len(probe.ratios)}, too few to say how they scatter"
    waited = "not reported by this system" if probe.waited is None else percent(probe.waited)
    return (
        f"pairs of unchanged code ({probe.work}, {show(probe.call_s, 's')} a call): {probe.own.n}, whose log ratios"
        f" scatter by {percent(probe.own.sd)} ({percent(probe.own.low)} to {percent(probe.own.high)} at 90 % each) of"
        f" own time, {percent(probe.wall.sd)} of wall time; time of the calls in which others had the core: {waited}"
    )


def _supported(supported: Supported) -> str:
    return (
        f"smallest supported limit: {_limit(supported.limit)} ({_limit(supported.at_low)} to"
        f" {_limit(supported.at_high)} with the spread at its bounds): unchanged code passes in 99 % of simulated gates"
        " and a slowdown of twice the limit fails in 95 %, within 46 pairs and as many to confirm"
    )


def _time(supported: Supported, max_slowdown: float) -> str:
    return (
        f"time of a gate with one such test: about {show(supported.unchanged_s, 's')} where nothing changed,"
        f" {show(supported.slower_s, 's')} where it is {percent(2 * max_slowdown)} slower; what each process starts"
        " beside (pytest, imports, models) comes on top"
    )


def _limit(limit: float | None) -> str:
    return "none" if limit is None else percent(limit)
