"""Policies in words: what is used where, what each strategy gains, and why others are out."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_latency.adapt.equivalence import Agreement
from llm_latency.adapt.policy import Entry, Gain, Policy
from llm_latency.adapt.strategy import BASELINE, Strategy
from llm_latency.core.environment import Environment
from llm_latency.report.policy import policy_table, verdict

METRICS = {"ttft": 0.1, "tpot": 0.02, "e2e": 0.5, "output_throughput": 40.0, "peak_memory": 2.0**30}


def gain(strategy: str, ratio: float, *, tokens: int = 64, spread: float | None = 0.02) -> Gain:
    """A strategy at one length."""
    low, high = (None, None) if spread is None else (ratio - spread, ratio + spread)
    return Gain(strategy=strategy, prompt_tokens=tokens, batch=1, ratio=ratio, low=low, high=high, n=8, metrics=METRICS)


def policy(**fields: Any) -> Policy:
    """int8 for long prompts, the model itself for short ones."""
    given: dict[str, Any] = {
        "model": "gpt2",
        "config": "0",
        "scenario": "chat",
        "objective": "e2e",
        "entries": (
            Entry(batch=None, prompt_tokens=100, strategy=BASELINE),
            Entry(batch=None, prompt_tokens=None, strategy="int8"),
        ),
        "strategies": (Strategy(name=BASELINE), Strategy(name="int8", int8=True)),
        "gains": (gain(BASELINE, 1.0), gain("int8", 0.5), gain("eager", 1.25, spread=None)),
        "excluded": {"bfloat16": "it loses too much"},
        "agreements": {
            "int8": Agreement(kl=0.01, top1=0.975, beyond_tie=0.02, tokens=0.5, positions=40, is_same=False)
        },
        "setup_s": {"int8": 1.5},
        "environment": Environment(),
        "search_s": 100.0,
        "notes": ("batch 1, between 64 and 256 prompt tokens: as it is gives way to int8 at 100, confirmed",),
    }
    return Policy(**given | fields)


def test_the_sentence_says_what_is_better_and_by_how_much() -> None:
    """At most; of times the model's own way took twice as long."""
    assert "int8 is measured to be better, up to 2.00 times as fast (64 prompt tokens, batch 1)" == verdict(policy())


def test_where_nothing_is_better_that_is_said() -> None:
    """And an interrupted search says so."""
    alone = policy(entries=(Entry(batch=None, prompt_tokens=None, strategy=BASELINE),))
    assert "nothing was measured to be better than the model as it is" == verdict(alone)
    assert verdict(msgspec.structs.replace(alone, complete=False)).startswith("Interrupted: nothing")


def test_entries_have_their_lengths_and_batches() -> None:
    """Each begins behind the end of the one before."""
    text = policy_table(policy())
    assert ["any", "1–100", "as", "it", "is"] in [line.split() for line in text.splitlines()]
    assert ["any", "101", "and", "more", "int8"] in [line.split() for line in text.splitlines()]
    two = policy(
        entries=(
            Entry(batch=1, prompt_tokens=None, strategy="int8"),
            Entry(batch=None, prompt_tokens=None, strategy=BASELINE),
        )
    )
    assert ["≤", "1", "1", "and", "more", "int8"] in [line.split() for line in policy_table(two).splitlines()]


def test_larger_batches_give_tokens_and_cost_time() -> None:
    """Eight rows that take twice as long give four times as many tokens a second; one batch says nothing."""
    metrics = METRICS | {"e2e": 1.0, "output_throughput": 160.0}
    eight = msgspec.structs.replace(gain(BASELINE, 1.0), batch=8, metrics=metrics)
    text = policy_table(policy(gains=(gain(BASELINE, 1.0), eight)), width=200)
    assert "batching: 8 rows give 4.0 times the tokens a second of 1, and each waits 2.0 times as long" in text
    assert "batching" not in policy_table(policy())


def test_what_is_left_out_has_its_reason_and_what_is_lossy_its_agreement() -> None:
    """With the notes of the search."""
    text = policy_table(policy())
    assert "left out: bfloat16: it loses too much" in text
    assert "answers of int8: first choice the same at 97.5 % of 40 positions, divergence 0.01 nats" in text
    assert "note: batch 1, between 64 and 256 prompt tokens" in text


def test_the_table_has_every_strategys_numbers() -> None:
    """Speed against the model itself, with its interval where there is one; the fastest first."""
    lines = policy_table(policy(), gains=True, width=200).splitlines()
    rows = [line.split() for line in lines if "MiB" in line or "GiB" in line]
    assert [["int8"], ["as"], ["eager"]] == [row[:1] for row in rows]
    assert ["int8", "64", "1", "2.00×", "1.92–2.08", "8", "100", "ms"] == rows[0][:8]
    assert "97.5 %" in next(line for line in lines if line.startswith("int8  "))
    assert "0.80×" in next(line for line in lines if line.startswith("eager  "))
