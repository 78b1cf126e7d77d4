"""Sweeps whose times are written by a formula, so that a fit must find it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llm_latency.core.cost import Cost
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.peaks import Peaks
from llm_latency.core.trace import Request, Trace
from llm_latency.predict.cell import Cell
from llm_latency.predict.sweep import Point, Sweep
from llm_latency.workloads.described import architecture_of

Seconds = Callable[[Cost], float]


def measured(
    cell: Cell, *, prefill: Seconds, step: Seconds, dtype: str = "float32", peaks: Peaks | None = None, calls: int = 2
) -> Measurement:
    """A measurement of a cell whose every step takes what the middle one costs."""
    architecture = architecture_of(cell.model)
    first = architecture.prefill(cell.prompt_tokens, batch=cell.batch)
    middle = architecture.step(cell.prompt_tokens, index=(cell.new_tokens or 0) // 2, batch=cell.batch)
    begin, each = round(1e9 * prefill(first)), round(1e9 * step(middle))
    instants = tuple((begin + each * index, 1) for index in range(cell.new_tokens or 0))
    stop = instants[-1][0] if instants else begin
    request = Request(
        kind="generate" if instants else "forward",
        start_ns=0,
        stop_ns=stop,
        emissions=instants,
        rows=cell.batch,
        prompt_tokens=cell.batch * cell.prompt_tokens,
        row_tokens=cell.batch * (len(instants),) if instants else None,
        prefill_flops=first.flops,
        step_bytes=middle.bytes if len(instants) > 1 else None,
    )
    return Measurement(
        name=cell.key,
        workload={"dtype": dtype, "device": "cpu", "attention": "sdpa"},
        environment=Environment(device="cpu", threads=cell.threads, torch="2.13.0", peaks=peaks),
        traces=calls * (Trace(start_ns=0, stop_ns=stop, requests=(request,)),),
        stopped_because="two calls",
    )


def synthetic(cells: Sequence[Cell], *, prefill: Seconds, step: Seconds, peaks: Peaks | None = None) -> Sweep:
    """A sweep of such measurements."""
    return Sweep(
        points=tuple(
            Point(cell=cell, measurement=measured(cell, prefill=prefill, step=step, peaks=peaks)) for cell in cells
        )
    )


def cells(model: str = "shape:gpt2-tiny", lengths: Sequence[int] = (16, 64, 256), new: int | None = 8) -> list[Cell]:
    """Cells of one model that differ in the prompt's length."""
    return [Cell(model=model, prompt_tokens=length, new_tokens=new, threads=1) for length in lengths]
