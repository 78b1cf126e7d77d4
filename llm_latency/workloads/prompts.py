"""Prompts with an exact number of tokens, different in every repetition and the same in every run; not tensors."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from llm_latency.errors import UsageError

# Frequent English words, each a token of its own in most vocabularies.
_WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "one",
    "had",
    "not",
    "but",
    "what",
    "all",
    "were",
    "when",
    "we",
)
# What is appended when the next word would be too much; an empty prefix joins the word before.
_FILLERS = (" a", ".", "a", " .", " the", "!", "x", " 1")
_FIRST = "abcdefghijklmnopqrstuvwxyz0123456789"


def token_ids(
    vocab_size: int, *, tokens: int, batch: int = 1, index: int = 0, seed: int = 0, avoid: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Make the prompts of call number `index` as ids of shape (batch, tokens), below `vocab_size`, none in `avoid`.

    First tokens differ between rows and calls, as long as there are ids left, so that no prefix cache answers.
    Raises UsageError for counts below 1 and for a vocabulary in which everything is to be avoided.
    """
    if tokens < 1 or batch < 1:
        raise UsageError(f"a prompt of {tokens} tokens in a batch of {batch} is empty; expected at least 1 of each")
    usable = usable_ids(vocab_size, avoid=avoid)
    rows = []
    for row in range(batch):
        first = usable[(seed + index * batch + row) % len(usable)]
        rest = random.Random(f"{seed}/{index}/{row}").choices(usable, k=tokens - 1)
        rows.append((first, *rest))
    return tuple(rows)


def usable_ids(vocab_size: int, *, avoid: Collection[int] = ()) -> tuple[int, ...]:
    """The ids below `vocab_size` that are not in `avoid`; raises UsageError when none is left."""
    refused = frozenset(avoid)
    usable = tuple(one for one in range(vocab_size) if one not in refused)
    if not usable:
        raise UsageError(f"no id is left of a vocabulary of {vocab_size} when {len(refused)} are avoided; avoid fewer")
    return usable


def text(tokenizer: Any, *, tokens: int, index: int = 0, seed: int = 0) -> str:
    """Write the prompt of call number `index`: words that `tokenizer` makes exactly `tokens` tokens of.

    Tokens that the tokenizer adds by itself, such as [CLS] and [SEP], count. Two calls less than 36 apart begin with
    a different letter. Raises UsageError when no text has that many tokens.
    """
    source = random.Random(f"{seed}/{index}")
    head = _FIRST[(seed + index) % len(_FIRST)]
    # At least one token a word, except for the joined fillers below: `tokens` words are always enough.
    words = [head, str(index), *source.choices(_WORDS, k=max(0, tokens))]
    written = " ".join(words[: _most_words(tokenizer, words, tokens)])
    while (count := _count(tokenizer, written)) < tokens:
        longer = (written + filler for filler in _FILLERS)
        found = next((one for one in longer if count < _count(tokenizer, one) <= tokens), None)
        if found is None:
            break
        written = found
    if count != tokens:
        least = _count(tokenizer, head)
        raise UsageError(
            f"no text of exactly {tokens} tokens was found: this tokenizer makes {count} of {written[:40]!r}..."
            f" and at least {least} of any prompt; ask for another count, or pass ids from token_ids"
        )
    return written


def _most_words(tokenizer: Any, words: list[str], tokens: int) -> int:
    """How many of the words fit into `tokens`, at least one; more words never make fewer tokens."""
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if _count(tokenizer, " ".join(words[:middle])) <= tokens:
            low = middle
        else:
            high = middle - 1
    return low


def _count(tokenizer: Any, written: str) -> int:
    return len(tokenizer(written, verbose=False)["input_ids"])  # not verbose: a long text is no news here
