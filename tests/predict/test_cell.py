"""Grids: which cells there are, and which are refused before anything runs."""

from __future__ import annotations

import pytest

from llm_latency.core.cost import Architecture, Stack
from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell, grid

DECODER = Architecture(name="d", decoder=Stack(layers=1), context=100)
ENCODER = Architecture(name="e", encoder=Stack(layers=1), context=100)
PAIR = Architecture(name="p", encoder=Stack(layers=1), decoder=Stack(layers=1), context=100)


def test_a_grid_has_every_combination_once() -> None:
    """In the order of its axes."""
    found = grid({"m": DECODER}, prompt_tokens=(8, 16, 8), new_tokens=(4,), batch=(1, 2), threads=(1,))
    assert [(8, 1), (8, 2), (16, 1), (16, 2)] == [(cell.prompt_tokens, cell.batch) for cell in found]
    assert {(4, 1, "m")} == {(cell.new_tokens, cell.threads, cell.model) for cell in found}


def test_an_encoder_has_a_cell_for_each_length_only() -> None:
    """It makes no new tokens; a model of which nothing is known is taken for one that does."""
    found = grid({"e": ENCODER, "x": None}, prompt_tokens=(8,), new_tokens=(4, 5))
    assert [("e", None), ("x", 4), ("x", 5)] == [(cell.model, cell.new_tokens) for cell in found]


@pytest.mark.parametrize(
    ("architecture", "prompt", "new", "words"),
    [
        (DECODER, 97, 4, "97 prompt and 4 new tokens were asked for and m has a context of 100"),
        (ENCODER, 101, 1, "101 prompt tokens were asked for and m has a context of 100"),
        (PAIR, 101, 1, "101 prompt tokens"),
    ],
)
def test_lengths_beyond_the_context_are_refused(architecture: Architecture, prompt: int, new: int, words: str) -> None:
    """Each side of a pair has positions of its own."""
    with pytest.raises(UsageError, match=words):
        grid({"m": architecture}, prompt_tokens=(prompt,), new_tokens=(new,))
    grid({"m": architecture}, prompt_tokens=(96,), new_tokens=(4,))


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens", "batch", "threads"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "8", True])
def test_counts_are_whole_numbers_of_at_least_one(name: str, value: object) -> None:
    """And the message says which is not."""
    with pytest.raises(UsageError, match=f"{name} holds {value!r}; expected whole numbers"):
        grid({"m": DECODER}, **({"prompt_tokens": (8,)} | {name: (value,)}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["models", "prompt_tokens", "batch"])
def test_an_empty_axis_is_named(name: str) -> None:
    """No cell is no sweep."""
    axes = {"prompt_tokens": (8,), "batch": (1,)} | ({name: ()} if name != "models" else {})
    with pytest.raises(UsageError, match=f"{name} is empty"):
        grid({} if name == "models" else {"m": DECODER}, **axes)


def test_a_cell_has_a_name_to_read() -> None:
    """What is not asked for is not in it."""
    cell = Cell(model="shape:gpt2", prompt_tokens=64, new_tokens=32, batch=4, dtype="float32", threads=2)
    assert "shape:gpt2 64+32 ×4 float32 2 threads" == cell.key
    assert "e 64 ×1 1 thread cpu" == Cell(model="e", prompt_tokens=64, new_tokens=None, threads=1, device="cpu").key
    assert (64, 32, 4, 2) == (
        cell.settings.prompt_tokens,
        cell.settings.new_tokens,
        cell.settings.batch,
        cell.settings.threads,
    )
