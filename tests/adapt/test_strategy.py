"""Which strategies there are for a model and a machine."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.adapt.strategy import BASELINE, MOST, Strategy, candidates, chosen
from llm_latency.core.cost import Architecture, Stack
from llm_latency.errors import UsageError

DECODER = Architecture(name="gpt2", decoder=Stack(layers=12))
RECURRENT = Architecture(name="mamba", decoder=Stack(layers=12, loops=True))


def names(**fields: Any) -> list[str]:
    """Names of the candidates on two cores."""
    given: dict[str, Any] = {
        "architecture": DECODER,
        "device": "cpu",
        "dtype": "float32",
        "attention": "sdpa",
        "cores": 2,
        "threads": 2,
    }
    return [strategy.name for strategy in candidates(**given | fields)]


def test_the_models_own_way_comes_first_and_nothing_is_tried_twice() -> None:
    """What the model does already is no candidate."""
    found = names()
    assert BASELINE == found[0]
    assert len(set(found)) == len(found) <= MOST
    assert {
        "eager attention",
        "1 thread",
        "2 threads, then 1",
        "static cache",
        "prompt lookup",
        "chunked prefill",
    } <= set(found)
    assert not {"sdpa attention", "2 threads"} & set(found)


def test_lossy_ones_have_to_be_allowed() -> None:
    """And say that they are."""
    assert {"bfloat16", "int8", "3 of 12 layers dropped"} == set(names(lossy=True)) - set(names())
    assert "bfloat16" not in names(lossy=True, dtype="bfloat16")
    assert Strategy(name="x", int8=True).is_lossy
    assert not Strategy(name="x", cache="static").is_lossy


def test_a_recurrence_has_no_attention_to_change() -> None:
    """Nor a cache of positions."""
    assert {BASELINE, "1 thread", "2 threads, then 1"} == set(names(architecture=RECURRENT))


def test_a_device_has_no_threads_and_compiles() -> None:
    """On a CPU compiling takes a minute, and is tried where there is time for it."""
    found = names(device="cuda")
    assert "static cache, compiled" in found
    assert not any("thread" in name for name in found)
    assert "static cache, compiled" not in names()
    assert "static cache, compiled" in names(seconds=600)


def test_guessing_is_for_one_row() -> None:
    """transformers' assisted decoding takes no batch."""
    assert "prompt lookup" not in names(batch=(4, 8))
    assert "assistant shape:gpt2-tiny" in names(assistant="shape:gpt2-tiny")


def test_named_ones_are_taken_and_others_listed() -> None:
    """The model's own way is always among them."""
    known = candidates(architecture=DECODER, device="cpu", dtype="float32", attention="sdpa", cores=2, threads=2)
    assert [BASELINE, "static cache"] == [one.name for one in chosen(("static cache",), known)]
    with pytest.raises(UsageError, match=r"no strategy 'int8' here; known: as it is, .* Lossy ones have to be allowed"):
        chosen(("int8",), known)
