"""Targets by name become calls that do exactly the work they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import TargetError, UsageError
from llm_latency.workloads.shapes import RANDOM, SHAPES, auto_class, build, configuration
from llm_latency.workloads.target import Settings, load
from llm_latency.workloads.weights import random_model

torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")

CPU = {"device": "cpu"}


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Every call of generate from here on: its prompt as rows, and its other arguments."""
    from transformers import GenerationMixin

    calls: list[tuple[Any, dict[str, Any]]] = []
    original = GenerationMixin.generate

    def generate(self: Any, **arguments: Any) -> Any:
        rest = {name: value for name, value in arguments.items() if name not in ("input_ids", "attention_mask")}
        calls.append((arguments["input_ids"].tolist(), rest))
        return original(self, **arguments)

    monkeypatch.setattr(GenerationMixin, "generate", generate)
    return calls


def test_a_shape_answers_with_exactly_the_tokens_asked_for() -> None:
    """Prompt and answer, for each row."""
    workload = load("shape:gpt2-tiny", settings=Settings(prompt_tokens=5, new_tokens=3, batch=2, **CPU))
    assert (2, 5 + 3) == tuple(workload.call().shape)
    assert "shape:gpt2-tiny" == workload.name


def test_the_facts_tell_what_ran_and_are_json() -> None:
    """With the defaults: 64 prompt tokens, 32 new ones, one row."""
    workload = load("shape:gpt2-tiny", settings=Settings(**CPU))
    expected = {
        "target": "shape:gpt2-tiny",
        "kind": "decoder",
        "architecture": "gpt2",
        "parameters": 198_400,
        "dtype": "float32",
        "device": "cpu",
        "attention": "sdpa",
        "prompt_tokens": 64,
        "new_tokens": 32,
        "batch": 1,
        "context": 1024,
        "seed": 0,
        "notes": [RANDOM],
    }
    assert expected == json.loads(json.dumps(dict(workload.facts)))


def test_every_call_has_a_prompt_of_its_own_and_decodes_greedily(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no cache answers and no chance decides."""
    calls = spied(monkeypatch)
    workload = load("shape:gpt2-tiny", settings=Settings(prompt_tokens=3, new_tokens=1, **CPU))
    for _ in range(20):
        workload.call()
    assert 20 == len({tuple(prompt[0]) for prompt, _ in calls})
    assert 20 == len({prompt[0][0] for prompt, _ in calls})
    assert {"max_new_tokens": 1, "min_new_tokens": 1, "do_sample": False} == calls[0][1]


def test_the_seed_chooses_weights_and_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed, the same run."""
    calls = spied(monkeypatch)
    results = [
        load("shape:gpt2-tiny", settings=Settings(prompt_tokens=4, new_tokens=4, seed=seed, **CPU)).call()
        for seed in (1, 1, 2)
    ]
    assert torch.equal(results[0], results[1])
    assert calls[0] == calls[1] != calls[2]


@pytest.fixture
def ender(tmp_path: Path) -> Path:
    """A folder with a decoder that answers EOS to everything, and asks to be sampled and searched with beams."""
    model = build("gpt2-tiny").model
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)  # every hidden state is 1, ...
        model.transformer.wte.weight[2].fill_(1.0)  # ... and the logit of EOS is 64, far above all others
    model.save_pretrained(tmp_path)
    wishes = {"eos_token_id": [2], "do_sample": True, "temperature": 0.6, "num_beams": 4, "max_length": 9}
    (tmp_path / "generation_config.json").write_text(json.dumps(wishes), encoding="utf-8")
    return tmp_path


def test_a_model_that_loves_its_eos_goes_on_to_the_end(ender: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By itself it ends after one token; the workload makes exactly 7, greedily, and prints nothing."""
    from transformers import AutoModelForCausalLM

    alone = AutoModelForCausalLM.from_pretrained(ender).eval()
    ids = torch.full((2, 3), 9)
    mask = torch.ones_like(ids)
    plain = alone.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=7, do_sample=False, num_beams=1, temperature=1.0,
        pad_token_id=0,
    )  # fmt: skip
    assert (2, 3 + 1) == tuple(plain.shape)
    capfd.readouterr()
    workload = load(str(ender), settings=Settings(prompt_tokens=3, new_tokens=7, batch=2, **CPU))
    rows = workload.call()
    assert (2, 3 + 7) == tuple(rows.shape)
    assert not (rows[:, 3:] == 2).any()
    assert ("", "") == tuple(capfd.readouterr())


def test_an_encoder_decoder_makes_exactly_the_tokens_asked_for() -> None:
    """After the token that starts the decoder; the prompt lies on the encoder's side."""
    workload = load("shape:t5-small", settings=Settings(prompt_tokens=6, new_tokens=4, batch=2, **CPU))
    workload.check()
    assert (2, 1 + 4) == tuple(workload.call().shape)
    assert ("encoder-decoder", None) == (workload.facts["kind"], workload.facts["context"])


@pytest.mark.parametrize("name", ["mamba-130m", "rwkv-169m"])
def test_a_recurrent_model_makes_exactly_the_tokens_asked_for(name: str) -> None:
    """With its notes among the facts."""
    workload = load(f"shape:{name}", settings=Settings(prompt_tokens=4, new_tokens=2, **CPU))
    assert (1, 4 + 2) == tuple(workload.call().shape)
    assert RANDOM in workload.facts["notes"]


def test_a_real_encoder_is_called_once_forward(minilm_folder: Path) -> None:
    """Hidden states of 384 numbers for each token, outside of any gradient."""
    workload = load(str(minilm_folder), settings=Settings(prompt_tokens=10, batch=3, **CPU))
    workload.check()
    hidden = workload.call().last_hidden_state
    assert (3, 10, 384) == tuple(hidden.shape)
    assert (False, True) == (hidden.requires_grad, hidden.is_inference())
    assert ("model", None, 22_713_216) == (
        workload.name,
        workload.facts["new_tokens"],
        workload.facts["parameters"],
    )


@pytest.mark.parametrize("name", ["gpt2-tiny", "t5-small", "bert-base", "mamba-130m", "rwkv-169m"])
def test_healthy_weights_pass_the_check(name: str) -> None:
    """One forward for every kind."""
    load(f"shape:{name}", settings=Settings(prompt_tokens=4, **CPU)).check()


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "produced NaN logits in float32"), (float("inf"), "produced (NaN|infinite) logits in float32")],
)
def test_broken_weights_do_not_pass_the_check(tmp_path: Path, value: float, message: str) -> None:
    """Numbers that are none would be timed like good ones."""
    model = build("gpt2-tiny").model
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = value
    model.save_pretrained(tmp_path)
    with pytest.raises(TargetError, match=message):
        load(str(tmp_path), settings=Settings(**CPU)).check()


def test_a_forward_that_fails_is_an_error_before_any_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with the model's name."""
    workload = load("shape:gpt2-tiny", settings=Settings(**CPU))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck\nand more")

    monkeypatch.setattr("transformers.GPT2LMHeadModel.forward", fail)
    with pytest.raises(TargetError, match=r"gpt2-tiny cannot run: RuntimeError: out of luck$"):
        workload.check()


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("shape:gpt2-tiny", {"prompt_tokens": 0}, "--prompt-tokens is 0; expected a whole number of at least 1"),
        ("shape:gpt2-tiny", {"new_tokens": -1}, "--new-tokens is -1"),
        ("shape:gpt2-tiny", {"batch": 0}, "--batch is 0"),
        ("shape:gpt2-tiny", {"batch": True}, "--batch is True"),
        ("shape:gpt2-tiny", {"prompt_tokens": 1.5}, "--prompt-tokens is 1.5"),
        ("shape:gpt2-tiny", {"threads": 0}, "--threads is 0"),
        ("shape:gpt2-tiny", {"dtype": "auto"}, "has none stored; name one"),
        ("shape:gpt2-tiny", {"prompt_tokens": 1000, "new_tokens": 25},
         "1000 prompt and 25 new tokens were asked for and gpt2-tiny has a context of 1024"),
        ("shape:bert-base", {"new_tokens": 8}, "shape:bert-base is an encoder, which makes none"),
        ("shape:bert-base", {"prompt_tokens": 513},
         "513 prompt tokens were asked for and bert-base has a context of 512"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(target: str, settings: dict[str, Any], message: str) -> None:
    """With the number that was given and the one that would do."""
    with pytest.raises(UsageError, match=message):
        load(target, settings=Settings(**CPU, **settings))


def test_a_prompt_that_fills_the_context_runs() -> None:
    """1000 and 24 are 1024."""
    workload = load("shape:gpt2-tiny", settings=Settings(prompt_tokens=1000, new_tokens=24, **CPU))
    assert (1, 1024) == tuple(workload.call().shape)


def test_each_side_of_an_encoder_decoder_has_the_whole_context(tmp_path: Path) -> None:
    """BART of 16 positions reads 16 and writes 16, but not 17."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    fits = load(str(tmp_path), settings=Settings(prompt_tokens=16, new_tokens=16, **CPU))
    assert (1, 1 + 16) == tuple(fits.call().shape)
    with pytest.raises(UsageError, match=r"17 new tokens were asked for and .* context of 16"):
        load(str(tmp_path), settings=Settings(prompt_tokens=3, new_tokens=17, **CPU))


def test_threads_are_set_for_whoever_reads_the_environment() -> None:
    """They stay as asked for after loading."""
    before = torch.get_num_threads()
    try:
        load("shape:gpt2-tiny", settings=Settings(threads=1, **CPU))
        assert 1 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shape:gpt-2", "there is no shape 'gpt-2'. Did you mean 'gpt2'"),
        ("shape:", "there is no shape ''"),
        ("model:gpt2", "begins with 'model'; expected shape:NAME, a folder, a hub id or file.py:callable"),
        ("nope.py:f", "there is no file nope.py"),
        ("", "there is no folder"),
    ],
)
def test_a_target_that_is_nothing_is_an_error(target: str, message: str) -> None:
    """Which names the forms that a target may have."""
    with pytest.raises(TargetError, match=message):
        load(target)


def test_a_callable_out_of_a_file_is_the_workload(tmp_path: Path) -> None:
    """As it is, and with nothing to check."""
    (tmp_path / "chat.py").write_text("def answer():\n    return 'yes'\n", encoding="utf-8")
    workload = load(f"{tmp_path / 'chat.py'}:answer")
    workload.check()
    assert ("chat.py:answer", "yes") == (workload.name, workload.call())
    assert {"target": f"{tmp_path / 'chat.py'}:answer", "kind": "callable"} == workload.facts


def test_threads_apply_to_a_callable_as_well(tmp_path: Path) -> None:
    """They are the process's and not a model's."""
    (tmp_path / "chat.py").write_text("import torch\n\ndef threads():\n    return torch.get_num_threads()\n")
    before = torch.get_num_threads()
    try:
        assert 2 == load(f"{tmp_path / 'chat.py'}:threads", settings=Settings(threads=2)).call()
    finally:
        torch.set_num_threads(before)


def test_model_options_do_not_apply_to_a_callable(tmp_path: Path) -> None:
    """Ignored options would be believed."""
    (tmp_path / "chat.py").write_text("def answer():\n    return 'yes'\n", encoding="utf-8")
    with pytest.raises(UsageError, match="--prompt-tokens, --dtype say how a model is loaded and called, and"):
        load(f"{tmp_path / 'chat.py'}:answer", settings=Settings(prompt_tokens=64, dtype="float16"))


def test_a_heavy_shape_with_few_layers_can_be_saved_and_timed(tmp_path: Path) -> None:
    """Llama's rotation and grouped queries through a folder: buffers are rebuilt there as well."""
    config = configuration("llama-3.2-1b")
    config.num_hidden_layers, config.vocab_size = 1, 300
    made = random_model(
        auto_class(SHAPES["llama-3.2-1b"].kind), config, dtype=torch.bfloat16, device=torch.device("cpu"), seed=0
    )
    made.save_pretrained(tmp_path)
    workload = load(str(tmp_path), settings=Settings(prompt_tokens=4, new_tokens=2, **CPU))
    workload.check()
    assert (1, 6) == tuple(workload.call().shape)
    assert ("bfloat16", "llama", 131072) == (
        workload.facts["dtype"],
        workload.facts["architecture"],
        workload.facts["context"],
    )
