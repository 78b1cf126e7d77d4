"""Fits and predictions in words."""

from __future__ import annotations

import pytest

from llm_latency.predict.cell import Cell
from llm_latency.predict.fit import fit
from llm_latency.predict.hardware import find_hardware
from llm_latency.predict.prediction import predict, predict_described
from llm_latency.report.prediction import fit_table, prediction_table
from llm_latency.workloads.described import architecture_of
from tests.predict.synthetic import cells, synthetic


@pytest.fixture(scope="module")
def fitted() -> object:
    """3 ms + F/1 GFLOP/s, then 1 ms + the cache at 1 GB/s."""
    return fit(
        synthetic(
            cells(lengths=(16, 64, 128, 256)),
            prefill=lambda cost: 0.003 + cost.linear_flops / 1e9,
            step=lambda cost: 0.001 + cost.cache_bytes / 1e9,
        )
    )


def test_a_fit_shows_its_terms_and_held_out_errors(fitted: object) -> None:
    """Rates as a person reads them."""
    text = fit_table(fitted)  # type: ignore[arg-type]
    assert "fit · decoder, cpu, float32, sdpa, 1 thread · 16–256 prompt tokens · batch 1–1 · gpt2-tiny" in text
    assert "prefill: 3.00 ms (the call itself) + multiplying by weights at 1 GFLOP/s" in text
    assert "step: 1.00 ms (the call itself) + reading the cache at 1 GB/s" in text
    assert "mean error 0.0 % held out by length; worst 0.0 %, n = 4" in text


def test_a_prediction_begins_with_its_sentence(fitted: object) -> None:
    """Then the numbers, and where the time goes."""
    cell = Cell(model="shape:gpt2-tiny", prompt_tokens=100, new_tokens=12)
    text = prediction_table(predict(fitted, architecture_of(cell.model), cell))  # type: ignore[arg-type]
    lines = text.splitlines()
    assert "prefill takes 65 % of the time, 87 % of it multiplying by weights." == lines[0]
    assert "predicted · shape:gpt2-tiny · 100 prompt tokens · 12 new · batch 1" in text
    assert ["metric", "p50", "low", "high"] == lines[5].split()
    assert "multiplying by weights 87 %, the call itself 13 %" in text
    assert "mean error of held-out points: prefill 0.0 % by length; step 0.0 % by length" in text


def test_two_terms_of_one_thing_are_one_share() -> None:
    """Weights are read by the byte and by the row."""
    points = [cell for size in ("shape:gpt2", "shape:gpt2-medium") for cell in cells(size)]
    found = fit(
        synthetic(
            points,
            prefill=lambda cost: cost.linear_flops / 5e10,
            step=lambda cost: 1e-7 * cost.weight_rows + cost.weight_bytes / 2e10,
        )
    )
    assert "step: 100 ns a row (reading weights) + reading weights at 20 GB/s\n" in fit_table(found)
    cell = Cell(model="shape:gpt2", prompt_tokens=100, new_tokens=24)
    text = prediction_table(predict(found, architecture_of(cell.model), cell))
    assert "reading weights 100 %" in text


def test_what_goes_beyond_the_points_is_said(fitted: object) -> None:
    """Each on a line of its own."""
    cell = Cell(model="shape:gpt2-tiny", prompt_tokens=900, new_tokens=12, batch=8)
    text = prediction_table(predict(fitted, architecture_of(cell.model), cell, extrapolate=True))  # type: ignore[arg-type]
    assert "beyond what was fitted: 900 prompt tokens, fitted on 16 to 256" in text
    assert "beyond what was fitted: 8 rows, fitted on 1 to 1" in text


def test_described_hardware_says_that_nothing_was_measured() -> None:
    """And with what the bounds were made."""
    cell = Cell(model="shape:gpt3-175b", prompt_tokens=1000, new_tokens=100, dtype="bfloat16")
    hardware = find_hardware("8xh100-sxm")
    found = predict_described(architecture_of(cell.model), cell, hardware, reached=(0.5, None))
    text = prediction_table(found)
    assert "NVIDIA H100 data sheet, 8 that share every layer without cost: 7,915.2 TFLOP/s bfloat16" in text
    assert "by the roofline, not measured" in text
    assert all(len(line) <= 100 for line in text.splitlines())
