"""Calls made by hand, and sampling that is run over them; no tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Request, Trace
from llm_latency.record.sampling import Plan, Sampling

MS = 1_000_000


def call(total_ms: float, ttft_ms: float | None = None, **asked: object) -> Trace:
    """A call of one stream whose first token comes at `ttft_ms`, by default at half time, and last at the end."""
    total_ns = round(total_ms * MS)
    first_ns = total_ns // 2 if ttft_ms is None else round(ttft_ms * MS)
    request = {"kind": "stream", "start_ns": 0, "stop_ns": total_ns, "rows": 1, "row_tokens": (2,)}
    request["emissions"] = ((first_ns, 1), (total_ns, 1))
    return Trace(start_ns=0, stop_ns=total_ns, requests=(Request(**request | asked),))  # type: ignore[arg-type]


def sample(plan: Plan, calls: Iterable[Trace], *, seconds_a_call: float = 0.1) -> tuple[Sampling, list[str]]:
    """Run sampling over given calls; what it asked for, until it stopped or the calls ran out."""
    sampling, stages = Sampling(plan, Environment()), []
    ready: Iterator[Trace] = iter(calls)
    while (stage := sampling.next_stage(len(stages) * seconds_a_call)) is not None:
        trace = next(ready, None)
        if trace is None:
            break
        sampling.add(stage, trace)
        stages.append(stage)
    return sampling, stages
