"""Shapes are the published architectures, and what is asked of them by name is checked."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.errors import DeviceError, TargetError, UsageError
from llm_latency.workloads.loaded import LoadedModel
from llm_latency.workloads.shapes import RANDOM, SHAPES, auto_class, build, configuration

torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")

# As published on the models' cards, or counted from their safetensors headers.
PARAMETERS = {
    # 512·64 + 1024·64 embeddings, 2 blocks of 12·64² + 13·64, a last norm of 2·64.
    "gpt2-tiny": 198_400,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "llama-3.2-1b": 1_235_814_400,
    "qwen2.5-0.5b": 494_032_768,
    "t5-small": 60_506_624,
    "bert-base": 109_482_240,
    "mamba-130m": 129_135_360,
    "rwkv-169m": 169_342_464,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    # 96 layers of 12·12288² + 13·12288, tables of 50,257 and 2,048 rows, a last norm.
    "gpt3-175b": 174_604_259_328,
    "llama-3.1-8b": 8_030_261_248,
    "t5-base": 222_903_552,
}
# Positions that each can look at; T5's are relative, Mamba and RWKV keep a state.
CONTEXTS = {"gpt2-tiny": 1024, "gpt2": 1024, "bert-base": 512, "t5-small": None, "mamba-130m": None, "rwkv-169m": None}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_published_number_of_parameters(name: str) -> None:
    """Counted on the meta device, where no weight exists."""
    with torch.device("meta"):
        model = auto_class(SHAPES[name].kind).from_config(configuration(name))
    model.tie_weights()  # which transformers 5.0 leaves to the caller
    assert PARAMETERS[name] == sum(parameter.numel() for parameter in model.parameters())


def test_llama_has_grouped_queries_scaled_rotation_and_tied_embeddings() -> None:
    """The numbers that the parameter count does not show."""
    config = configuration("llama-3.2-1b")
    expected = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert expected == dict(config.rope_parameters)
    assert (32, 8, 64, 128256, True) == (
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size,
        config.tie_word_embeddings,
    )


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_built_shape_is_ready_and_its_output_finite(name: str) -> None:
    """Eval mode, its context, and no NaN or infinity after every layer."""
    loaded = build(name)
    ids = torch.tensor([[4, 5, 6], [7, 8, 9]])
    decoder = {"decoder_input_ids": ids} if loaded.kind == "encoder-decoder" else {}
    with torch.no_grad():
        output = loaded.model(input_ids=ids, **decoder)
    values = output["logits" if "logits" in output else "last_hidden_state"]
    assert (False, CONTEXTS[name]) == (loaded.model.training, loaded.context)
    assert values.isfinite().all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_number_type_is_that_of_every_weight(dtype: str) -> None:
    """In any of the three the logits are finite."""
    model = build("gpt2-tiny", dtype=dtype).model
    assert {getattr(torch, dtype)} == {parameter.dtype for parameter in model.parameters()}
    with torch.no_grad():
        assert model(input_ids=torch.tensor([[4, 5, 6]])).logits.isfinite().all()


def test_the_same_seed_gives_the_same_logits() -> None:
    """And another seed other ones."""
    ids = torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        first, again, other = (build("gpt2-tiny", seed=seed).model(input_ids=ids).logits for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_notes_say_that_weights_are_random_and_loops_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of Mamba's latency learns that its kernels were missing, and only then."""
    assert (RANDOM,) == build("gpt2-tiny").notes
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    slow = "mamba runs its slow reference loop: mamba-ssm and causal-conv1d kernels are not installed"
    assert (RANDOM, slow) == build("mamba-130m").notes
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert (RANDOM,) == build("mamba-130m").notes


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_reaches_the_model(attention: str) -> None:
    """The implementation asked for is the one in use."""
    assert attention == build("gpt2-tiny", attention=attention).model.config._attn_implementation


def test_generation_begins_and_ends_with_the_tokenizers_ids(tiny: LoadedModel) -> None:
    """Pad, bos and eos are the same for the model and for its tokenizer."""
    held, spoken = tiny.model.generation_config, tiny.tokenizer
    expected = (spoken.pad_token_id, spoken.bos_token_id, spoken.eos_token_id)
    assert expected == (held.pad_token_id, held.bos_token_id, held.eos_token_id)
    assert (512, 512) == (len(spoken), tiny.vocab_size)
    assert {0, 1, 2, 3} == tiny.special_ids


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("gpt-2", {}, TargetError, r"there is no shape 'gpt-2'\. Did you mean 'gpt2'\? Known: gpt2-tiny, gpt2, "),
        ("zzz", {}, TargetError, r"there is no shape 'zzz'\. Known: "),
        ("gpt2", {"dtype": "int8"}, UsageError, "there is no dtype 'int8'; known: float32, bfloat16, float16"),
        ("gpt2", {"attention": "quick"}, UsageError, "'quick'; known: eager, .*sdpa"),
        ("mamba-130m", {"attention": "sdpa"}, UsageError, "mamba-130m has no attention; leave it out"),
        ("gpt2", {"device": "tpu"}, DeviceError, "there is no device 'tpu'; here: cpu"),
        ("gpt2", {"device": "cuda"}, DeviceError, "'cuda' was asked for .* does not see it; here: cpu"),
        ("gpt2", {"device": "mps"}, DeviceError, "'mps' was asked for .* does not see it; here: cpu"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_lists_what_can(
    name: str, options: dict[str, Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without accelerators."""
    for kind in ("cuda", "mps", "xpu"):
        monkeypatch.setattr(f"torch.{kind}.is_available", lambda: False)
    with pytest.raises(error, match=message):
        build(name, **options)


def test_a_card_beyond_the_last_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the cards by number."""
    for kind in ("mps", "xpu"):
        monkeypatch.setattr(f"torch.{kind}.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(DeviceError, match="here: cpu, cuda:0, cuda:1"):
        build("gpt2-tiny", device="cuda:2")


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself needs neither torch nor transformers."""
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(TargetError, match=r"models need torch and transformers: pip install '\.\[torch\]'"):
        build("gpt2-tiny")


def test_an_attention_that_this_machine_lacks_is_a_target_error() -> None:
    """Known by name, but its package is not installed (or cannot run on this processor)."""
    if torch.cuda.is_available():
        pytest.skip("flash attention may well run here")
    with pytest.raises(TargetError, match="transformers cannot build gpt2"):
        build("gpt2-tiny", attention="flash_attention_2")


@pytest.mark.gpu
def test_a_shape_on_a_card_has_the_weights_of_the_one_on_the_processor(tiny: LoadedModel) -> None:
    """The tile comes from the processor's generator in both."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    card = build("gpt2-tiny", device="cuda").model.state_dict()
    assert all(torch.equal(value, card[name].cpu()) for name, value in tiny.model.state_dict().items())
