"""Fits of times that were written by a formula, and what cannot be fitted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from llm_latency.core.peaks import Peaks
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.fit import fit, load_fit, save_fit
from llm_latency.predict.phase import PREFILL, Observed, fit_phase
from llm_latency.predict.sweep import Point, Sweep
from llm_latency.workloads.described import architecture_of
from tests.predict.synthetic import cells, synthetic


def flat(_: object) -> float:
    """A step of 2 ms."""
    return 0.002


def test_a_line_is_found_again() -> None:
    """T = 3 ms + F/1 GFLOP/s, and steps of 1 ms + the cache at 1 GB/s: to six digits, without held-out error."""
    found = fit(
        synthetic(
            cells(lengths=(16, 64, 128, 256)),
            prefill=lambda cost: 0.003 + cost.linear_flops / 1e9,
            step=lambda cost: 0.001 + cost.cache_bytes / 1e9,
        )
    )
    (group,) = found.groups
    assert {"call", "linear"} == set(group.prefill.terms)
    assert group.prefill.terms["call"] == pytest.approx(0.003, rel=1e-5)
    assert 1 / group.prefill.terms["linear"] == pytest.approx(1e9, rel=1e-5)
    assert group.step is not None
    assert group.step.terms["call"] == pytest.approx(0.001, rel=1e-4)
    assert group.prefill.worst < 1e-4
    assert ["length"] == list(group.prefill.by)
    assert (16, 256) == (group.spans["prompt_tokens"].least, group.spans["prompt_tokens"].most)
    assert "decoder, cpu, float32, sdpa, 1 thread" == str(group.setting)


def test_models_of_several_sizes_are_held_out_in_turn() -> None:
    """A time that follows the terms is predicted for a size that was not fitted."""
    sizes = ("shape:gpt2-tiny", "shape:gpt2", "shape:gpt2-medium")
    points = [cell for size in sizes for cell in cells(size)]
    (group,) = fit(
        synthetic(
            points,
            prefill=lambda cost: 1e-3 * cost.layers + cost.linear_flops / 5e10,
            step=lambda cost: 2e-7 * cost.weight_rows + cost.weight_bytes / 1e10,
        )
    ).groups
    assert group.step is not None
    # A row's steps cannot tell reading a weight from multiplying by it; what a step waits for is the read.
    assert {"weights": 1e-10, "rows": 2e-7} == pytest.approx(group.step.terms, rel=0.01)
    assert {"length", "model"} == set(group.step.by)
    assert group.step.by["model"] < 0.01
    assert sizes == group.models
    assert ("gpt2",) == group.families


def test_on_a_gpu_rows_are_no_term() -> None:
    """Two models tell launches and reads apart there."""
    points = [cell for size in ("shape:gpt2", "shape:gpt2-medium") for cell in cells(size)]
    swept = synthetic(
        points,
        prefill=lambda cost: cost.linear_flops / 5e13,
        step=lambda cost: 2e-5 * cost.layers + cost.weight_bytes / 1e12,
    )
    moved = [
        msgspec.structs.replace(
            point,
            measurement=msgspec.structs.replace(
                point.measurement, workload={**point.measurement.workload, "device": "cuda:0"}
            ),
        )
        for point in swept.points
        if point.measurement is not None
    ]
    (group,) = fit(Sweep(points=tuple(moved))).groups
    assert group.step is not None
    assert group.step.terms["layers"] == pytest.approx(2e-5, rel=0.01)
    assert "rows" not in group.step.terms


def test_settings_are_fitted_apart() -> None:
    """Two thread counts are two groups."""
    both = [*cells(), *(msgspec.structs.replace(cell, threads=2) for cell in cells())]
    found = fit(synthetic(both, prefill=lambda cost: 0.01, step=flat))
    assert [1, 2] == [group.setting.threads for group in found.groups]


def test_a_recurrence_is_a_nature_of_its_own() -> None:
    """Its turns are a term, and it has no attention."""
    (group,) = fit(synthetic(cells("shape:mamba-130m"), prefill=lambda cost: cost.loops * 1e-4, step=flat)).groups
    assert ("recurrent", None) == (group.setting.nature, group.setting.attention)


def test_an_encoder_has_no_step() -> None:
    """Its prefill is the whole forward."""
    (group,) = fit(
        synthetic(cells("shape:bert-base", new=None), prefill=lambda cost: 0.01 + cost.flops / 1e10, step=flat)
    ).groups
    assert ("encoder", None) == (group.setting.nature, group.step)


def test_what_was_reached_of_the_peaks_is_kept() -> None:
    """The best point's share of the FLOP/s."""
    peaks = Peaks(flops=1e11, bandwidth=1e10)
    (group,) = fit(
        synthetic(cells(), prefill=lambda cost: cost.flops / 5e10, step=lambda cost: cost.bytes / 2e9, peaks=peaks)
    ).groups
    assert group.mfu == pytest.approx(0.5, rel=1e-3)
    assert group.mbu == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [((16,), "1 point of 1 prompt length"), ((16, 64), "2 points of 2 prompt lengths")],
)
def test_too_few_points_are_told(lengths: tuple[int, ...], words: str) -> None:
    """With what to sweep."""
    with pytest.raises(UsageError, match=rf"{words}, and a fit needs at least 3 lengths: sweep more --prompt-tokens"):
        fit(synthetic(cells(lengths=lengths), prefill=lambda cost: 0.01, step=flat))


def test_a_sweep_of_one_length_says_nothing_of_others() -> None:
    """However many batches it has."""
    points = [Cell(model="shape:gpt2-tiny", prompt_tokens=16, new_tokens=4, batch=rows) for rows in (1, 2, 3, 4)]
    with pytest.raises(UsageError, match="4 points of 1 prompt length"):
        fit(synthetic(points, prefill=lambda cost: 0.01, step=flat))


def test_constant_times_are_a_constant() -> None:
    """No term grows, and nothing fails."""
    (group,) = fit(synthetic(cells(), prefill=lambda cost: 0.01, step=flat)).groups
    assert {"call": pytest.approx(0.01)} == group.prefill.terms


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_time_that_is_none_is_shown(seconds: float) -> None:
    """With its cell."""
    cost = architecture_of("shape:gpt2-tiny").prefill(16)
    points = [Observed(cost=cost, seconds=seconds, length=length, model="m") for length in (1, 2, 3)]
    with pytest.raises(UsageError, match=r"the prefill of m at 1 tokens took .* s; expected a finite time"):
        fit_phase(points, name="the prefill", terms=PREFILL)


def test_a_sweep_without_numbers_cannot_be_fitted() -> None:
    """Every cell may have run out of memory."""
    failed = Point(cell=cells()[0], measurement=None, problem="out of memory")
    with pytest.raises(UsageError, match="no measured cell whose costs are known; run llm-latency sweep first"):
        fit(Sweep(points=(failed,)))


def test_what_cannot_be_fitted_is_left_out_by_name() -> None:
    """The other settings are fitted."""
    few = msgspec.structs.replace(cells()[0], threads=2)
    found = fit(synthetic([*cells(), few], prefill=lambda cost: 0.01, step=flat))
    assert 1 == len(found.groups)
    assert "2 threads: the prefill has 1 point" in found.left_out[0]


def test_a_fit_survives_its_file(tmp_path: Path) -> None:
    """Exactly."""
    found = fit(synthetic(cells(), prefill=lambda cost: 0.01 + cost.flops / 1e9, step=flat))
    save_fit(found, tmp_path / "fit.json")
    assert found == load_fit(tmp_path / "fit.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "is no fit of llm-latency"),
        ('{"schema": 9}', "has schema 9 and this version reads 1"),
        ("[1]", "no fit"),
    ],
)
def test_a_file_that_is_no_fit_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    """And the message says how one is made."""
    file = tmp_path / "fit.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(MeasurementFileError, match=words):
        load_fit(file)
