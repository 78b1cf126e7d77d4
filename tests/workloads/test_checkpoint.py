"""Real weights load through from_pretrained, quietly; what cannot be loaded is said in plain words."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.errors import TargetError, UsageError
from llm_latency.workloads.checkpoint import kind_of, load_checkpoint
from llm_latency.workloads.loaded import LoadedModel, context_of, held_bytes

torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")
transformers = pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")


def unreachable(*_: Any, **__: Any) -> None:
    """The hub without a network."""
    raise ConnectionError("no route")


def test_a_saved_decoder_comes_back_with_its_weights_and_tokenizer(tiny: LoadedModel, tiny_folder: Path) -> None:
    """The same logits as before it was saved."""
    loaded = load_checkpoint(str(tiny_folder))
    ids = torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(tiny.model(input_ids=ids).logits, loaded.model(input_ids=ids).logits)
    assert ("tiny", "decoder", 1024, 198_400, ()) == (
        loaded.name,
        loaded.kind,
        loaded.context,
        loaded.parameters,
        loaded.notes,
    )
    assert ("left", False) == (loaded.tokenizer.padding_side, loaded.model.training)


@pytest.mark.filterwarnings("ignore")
def test_what_models_hold_is_counted_once(tiny: LoadedModel) -> None:
    """198,400 float32 numbers with the tied head in them, however often the model is named; packed int8 too."""
    assert 4 * 198_400 == held_bytes(tiny.model) == held_bytes(tiny.model, tiny.model)
    line = torch.nn.Sequential(torch.nn.Linear(64, 32, bias=False))
    packed = torch.ao.quantization.quantize_dynamic(line, {torch.nn.Linear}, dtype=torch.qint8)
    # A float32 scale and an int64 zero point lie beside the bytes.
    assert (4 * 64 * 32, 64 * 32 + 4 + 8) == (held_bytes(line), held_bytes(packed))


def test_a_real_encoder_understands_what_it_reads(minilm_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Real weights: a cat is nearer to a kitten than to a stock market. Nothing is printed on the way."""
    loaded = load_checkpoint(str(minilm_folder))
    # Embeddings 30522·384 + 512·384 + 2·384 + 2·384, six layers of 1,774,464, a pooler of 147,840.
    assert ("encoder", 512, 22_713_216) == (loaded.kind, loaded.context, loaded.parameters)
    batch = loaded.tokenizer(["a cat", "a kitten", "the stock market"], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = loaded.model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    cat, kitten, market = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    assert cat @ kitten > 0.6
    assert cat @ market < 0.3
    assert ("", "") == tuple(capfd.readouterr())


def test_loading_leaves_the_messages_of_transformers_as_they_were(tiny_folder: Path) -> None:
    """The level and the bars are the user's."""
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_checkpoint(str(tiny_folder))
    assert before == (logging.get_verbosity(), logging.is_progress_bar_enabled())


@pytest.mark.parametrize(("dtype", "expected"), [("auto", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")])
def test_auto_is_the_stored_number_type(tiny_folder: Path, dtype: str, expected: str) -> None:
    """Any other is converted to."""
    assert getattr(torch, expected) is load_checkpoint(str(tiny_folder), dtype=dtype).model.dtype


def test_weights_without_a_tokenizer_load_and_say_so(tiny: LoadedModel, tmp_path: Path) -> None:
    """Prompts of ids need none; transformers would make one without any word."""
    tiny.model.save_pretrained(tmp_path)
    loaded = load_checkpoint(str(tmp_path))
    assert (None, ("no tokenizer lies beside the weights",)) == (loaded.tokenizer, loaded.notes)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("./nowhere", r"there is no folder .\./nowhere.; expected a folder, a hub id .* Shapes: gpt2-tiny"),
        ("a/b/c", "there is no folder .a/b/c"),
        ("two words", "there is no folder .two words"),
        ("owner/", "there is no folder .owner/"),
        ("EMPTY", "is a folder without config.json; expected one that save_pretrained wrote"),
        ("EMPTY/weights.gguf", "is a file; expected the folder with its config.json"),
    ],
)
def test_a_path_that_holds_no_model_is_an_error(tmp_path: Path, target: str, message: str) -> None:
    """Which says what would be one."""
    (tmp_path / "weights.gguf").write_bytes(b"")
    with pytest.raises(TargetError, match=message):
        load_checkpoint(target.replace("EMPTY", str(tmp_path)))


@pytest.mark.parametrize("config", ['{"model_type": "no_such"}', "{}", "not json", '{"model_type": "gpt2"}'])
def test_a_broken_folder_is_an_error_in_one_line(tmp_path: Path, config: str) -> None:
    """Unknown type, no type, no JSON, no weights."""
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(TargetError, match=r"cannot be loaded by transformers: \w+: [^\n]+$"):
        load_checkpoint(str(tmp_path))


def test_code_in_a_checkpoint_is_not_run(tiny_folder: Path, tmp_path: Path) -> None:
    """Nor is the user asked about it on the terminal."""
    shutil.copytree(tiny_folder, tmp_path / "own")
    own = '{"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}'
    (tmp_path / "own" / "config.json").write_text(own, encoding="utf-8")
    (tmp_path / "own" / "own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(TargetError, match="cannot be loaded by transformers"):
        load_checkpoint(str(tmp_path / "own"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        # Generates, but from sound.
        (
            lambda: transformers.WhisperForConditionalGeneration(
                transformers.WhisperConfig(
                    vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
                    decoder_attention_heads=1, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8,
                    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
                )
            ),
            r"of type whisper, for which transformers has no AutoModelForSeq2SeqLM; write .* file\.py:callable",
        ),
        # Encodes, but pictures.
        (
            lambda: transformers.ViTModel(
                transformers.ViTConfig(
                    hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, image_size=8,
                    patch_size=4,
                )
            ),
            r"reads pixel_values and not tokens; write .* file\.py:callable",
        ),
    ],
    ids=["whisper", "vit"],
)  # fmt: skip
def test_a_model_that_reads_no_tokens_is_an_error(tmp_path: Path, model: Any, message: str) -> None:
    """Which says how it can be timed all the same."""
    model().save_pretrained(tmp_path)
    with pytest.raises(TargetError, match=message):
        load_checkpoint(str(tmp_path))


def test_an_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shape of the same name, if there is one."""
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(TargetError, match=r"the hub cannot be reached \(ConnectionError\).* shape:gpt2$"):
        load_checkpoint("openai-community/gpt2")
    with pytest.raises(TargetError, match="random weights with shape:NAME, NAME one of gpt2-tiny, gpt2, "):
        load_checkpoint("nobody/no-such-model-of-llm-latency")


def test_a_hub_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name and a gated model look alike from here."""
    from huggingface_hub.errors import RepositoryNotFoundError

    def refuse(*_: Any, **__: Any) -> None:
        answer: Any = SimpleNamespace(status_code=401, headers={}, request=None)
        raise RepositoryNotFoundError("Repository Not Found", response=answer)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(TargetError, match=r"the hub does not give it out \(401\); check the name"):
        load_checkpoint("nobody/no-such-model-of-llm-latency")


@pytest.mark.parametrize(("answers", "alone"), [(True, False), (False, True)])
def test_a_cached_model_loads_without_the_hub(monkeypatch: pytest.MonkeyPatch, answers: bool, alone: bool) -> None:
    """Then only the cache is read: transformers would try each file for 23 s. The hub is asked where it answers."""
    seen = []

    def from_pretrained(source: str, **where: Any) -> None:
        seen.append((source, where["local_files_only"]))
        raise OSError("far enough")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", (lambda *_, **__: None) if answers else unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/cache/config.json")
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", from_pretrained)
    with pytest.raises(TargetError, match="far enough"):
        load_checkpoint("owner/cached")
    assert [("owner/cached", alone)] == seen


def test_an_unknown_number_type_or_attention_is_refused_before_loading(tiny_folder: Path) -> None:
    """With the known ones, auto among them."""
    with pytest.raises(UsageError, match="'fp8'; known: float32, bfloat16, float16, and auto"):
        load_checkpoint(str(tiny_folder), dtype="fp8")
    with pytest.raises(UsageError, match="'quick'; known: eager"):
        load_checkpoint(str(tiny_folder), attention="quick")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.GPT2Config(architectures=["GPT2LMHeadModel"]), "decoder"),
        (transformers.GPT2Config(), "decoder"),
        (transformers.GPT2Config(architectures=["GPT2Model"]), "encoder"),
        (transformers.LlamaConfig(architectures=["LlamaForCausalLM"]), "decoder"),
        (transformers.MambaConfig(), "decoder"),
        (transformers.BertConfig(architectures=["BertForMaskedLM"]), "encoder"),
        (transformers.BertConfig(), "encoder"),
        (transformers.T5Config(), "encoder-decoder"),
        (transformers.BartConfig(), "encoder-decoder"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.model_type} {value.architectures}",
)
def test_the_kind_is_read_off_the_config(config: Any, expected: str) -> None:
    """By declared architecture first: BERT could be a decoder too, and GPT-2 an encoder."""
    assert expected == kind_of(config)


def test_positions_of_roberta_begin_after_its_padding() -> None:
    """514 rows, of which 0 and 1 are never used; a language model's head changes nothing."""
    config = transformers.RobertaConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=514, pad_token_id=1,
    )  # fmt: skip
    assert 512 == context_of(transformers.RobertaModel(config))
    assert 512 == context_of(transformers.RobertaForMaskedLM(config))
