"""Facts about CUDA graphs and torch.compile: counts and times stay right, and observing compiles nothing again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

from gpu.fact import Fact, Setting, judged, skipped
from gpu.profile import INSIDE, profiled
from gpu.subject import generation, seconds, toy, wait


def graph_replay(setting: Setting) -> Fact:
    """A hand-captured CUDA graph, replayed in a user's loop: an emission a replay, as long as events say."""
    import torch

    from llm_latency.record.devices.device import find
    from llm_latency.record.measure import measure
    from llm_latency.record.timed import timed

    replays, size = 32, 64 if setting.is_rehearsal else 4096
    matrix = torch.randn(size, size, device=setting.device)

    def step() -> None:
        for _ in range(4):
            torch.matmul(matrix, matrix, out=result)

    result = torch.empty_like(matrix)
    device = find(setting.device)
    in_capture: list[object] = []
    replay: Callable[[], None] = step
    with timed("capture", device=device):
        step()
        if not setting.is_rehearsal:
            wait(setting)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
                in_capture.append(device.mark())
            replay = graph.replay

    def tokens() -> Iterator[int]:
        for token in range(replays):
            replay()
            yield token

    measurement = measure(tokens, repeat=5, warmup=2, device=device)
    requests = [request for trace in measurement.traces for request in trace.requests]
    gaps_ms = [
        (after - before) / 1e6 for request in requests for before, after in pairwise((request.device_ns or (0, 0))[:-1])
    ] or [0.0]
    truth_ms = _by_events(replay, replays) if not setting.is_rehearsal else 1.0
    return judged(
        "graph_replay",
        setting,
        {
            "a mark inside a capture records nothing": in_capture == [None],
            "a replay takes on the device what a pair of events says (5 %)": abs(median(gaps_ms) / truth_ms - 1) < 0.05,
        },
        {"ms a replay, device instants": median(gaps_ms), "ms a replay, a pair of events": truth_ms},
        anywhere={"an emission a replay": all(len(request.emissions) == replays for request in requests)},
    )


def static_cache(setting: Setting) -> Fact:
    """Generate with a static cache: on a GPU transformers compiles the forward with mode="reduce-overhead"."""
    if (why := _no_compiler(setting)) is not None:
        return skipped("static_cache", why)
    import torch

    from llm_latency.record.measure import measure

    new_tokens, batch = (4, 2) if setting.is_rehearsal else (32, 2)
    call = generation(
        toy(setting), setting, prompt_tokens=16, new_tokens=new_tokens, batch=batch, cache_implementation="static"
    )
    for _ in range(3):
        call()
    before = _graphs()
    alone = median(seconds(call, setting) for _ in range(7))
    measurement = measure(call, repeat=7, warmup=1)
    after = _graphs()

    def marked() -> None:
        with torch.profiler.record_function(INSIDE):
            call()

    launched = profiled(marked, setting).count(("cudaGraphLaunch",))
    requests = [request for trace in measurement.traces for request in trace.requests]
    total = float(measurement.total.p50 or 0.0)
    return judged(
        "static_cache",
        setting,
        {
            "CUDA graphs ran": launched > 0,
            "device instants are there": all(request.device_ns is not None for request in requests),
            "the call takes what it takes unobserved (15 %)": abs(total / alone - 1) < 0.15,
        },
        {
            "ms, observed": total * 1e3,
            "ms, unobserved": alone * 1e3,
            "tpot ms": measurement.tpot.p50 and float(measurement.tpot.p50) * 1e3,
            "graph launches a call": launched,
            "compiled graphs before": before,
            "compiled graphs after": after,
        },
        anywhere={
            "an emission a token": all(len(request.emissions) == new_tokens for request in requests),
            "every row's tokens are counted": all(request.row_tokens == (new_tokens,) * batch for request in requests),
            "observing compiles nothing": before == after,
        },
    )


def recompiles(setting: Setting) -> Fact:
    """A model compiled by inductor: no graph more while it is observed, nor when the watch has ended."""
    if (why := _no_compiler(setting)) is not None:
        return skipped("recompiles", why)
    import torch

    from llm_latency.record.measure import measure

    model = toy(setting)
    # In a rehearsal dynamo alone, which is what would compile again; inductor would take a minute.
    model.forward = torch.compile(model.forward, backend="eager" if setting.is_rehearsal else "inductor")
    new_tokens = 4 if setting.is_rehearsal else 16
    call = generation(model, setting, prompt_tokens=16, new_tokens=new_tokens)
    for _ in range(3):
        call()
    before = _graphs()
    measurement = measure(call, repeat=3, warmup=1)
    during = _graphs()
    for _ in range(2):
        call()
    after = _graphs()
    compiled = [note for trace in measurement.traces for note in trace.annotations if note.kind == "compile"]
    return judged(
        "recompiles",
        setting,
        {},
        {"graphs before": before, "graphs while observed": during, "graphs after": after},
        anywhere={
            "it was compiled before": before > 0,
            "no graph more under observation": before == during,
            "no graph more afterwards": during == after,
            "no call is annotated with a compilation": not compiled,
            "an emission a token": all(len(trace.requests[0].emissions) == new_tokens for trace in measurement.traces),
        },
    )


def _by_events(call: Callable[[], None], times: int) -> float:
    """Milliseconds of one of many calls in a row, by two events around all."""
    import torch

    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(times):
        call()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / times


def _graphs() -> int:
    """Graphs that dynamo has compiled in this process."""
    counters: Any = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {"stats": {}})
    return int(counters["stats"].get("unique_graphs", 0))


def _no_compiler(setting: Setting) -> str | None:
    """Inductor needs Triton, and Triton a C compiler for what starts its kernels."""
    if setting.is_rehearsal:
        return None
    from torch.utils._triton import has_triton

    if not has_triton():
        return "torch.compile needs Triton for this device, and there is none that works"
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        return "torch.compile needs a C compiler (cc, gcc or clang), and there is none"
    return None
