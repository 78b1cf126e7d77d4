"""Planted slowdowns: what each kind does, and how much of it is a share; on a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.workloads import planted
from llm_latency.workloads.planted import (
    KINDS,
    NONE,
    Extra,
    Plant,
    calibrated,
    default_threads,
    planted_call,
    python_call,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Amounts of a kind `step` that takes 10 µs a unit and 5 µs to begin with, on a clock that only it moves."""
    amounts: list[int] = []
    now = [0.0]

    def work(amount: int, state: dict[str, Any]) -> None:
        amounts.append(amount)
        now[0] += 5e-6 + 10e-6 * amount

    monkeypatch.setitem(KINDS, "step", (work, "units"))
    monkeypatch.setitem(KINDS, "prefill", (work, "units"))
    monkeypatch.setattr(planted.time, "perf_counter", lambda: now[0])
    return amounts


def test_an_unknown_kind_is_refused() -> None:
    """The known ones are listed."""
    with pytest.raises(UsageError, match="no plant 'odd'; known: unchanged, step"):
        Extra(Plant(kind="odd"))


def test_work_is_done_at_each_step_or_in_the_prefill_only(worked: list[int]) -> None:
    """A prompt of 48 tokens, then one token more each time; the scores stay as they are."""
    scores = object()
    for kind, expected in (("step", [3, 3, 3]), ("prefill", [3])):
        worked.clear()
        extra = Extra(Plant(kind=kind, amount=3))
        for tokens in (48, 49, 50):
            assert scores is extra(torch.zeros(1, tokens), scores)
        assert expected == worked


def test_an_amount_takes_its_share_of_the_call(worked: list[int]) -> None:
    """10 % of a call of 16 ms in eight steps: 200 µs each, of which 10 are a unit, but 15 µs of the first one."""
    found = calibrated("step", 0.1, call_s=0.016)
    assert ("step", 19) == (found.kind, found.amount)
    assert pytest.approx(200e-6, abs=10e-6) == 5e-6 + 10e-6 * found.amount


def test_all_of_a_plant_in_the_prefill_is_in_one_step(worked: list[int]) -> None:
    """1.6 ms at once."""
    assert pytest.approx(1.6e-3, abs=10e-6) == 5e-6 + 10e-6 * calibrated("prefill", 0.1, call_s=0.016).amount


@pytest.mark.parametrize(("kind", "share"), [(NONE, 0.1), ("step", 0.0)])
def test_nothing_is_planted_where_nothing_is_asked(worked: list[int], kind: str, share: float) -> None:
    """And nothing is tried."""
    assert (Plant(), []) == (calibrated(kind, share, call_s=0.016), worked)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_work_can_be_done(kind: str) -> None:
    """Also none of it; what leaks is kept."""
    state: dict[str, Any] = {}
    for amount in (0, 3):
        KINDS[kind][0](amount, state)
    assert (1 if kind == "leak" else 0) == len(state.get("kept", ()))


def test_additions_add_up() -> None:
    """0 + 1 + … + 7, and again from 8 on: the last three bits."""
    assert 28 + 3 == python_call(additions=11)()  # 8, 9 and 10 are 0, 1 and 2


def test_two_calls_share_a_model_and_do_the_same() -> None:
    """A planted one returns the same tokens: only the time differs."""
    threads = default_threads()
    try:
        plain: Any = planted_call(Plant())
        slower: Any = planted_call(Plant(kind="step", amount=2), model=plain.model)
        assert plain.model is slower.model
        assert 1 == torch.get_num_threads()
        first, second = plain(), slower()
        assert (1, 56) == tuple(first.shape)
        assert torch.equal(first, second)
    finally:
        torch.set_num_threads(threads)
