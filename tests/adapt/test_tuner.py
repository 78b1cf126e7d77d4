"""Searches: on the tiny shape for real, and with strategies that fail or lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from llm_latency.adapt import tuner  # after the skip
from llm_latency.adapt.contest import Contest
from llm_latency.adapt.equivalence import Agreement
from llm_latency.adapt.policy import Policy, load_policy, save_policy
from llm_latency.adapt.prepared import Prepared
from llm_latency.adapt.strategy import BASELINE, Strategy
from llm_latency.adapt.tuner import Search, tune
from llm_latency.errors import UsageError
from llm_latency.workloads.scenarios import Scenario
from llm_latency.workloads.shapes import build

SMALL = Scenario(name="small", objective="e2e", prompt_tokens=(8, 64), new_tokens=4, calls=1000)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def learned() -> Policy:
    """A search of a few seconds, with all strategies that there are."""
    return tune("shape:gpt2-tiny", scenario=SMALL, lossy=True, time_budget=12.0)


def test_a_search_gives_a_policy_for_every_input(learned: Policy, tmp_path: Path) -> None:
    """With the numbers that say so, and what it took."""
    assert learned.complete
    assert BASELINE == learned.strategies[0].name
    assert (None, None) == (learned.entries[-1].batch, learned.entries[-1].prompt_tokens)
    assert {8, 64} <= {gain.prompt_tokens for gain in learned.gains}
    base = [gain for gain in learned.gains if gain.strategy == BASELINE]
    assert all(gain.ratio == 1 for gain in base)
    assert learned.search_s > 0
    assert any("weights are random" in note for note in learned.notes)
    save_policy(learned, tmp_path / "policy.json")
    assert learned == load_policy(tmp_path / "policy.json")


def test_what_is_used_was_measured_to_be_better(learned: Policy) -> None:
    """Or the model runs its own way."""
    for entry in learned.entries:
        if entry.strategy != BASELINE:
            assert any(
                gain.strategy == entry.strategy and gain.high is not None and gain.high < 1 for gain in learned.gains
            )


def test_strategies_that_are_left_out_have_reasons(learned: Policy) -> None:
    """And are in no entry."""
    names = {strategy.name for strategy in learned.strategies}
    assert not names & set(learned.excluded)
    assert all(learned.excluded.values())


@pytest.mark.slow
def test_memory_is_each_strategys_own() -> None:
    """Though all weights are held at once: int8 weights of gpt2 take some 200 MB less than float32 ones do."""
    found = tune(build("gpt2"), scenario=SMALL, strategies=("int8",), lossy=True, least_top1=0.0, time_budget=60.0)
    peaks = {gain.strategy: gain.metrics["peak_memory"] for gain in found.gains if gain.prompt_tokens == 8}
    assert 100e6 < peaks[BASELINE] - peaks["int8"] < 400e6


def small(**fields: Any) -> Policy:
    """A short search with the static cache only."""
    given = {"scenario": SMALL, "strategies": ("static cache",), "time_budget": 3.0}
    return tune(build("gpt2-tiny"), **given | fields)


def test_a_search_without_time_says_that_it_shows_nothing() -> None:
    """The model's own way is not the best then; it is what is left."""
    found = small(time_budget=0.01)
    assert [BASELINE] == [entry.strategy for entry in found.entries]
    assert any("there was time for 0 rounds only, and fewer than 6 show no difference" in note for note in found.notes)


def test_another_attention_has_the_same_answers() -> None:
    """At a real vocabulary too, where float32 sums would round by more than the kernels differ."""
    found = tune(build("gpt2"), scenario=SMALL, strategies=("eager attention",), time_budget=5.0)
    assert {} == found.excluded
    assert found.agreements["eager attention"].is_same


def test_a_strategy_that_cannot_be_made_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search goes on without it."""

    def made(model: Any, strategy: Strategy, **options: Any) -> Prepared:
        if strategy.cache is not None:
            raise UsageError("no such cache")
        return Prepared(model, strategy, **options)

    monkeypatch.setattr(tuner, "Prepared", made)
    found = small()
    assert {"static cache": "no such cache"} == found.excluded
    assert [BASELINE] == [entry.strategy for entry in found.entries]


@pytest.mark.parametrize(
    ("best", "entries"),
    [
        ((BASELINE, BASELINE, BASELINE), [(None, BASELINE)]),
        ((BASELINE, BASELINE, "static cache"), [(2, BASELINE), (None, "static cache")]),
        (("static cache", BASELINE, BASELINE), [(1, "static cache"), (None, BASELINE)]),
    ],
)
def test_batches_that_run_alike_share_their_entries(
    monkeypatch: pytest.MonkeyPatch, best: tuple[str, ...], entries: list[tuple[int | None, str]]
) -> None:
    """The last has no end."""
    case = Scenario(name="rows", objective="e2e", prompt_tokens=(8,), new_tokens=2, batch=(1, 2, 3))

    def chosen(contest: Contest, **_: object) -> dict[Any, str]:
        return dict(zip(sorted(contest.left), best, strict=True))

    monkeypatch.setattr(tuner, "winners", chosen)
    found = small(scenario=case)
    assert entries == [(entry.batch, entry.strategy) for entry in found.entries]


def test_a_strategy_that_crashes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it does."""
    own = Prepared.generate

    def crash(self: Prepared, inputs: Any, **options: Any) -> Any:
        if self.strategy.cache is not None:
            raise RuntimeError("kernel panic\nand more")
        return own(self, inputs, **options)

    monkeypatch.setattr(Prepared, "generate", crash)
    assert {"static cache": "it fails: RuntimeError: kernel panic"} == small().excluded


def test_a_strategy_with_other_answers_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its speed is looked at."""
    other = Agreement(kl=0.5, top1=0.75, beyond_tie=0.25, tokens=0.0, positions=8, is_same=False)
    monkeypatch.setattr(tuner, "agreement", lambda *_, **__: other)
    found = small()
    assert "it produces other answers: first choice the same at 75.0 % of 8 positions" in found.excluded["static cache"]
    assert {BASELINE} == {gain.strategy for gain in found.gains}


def test_an_interrupt_goes_on_with_what_was_learned() -> None:
    """A policy that runs the model's own way, and says that it is not complete."""

    def stop(search: Search) -> None:
        if search.stage == "round 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        small(time_budget=20.0, on_progress=stop)
    found: Policy = caught.value.llm_latency_policy  # type: ignore[attr-defined]
    assert not found.complete
    assert [BASELINE] == [entry.strategy for entry in found.entries]
    assert {2} == {gain.n for gain in found.gains}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": "chess"}, "there is no scenario 'chess'"),
        ({"time_budget": 0}, "time_budget=0"),
        ({"time_budget": float("nan")}, "time_budget=nan"),
        ({"strategies": ("magic",)}, "there is no strategy 'magic' here"),
        ({"strategies": ("int8",)}, "Lossy ones have to be allowed"),
        (
            {"scenario": Scenario(name="long", objective="e2e", prompt_tokens=(5000,), new_tokens=4)},
            "has a context of 1024, and long begins with 5000 prompt and 4 new tokens",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(options: dict[str, Any], words: str) -> None:
    """Before anything runs."""
    with pytest.raises(UsageError, match=words):
        small(**options)


def test_an_encoder_has_nothing_to_generate() -> None:
    """A policy is for models that go on from their prompt."""
    with pytest.raises(UsageError, match="is an encoder"):
        tune("shape:bert-base", scenario=SMALL)


@pytest.mark.parametrize(
    ("ratio", "setup_s", "name"),
    [
        ((0.9, 0.7, 1.05), 0.0, BASELINE),
        ((0.9, None, None), 0.0, BASELINE),
        ((0.5, 0.4, 0.6), 0.0, "static cache"),
        ((0.5, 0.4, 0.6), 1e6, BASELINE),
    ],
)
def test_a_strategy_is_used_where_its_whole_interval_is_better(
    monkeypatch: pytest.MonkeyPatch, ratio: tuple[float, float | None, float | None], setup_s: float, name: str
) -> None:
    """With what it takes to set up, spread over the scenario's calls."""
    monkeypatch.setattr(Contest, "ratio", lambda self, one, point, **_: (1.0, 1.0, 1.0) if one == BASELINE else ratio)
    monkeypatch.setattr(tuner._Searching, "setup_s", lambda self, one: setup_s)
    assert [name] == [entry.strategy for entry in small().entries]
