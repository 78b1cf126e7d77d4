"""A byte-level tokenizer built in code, of any vocabulary size; not the tokenizers of real models."""

from __future__ import annotations

import itertools
from typing import Any, Literal

PAD, BOS, EOS, UNK = range(4)
_SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|unk|>")
# Ids 0 to 3 are special and 256 more are bytes; a model needs at least as many.
SMALLEST_VOCABULARY = len(_SPECIAL) + 256

# Ġ is how byte-level vocabularies write a space (GPT-2, `bytes_to_unicode`).
_LETTERS = "abcdefghijklmnopqrstuvwxyzĠ"

_CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def byte_tokenizer(vocab_size: int, *, padding_side: Literal["left", "right"], context: int | None = None) -> Any:
    """Make a transformers tokenizer in which every byte of the text is one token and nothing is added.

    A model with random weights answers with any id below its `vocab_size`, so the ids above the bytes decode too, to
    runs of letters; encoding never yields them. `context` in tokens becomes `model_max_length`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    single = sorted(pre_tokenizers.ByteLevel.alphabet())
    longer = (run for length in itertools.count(2) for run in itertools.product(_LETTERS, repeat=length))
    words = itertools.chain(_SPECIAL, single, map("".join, longer))
    vocabulary = {word: number for number, word in enumerate(itertools.islice(words, vocab_size))}
    bytewise = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=_SPECIAL[UNK]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast  # untyped in transformers
    return make(
        tokenizer_object=bytewise,
        pad_token=_SPECIAL[PAD],
        bos_token=_SPECIAL[BOS],
        eos_token=_SPECIAL[EOS],
        unk_token=_SPECIAL[UNK],
        padding_side=padding_side,
        clean_up_tokenization_spaces=False,
        chat_template=_CHAT,
        **({} if context is None else {"model_max_length": context}),
    )
