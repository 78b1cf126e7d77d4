"""Predictions from fits of times that were written by a formula, and from described hardware, by hand."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.fit import Fit, fit
from llm_latency.predict.hardware import Hardware
from llm_latency.predict.prediction import Prediction, predict, predict_described
from llm_latency.workloads.described import architecture_of
from tests.predict.synthetic import cells, synthetic

TINY = "shape:gpt2-tiny"


@pytest.fixture(scope="module")
def fitted() -> Fit:
    """3 ms + F/1 GFLOP/s to the first token, then 1 ms + the cache at 1 GB/s a step."""
    return fit(
        synthetic(
            cells(lengths=(16, 64, 128, 256)),
            prefill=lambda cost: 0.003 + cost.linear_flops / 1e9,
            step=lambda cost: 0.001 + cost.cache_bytes / 1e9,
        )
    )


def asked(model: str = TINY, **fields: Any) -> Cell:
    """A cell that lies between the fitted ones."""
    return Cell(model=model, **({"prompt_tokens": 100, "new_tokens": 12} | fields))


def predicted(found: Fit, cell: Cell, **options: Any) -> Prediction:
    """What a fit says of a cell."""
    return predict(found, architecture_of(cell.model), cell, **options)


def test_an_input_between_the_points_is_predicted_by_their_formula(fitted: Fit) -> None:
    """Each step has its own context: the eleven of them are added up one by one here."""
    architecture = architecture_of(TINY)
    found = predicted(fitted, asked())
    ttft = 0.003 + architecture.prefill(100).linear_flops / 1e9
    steps = sum(0.001 + architecture.step(100, index=index).cache_bytes / 1e9 for index in range(1, 12))
    assert ["ttft", "tpot", "e2e", "output_throughput"] == list(found.metrics)
    assert ttft == pytest.approx(found.metrics["ttft"].p50, rel=1e-3)
    assert steps / 11 == pytest.approx(found.metrics["tpot"].p50, rel=1e-3)
    assert ttft + steps == pytest.approx(found.metrics["e2e"].p50, rel=1e-3)
    assert 12 / (ttft + steps) == pytest.approx(found.metrics["output_throughput"].p50, rel=1e-3)
    assert {"prefill", "decode"} == set(found.terms)
    assert "prefill takes 65% of the time, 87% of it multiplying by weights" == found.sentence
    assert {"prefill": {"length"}, "step": {"length"}} == {phase: set(by) for phase, by in found.errors.items()}


def test_intervals_come_from_held_out_errors(fitted: Fit) -> None:
    """Errors of ±10 % of four points: t(3) at 95 % is 3.182, so a factor of exp(3.182·ln 1.1·√(5/4))."""
    (group,) = fitted.groups
    phase = msgspec.structs.replace(group.prefill, errors=(0.1, 1 / 1.1 - 1, 0.1, 1 / 1.1 - 1))
    found = Fit(groups=(msgspec.structs.replace(group, prefill=phase),), environment=fitted.environment)
    ttft = predicted(found, asked()).metrics["ttft"]
    factor = math.exp(3.18245 * math.log(1.1) * math.sqrt(1.25))
    assert factor == pytest.approx(ttft.high / ttft.p50, rel=1e-5)
    assert factor == pytest.approx(ttft.p50 / ttft.low, rel=1e-5)


def test_each_way_beyond_doubles_the_interval(fitted: Fit) -> None:
    """On a log scale: twice the half width for one, four times for two."""
    (group,) = fitted.groups
    phase = msgspec.structs.replace(group.prefill, errors=(0.1, -0.1, 0.1, -0.1))
    found = Fit(groups=(msgspec.structs.replace(group, prefill=phase),), environment=fitted.environment)
    cells = (asked(), asked(batch=3), asked(batch=3, prompt_tokens=600))
    widths = []
    for cell in cells:
        ttft = predicted(found, cell, extrapolate=True).metrics["ttft"]
        widths.append(math.log(ttft.high / ttft.p50))
    assert [1, 2, 4] == pytest.approx([width / widths[0] for width in widths])


def test_one_new_token_has_no_step(fitted: Fit) -> None:
    """Nor has a batch more tokens a row."""
    found = predicted(fitted, asked(new_tokens=1))
    assert ["ttft", "e2e", "output_throughput"] == list(found.metrics)
    assert found.metrics["ttft"].p50 == found.metrics["e2e"].p50
    two = predicted(fitted, asked(batch=2))
    assert two.metrics["output_throughput"].p50 == pytest.approx(2 * 12 / two.metrics["e2e"].p50)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt_tokens": 513}, "513 prompt tokens, fitted on 16 to 256"),
        ({"prompt_tokens": 7}, "7 prompt tokens, fitted on 16 to 256"),
        ({"batch": 3}, "3 rows, fitted on 1 to 1"),
        ({"new_tokens": 500}, "500 new tokens, fitted on 8 to 8"),
        ({"model": "shape:gpt2"}, "123,532,032 weights, fitted on 131,072 to 131,072"),
    ],
)
def test_far_beyond_the_points_nothing_is_said_unless_told_to(fitted: Fit, fields: dict[str, Any], words: str) -> None:
    """Then it is labelled, and its interval is twice as wide for each way in which it goes beyond."""
    with pytest.raises(UsageError, match=rf"{words}.*--extrapolate"):
        predicted(fitted, asked(**fields))
    assert words in predicted(fitted, asked(**fields), extrapolate=True).beyond


@pytest.mark.parametrize("fields", [{"prompt_tokens": 512, "new_tokens": 8}, {"prompt_tokens": 8}, {"batch": 2}])
def test_twice_beyond_is_near_enough(fitted: Fit, fields: dict[str, Any]) -> None:
    """The reach that the documents name."""
    assert () == predicted(fitted, asked(**fields)).beyond


def test_more_tokens_within_the_fitted_contexts_are_no_extrapolation(fitted: Fit) -> None:
    """A step at position 150 is one, whether a prompt or an answer came before it."""
    assert () == predicted(fitted, asked(new_tokens=50)).beyond


@pytest.mark.parametrize(
    ("name", "value"), [("dtype", "bfloat16"), ("attention", "eager"), ("threads", 2), ("device", "cuda:0")]
)
def test_another_setting_is_not_taken_for_the_fitted_one(fitted: Fit, name: str, value: object) -> None:
    """Unless told to, and then it is said."""
    with pytest.raises(UsageError, match=rf"{name} {value} was not measured .*Fitted: decoder, cpu, float32"):
        predicted(fitted, asked(**{name: value}))
    (words,) = predicted(fitted, asked(**{name: value}), extrapolate=True).beyond
    assert f"{name} {value} was not measured" in words


def test_of_several_settings_one_must_be_named() -> None:
    """By the option that tells them apart."""
    both = [*cells(), *(msgspec.structs.replace(cell, threads=2) for cell in cells())]
    found = fit(synthetic(both, prefill=lambda cost: 0.01, step=lambda cost: 0.001))
    with pytest.raises(UsageError, match=r"several settings were fitted: .*--threads"):
        predicted(found, asked())
    assert "2 threads" in predicted(found, asked(threads=2)).setting


def test_a_nature_that_was_not_swept_is_refused(fitted: Fit) -> None:
    """A recurrence is no attention decoder, and an encoder has no step."""
    with pytest.raises(UsageError, match="shape:mamba-130m is a recurrent, and the fit has none"):
        predicted(fitted, asked("shape:mamba-130m"))


def test_another_family_is_predicted_with_a_note() -> None:
    """Of like size; what the terms say of it is their claim."""
    sizes = ("shape:gpt2", "shape:gpt2-medium", "shape:gpt2-large")
    points = [cell for size in sizes for cell in cells(size)]
    found = fit(
        synthetic(
            points,
            prefill=lambda cost: 1e-3 * cost.layers + cost.linear_flops / 5e10,
            step=lambda cost: 5e-4 * cost.layers + cost.weight_bytes / 1e10,
        )
    )
    other = predicted(found, asked("shape:qwen2.5-0.5b"))
    assert ("qwen2 is no family that was fitted on (gpt2)",) == other.notes
    architecture = architecture_of("shape:qwen2.5-0.5b")
    assert other.metrics["tpot"].p50 == pytest.approx(5e-4 * 24 + 4 * architecture.size / 1e10, rel=0.01)


def test_an_encoder_has_one_time() -> None:
    """End to end."""
    found = fit(
        synthetic(
            cells("shape:bert-base", new=None), prefill=lambda cost: 0.01 + cost.flops / 1e10, step=lambda cost: 0.0
        )
    )
    cell = Cell(model="shape:bert-base", prompt_tokens=100, new_tokens=None)
    assert ["e2e"] == list(predicted(found, cell).metrics)


def test_lengths_beyond_the_context_are_refused(fitted: Fit) -> None:
    """Also with the permission to go beyond the points."""
    with pytest.raises(UsageError, match="has a context of 1024"):
        predicted(fitted, asked(prompt_tokens=1020), extrapolate=True)


CARD = Hardware(flops={"float32": 1e12, "bfloat16": 4e12}, bandwidth=1e11, memory=4e9)


def test_described_hardware_takes_the_longer_of_computing_and_reading() -> None:
    """A prefill of GPT-2 computes, a step of it reads; at half and a quarter of the peaks the slow end is."""
    architecture = architecture_of("shape:gpt2")
    cell = Cell(model="shape:gpt2", prompt_tokens=256, new_tokens=9)
    found = predict_described(architecture, cell, CARD, reached=(0.5, 0.25))
    prefill, step = architecture.prefill(256), architecture.step(256, index=4)
    assert prefill.flops / 1e12 == pytest.approx(found.metrics["ttft"].low)
    assert prefill.flops / 5e11 == pytest.approx(found.metrics["ttft"].high)
    assert step.bytes / 1e11 == pytest.approx(found.metrics["tpot"].low)
    assert step.bytes / 2.5e10 == pytest.approx(found.metrics["tpot"].high)
    assert step.bytes / 5e10 == pytest.approx(found.metrics["tpot"].p50)
    assert {"linear"} == set(found.terms["prefill"])
    assert {"weights"} == set(found.terms["decode"])
    assert "not measured" in found.notes[0]


def test_narrower_numbers_and_more_devices_are_faster() -> None:
    """Half the bytes at four times the FLOP/s; two devices share every layer."""
    architecture = architecture_of("shape:gpt2")
    cell = Cell(model="shape:gpt2", prompt_tokens=256, new_tokens=9)
    wide = predict_described(architecture, cell, CARD, reached=(None, None)).metrics
    narrow = predict_described(
        architecture, msgspec.structs.replace(cell, dtype="bfloat16"), CARD, reached=(None, None)
    ).metrics
    two = predict_described(architecture, cell, msgspec.structs.replace(CARD, count=2), reached=(None, None)).metrics
    assert wide["ttft"].low == pytest.approx(4 * narrow["ttft"].low)
    assert wide["tpot"].low == pytest.approx(2 * narrow["tpot"].low)
    assert wide["e2e"].p50 == pytest.approx(2 * two["e2e"].p50)


def test_launching_layers_takes_its_time() -> None:
    """Twelve layers of 1 ms each."""
    architecture = architecture_of("shape:gpt2")
    cell = Cell(model="shape:gpt2", prompt_tokens=256, new_tokens=9)
    slow = msgspec.structs.replace(CARD, launch_s=1e-3)
    found = predict_described(architecture, cell, slow, reached=(1.0, 1.0))
    assert 8 * 12e-3 == pytest.approx(found.terms["decode"]["layers"])


def test_what_does_not_fit_into_memory_is_told_with_how_many_devices_would_do() -> None:
    """Weights and cache of GPT-3 in 16 bits are some 350 GB."""
    cell = Cell(model="shape:gpt3-175b", prompt_tokens=1000, new_tokens=100, dtype="bfloat16")
    with pytest.raises(
        UsageError, match=r"needs 3\d\d GiB for weights and cache, .* predict for 88 of them with 88xNAME"
    ):
        predict_described(architecture_of(cell.model), cell, CARD, reached=(None, None))


def test_a_number_type_without_a_peak_is_refused() -> None:
    """With those that have one."""
    cell = Cell(model="shape:gpt2", prompt_tokens=8, new_tokens=2, dtype="float16")
    with pytest.raises(UsageError, match="no peak is described for float16; described: float32, bfloat16"):
        predict_described(architecture_of("shape:gpt2"), cell, CARD, reached=(None, None))
