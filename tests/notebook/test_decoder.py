"""How a live view makes text of tokens: by whatever tokenizer the user's names hold."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.notebook.live import decoder
from llm_latency.notebook.wire import Wire
from llm_latency.record.sampling import make_plan
from llm_latency.record.timed import timed
from llm_latency.record.view import Moment
from llm_latency.testing import FakeDevice, ManualClock

MS = 1_000_000


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A real fast tokenizer of four words and a byte that is half a letter, made in memory."""
    tokenizers = pytest.importorskip("tokenizers", reason="models need it: pip install -e '.[all,dev]'")
    transformers = pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")
    vocabulary = {"Hello": 0, "Ġworld": 1, "!": 2, "Ãľ": 3, "Ã": 4}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="!"))
    core.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core)


def test_ids_become_text_by_a_tokenizer_among_the_names(tokenizer: Any) -> None:
    """With the blanks between words, several ids at once, and half a letter as such."""
    decode = decoder({"x": 1, "tokenizer": tokenizer, "y": object()})
    assert ["Hello", " world", "!", "Ü", "Hello world", ""] == list(map(decode, [(0,), (1,), (2,), (3,), (0, 1), ()]))
    assert "�" == decode((4,))


def test_a_tokenizer_that_comes_later_is_found(tokenizer: Any) -> None:
    """The cell that is timed may load it itself."""
    names: dict[str, object] = {}
    decode = decoder(names)
    with pytest.raises(IndexError):
        decode((0,))
    names["tokenizer"] = tokenizer
    assert "Hello" == decode((0,))


def test_sentencepieces_first_blank_is_kept() -> None:
    """Its decoders drop the one that a text begins with, and each token is decoded on its own."""
    tokenizers = pytest.importorskip("tokenizers", reason="models need it: pip install -e '.[all,dev]'")
    transformers = pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"▁Hello": 0, "▁": 1, "wor": 2, "<unk>": 3}, "<unk>"))
    core.decoder = tokenizers.decoders.Metaspace()
    decode = decoder({"tokenizer": transformers.PreTrainedTokenizerFast(tokenizer_object=core)})
    assert [" Hello", " ", "wor"] == [decode((token,)) for token in range(3)]


def test_decoding_for_the_view_is_no_phase_of_the_call(tokenizer: Any) -> None:
    """The tokenizer's own `decode` would be seen as the user's detokenizing."""
    decode, clock = decoder({"tokenizer": tokenizer}), ManualClock()
    with timed("block", clock=clock, device=FakeDevice(clock)) as block:
        decode((0, 1))
        tokenizer.decode([0, 1])
    assert ["detokenize"] == [phase.name for phase in block.measurement.traces[0].phases]


def test_hostile_tokenizers_end_in_numbers(tokenizer: Any) -> None:
    """One that raises, and one that does not know the ids: the wire goes on without it."""
    base = type(tokenizer).__mro__[1]

    class Hostile(base):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            """Without what a tokenizer needs."""

        def convert_ids_to_tokens(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("Already borrowed")

    moment = Moment(at_ns=MS, phase="decode", request=1, instants_ns=(MS,), tokens=1, total=1, ids=((9_999, 7),))
    for names in ({"t": Hostile()}, {"t": tokenizer}, {}, {"t": None}):
        wire = Wire("ab12cd", name="chat", plan=make_plan(), decode=decoder(names))
        assert [" #9999 #7"] == wire.tick(moment)["text"]
