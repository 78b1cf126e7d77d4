"""Peaks, profiles and strategies on a real GPU: what only a device can show of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("torch"), pytest.mark.filterwarnings("ignore")]


def test_a_card_computes_and_reads_faster_than_a_cpu() -> None:
    """In 16 bits with its tensor cores; a probe stays under ten seconds."""
    import time

    from llm_latency.record.devices.peaks import probe

    begin = time.monotonic()
    wide, narrow = probe(device="cuda", dtype="float32"), probe(device="cuda", dtype="bfloat16")
    assert time.monotonic() - begin < 20
    assert narrow.flops > 2 * wide.flops > 1e12
    assert narrow.bandwidth > 2e11
    assert narrow.launch_s is not None
    assert narrow.launch_s < 1e-4


def test_a_profile_has_the_devices_kernels(tmp_path: Path) -> None:
    """Busy for a share of its time, and a trace that Perfetto opens."""
    pytest.importorskip("transformers")
    from llm_latency.predict.explain import explain
    from llm_latency.workloads.target import Settings

    trace = tmp_path / "trace.json"
    found = explain("shape:gpt2", settings=Settings(device="cuda", dtype="bfloat16", new_tokens=8), trace=trace)
    for phase in found.phases.values():
        assert phase.device_busy is not None
        assert 0 < phase.device_busy <= 1.05
        assert phase.bound_s is not None
        assert phase.bound_s < phase.seconds
    assert trace.stat().st_size > 0


def test_a_measurement_says_how_much_of_the_card_it_used() -> None:
    """mfu and mbu lie between nothing and the peak."""
    pytest.importorskip("transformers")
    from llm_latency.record.devices.peaks import peaks_here
    from llm_latency.record.measure import measure
    from llm_latency.workloads.target import Settings, load

    peaks_here(device="cuda", dtype="bfloat16")
    settings = Settings(device="cuda", dtype="bfloat16", prompt_tokens=512, new_tokens=16)
    found = measure(load("shape:gpt2", settings=settings).call, repeat=6)
    for name in ("mfu", "mbu"):
        summary = found.reading(name).summary
        assert summary is not None, name
        assert 0 < summary.center < 1


def test_strategies_keep_the_models_answers() -> None:
    """Attention, static and compiled caches, a prompt in chunks, padding."""
    pytest.importorskip("transformers")
    import torch

    from llm_latency.adapt.equivalence import agreement
    from llm_latency.adapt.prepared import Prepared
    from llm_latency.adapt.strategy import BASELINE, Strategy
    from llm_latency.workloads.shapes import build

    model = build("gpt2", device="cuda").model
    ids = torch.arange(5, 45, device="cuda").reshape(1, 40)
    prompts: list[dict[str, Any]] = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    own = Prepared(model, Strategy(name=BASELINE))
    for strategy in (
        Strategy(name="eager", attention="eager"),
        Strategy(name="static", cache="static"),
        Strategy(name="compiled", cache="static", compile=True),
        Strategy(name="chunks", chunk=16),
        Strategy(name="bucket", bucket=64),
    ):
        found = agreement(own, Prepared(model, strategy), prompts, new_tokens=8)
        assert found.top1 > 0.9, f"{strategy.name}: {found.words}"


def test_a_policy_is_learned_for_the_card() -> None:
    """And runs on it."""
    pytest.importorskip("transformers")
    import torch

    from llm_latency.adapt.tuner import tune
    from llm_latency.workloads.scenarios import Scenario
    from llm_latency.workloads.shapes import build

    loaded = build("gpt2", device="cuda", dtype="bfloat16")
    case = Scenario(name="own", objective="e2e", prompt_tokens=(32, 256), new_tokens=16)
    found = tune(loaded, scenario=case, time_budget=60.0)
    assert "cpu" != found.environment.device
    ids = torch.arange(5, 45, device="cuda").reshape(1, 40)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert (1, 45) == tuple(found.generate(loaded.model, inputs, max_new_tokens=5, min_new_tokens=5).shape)
