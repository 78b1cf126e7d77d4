"""Measurements made by hand out of round numbers, which every format shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Request, Trace

MS = 1_000_000

Generate = Callable[..., Trace]
Measured = Callable[..., Measurement]


def generate_call(*, ttft_ms: int = 100, gap_ms: int = 20, tokens: int = 5) -> Trace:
    """10 ms before the request, its first token after `ttft_ms`, the others every `gap_ms`, 10 ms after the last."""
    start = 10 * MS
    instants = [start + (ttft_ms + index * gap_ms) * MS for index in range(tokens)]
    request = Request(
        kind="generate",
        start_ns=start,
        stop_ns=instants[-1],
        emissions=tuple((instant, 1) for instant in instants),
        rows=1,
        prompt_tokens=64,
        row_tokens=(tokens,),
        token_source="ids",
        model="GPT2LMHeadModel",
    )
    return Trace(start_ns=0, stop_ns=instants[-1] + 10 * MS, requests=(request,), peak_bytes={"rss": 512 * 2**20})


@pytest.fixture
def call() -> Generate:
    """A generate call with a given ttft and gap, in whole ms."""
    return generate_call


@pytest.fixture
def measured() -> Measured:
    """Nine calls with a ttft of 100, 101 … 108 ms behind a first call of 300 ms; fields may be replaced."""

    def make(**fields: object) -> Measurement:
        given = {
            "name": "chat",
            "workload": {},
            "environment": Environment(
                device="cpu",
                processor="Abacus",
                cores=2,
                threads=1,
                torch="2.13.0",
                dtype="float32",
                attention="sdpa",
                memory_bytes=8 * 2**30,
            ),
            "traces": tuple(generate_call(ttft_ms=100 + index) for index in range(9)),
            "cold": generate_call(ttft_ms=300),
            "warmup": (generate_call(),),
            "stopped_because": "9 calls, as asked",
            "observer_ns": 500,
        }
        return Measurement(**given | fields)  # type: ignore[arg-type]  # fields by name

    return make
