"""Costs against the formulas they stand for, with numbers small enough to multiply by hand."""

from __future__ import annotations

import pytest

from llm_latency.core.cost import Architecture, Cost, Matrices, Stack

FIFTY, SEVENTY = Matrices(50, 5), Matrices(70, 7)
DECODER = Architecture(name="d", decoder=Stack(layers=3, weights=FIFTY, query=8, key=4), head=SEVENTY)
ENCODER = Architecture(name="e", encoder=Stack(layers=2, weights=Matrices(30), query=6), head=Matrices(11))
PAIR = Architecture(
    name="p",
    encoder=Stack(layers=2, weights=Matrices(30, 3), query=6),
    decoder=Stack(layers=3, weights=Matrices(40, 4), query=6, key=6, cross=Matrices(10, 2), source=Matrices(20, 1)),
    head=SEVENTY,
)


def test_a_prefill_computes_every_layer_for_every_position_and_the_head_once_a_row() -> None:
    """F = 2·B·L·N + 4·B·ℓ·h·d_h·L² + 2·B·d·V; weights are read once, keys and values written and read."""
    cost = DECODER.prefill(5, batch=2, width=4)
    assert 2 * 2 * 5 * 3 * 50 + 2 * 2 * 70 == cost.linear_flops
    assert 4 * 2 * 3 * 8 * 5 * 5 == cost.mixing_flops
    assert cost.linear_flops + cost.mixing_flops == cost.flops
    assert 4 * (3 * 50 + 70) == cost.weight_bytes == 4 * DECODER.size
    assert 3 * 5 + 7 == cost.weight_rows
    assert 2 * 4 * 2 * 3 * 4 * 5 == cost.cache_bytes
    assert (3, 0) == (cost.layers, cost.loops)


def test_a_step_looks_back_at_the_prompt_and_what_was_generated() -> None:
    """F = 2·B·N + 4·B·ℓ·h·d_h·c + 2·B·d·V; the second token's step has the first new token behind it."""
    cost = DECODER.step(5, index=1, batch=2, width=2)
    assert 2 * 2 * (150 + 70) == cost.linear_flops
    assert 4 * 2 * 3 * 8 * 6 == cost.mixing_flops
    assert 2 * (150 + 70) == cost.weight_bytes
    assert 2 * 2 * 2 * 3 * 4 * 6 == cost.cache_bytes
    assert cost.weight_bytes + cost.cache_bytes == cost.bytes
    later = DECODER.step(5, index=4, batch=2, width=2)
    assert 4 * 2 * 3 * 8 * 9 == later.mixing_flops


def test_an_encoder_has_a_prefill_and_no_step() -> None:
    """Its pooler meets one position a row."""
    assert "encoder" == ENCODER.kind
    assert 2 * 4 * 2 * 30 + 2 * 11 == ENCODER.prefill(4).linear_flops
    assert Cost() == ENCODER.step(4)


def test_a_pair_reads_the_source_once_and_looks_at_it_in_every_step() -> None:
    """The decoder starts from one token; its keys and values of the source are made in the prefill."""
    assert "encoder-decoder" == PAIR.kind
    prefill = PAIR.prefill(5, batch=2)
    encoder, decoder = 2 * 2 * 5 * 30, 3 * (2 * (40 + 10) + 2 * 5 * 20)
    assert 2 * (encoder + decoder) + 2 * 2 * 70 == prefill.linear_flops
    assert 4 * 2 * (2 * 6 * 5 * 5 + 3 * 6 * (1 + 5)) == prefill.mixing_flops
    step = PAIR.step(5, index=1, batch=2)
    assert 2 * 2 * (3 * (40 + 10) + 70) == step.linear_flops
    assert 4 * 2 * 3 * 6 * (2 + 5) == step.mixing_flops
    assert 4 * (3 * 50 + 70) == step.weight_bytes
    assert (2 * 3 + 3 * (4 + 2 + 1) + 7, 3 * (4 + 2) + 7) == (prefill.weight_rows, step.weight_rows)


@pytest.mark.parametrize(("context", "seen"), [(3, 3 * 3), (10, 10 + 2 * 4)])
def test_sliding_layers_look_back_their_window_only(context: int, seen: int) -> None:
    """Two of three layers see four positions at most."""
    stack = Stack(layers=3, query=8, key=8, sliding=2, window=4)
    assert 4 * 8 * seen == stack.step(context=context, batch=1, width=4).mixing_flops


def test_a_recurrence_costs_the_same_at_every_length_and_goes_token_by_token() -> None:
    """Its loops are layers × tokens; the edges of its convolutions come once a row and layer."""
    model = Architecture(name="r", decoder=Stack(layers=2, state=7, scan=3, edge=10, step_edge=1, loops=True))
    prefill = model.prefill(6, batch=3)
    assert 2 * 3 * (6 * 3 + 10) == prefill.mixing_flops
    assert (2, 12) == (prefill.layers, prefill.loops)
    assert model.step(6, index=1) == model.step(600, index=9)
    assert (2 * 4, 2) == (model.step(6).mixing_flops, model.step(6).loops)


def test_weights_at_the_ends_meet_every_position() -> None:
    """As OPT's projections between its embedding and its layers do."""
    model = Architecture(name="o", decoder=Stack(layers=1, weights=Matrices(10)), ends=Matrices(4), head=Matrices(3))
    assert 2 * 2 * (5 * 14 + 3) == model.prefill(5, batch=2).linear_flops
    assert 17 == model.size


def test_matrices_are_counted_by_their_shapes() -> None:
    """Three rows of four and one of five."""
    assert Matrices(17, 4) == Matrices.of((3, 4), (1, 5)) == Matrices.of((3, 4)) + Matrices.of((1, 5))


def test_costs_add_up() -> None:
    """Field by field."""
    both = DECODER.prefill(5) + DECODER.step(5)
    assert DECODER.prefill(5).flops + DECODER.step(5).flops == both.flops
    assert 6 == both.layers
