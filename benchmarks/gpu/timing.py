"""Facts about time: against the profiler's kernels, what observing adds to a call, and who sets the pace."""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from itertools import pairwise
from statistics import median, quantiles

from gpu.fact import Fact, Setting, judged
from gpu.profile import INSIDE, busy, profiled
from gpu.subject import generation, large, seconds, toy, wait


def device_time(setting: Setting) -> Fact:
    """Device time of each emission against the profiler's kernels on the same call."""
    import torch

    from llm_latency.record.timed import timed

    new_tokens = 4 if setting.is_rehearsal else 24
    call = generation(large(setting), setting, prompt_tokens=16 if setting.is_rehearsal else 512, new_tokens=new_tokens)
    entered: list[int] = []

    def observed() -> None:
        with timed("observed") as block:
            entered.append(time.perf_counter_ns())
            with torch.profiler.record_function(INSIDE):
                call()
        blocks.append(block)

    blocks: list[timed] = []
    call()
    for _ in range(2):  # the profiler's own first run is slow
        profile = profiled(observed, setting)
    (request,) = blocks[-1].measurement.traces[0].requests
    told = request.device_ns or (*(instant for instant, _ in request.emissions), request.stop_ns)
    # The profiler's clock counts from elsewhere; both were read at the region's start, some µs apart.
    shift_us = profile.inside.start - entered[-1] / 1e3
    marks_us = [instant / 1e3 + shift_us for instant in told[:-1]]
    ends_us = sorted(span.end for span in profile.on_device)
    kernels = [bisect_right(ends_us, after) - bisect_right(ends_us, before) for before, after in pairwise(marks_us)]
    spans = tuple(span for span in profile.on_device if span.start >= profile.inside.start)
    inside_us = (told[-1] - request.start_ns) / 1e3
    busy_us, span_us = busy(spans), max(span.end for span in spans) - spans[0].start
    since_first_us = told[-1] / 1e3 + shift_us - spans[0].start
    typical = median(kernels)
    return judged(
        "device_time",
        setting,
        {
            "every emission has an instant on the device": request.device_ns is not None,
            "kernels ran no longer than the request on the device (2 %)": busy_us <= 1.02 * inside_us,
            "from the first kernel on, the request on the device lasts as long as its kernels' span (5 % and 2 ms)": (
                abs(since_first_us - span_us) <= 0.05 * span_us + 2000
            ),
            # An attention kernel may split its work once the cache is longer.
            "between two marks lie the kernels of one step (10 %)": (
                typical > 0 and max(abs(count - typical) for count in kernels) <= 0.1 * typical
            ),
        },
        {
            "emissions": len(request.emissions),
            "device µs an emission, median": median((b - a) / 1e3 for a, b in pairwise(told[:-1])),
            "kernel µs an emission, mean over the call": busy_us / len(request.emissions),
            "device µs of the request": inside_us,
            "device µs of the request from its first kernel on": since_first_us,
            "first kernel's start to last one's end, µs": span_us,
            "busy µs of the request": busy_us,
            "kernels a step, median": typical,
            "kernels a step, least": min(kernels),
            "kernels a step, most": max(kernels),
        },
        anywhere={
            "instants ascend": all(before <= after for before, after in pairwise(told)),
            "an emission a token": len(request.emissions) == new_tokens,
        },
    )


def synchronizations(setting: Setting) -> Fact:
    """Host synchronizations and launches inside generate, with and without observing."""
    import torch

    from llm_latency.record.timed import timed

    new_tokens = 4 if setting.is_rehearsal else 32
    call = generation(toy(setting), setting, prompt_tokens=16, new_tokens=new_tokens)

    def bare() -> None:
        with torch.profiler.record_function(INSIDE):
            call()

    def observed() -> None:
        with timed("observed"):
            bare()

    for _ in range(2):
        bare(), observed()
    profiled(bare, setting)
    plain, seen = profiled(bare, setting), profiled(observed, setting)
    outside = [profile.count(("cudaDeviceSynchronize",)) for profile in (plain, seen)]
    records = seen.count(("cudaEventRecord",), within=seen.inside) - plain.count(
        ("cudaEventRecord",), within=plain.inside
    )
    return judged(
        "synchronizations",
        setting,
        {
            "as many waits inside generate as without observing": plain.waits == seen.waits,
            "as many launches inside generate as without observing": plain.launches == seen.launches,
            "the device was seen at work": plain.launches > new_tokens,
            # Kineto keeps cudaEventRecord (CuptiActivityProfiler.cpp, isBlockListedRuntimeCbid). Where transformers
            # looks a step late whether to stop, there is one emission more than tokens, which is not counted.
            "an event an emission and one for the end": 1 <= records - new_tokens <= 2,
        },
        {
            "waits inside, bare": plain.waits,
            "waits inside, observed": seen.waits,
            "launches inside, bare": plain.launches,
            "launches inside, observed": seen.launches,
            "events recorded by observing": records,
            "device synchronizations of the whole, bare": outside[0],
            "device synchronizations of the whole, observed": outside[1],
        },
    )


def cost(setting: Setting) -> Fact:
    """What observing adds to an emission, in pairs in random order; and what the parts cost alone."""
    from llm_latency.record.devices.device import find
    from llm_latency.record.timed import timed

    new_tokens, pairs = (8, 4) if setting.is_rehearsal else (64, 50)
    call = generation(toy(setting), setting, prompt_tokens=16, new_tokens=new_tokens)

    def watched() -> float:
        with timed("toy"):
            return seconds(call, setting)

    def bare() -> float:
        with timed("nothing"):  # so that what lies between calls has left the caches as cold
            pass
        return seconds(call, setting)

    for _ in range(3):
        bare(), watched()
    plain, added = [], []
    for _ in range(pairs):
        first = random.random() < 0.5
        one = watched() if first else bare()
        two = bare() if first else watched()
        seen, alone = (one, two) if first else (two, one)
        plain.append(alone / new_tokens * 1e6)
        added.append((seen - alone) / new_tokens * 1e6)
    low, _, high = quantiles(added, n=4)

    device = find(setting.device)
    parts = {
        "mark µs": (device.mark, 2000),
        "peak_bytes and reset_peak µs": (lambda: (device.peak_bytes(), device.reset_peak()), 500),
        "telemetry µs": (device.telemetry, 20),
        "finding the device µs": (lambda: find(setting.device), 5),
    }
    figures: dict[str, float | int | str | None] = {}
    for name, (part, times) in parts.items():
        part()
        start = time.perf_counter()
        for _ in range(times):
            part()
        figures[name] = (time.perf_counter() - start) / times * 1e6
    wait(setting)
    return judged(
        "cost",
        setting,
        # The smallest real models take 5 ms a step from Python: half a per cent of that.
        {"observing adds no more than 25 µs to an emission (median of pairs)": median(added) <= 25},
        {
            "bare step µs": median(plain),
            "added µs, median": median(added),
            "added µs, lower quartile": low,
            "added µs, upper quartile": high,
            "pairs": pairs,
        }
        | figures,
    )


def pace(setting: Setting) -> Fact:
    """The launch-bound diagnosis: a toy is, a model that computes a long prompt at every step is not."""
    from llm_latency.core.doubts import lag_share
    from llm_latency.record.measure import measure

    small = generation(toy(setting), setting, prompt_tokens=16, new_tokens=4 if setting.is_rehearsal else 32)
    # Without a cache every step is a prefill of the whole prompt.
    prompt_tokens, batch = (64, 1) if setting.is_rehearsal else (4096, 4)
    heavy = generation(large(setting), setting, prompt_tokens=prompt_tokens, new_tokens=4, batch=batch, use_cache=False)
    found = {}
    figures: dict[str, float | int | str | None] = {}
    for name, call in (("toy", small), ("prefill", heavy)):
        measurement = measure(call, repeat=3, warmup=1)
        found[name] = any("launch-bound" in warning for warning in measurement.warnings)
        figures[f"{name}: share of a step that the device was behind"] = lag_share(measurement.traces[-1].requests[0])
        figures[f"{name}: tpot ms"] = measurement.tpot.p50 and float(measurement.tpot.p50) * 1e3
    return judged(
        "pace",
        setting,
        {"the toy is called launch-bound": found["toy"], "the large prefill is not": not found["prefill"]},
        figures,
    )
