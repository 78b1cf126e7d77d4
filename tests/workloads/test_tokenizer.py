"""The byte-level tokenizer loses nothing, pads on the right side and chats."""

from __future__ import annotations

import random
from typing import Any

import pytest

from llm_latency.workloads.shapes import SHAPES
from llm_latency.workloads.tokenizer import SMALLEST_VOCABULARY, byte_tokenizer

pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")

RANDOM_TEXT = "".join(
    chr(code) for code in random.Random(0).choices([*range(0xD800), *range(0xE000, 0x110000)], k=3000)
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One for decoders."""
    return byte_tokenizer(512, padding_side="left", context=1024)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a",
        "  two  spaces \n\t",
        "naïve café",
        "日本語 🤷🏽‍♀️ \u200b\ufeff",
        "\x00\x7f",
        "Ġ<|eos|>x",
        RANDOM_TEXT,
    ],
)
def test_any_text_survives_the_round_trip(tokenizer: Any, text: str) -> None:
    """Encoded and decoded it is the same, to the last invisible character."""
    assert text == tokenizer.decode(tokenizer(text)["input_ids"])


def test_a_byte_is_a_token_and_nothing_is_added(tokenizer: Any) -> None:
    """ß takes two bytes in UTF-8, the others one."""
    ids = tokenizer("Ruß!")["input_ids"]
    assert 5 == len(ids)
    assert all(4 <= one < SMALLEST_VOCABULARY for one in ids)


def test_every_id_below_the_vocabulary_decodes_to_something(tokenizer: Any) -> None:
    """A model with random weights answers with any of them; single bytes above 127 are no characters yet."""
    assert 512 == len(tokenizer)
    assert all(tokenizer.decode([one]) for one in range(512))
    assert ["aa", "ab"] == [tokenizer.decode([one]) for one in (SMALLEST_VOCABULARY, SMALLEST_VOCABULARY + 1)]


def test_every_shape_has_room_for_all_bytes() -> None:
    """Ids of any text are below its vocabulary."""
    assert min(shape.numbers["vocab_size"] for shape in SHAPES.values()) >= SMALLEST_VOCABULARY


@pytest.mark.parametrize(("side", "expected"), [("left", [[0, 69], [69, 70]]), ("right", [[69, 0], [69, 70]])])
def test_padding_is_on_the_side_asked_for(side: Any, expected: list[list[int]]) -> None:
    """Left for decoders, which go on from the last token."""
    made = byte_tokenizer(SMALLEST_VOCABULARY, padding_side=side)
    a, b = made("a")["input_ids"][0], made("b")["input_ids"][0]
    known = {0: 0, 69: a, 70: b}
    assert [[known[one] for one in row] for row in expected] == made(["a", "ab"], padding=True)["input_ids"]


def test_a_chat_becomes_a_prompt_that_asks_for_an_answer(tokenizer: Any) -> None:
    """The template of the tokenizer, without which apply_chat_template raises."""
    chat = [{"role": "user", "content": "hi"}]
    assert "user: hi\nassistant:" == tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def test_the_context_is_known_to_the_tokenizer(tokenizer: Any) -> None:
    """So that truncation=True cuts where the model ends."""
    assert 1024 == len(tokenizer("x" * 2000, truncation=True)["input_ids"])
