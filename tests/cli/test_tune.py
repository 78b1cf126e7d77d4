"""`llm-latency tune` and `explain`: on the tiny shape for real, and what each refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_latency.adapt.policy import load_policy
from llm_latency.adapt.strategy import BASELINE
from llm_latency.adapt.tuner import Search
from llm_latency.cli import tune as command
from llm_latency.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")
OWN = """[own]
objective = "e2e"
prompt_tokens = [8, 32]
new_tokens = 3
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    """Short prompts, short answers."""
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    return str(file)


def test_a_policy_is_learned_shown_and_written(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the table of what each strategy gains; the file is read back."""
    pytest.importorskip("transformers")
    out = tmp_path / "policy.json"
    arguments = ["shape:gpt2-tiny", "--scenario", scenario, "--time-budget", "5", "--threads", "1", "--table"]
    assert 0 == main(["tune", *arguments, "--out", str(out)])
    text = capsys.readouterr().out
    assert (
        "policy · shape:gpt2-tiny · own · objective e2e" in text or "policy · gpt2-tiny · own · objective e2e" in text
    )
    assert any(line.startswith(BASELINE) and "1.00×" in line for line in text.splitlines())
    found = load_policy(out)
    assert found.complete
    assert BASELINE == found.strategies[0].name


def test_an_interrupted_search_writes_what_it_has(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exits as interrupted programs do."""
    pytest.importorskip("transformers")
    out = tmp_path / "policy.json"

    def stop(search: Search) -> str:
        if search.stage == "round 2":
            raise KeyboardInterrupt
        return search.stage

    monkeypatch.setattr(command, "progress", stop)
    arguments = ["shape:gpt2-tiny", "--scenario", scenario, "--strategies", "static cache", "--threads", "1"]
    assert 130 == main(["tune", *arguments, "--out", str(out)])
    assert not load_policy(out).complete
    assert "Interrupted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shape:gpt2-tiny", "--scenario", "chess"], "there is no scenario 'chess'"),
        (["shape:gpt2-tiny", "--strategies", "magic"], "there is no strategy 'magic' here; known: as it is"),
        (["shape:gpt2-tiny", "--strategies", "int8"], "Lossy ones have to be allowed"),
        (["shape:gpt2-tiny", "--time-budget", "0"], "expected more than no time"),
        (["shape:bert-base"], "is an encoder"),
        (["shape:gpt9"], "there is no shape 'gpt9'"),
        (["shape:gpt2-tiny", "--out", "/nowhere/policy.json"], "cannot be written"),
    ],
)
def test_misuse_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is searched."""
    pytest.importorskip("transformers")
    assert 2 == main(["tune", *arguments])
    error = capsys.readouterr().err
    assert words in error
    assert 1 == len(error.splitlines())


def test_progress_is_one_line() -> None:
    """What it does and the time that is used."""
    found = Search(stage="round 3", rounds=2, left=5, elapsed_s=12.0, time_budget_s=180.0)
    assert "round 3 · 5 strategies ready · 12.0 s of 180 s" == command.progress(found)


def test_explaining_says_what_binds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence first; JSON and a trace where they are asked for."""
    pytest.importorskip("transformers")
    trace, out = tmp_path / "trace.json", tmp_path / "explained.json"
    arguments = ["shape:gpt2-tiny", "--threads", "1", "--new-tokens", "4", "--no-probe"]
    assert 0 == main(["explain", *arguments, "--trace", str(trace), "--json", str(out)])
    text = capsys.readouterr().out
    assert text.startswith(("decode (", "prefill (", "decode takes", "prefill takes"))
    assert "layers: " in text
    assert "operators: " in text
    assert f"trace: {trace}" in text.replace("\n  ", " ")
    assert {"prefill", "decode"} == set(json.loads(out.read_bytes())["phases"])
    assert json.loads(trace.read_bytes())["traceEvents"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chat.py:answer"], "explain looks into a model"),
        (["shape:gpt9"], "there is no shape 'gpt9'"),
        (["shape:gpt2-tiny", "--trace", "/nowhere/trace.json"], "cannot be written"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured."""
    pytest.importorskip("transformers")
    assert 2 == main(["explain", *arguments])
    assert words in capsys.readouterr().err
