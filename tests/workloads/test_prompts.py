"""Prompts have exactly the tokens asked for, repeat in every run, and share no beginning."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.workloads.prompts import text, token_ids, usable_ids


@pytest.mark.parametrize(("tokens", "batch"), [(1, 1), (1, 5), (7, 1), (64, 3)])
def test_ids_have_the_shape_asked_for_and_avoid_what_they_should(tokens: int, batch: int) -> None:
    """Rows of `tokens` ids, all below the vocabulary."""
    rows = token_ids(20, tokens=tokens, batch=batch, avoid={0, 3})
    assert [tokens] * batch == [len(row) for row in rows]
    assert {one for row in rows for one in row} <= set(range(20)) - {0, 3}


def test_ids_are_the_same_in_every_run() -> None:
    """The fifth usable id begins (seed 1, call 3), and the rest hangs on seed, call and row alone."""
    rest = random.Random("1/3/0").choices(range(1, 10), k=3)
    assert ((5, *rest),) == token_ids(10, tokens=4, index=3, seed=1, avoid={0})
    assert token_ids(10, tokens=4, index=3, seed=1) != token_ids(10, tokens=4, index=3, seed=2)


def test_first_tokens_differ_between_rows_and_calls() -> None:
    """18 usable ids are enough for 6 calls of 3 rows; the seventh call begins again."""
    firsts = [row[0] for index in range(6) for row in token_ids(20, tokens=2, batch=3, index=index, avoid=(4, 9))]
    assert 18 == len(set(firsts))
    assert firsts[:3] == [row[0] for row in token_ids(20, tokens=2, batch=3, index=6, avoid=(4, 9))]


def test_usable_ids_are_the_vocabulary_without_the_avoided() -> None:
    """Ids outside of the vocabulary are nothing to avoid."""
    assert (1, 3) == usable_ids(4, avoid=(0, 2, 2, 99))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "a prompt of 0 tokens in a batch of 1 is empty"),
        ({"tokens": -3}, "a prompt of -3 tokens"),
        ({"tokens": 1, "batch": 0}, "in a batch of 0 is empty"),
        ({"tokens": 1, "avoid": range(5)}, "no id is left of a vocabulary of 5 when 5 are avoided"),
    ],
)
def test_empty_prompts_are_refused(arguments: dict[str, Any], message: str) -> None:
    """A count below one, or a vocabulary with nothing to say."""
    with pytest.raises(UsageError, match=message):
        token_ids(5, **arguments)


class WordTokenizer:
    """A word is three tokens, and one more begins the text: not every count can be reached."""

    def __call__(self, written: str, **_: Any) -> dict[str, list[int]]:
        """Count words."""
        return {"input_ids": [0] * (1 + 3 * len(written.split()))}


def test_text_has_exactly_the_tokens_asked_for_by_bytes(tiny: Any) -> None:
    """Every count from one up, and a long one."""
    for tokens in [*range(1, 60), 5000]:
        assert tokens == len(tiny.tokenizer(text(tiny.tokenizer, tokens=tokens, index=tokens))["input_ids"])


def test_text_has_exactly_the_tokens_asked_for_by_a_real_tokenizer(minilm_folder: Path) -> None:
    """WordPiece with [CLS] and [SEP]: three is the least."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    for tokens in [*range(3, 40), 500]:
        assert tokens == len(tokenizer(text(tokenizer, tokens=tokens, index=tokens))["input_ids"])
    with pytest.raises(UsageError, match="at least 3 of any prompt"):
        text(tokenizer, tokens=2)


def test_texts_begin_differently_and_are_the_same_in_every_run(tiny: Any) -> None:
    """36 first letters; after them the call's number differs."""
    written = [text(tiny.tokenizer, tokens=20, index=index) for index in range(40)]
    assert 36 == len({one[0] for one in written})
    assert 40 == len(set(written))
    assert written[7] == text(tiny.tokenizer, tokens=20, index=7)


@pytest.mark.parametrize(("tokens", "is_possible"), [(4, True), (5, False), (6, False), (7, True), (1, False)])
def test_a_count_that_no_text_has_is_an_error(tokens: int, is_possible: bool) -> None:
    """One and three for each word: 4, 7, 10 and so on."""
    if is_possible:
        assert tokens == len(WordTokenizer()(text(WordTokenizer(), tokens=tokens))["input_ids"])
    else:
        with pytest.raises(UsageError, match=f"no text of exactly {tokens} tokens was found"):
            text(WordTokenizer(), tokens=tokens)
