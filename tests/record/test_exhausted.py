"""A call that ran out of memory says in which phase, and keeps the calls before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llm_latency.record.exhausted import is_exhausted
from llm_latency.record.measure import measure
from llm_latency.record.timed import timed

torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")
transformers = pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_an_error_that_says_so_is_out_of_memory(error: BaseException, expected: bool) -> None:
    """By its type or its words."""
    assert expected == is_exhausted(error)


def test_torchs_cpu_allocator_says_so() -> None:
    """Its own words, of this version: an exbibyte is not to be had."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.int8)
    assert is_exhausted(caught.value)


@pytest.fixture(scope="module")
def model() -> Any:
    """A toy GPT-2."""
    torch.set_num_threads(1)
    config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=32, eos_token_id=None, bos_token_id=1)
    return transformers.GPT2LMHeadModel(config).eval()


def exhausting(model: Any, *, at: int) -> Callable[[Any, Any], Any]:
    """A logits processor that finds no memory at its `at`-th step; the first is the prefill's."""
    steps = []

    def process(_ids: Any, scores: Any) -> Any:
        steps.append(1)
        if len(steps) == at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return scores

    return process


@pytest.mark.parametrize(
    ("at", "phase"),
    [(1, "prefill, before the first new token"), (2, "decode, after 1 emission;"), (4, "decode, after 3 emissions;")],
)
def test_the_phase_in_which_memory_ran_out_is_named(model: Any, at: int, phase: str) -> None:
    """On the user's own error, which goes on; the block keeps what it had."""
    ids = torch.tensor([[3, 4, 5]])
    process = exhausting(model, at=at)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate") as caught, timed("block") as t:
        model.generate(ids, max_new_tokens=6, pad_token_id=0, logits_processor=[process])
    (note,) = (note for note in caught.value.__notes__ if "memory ran out" in note)
    assert f"llm-latency: memory ran out in {phase}" in note + ";"
    assert not t.measurement.complete
    assert at - 1 == len(t.measurement.traces[0].requests[0].emissions)


def test_the_calls_before_are_kept(model: Any) -> None:
    """Two calls of four steps went well; the third runs out in its second step."""
    ids = torch.tensor([[3, 4, 5]])
    process = exhausting(model, at=10)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        measure(
            lambda: model.generate(ids, max_new_tokens=4, pad_token_id=0, logits_processor=[process]),
            repeat=5,
            warmup=0,
        )
    measured = caught.value.llm_latency_measurement
    assert (2, False) == (len(measured.traces), measured.complete)
    assert "OutOfMemoryError after 2 counted calls" == measured.stopped_because
    assert any("decode, after 1 emission" in note for note in caught.value.__notes__)


def test_a_plain_forward_and_anything_else_are_named_too(model: Any) -> None:
    """A forward of one's own, and code beside any model."""

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model.transformer.register_forward_pre_hook(fail)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught, timed("block"):
            model(torch.tensor([[3, 4]]))
    finally:
        hook.remove()
    assert any("memory ran out in a forward" in note for note in caught.value.__notes__)
    with pytest.raises(MemoryError) as other, timed("block"):
        raise MemoryError
    assert any("in the call, outside of a request" in note for note in other.value.__notes__)
