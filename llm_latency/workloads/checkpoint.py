"""Real weights, from a folder or the hub, through the ordinary `from_pretrained`; not random ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_latency.errors import TargetError
from llm_latency.workloads.loaded import Kind, LoadedModel, context_of, kernel_notes
from llm_latency.workloads.placement import check_attention, device_of, dtype_of, require_torch
from llm_latency.workloads.shapes import SHAPES, auto_class

# How long one look for the hub may take, in seconds. Without it transformers retries each file for 23 s when there is
# no network (measured with huggingface_hub 2.4).
_PATIENCE_S = 10.0


def load_checkpoint(
    source: str, *, dtype: str = "auto", device: str = "cpu", attention: str | None = None
) -> LoadedModel:
    """Load the model in a folder or under a hub id in eval mode, with its tokenizer if there is one.

    `dtype` auto is the one that the weights are stored in. Raises TargetError when there is no such model or it
    takes no tokens, UsageError for an unknown dtype or attention, DeviceError when the device is not here.
    """
    require_torch()
    number_type = "auto" if dtype == "auto" else dtype_of(dtype)
    place = device_of(device)
    check_attention(attention)
    folder = folder_of(source)
    alone = folder is not None or not _hub_answers(source)
    where: dict[str, Any] = {"trust_remote_code": False, "local_files_only": alone}
    with _quiet(progress=not alone):
        try:
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(folder or source, **where)
            kind = kind_of(config)
            auto = _auto_class(source, config, kind)
            chosen = {} if attention is None else {"attn_implementation": attention}
            model = auto.from_pretrained(folder or source, dtype=number_type, **where, **chosen)
        except TargetError:
            raise
        except Exception as error:
            first = str(error).partition("\n")[0]
            raise TargetError(
                f"{source} cannot be loaded by transformers: {type(error).__name__}: {first}."
                " Expected a language model or a text encoder with its weights"
            ) from error
        tokenizer = _tokenizer(folder or source, kind, where)
    if model.main_input_name != "input_ids":
        raise TargetError(
            f"{source} reads {model.main_input_name} and not tokens; write a function that calls it and time"
            " file.py:callable"
        )
    if kind != "encoder":
        _plain_generation(model)
    return LoadedModel(
        name=source if folder is None else folder.resolve().name,
        model=model.to(place).eval(),
        tokenizer=tokenizer,
        context=context_of(model),
        kind=kind,
        notes=(*(() if tokenizer else ("no tokenizer lies beside the weights",)), *kernel_notes(model)),
    )


def config_of(source: str) -> Any:
    """The transformers config in a folder or under a hub id; raises TargetError where there is none."""
    from transformers import AutoConfig

    folder = folder_of(source)
    alone = folder is not None or not _hub_answers(source)
    with _quiet(progress=False):
        try:
            return AutoConfig.from_pretrained(folder or source, trust_remote_code=False, local_files_only=alone)
        except Exception as error:
            first = str(error).partition("\n")[0]
            raise TargetError(f"the config of {source} cannot be read: {type(error).__name__}: {first}") from error


def folder_of(source: str) -> Path | None:
    """The folder that `source` names, None for a hub id; raises TargetError for a path that holds no model."""
    path = Path(source).expanduser()
    if source and path.is_dir():
        if (path / "config.json").is_file():
            return path
        raise TargetError(
            f"{source} is a folder without config.json; expected one that save_pretrained wrote, shape:NAME,"
            " a hub id or file.py:callable"
        )
    if path.is_file():
        raise TargetError(f"{source} is a file; expected the folder with its config.json, or file.py:callable")
    parts = source.split("/")
    if len(parts) > 2 or source.startswith((".", "~", "/")) or "\\" in source or not all(parts) or " " in source:
        raise TargetError(
            f"there is no folder {source!r}; expected a folder, a hub id (owner/name), shape:NAME or file.py:callable."
            f" Shapes: {', '.join(SHAPES)}"
        )
    return None


def kind_of(config: Any) -> Kind:
    """What a config's model does, by its declared architectures, else by what transformers makes of its type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    if config.is_encoder_decoder:
        return "encoder-decoder"
    declared = getattr(config, "architectures", None) or ()
    if any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in declared):
        return "decoder"
    known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return "decoder" if known and not declared else "encoder"


def _auto_class(source: str, config: Any, kind: Kind) -> Any:
    """The Auto class that reads it; raises TargetError when transformers has none for its type, as for sound."""
    auto = auto_class(kind)
    if type(config) not in auto._model_mapping:
        raise TargetError(
            f"{source} is of type {config.model_type}, for which transformers has no {auto.__name__}; write a function"
            " that calls it and time file.py:callable"
        )
    return auto


def _hub_answers(source: str) -> bool:
    """Whether the hub can be asked for `source`; raises TargetError when it is neither there nor in the cache."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    near = source.rpartition("/")[2].lower()
    shape = f"shape:{near}" if near in SHAPES else f"shape:NAME, NAME one of {', '.join(SHAPES)}"
    try:
        HfApi().model_info(source, timeout=_PATIENCE_S)
    except HFValidationError as error:
        raise TargetError(f"{source!r} is neither a folder nor a hub id (owner/name): {error}") from error
    except Exception as error:  # the hub's client has changed its library, and with it its errors, more than once
        if isinstance(try_to_load_from_cache(source, "config.json"), str):
            return False
        cause = (
            f"the hub does not give it out ({error.response.status_code})"
            if isinstance(error, HfHubHTTPError)
            else f"the hub cannot be reached ({type(error).__name__})"
        )
        raise TargetError(
            f"{source!r} is no folder here, it is not in the hub's cache, and {cause}; check the name, give a folder"
            f" with the weights, or time random weights with {shape}"
        ) from error
    return True


def _tokenizer(source: str | Path, kind: Kind, where: dict[str, Any]) -> Any | None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
    except Exception:  # every tokenizer fails in its own way, and prompts of ids need none
        return None
    # Without files transformers 5 makes one that knows its special tokens and no word.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        return None
    if kind == "decoder":
        tokenizer.padding_side = "left"
    return tokenizer


def _plain_generation(model: Any) -> None:
    """Leave out what a checkpoint says about sampling, beams and lengths; keep which ids begin, end and pad."""
    import transformers

    make: Any = transformers.GenerationConfig  # untyped in transformers
    roles = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    ids = {role: getattr(model.generation_config, role, None) for role in roles}
    if ids["pad_token_id"] is None:
        ends = ids["eos_token_id"]
        ids["pad_token_id"] = ends[0] if isinstance(ends, list) else ends
    model.generation_config = make(**ids)


@contextmanager
def _quiet(*, progress: bool) -> Iterator[None]:
    """Keep transformers' warnings, and unless `progress` its bars, off the screen while a model loads."""
    import transformers

    logging: Any = transformers.utils.logging  # untyped in transformers
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
