"""The CPU as a device, and models on devices that are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm_latency.core.trace import Trace
from llm_latency.errors import DeviceError
from llm_latency.record.clock import HostClock
from llm_latency.record.devices import cpu
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.used import Used
from llm_latency.record.observe.attribution import open_request
from llm_latency.record.observe.stream import count_stream
from llm_latency.record.timed import timed
from llm_latency.record.watch import Watch


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system has no /proc/self/clear_refs")
def test_peak_memory_is_the_high_water_mark_since_the_reset() -> None:
    """An allocation that is freed before the end is seen; one from before the reset is not."""
    # In a process of its own: the allocator of one that has held gigabytes gives out memory that is resident already.
    program = (
        "from llm_latency.record.devices.cpu import Cpu; device = Cpu(); del bytearray(b'x' * 200_000_000)[:];"
        "device.reset_peak(); before = device.peak_bytes(); block = bytearray(b'x' * 50_000_000); del block;"
        "print(device.peak_bytes()['rss'] - before['rss'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 50_000_000 <= int(done.stdout) < 150_000_000


def test_without_proc_peak_memory_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS and Windows do not report it: None, never an error."""
    monkeypatch.setattr(cpu, "_CLEAR", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(cpu, "_STATUS", tmp_path / "missing" / "status")
    with timed("block", device=Cpu()) as t:
        pass
    assert t.measurement.traces[0].peak_bytes is None
    assert t.measurement.peak_memory.p50 is None


def test_a_status_without_a_high_water_mark_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel that hides VmHWM gives no value."""
    (tmp_path / "status").write_text("Name:\tpython\n")
    (tmp_path / "clear_refs").write_text("")
    monkeypatch.setattr(cpu, "_CLEAR", tmp_path / "clear_refs")
    monkeypatch.setattr(cpu, "_STATUS", tmp_path / "status")
    device = Cpu()
    device.reset_peak()
    assert device.peak_bytes() is None


def test_a_model_on_a_device_that_is_not_there_has_no_times() -> None:
    """The watch refuses when it ends, and the block's own exception would go first."""
    model = SimpleNamespace(device="cuda:0")

    def run() -> None:
        request = open_request("stream", count_stream, model=model)
        assert request is not None
        request.stop_ns = request.now_ns()

    with pytest.raises(DeviceError, match="'cuda:0'"), timed("block"):
        run()
    with pytest.raises(KeyError) as caught, timed("block"):
        run()
        raise KeyError("mine")
    assert "this call has no times" in caught.value.__notes__[0]


def test_a_watch_gives_its_trace_only_after_the_block() -> None:
    """Start and stop lie inside the block's own instants."""
    clock = HostClock()
    before = clock.now_ns()
    with Watch("block", clock=clock, used=Used()) as watch:
        pass
    trace = watch.ended()
    assert isinstance(trace, Trace)
    assert before <= trace.start_ns < trace.stop_ns <= clock.now_ns()
