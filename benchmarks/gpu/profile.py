"""Profile: what torch's profiler saw of a call, as kernels on the device and calls of the CUDA runtime."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gpu.fact import Setting

# Categories and names of Kineto's trace (export_chrome_trace), times in µs.
_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
_RUNTIME = {"cuda_runtime", "cuda_driver"}
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cuStreamSynchronize")
_LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cudaMemcpy", "cudaMemset")
INSIDE = "inside the call"


class Span(NamedTuple):
    """A stretch of the trace, in µs."""

    name: str
    start: float
    end: float


class Profile(NamedTuple):
    """Spans by kind, ascending; `inside` is the region marked with `record_function(INSIDE)`."""

    inside: Span
    on_device: tuple[Span, ...]
    runtime: tuple[Span, ...]

    def count(self, names: tuple[str, ...], *, within: Span | None = None) -> int:
        """Runtime calls whose name begins so."""
        return sum(
            span.name.startswith(names)
            for span in self.runtime
            if within is None or within.start <= span.start <= within.end
        )

    @property
    def waits(self) -> int:
        """Waits of the host for the device inside."""
        return self.count(_WAITS, within=self.inside)

    @property
    def launches(self) -> int:
        """Kernels, copies and graphs that were launched inside."""
        return self.count(_LAUNCHES, within=self.inside)


def profiled(call: Callable[[], object], setting: Setting) -> Profile:
    """Run under the profiler; in a rehearsal operators of the CPU stand in for kernels."""
    import torch

    from gpu.subject import wait

    kinds = torch.profiler.ProfilerActivity
    activities = [kinds.CPU] if setting.is_rehearsal else [kinds.CPU, kinds.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        call()
        wait(setting)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    device = {"cpu_op"} if setting.is_rehearsal else _DEVICE
    found: dict[str, list[Span]] = {"device": [], "runtime": [], "inside": []}
    for event in events:
        category = event.get("cat")
        kind = "device" if category in device else "runtime" if category in _RUNTIME else None
        if category == "user_annotation" and event.get("name") == INSIDE:
            kind = "inside"
        if kind is not None and event.get("ph") == "X":
            start = float(event["ts"])
            found[kind].append(Span(event["name"], start, start + float(event["dur"])))
    return Profile(
        inside=found["inside"][0],
        on_device=tuple(sorted(found["device"], key=lambda span: span.start)),
        runtime=tuple(sorted(found["runtime"], key=lambda span: span.start)),
    )


def busy(spans: tuple[Span, ...]) -> float:
    """µs in which at least one of the spans was running."""
    total, until = 0.0, float("-inf")
    for span in spans:
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total
