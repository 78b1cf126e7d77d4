"""An explanation as plain text: the sentence first, then each phase by layers, operators and its roofline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llm_latency.core.units import show
from llm_latency.predict.explain import Explanation, PhaseShare
from llm_latency.report.escape import plain
from llm_latency.report.text import LEAST_WIDTH, joined, wrapped

_LEAST_SHARE = 0.01


def explanation_table(found: Explanation, *, width: int = 100) -> str:
    """Write it in lines of at most `width` columns, without a final line break."""
    width = max(width, LEAST_WIDTH)
    facts = [f"{len(found.measurement.traces)} calls measured, one more profiled for the shares"]
    if found.peaks is not None:
        facts.append(f"peaks {found.peaks}")
    blocks = [
        list(wrapped(f"{_percent(found.sentence)}.", width, indent=0)),
        joined(("explain", plain(found.name), *facts), width),
        *(list(_phase(name, phase, width)) for name, phase in found.phases.items()),
        list(wrapped(f"attention: {found.attention}", width)) if found.attention else [],
        list(wrapped(f"trace: {found.trace}; open it at ui.perfetto.dev", width)) if found.trace else [],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _phase(name: str, phase: PhaseShare, width: int) -> Iterator[str]:
    bound = ""
    if phase.bound_s is not None:
        share = phase.bound_s / phase.seconds
        bound = f" · roofline {show(phase.bound_s, 's')} ({phase.bound_by}), {share:.0%} of it"
    busy = "" if phase.device_busy is None else f" · device busy {phase.device_busy:.0%}"
    yield _percent(f"{name} {show(phase.seconds, 's')}{bound}{busy}")
    yield from wrapped(f"  layers: {_shares(phase.layers)}", width, indent=10)
    yield from wrapped(f"  operators: {_shares(phase.operators)}", width, indent=13)


def _shares(shares: Mapping[str, float]) -> str:
    named = sorted(shares.items(), key=lambda one: -one[1])
    return ", ".join(_percent(f"{name} {share:.0%}") for name, share in named if share >= _LEAST_SHARE)


def _percent(text: str) -> str:
    return text.replace("%", " %")
