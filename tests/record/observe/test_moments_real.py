"""What is shown of real models while they run: the same as is counted when they have."""

from __future__ import annotations

import copy
import inspect
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import Onlooker

from llm_latency.record.observe.attribution import current_chain
from llm_latency.record.timed import timed

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

from models import bert, gpt2, prompt  # noqa: E402  # after the skip

pytestmark = pytest.mark.slow


REAL: dict[str, dict[str, Any]] = {
    "greedy": {},
    "batch": {"rows": 3},
    "sampling": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"rows": 2, "num_beams": 3, "num_return_sequences": 2},
    "assisted": {"assisted": True},
}


@pytest.mark.parametrize("mode", REAL)
def test_a_real_generate_is_told_as_it_is_counted(mode: str) -> None:
    """A small GPT-2 in each mode: all emissions, the tokens of all rows, and the ids that it returns."""
    arguments = dict(REAL[mode])
    rows = arguments.pop("rows", 1)
    if arguments.pop("assisted", False):
        arguments["assistant_model"] = copy.deepcopy(gpt2())
    view = Onlooker()
    with timed("block", view=view) as block:
        out = gpt2().generate(prompt(rows, 7), max_new_tokens=9, **arguments)
    (request,) = block.measurement.traces[0].requests
    moments = [moment for moment in view.moments if moment.instants_ns]
    assert list(range(len(request.emissions))) == [
        index for moment in moments for index in range(moment.first, moment.first + len(moment.instants_ns))
    ]
    assert (request.new_tokens, request.new_tokens) == (moments[-1].total, moments[-1].limit)
    if "num_beams" not in arguments:
        assert out[0, 7:].tolist() == [token for moment in moments for ids in moment.ids for token in ids]


def test_real_forwards_are_told_as_they_are_counted() -> None:
    """An encoder emits nothing; a loop that hands its cache on gives a token a forward."""
    encoder, loop = Onlooker(), Onlooker()
    with timed("encoder", view=encoder):
        bert()(prompt(2, 5))
    assert [("forward", (), 0)] == [(moment.phase, moment.instants_ns, moment.total) for moment in encoder.moments]
    name = "cache" if "cache" in inspect.signature(gpt2().forward).parameters else "past_key_values"
    with timed("loop", view=loop) as block, torch.no_grad():
        ids, cache = prompt(1, 7), transformers.DynamicCache()
        for _ in range(4):
            ids = gpt2()(ids, **{name: cache}, use_cache=True).logits[:, -1:].argmax(-1)
    assert [0, 2, 3, 4] == [moment.total for moment in loop.moments]
    assert 4 == block.measurement.traces[0].new_tokens


def test_a_phase_of_the_tokenizer_is_told_while_it_runs() -> None:
    """And not afterwards."""
    phases: list[str | None] = []

    class Tokenizer(transformers.PreTrainedTokenizerFast):  # type: ignore[misc]
        def _decode(self, *args: Any, **kwargs: Any) -> Any:
            phases.append(current_chain()[-1].phase)
            return super()._decode(*args, **kwargs)

    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a"))
    with timed("block"):
        phases.append(current_chain()[-1].phase)
        Tokenizer(tokenizer_object=core).decode([0])
        phases.append(current_chain()[-1].phase)
    assert [None, "detokenize", None] == phases


def test_a_thread_with_a_streamer_is_looked_at() -> None:
    """The user's own thread generates and the main one prints: its emissions are told, and what that took is out."""
    letters = SimpleNamespace(decode=lambda ids, **_: "".join(chr(97 + int(i) % 26) + " " for i in ids))
    streamer = transformers.TextIteratorStreamer(letters, skip_prompt=True)
    arguments = {"max_new_tokens": 8, "min_new_tokens": 8, "streamer": streamer}
    thread = threading.Thread(target=gpt2().generate, args=(prompt(1, 7),), kwargs=arguments)
    view = Onlooker()
    with timed("block", view=view) as block:
        thread.start()
        "".join(streamer)
        thread.join()
    (trace,) = block.measurement.traces
    assert 8 == view.moments[-1].total
    assert {1} == {moment.request for moment in view.moments if moment.instants_ns}
    assert ["8"] == [note.detail for note in trace.annotations if note.kind == "view"]
    assert 8 <= len(trace.pauses)
