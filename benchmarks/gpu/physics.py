"""Facts about memory and energy: what is measured must be possible for this model and this card."""

from __future__ import annotations

import time
from typing import Any

from gpu.fact import Fact, Setting, judged, skipped
from gpu.subject import generation, large, wait


def memory(setting: Setting) -> Fact:
    """Peaks of a call and of its phases against the bytes of weights and cache, and against torch's own peak."""
    import torch

    from llm_latency.record.measure import measure

    prompt_tokens, new_tokens, batch = (16, 4, 2) if setting.is_rehearsal else (1024, 64, 4)
    model = large(setting)
    call = generation(model, setting, prompt_tokens=prompt_tokens, new_tokens=new_tokens, batch=batch)
    call()
    bare = None
    if not setting.is_rehearsal:
        torch.cuda.reset_peak_memory_stats()
        call()
        wait(setting)
        bare = torch.cuda.max_memory_allocated()
    measurement = measure(call, repeat=3, warmup=1)
    trace = measurement.traces[-1]
    whole, phases = trace.peak_bytes or {}, trace.requests[0].peak_bytes or {}
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    full, prompt = (_cache_bytes(model, positions) * batch for positions in (prompt_tokens + new_tokens, prompt_tokens))
    allocated, prefill, decode = whole.get("allocated", 0), phases.get("prefill", 0), phases.get("decode", 0)
    return judged(
        "memory",
        setting,
        {
            "the observed peak is the bare one (1 %)": bare is not None and abs(allocated / bare - 1) < 0.01,
            "the call's peak is that of its larger phase": allocated == max(prefill, decode),
            "prefill holds weights and the prompt's cache": weights + prompt <= prefill,
            "decode holds weights and the whole cache": weights + 0.99 * full <= decode,
            # A dynamic cache grows by copying a layer at a time; what computes lives beside it.
            "decode holds little else": decode <= weights + 2 * full + 2**30,
            "what is reserved holds what is allocated": whole.get("reserved", 0) >= allocated,
        },
        {"weights bytes": weights, "cache bytes, prompt": prompt, "cache bytes, all": full, "bare peak bytes": bare}
        | {f"call's {name} bytes": value for name, value in whole.items()}
        | {f"{name} peak bytes": value for name, value in phases.items()},
    )


def energy(setting: Setting) -> Fact:
    """Joules of calls of 3 and 6 seconds: between idle and the power limit, and twice as many in the longer one."""
    import torch

    from llm_latency.record.devices.device import find
    from llm_latency.record.devices.nvml import ENERGY_STEP_S
    from llm_latency.record.measure import measure

    device = find(setting.device)
    facts = device.describe()
    scale = 0.02 if setting.is_rehearsal else 1.0
    size = 64 if setting.is_rehearsal else 8192
    dtype = torch.float32 if setting.is_rehearsal else torch.bfloat16
    matrix = torch.randn(size, size, device=setting.device, dtype=dtype)

    def work(length_s: float) -> None:
        until = time.perf_counter() + length_s * scale
        while time.perf_counter() < until:
            matrix @ matrix
            wait(setting)

    start = device.telemetry()
    if not setting.is_rehearsal and (start is None or start.energy_j is None):
        return skipped("energy", f"this card's energy is not known: {facts.get('warnings')}")
    began = time.perf_counter()
    time.sleep(2.5 * scale)
    idle_w = _watts(start, device.telemetry(), time.perf_counter() - began)
    step_s = _energy_step_s(device, until_s=2.0 * scale)
    work(1.0)
    short, long = (measure(lambda s=s: work(s), repeat=1, warmup=0, device=device).traces[0] for s in (3.0, 6.0))
    lengths = [(trace.stop_ns - trace.start_ns) * 1e-9 for trace in (short, long)]
    joules = [trace.energy_j or 0.0 for trace in (short, long)]
    busy_w = joules[1] / lengths[1]
    limit_w = facts.get("power_cap_w")
    return judged(
        "energy",
        setting,
        {
            "both calls have an energy": short.energy_j is not None and long.energy_j is not None,
            "it draws more than idle": idle_w < busy_w,
            # A card may pass its limit for moments; NVML's figures are good to 5 % (nvmlDeviceGetPowerUsage).
            "it draws no more than its limit (5 %)": not isinstance(limit_w, float) or busy_w <= 1.05 * limit_w,
            "twice as long takes twice the energy (10 %)": 1.8 <= joules[1] / max(joules[0], 1e-9) <= 2.2,
            "the counter moves as often as is assumed (20 %)": step_s is not None and step_s <= 1.2 * ENERGY_STEP_S,
        },
        {
            "idle W": idle_w,
            "working W": busy_w,
            "limit W": limit_w if isinstance(limit_w, float) else None,
            "J of the short call": joules[0],
            "J of the long call": joules[1],
            "counter's step ms": None if step_s is None else step_s * 1e3,
        },
    )


def _cache_bytes(model: Any, positions: int) -> int:
    """Bytes of keys and values of one row: 2 × layers × key-value heads × head size × positions × bytes of a number."""
    config = model.config
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * kept * size * positions * model.dtype.itemsize)


def _watts(before: Any, after: Any, seconds: float) -> float:
    if before is None or after is None or None in (before.energy_j, after.energy_j):
        return 0.0
    return float((after.energy_j - before.energy_j) / seconds)


def _energy_step_s(device: Any, *, until_s: float) -> float | None:
    """Seconds between changes of the energy counter, on average; None where it did not change twice."""
    changes: list[float] = []
    last = getattr(device.telemetry(), "energy_j", None)
    until = time.perf_counter() + until_s
    while (now := time.perf_counter()) < until:
        joules = getattr(device.telemetry(), "energy_j", None)
        if joules != last:
            changes.append(now)
            last = joules
    return (changes[-1] - changes[0]) / (len(changes) - 1) if len(changes) > 1 else None
