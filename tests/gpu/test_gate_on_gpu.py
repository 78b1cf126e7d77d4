"""A whole gate on a real GPU: both sides' models on one card, unchanged code and a head that does more work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

PACKAGE = '''"""Answers of a small GPT-2 shape on the card."""

import torch
import transformers

PRODUCTS = 0


def load():
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=2, n_embd=256, n_head=4, vocab_size=1000, eos_token_id=None)
    return transformers.GPT2LMHeadModel(config).eval().to("cuda")


def more(ids, scores):
    one = torch.full((1024, 1024), 0.01, device="cuda")
    for _ in range(PRODUCTS):
        torch.mm(one, one)
    return scores


def answer(model):
    ids = torch.arange(5, 53, device="cuda").reshape(1, 48)
    return model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, pad_token_id=0,
        logits_processor=[more],
    )
'''
TESTS = """import answers
import pytest


@pytest.mark.latency_budget(ttft_p50="10 s", max_slowdown="10%")
def test_answer(llmtime):
    model = answers.load()
    m = llmtime(lambda: answers.answer(model))
    assert m.environment.device != "cpu"
"""


def gated(project: Path) -> dict[str, Any]:
    """Run the gate and read its report."""
    report = project / "gate.json"
    command = [sys.executable, "-m", "pytest", "--latency-base=HEAD", f"--latency-report={report}", "-q"]
    done = subprocess.run(command, cwd=project, env=os.environ, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text()) | {"exit": done.returncode, "text": done.stdout}
    return found


@pytest.mark.usefixtures("torch")
def test_two_sides_on_one_card(tmp_path: Path) -> None:
    """Unchanged code is not too slow, a head with many more kernels a step is, and both sides fit at once."""
    pytest.importorskip("transformers")
    (tmp_path / "answers").mkdir()
    (tmp_path / "tests").mkdir()
    package = tmp_path / "answers" / "__init__.py"
    package.write_text(PACKAGE)
    (tmp_path / "tests" / "test_answers.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "base")):
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)
    unchanged = gated(tmp_path)
    assert unchanged["word"] in ("ok", "UNDECIDED"), unchanged["text"]
    assert "cpu" != unchanged["head"]["environment"]["device"]
    assert not any("one after the other" in note for note in unchanged["notes"])
    package.write_text(PACKAGE.replace("PRODUCTS = 0", "PRODUCTS = 200"))
    slower = gated(tmp_path)
    assert ("TOO SLOW", 1) == (slower["word"], slower["exit"]), slower["text"]
