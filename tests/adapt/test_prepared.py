"""Strategies on real models: what they change while a call runs, what they leave as it was, and their answers."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llm_latency.adapt.equivalence import Agreement, agreement, reason_against  # noqa: E402  # after the skip
from llm_latency.adapt.prepared import Prepared  # noqa: E402
from llm_latency.adapt.strategy import BASELINE, Strategy  # noqa: E402
from llm_latency.errors import UsageError  # noqa: E402

VOCABULARY, LENGTH = 17, 24


# Which number follows which: what the model has to learn.
NEXT = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def trained() -> Any:
    """A GPT-2 of four layers that has learned in seconds which number follows which, and is sure of it.

    Random weights would make agreement meaningless.
    """
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=4,
        n_embd=64,
        n_head=4,
        n_positions=96,
        vocab_size=VOCABULARY,
        bos_token_id=0,
        eos_token_id=None,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    )
    model = transformers.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        ids = following(torch.randint(0, VOCABULARY, (32,), generator=generator), LENGTH)
        logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


def following(first: Any, length: int) -> Any:
    """Rows that begin with a number and go on as they should."""
    rows = [first]
    for _ in range(length - 1):
        rows.append(NEXT[rows[-1]])
    return torch.stack(rows, dim=1)


def prompts() -> list[dict[str, Any]]:
    """Two prompts of unlike length."""
    found = []
    for begin, length in ((3, 6), (1, 11)):
        ids = following(torch.tensor([begin]), length)
        found.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return found


def answers(model: Any, strategy: Strategy) -> Agreement:
    """A strategy beside the model's own way."""
    return agreement(Prepared(model, Strategy(name=BASELINE)), Prepared(model, strategy), prompts(), new_tokens=8)


def test_the_model_has_learned_its_task(trained: Any) -> None:
    """Or what follows would show nothing."""
    given = prompts()[0]
    found = trained.generate(**given, max_new_tokens=8, do_sample=False)
    assert torch.equal(following(torch.tensor([3]), 14), found)


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy(name="eager", attention="eager"),
        Strategy(name="threads", threads=2, decode_threads=1),
        Strategy(name="static", cache="static"),
        Strategy(name="lookup", lookup=3),
        Strategy(name="chunks", chunk=4),
        Strategy(name="bucket", bucket=8),
    ],
    ids=lambda strategy: strategy.name,
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_lossy_gives_the_same_answers(trained: Any, strategy: Strategy) -> None:
    """Up to rounding; and leaves threads, attention and weights as they were."""
    threads, attention = torch.get_num_threads(), trained.config._attn_implementation
    found = answers(trained, strategy)
    assert found.is_same, found.words
    assert reason_against(found, is_lossy=False) is None
    assert (threads, attention) == (torch.get_num_threads(), trained.config._attn_implementation)


@pytest.mark.parametrize(
    ("strategy", "least"),
    [(Strategy(name="bfloat16", dtype="bfloat16"), 0.9), (Strategy(name="int8", int8=True), 0.9)],
    ids=lambda one: getattr(one, "name", None),
)
@pytest.mark.filterwarnings("ignore")
def test_lossy_numbers_agree_in_most_of_their_choices(trained: Any, strategy: Strategy, least: float) -> None:
    """And are told from the model's own; the model keeps its weights."""
    before = [one.clone() for one in trained.parameters()]
    found = answers(trained, strategy)
    assert least <= found.top1 <= 1
    assert found.kl > 0
    assert not found.is_same
    assert reason_against(found, is_lossy=False) is not None
    assert all(torch.equal(one, two) for one, two in zip(before, trained.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore")
def test_a_copy_without_some_layers_is_called_as_the_whole_is(trained: Any) -> None:
    """Its layers are numbered anew, as the cache wants it; the model keeps its own."""
    prepared = Prepared(trained, Strategy(name="dropped", drop_layers=2))
    assert (2, 4) == (len(prepared.model.transformer.h), len(trained.transformer.h))
    assert [0, 1] == [block.attn.layer_idx for block in prepared.model.transformer.h]
    assert (2, 4) == (prepared.model.config.n_layer, trained.config.n_layer)
    assert (1, 6 + 5) == tuple(prepared.generate(prompts()[0], max_new_tokens=5, do_sample=False).shape)


@pytest.mark.parametrize(
    ("top1", "kl", "is_lossy", "words"),
    [
        (1.0, 0.0, False, None),
        (0.99, 0.01, False, "it produces other answers: first choice the same at 99.0 % of 100 positions"),
        (0.95, 0.01, True, None),
        (0.94, 0.01, True, "it loses too much: first choice the same at 94.0 % of 100 positions, divergence 0.01 nats"),
        (1.0, float("nan"), True, "its logits are not numbers"),
    ],
)
def test_the_reason_says_by_how_much(top1: float, kl: float, is_lossy: bool, words: str | None) -> None:
    """What is not lossy may not differ at all, what is lossy by a twentieth of its choices."""
    found = Agreement(kl=kl, top1=top1, beyond_tie=0, tokens=1, positions=100, is_same=kl == 0)
    reason = reason_against(found, is_lossy=is_lossy)
    assert (words is None and reason is None) or (words is not None and reason is not None and reason.startswith(words))


def test_more_layers_than_there_are_cannot_be_dropped(trained: Any) -> None:
    """The first and the last stay."""
    with pytest.raises(UsageError, match="3 of 4 layers cannot be left out"):
        Prepared(trained, Strategy(name="dropped", drop_layers=3))


def test_threads_change_behind_the_first_token_and_come_back(trained: Any) -> None:
    """Also where the call fails."""
    seen: list[int] = []

    def watch(input_ids: Any, scores: Any) -> Any:
        seen.append(torch.get_num_threads())
        return scores

    before = torch.get_num_threads()
    prepared = Prepared(trained, Strategy(name="threads", threads=2, decode_threads=1))
    prepared.generate(prompts()[0], max_new_tokens=3, do_sample=False, logits_processor=[watch])
    # The user's processor comes first: at the first token the decode's threads are not set yet.
    assert [2, 1, 1] == seen
    assert before == torch.get_num_threads()
    with pytest.raises(TypeError):
        prepared.generate({"input_ids": None, "attention_mask": None}, max_new_tokens=object())
    assert before == torch.get_num_threads()


def test_padding_to_a_bucket_is_taken_off_the_answer(trained: Any) -> None:
    """Its shape is that of the prompt and its tokens."""
    given = prompts()[0]
    found = Prepared(trained, Strategy(name="bucket", bucket=16)).generate(given, max_new_tokens=5, do_sample=False)
    assert (1, 6 + 5) == tuple(found.shape)
    assert torch.equal(given["input_ids"], found[:, :6])


def test_an_assistant_guesses_and_the_answers_stay(trained: Any) -> None:
    """With itself as the smaller model every guess is right."""
    prepared = Prepared(trained, Strategy(name="assistant", assistant="x"), assistant=trained)
    given = prompts()[0]
    found = prepared.generate(given, max_new_tokens=8, do_sample=False)
    assert torch.equal(following(torch.tensor([3]), 14), found)
