"""A real CUDA device: what a stand-in for torch can only assume."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from llm_latency.errors import DeviceError
from llm_latency.record.devices.cuda import Cuda
from llm_latency.record.devices.device import find
from llm_latency.record.measure import measure
from llm_latency.record.timed import timed

pytestmark = pytest.mark.gpu


def work(torch: Any, *, size: int = 4096) -> Any:
    """A matrix whose square takes the device a while."""
    return torch.randn(size, size, device="cuda")


def test_events_agree_with_the_host(torch: Any) -> None:
    """Work that the host waits for on both sides: the device's span lies within the host's, and is most of it."""
    device = find("cuda")
    matrix = work(torch)
    matrix @ matrix
    device.synchronize()
    start = time.perf_counter_ns()
    marks = [device.mark()]
    for _ in range(20):
        matrix @ matrix
    marks.append(device.mark())
    device.synchronize()
    host_ns = time.perf_counter_ns() - start
    told = device.elapsed(marks)
    assert told is not None
    assert 0.5 * host_ns < told[1] <= host_ns + 10_000


def test_a_mark_does_not_wait(torch: Any) -> None:
    """The device still works when it has been put."""
    device = find("cuda")
    matrix = work(torch)
    matrix @ matrix
    device.synchronize()
    for _ in range(50):
        matrix @ matrix
    device.mark()
    assert not torch.cuda.current_stream().query()
    device.synchronize()


def test_a_graph_can_be_captured_while_marks_are_put(torch: Any) -> None:
    """The capture holds the work alone, and replays."""
    device = find("cuda")
    matrix = work(torch, size=64)
    result = matrix @ matrix
    device.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.matmul(matrix, matrix, out=result)
        mark = device.mark()
    assert mark is None
    result.zero_()
    graph.replay()
    device.synchronize()
    assert result.abs().sum() > 0


def test_peaks_are_torchs(torch: Any) -> None:
    """64 MiB that are there and gone again before the end."""
    device = find("cuda")
    device.reset_peak()
    before = device.peak_bytes() or {"allocated": 0}
    block = torch.empty(64 * 2**20, dtype=torch.uint8, device="cuda")
    del block
    after = device.peak_bytes()
    assert after is not None
    assert 64 * 2**20 == after["allocated"] - before["allocated"]
    assert after["allocated"] == torch.cuda.max_memory_allocated()
    assert after["reserved"] == torch.cuda.max_memory_reserved()
    assert after["reserved"] >= after["allocated"]


def test_counters_are_read_or_the_reason_is_said(torch: Any) -> None:
    """Energy never falls; without NVML a warning says why."""
    device = Cuda((0,))
    told = device.describe()
    assert torch.cuda.get_device_name(0) in str(told["device"])
    first = device.telemetry()
    if first is None or first.energy_j is None:
        assert told["warnings"]
        pytest.skip(f"no energy here: {told['warnings']}")
    matrix = work(torch)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        matrix @ matrix
        device.synchronize()
    second = device.telemetry()
    assert second is not None and second.energy_j is not None
    assert second.energy_j > first.energy_j
    assert told["driver"]


def test_a_device_that_is_not_there_is_an_error(torch: Any) -> None:
    """One after the last."""
    count = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=f"'cuda:{count}' is to be timed"):
        find(f"cuda:{count}")


ASSERTS = """
import torch
from llm_latency.record.devices.device import find
device = find("cuda")
torch.zeros(4, device="cuda")[torch.tensor([99], device="cuda")]
print("mark:", device.mark())
try:
    device.synchronize()
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_device_side_assertion_is_an_error_in_words(torch: Any) -> None:
    """In a process of its own, which it leaves without a usable device."""
    run = subprocess.run([sys.executable, "-c", ASSERTS], capture_output=True, text=True, check=False, timeout=120)
    assert "DeviceError CUDA failed when the end of the work was waited for" in run.stdout, run.stdout + run.stderr


def test_a_generate_call_has_instants_on_the_device(torch: Any) -> None:
    """One an emission and one for the end, ascending; peaks of both phases; the device in the environment."""
    from llm_latency.workloads import shapes

    model = shapes.build("gpt2-tiny", device="cuda").model
    ids = torch.randint(5, 500, (2, 16), device="cuda")
    arguments = {"min_new_tokens": 8, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    measurement = measure(
        lambda: model.generate(ids, attention_mask=torch.ones_like(ids), **arguments), repeat=3, warmup=1
    )
    for trace in measurement.traces:
        (request,) = trace.requests
        assert 8 == len(request.emissions)
        assert request.device_ns is not None and 9 == len(request.device_ns)
        assert list(request.device_ns) == sorted(request.device_ns)
        assert trace.start_ns < request.device_ns[0] and request.device_ns[-1] <= trace.stop_ns + 1_000_000
        assert {"prefill", "decode"} == set(request.peak_bytes or {})
        assert trace.peak_bytes is not None and trace.peak_bytes["allocated"] > 0
    assert torch.cuda.get_device_name(0) in str(measurement.environment.device)


def test_a_block_is_waited_for(torch: Any) -> None:
    """Work that was given and not waited for belongs to the block."""
    matrix = work(torch)
    matrix @ matrix
    with timed("given") as block:
        for _ in range(20):
            matrix @ matrix
    total_ns = block.measurement.traces[0].stop_ns - block.measurement.traces[0].start_ns
    torch.cuda.synchronize()
    start = time.perf_counter_ns()
    for _ in range(20):
        matrix @ matrix
    torch.cuda.synchronize()
    assert total_ns > 0.5 * (time.perf_counter_ns() - start)
