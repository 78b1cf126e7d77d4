"""How well a fit predicts what it has not seen: lengths, sizes and families that were held out, on one machine.

One sweep is measured, kept and resumed in a folder. From it: a fit of one model's shorter lengths against lengths
between them; fits of all sizes but one against that one; and a fit of GPT-2's sizes against models of other families.
Errors are mean absolute percentage errors (MAPE) of medians of own time, with the largest beside them.
Medians of every cell go to results.csv beside the runs.

python benchmarks/bench_prediction.py [--out FOLDER] [--rounds 3] [--threads 1] [--quick]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from llm_latency.core.measurement import Measurement
from llm_latency.predict.cell import Cell
from llm_latency.predict.fit import Fit, fit
from llm_latency.predict.folder import Folder
from llm_latency.predict.prediction import predict
from llm_latency.predict.sweep import Point, Step, Sweep, run_sweep
from llm_latency.report.sweep import sweep_csv
from llm_latency.workloads.described import architecture_of

SIZES = ("shape:gpt2", "shape:gpt2-medium", "shape:gpt2-large")
FAMILIES = ("shape:qwen2.5-0.5b", "shape:llama-3.2-1b")
FITTED, BETWEEN = (16, 64, 128, 256, 512), (32, 96, 192, 384)
SHORT = (16, 48, 128)
NEW_TOKENS = 16


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/prediction"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the tiny shape only, into a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) if given.quick else given.out
        cells = grid(threads=given.threads, quick=given.quick)
        found = run_sweep(cells, Folder(out), rounds=given.rounds, repeat=1, on_progress=tell)
        (out / "results.csv").write_bytes(sweep_csv(found))
    print("\n".join(report(found, quick=given.quick)))


def tell(step: Step) -> None:
    """Progress on stderr would be lost in a log; a line a turn is enough."""
    if step.cell is not None and step.done % 10 == 0:
        print(f"{step.done} of {step.of} turns, {step.left_s or math.nan:.0f} s left", flush=True)


def grid(*, threads: int, quick: bool) -> list[Cell]:
    """All lengths of the smallest model, the short ones of the others, on so many threads."""
    lengths = {("shape:gpt2-tiny" if quick else SIZES[0]): FITTED + BETWEEN}
    lengths |= {} if quick else dict.fromkeys((*SIZES[1:], *FAMILIES), SHORT)
    lengths |= {} if quick else {SIZES[0]: tuple(sorted({*FITTED, *BETWEEN, *SHORT}))}
    return [
        Cell(model=model, prompt_tokens=length, new_tokens=NEW_TOKENS, dtype="float32", threads=threads)
        for model, several in lengths.items()
        for length in several
    ]


def report(found: Sweep, *, quick: bool) -> Iterator[str]:
    """A line a question: what was fitted, what was predicted, and how far off."""
    yield "| fitted on | predicted | prefill MAPE (largest) | step MAPE (largest) | n |"
    yield "| --- | --- | --- | --- | --- |"
    one = "shape:gpt2-tiny" if quick else SIZES[0]
    yield row("5 lengths of one model", "4 lengths between", found, _is(one, FITTED), _is(one, BETWEEN))
    if quick:
        return
    for size in SIZES:
        others = [other for other in SIZES if other != size]
        yield row(
            " and ".join(name.removeprefix("shape:") for name in others),
            size.removeprefix("shape:"),
            found,
            lambda cell, others=others: cell.model in others and cell.prompt_tokens in SHORT,
            _is(size, SHORT),
        )
    for name in FAMILIES:
        yield row(
            "three sizes of GPT-2",
            name.removeprefix("shape:"),
            found,
            lambda cell: cell.model in SIZES and cell.prompt_tokens in SHORT,
            _is(name, SHORT),
        )


def _is(model: str, lengths: Sequence[int]) -> Callable[[Cell], bool]:
    return lambda cell: cell.model == model and cell.prompt_tokens in lengths


def row(fitted: str, predicted: str, found: Sweep, inside: Callable[[Cell], bool], held: Callable[[Cell], bool]) -> str:
    """Fit what is inside, predict what is held out."""
    points = tuple(point for point in found.points if inside(point.cell))
    made = fit(Sweep(points=points))
    errors = [errors_of(made, point) for point in found.points if held(point.cell) and point.measurement is not None]
    shown = []
    for phase in range(2):
        own = [abs(error[phase]) for error in errors]
        shown.append(f"{100 * sum(own) / len(own):.1f} % ({100 * max(own):.1f} %)")
    return f"| {fitted} | {predicted} | {shown[0]} | {shown[1]} | {len(errors)} |"


def errors_of(made: Fit, point: Point) -> tuple[float, float]:
    """Relative errors of the first token's time and of a step's."""
    assert point.measurement is not None
    found = predict(made, architecture_of(point.cell.model), point.cell, extrapolate=True).metrics
    measured = [_own(point.measurement, name) for name in ("ttft", "tpot")]
    return found["ttft"].p50 / measured[0] - 1, found["tpot"].p50 / measured[1] - 1


def _own(measurement: Measurement, name: str) -> float:
    values = sorted(measurement.sample(f"{name}_own").values or measurement.sample(name).values)
    return (
        values[len(values) // 2] if len(values) % 2 else (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2
    )


if __name__ == "__main__":
    main()
