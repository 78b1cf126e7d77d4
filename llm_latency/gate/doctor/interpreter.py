"""Interpreter: what slows Python down or changes it from process to process, and torch's threads; not the machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from llm_latency.gate.doctor.finding import NOISY, OK, RISK, Finding, unreported

# Set for a process, they slow every Python line of those that it starts too (Python, "Command line and environment").
_SLOWING = {
    "PYTHONTRACEMALLOC": "every allocation is traced",
    "PYTHONDEVMODE": "development mode checks as it goes",
    "PYTHONMALLOC": "another allocator",
    "PYTHONPROFILEIMPORTTIME": "imports are timed and printed",
    "PYTHONASYNCIODEBUG": "asyncio checks as it goes",
    "COVERAGE_PROCESS_START": "coverage starts in every process",
    "COV_CORE_SOURCE": "coverage starts in every process",
}


def tracers(*, environ: Mapping[str, str], python: Any = sys, tracing: bool | None = None) -> Finding:
    """Debuggers, coverage and checks that are active here, or would be in the gate's processes."""
    found = []
    if python.gettrace() is not None:
        found.append("a tracer (sys.settrace)")
    if python.getprofile() is not None:
        found.append("a profiler (sys.setprofile)")
    found += [f"{name} (sys.monitoring)" for name in _monitors(python)]
    if python.flags.dev_mode and "PYTHONDEVMODE" not in environ:
        found.append("development mode (-X dev)")
    if _is_tracing_memory() if tracing is None else tracing:
        found.append("tracemalloc")
    found += [f"{name} ({why})" for name, why in _SLOWING.items() if environ.get(name)]
    if not found:
        return Finding(topic="tracers", word=OK, seen="none")
    remedy = "run the gate without them: coverage and debuggers in a step of their own"
    return Finding(topic="tracers", word=NOISY, seen=", ".join(found), remedy=remedy)


def _monitors(python: Any) -> Sequence[str]:
    """Names of the tools that listen, from Python 3.12 on."""
    monitoring = getattr(python, "monitoring", None)
    if monitoring is None:
        return ()
    return [name for number in range(6) if (name := monitoring.get_tool(number)) is not None]


def _is_tracing_memory() -> bool:
    import tracemalloc

    return tracemalloc.is_tracing()


def hash_seed(environ: Mapping[str, str]) -> Finding:
    """Whether sets and strings' hashes are the same in every process."""
    value = environ.get("PYTHONHASHSEED", "random")
    if value == "random":
        return Finding(topic="hash seed", word=OK, seen="random: processes differ by it, and fresh pairs average that")
    seen = f"fixed at {value}: every process has one order of sets, so a gate sees that one only"
    remedy = "leave PYTHONHASHSEED unset, unless the workload needs it"
    return Finding(topic="hash seed", word=RISK, seen=seen, remedy=remedy)


def threads(*, environ: Mapping[str, str], torch_threads: int | None, cores: int) -> Finding:
    """Whether torch's threads fill all cores and spin while they wait, which a busy neighbour makes slow."""
    topic = "threads"
    if torch_threads is None:
        return unreported(topic, "torch was not asked")
    is_passive = environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
    policy = environ.get("OMP_WAIT_POLICY") or "default"
    seen = f"torch takes {torch_threads} on {cores} core{'' if cores == 1 else 's'}, OpenMP's wait policy: {policy}"
    facts: dict[str, float | int | str] = {"torch": torch_threads, "cores": cores, "policy": policy}
    if torch_threads >= cores > 1 and not is_passive:
        remedy = (
            "leave a core free (torch.set_num_threads) or set OMP_WAIT_POLICY=PASSIVE before the start: threads that"
            " spin on every core are slowed by one neighbour far more than by its share"
        )
        return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy, facts=facts)
    return Finding(topic=topic, word=OK, seen=seen, facts=facts)
