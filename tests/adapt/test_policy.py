"""Policies: which entry an input is, their file, and what they refuse to run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_latency.adapt.policy import Entry, Policy, environment_of, fingerprint, load_policy, save_policy
from llm_latency.adapt.strategy import BASELINE, Strategy
from llm_latency.core.environment import Environment
from llm_latency.errors import MeasurementFileError, UsageError

OWN, STATIC = Strategy(name=BASELINE), Strategy(name="static cache", cache="static")


def policy(**fields: Any) -> Policy:
    """Short prompts of one row run as they are, longer ones over a static cache, batches as they are."""
    given: dict[str, Any] = {
        "model": "shape:gpt2-tiny",
        "config": "0",
        "scenario": "chat",
        "objective": "e2e",
        "entries": (
            Entry(batch=1, prompt_tokens=64, strategy=BASELINE),
            Entry(batch=1, prompt_tokens=None, strategy="static cache"),
            Entry(batch=None, prompt_tokens=None, strategy=BASELINE),
        ),
        "strategies": (OWN, STATIC),
        "gains": (),
        "excluded": {"int8": "it loses too much"},
        "agreements": {},
        "setup_s": {},
        "environment": Environment(),
        "search_s": 12.0,
    }
    return Policy(**given | fields)


@pytest.mark.parametrize(
    ("tokens", "batch", "name"),
    [(1, 1, BASELINE), (64, 1, BASELINE), (65, 1, "static cache"), (10_000, 1, "static cache"), (65, 2, BASELINE)],
)
def test_the_first_entry_that_holds_an_input_is_its(tokens: int, batch: int, name: str) -> None:
    """Ends belong to it."""
    assert name == policy().choose(prompt_tokens=tokens, batch=batch).name


def test_beyond_all_entries_the_model_runs_its_own_way() -> None:
    """As for a batch that was not searched."""
    short = policy(entries=(Entry(batch=1, prompt_tokens=64, strategy="static cache"),))
    assert OWN == short.choose(prompt_tokens=65)


@pytest.mark.parametrize("fields", [{"prompt_tokens": 0}, {"prompt_tokens": 1, "batch": 0}])
def test_an_input_is_at_least_a_token(fields: dict[str, int]) -> None:
    """Or it is none."""
    with pytest.raises(UsageError, match="expected at least 1 of each"):
        policy().choose(**fields)


def test_a_policy_survives_its_file(tmp_path: Path) -> None:
    """And can be read by a person."""
    save_policy(policy(), tmp_path / "policy.json")
    assert policy() == load_policy(tmp_path / "policy.json")
    text = (tmp_path / "policy.json").read_text()
    assert '"strategy": "static cache"' in text
    assert len(text.splitlines()) > 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is no policy of llm-latency"),
        ("{}", "is no policy of llm-latency"),
        (msgspec.json.encode({"schema": 7} | msgspec.to_builtins(policy())).decode(), "schema 7"),
        (
            msgspec.json.encode({"schema": 1} | msgspec.to_builtins(policy(strategies=(OWN,)))).decode(),
            "which the policy does not have",
        ),
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    """And the message says how one is made."""
    file = tmp_path / "policy.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(MeasurementFileError, match=words):
        load_policy(file)


@pytest.fixture(scope="module")
def loaded() -> Any:
    """The tiny shape."""
    pytest.importorskip("transformers")
    from llm_latency.workloads.shapes import build

    return build("gpt2-tiny")


@pytest.fixture
def fitting(loaded: Any) -> Policy:
    """A policy for it, learned here."""
    return policy(config=fingerprint(loaded.model), environment=environment_of(loaded.model))


def prompt(length: int, rows: int = 1) -> dict[str, Any]:
    """Inputs of transformers."""
    import torch

    ids = torch.arange(5, 5 + length).repeat(rows, 1) % 250
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize(("length", "rows", "name"), [(8, 1, BASELINE), (70, 1, "static cache"), (70, 2, BASELINE)])
def test_generating_dispatches_by_the_inputs_shape(
    loaded: Any, fitting: Policy, length: int, rows: int, name: str
) -> None:
    """With the answers of the model itself; a strategy is set up once."""
    import torch

    inputs = prompt(length, rows)
    options = {"max_new_tokens": 5, "do_sample": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [fitting.generate(loaded.model, inputs, **options) for _ in range(2)]
    own = loaded.model.generate(**inputs, **options)
    assert all(torch.equal(own, one) for one in found)
    (bound,) = fitting._bound.values()
    assert [name] == list(bound._prepared)


def test_another_model_is_refused(loaded: Any, fitting: Policy) -> None:
    """Its numbers say nothing of it."""
    from llm_latency.workloads.shapes import build

    other = build("gpt2-tiny", dtype="bfloat16").model
    with pytest.raises(UsageError, match="this policy is for shape:gpt2-tiny and the model given is another"):
        fitting.generate(other, prompt(8))


def test_another_machine_is_refused(loaded: Any, fitting: Policy) -> None:
    """With what differs."""
    elsewhere = msgspec.structs.replace(fitting.environment, cores=96)
    moved = msgspec.structs.replace(fitting, environment=elsewhere)
    with pytest.raises(UsageError, match="learned on another machine: cores: 96 →"):
        moved.generate(loaded.model, prompt(8))


def test_other_versions_make_it_stale(loaded: Any, fitting: Policy) -> None:
    """It still runs."""
    before = msgspec.structs.replace(fitting.environment, torch="1.0")
    stale = msgspec.structs.replace(fitting, environment=before)
    with pytest.warns(UserWarning, match="this policy is stale: torch: 1.0 →"):
        stale.generate(loaded.model, prompt(8), max_new_tokens=2)
