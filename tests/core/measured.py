"""Measurements made by hand, one of each kind of content; no tests."""

from __future__ import annotations

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import (
    Measurement,
)
from llm_latency.core.trace import Annotation, Contention, Phase, Request, Trace
from llm_latency.core.verdict import Verdict

MS = 1_000_000
BASE = 2**62 + 1  # a counter that no float64 holds: its neighbours lie 1,024 ns apart


def call(ttft_ms: int, *, gap_ms: int = 20, base: int = BASE) -> Trace:
    """A call with every field: one request of three tokens."""
    start = base + 5 * MS
    first = start + ttft_ms * MS
    emissions = ((first, 1), (first + gap_ms * MS, 1), (first + 2 * gap_ms * MS, 1))
    stop = emissions[-1][0] + MS
    return Trace(
        start_ns=base,
        stop_ns=stop + MS,
        requests=(
            Request(
                kind="generate",
                start_ns=start,
                stop_ns=stop,
                emissions=emissions,
                device_ns=(0, gap_ms * MS, 2 * gap_ms * MS, 2 * gap_ms * MS + 1),
                rows=1,
                prompt_tokens=8,
                cached_tokens=0,
                row_tokens=(3,),
                finish_reasons=("length",),
                token_source="ids",
                peak_bytes={"prefill": 2**40},
                model="Gpt2 ✓",
                thread="MainThread",
                notes=("a note",),
            ),
        ),
        phases=(Phase(name="tokenize", start_ns=base, stop_ns=base + MS),),
        pauses=((base + 2 * MS, base + 3 * MS),),
        peak_bytes={"rss": 2**33},
        energy_j=1.5,
        contention=Contention(readings=((base, 12),)),
        annotations=(Annotation(kind="gc", at_ns=base + MS, detail="gen 2"),),
    )


FULL = Measurement(
    name="chat – 日本語 🚀 \u2028",
    workload={"prompt": 'Wie groß?\n\t"µ" \u0000', "tokens": 8, "nested": {"a": [1, 2.5, None, True]}},
    environment=Environment(device="cpu", cores=2, power_cap_w=250.0, warnings=("a tracer",)),
    traces=tuple(call(ttft_ms) for ttft_ms in (200, 210, 190, 205, 195, 200)),
    cold=call(900),
    warmup=(call(220), call(201)),
    stopped_because="6 calls, as asked",
    warnings=("each item counts",),
    verdicts=(
        Verdict(budget="ttft p50 < 250 ms", outcome="pass", metric="ttft", observed=0.2, limit=0.25, low=0.1, n=6),
    ),
    observer_ns=700,
    recorded_at="2025-11-25T03:00:00+00:00",
)
EMPTY = Measurement(
    name="", workload={}, environment=Environment(), traces=(), stopped_because="0 calls", complete=False
)
