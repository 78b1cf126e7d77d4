"""`llm-latency sweep`, `fit` and `predict`: one after the other on a tiny shape, and what each refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_latency.cli.main import main
from llm_latency.cli.sweep import progress
from llm_latency.predict.cell import Cell
from llm_latency.predict.folder import Folder
from llm_latency.predict.sweep import Step
from tests.cli.conftest import COMMAND

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SWEEP = ["--models", "shape:gpt2-tiny", "--new-tokens", "4", "--threads", "1", "--rounds", "2", "--repeat", "1"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lengths, measured by the command line."""
    pytest.importorskip("transformers")
    out = tmp_path_factory.mktemp("swept") / "sweep"
    assert 0 == main(["sweep", *SWEEP, "--prompt-tokens", "16,64,200", "--out", str(out), "--quiet"])
    return out


@pytest.fixture(scope="module")
def fitted(swept: Path) -> Path:
    """A fit of it."""
    file = swept / "fit.json"
    assert 0 == main(["fit", str(swept), "--out", str(file)])
    return file


def test_a_sweep_writes_its_results(swept: Path) -> None:
    """Every call, a line a cell, and two pictures."""
    assert {"runs.jsonl", "results.csv", "results.json", "length.svg", "frontier.svg"} <= {
        path.name for path in swept.iterdir()
    }
    whole = json.loads((swept / "results.json").read_bytes())
    assert (1, "s") == (whole["schema"], whole["units"]["ttft_p50"])
    assert [16, 64, 200] == [cell["prompt_tokens"] for cell in whole["cells"]]
    assert all(cell["calls"] == 2 and cell["ttft_p50"] > 0 for cell in whole["cells"])


def test_a_sweep_prints_its_table_and_goes_on(swept: Path, command: Run) -> None:
    """The second time nothing is left to measure."""
    before = (swept / "runs.jsonl").read_bytes()
    done = command("sweep", *SWEEP, "--prompt-tokens", "16,64,200", "--out", swept)
    assert 0 == done.returncode
    assert "sweep · 3 cells · 3 measured" in done.stdout
    assert before == (swept / "runs.jsonl").read_bytes()
    assert 6 == len(Folder(swept).outcomes())


def test_a_fit_prints_its_terms(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the error of points that were held out."""
    assert 0 == main(["fit", str(swept), "--out", str(tmp_path / "fit.json")])
    text = capsys.readouterr().out
    assert "fit · decoder, cpu, float32, " in text
    assert "held out by length" in text


def test_a_prediction_has_the_metrics_by_their_names(fitted: Path, tmp_path: Path) -> None:
    """Each with its interval."""
    out = tmp_path / "prediction.json"
    arguments = ["--model", "shape:gpt2-tiny", "--prompt-tokens", "100", "--new-tokens", "6", "--json", str(out)]
    assert 0 == main(["predict", str(fitted), *arguments])
    whole = json.loads(out.read_bytes())
    assert {"ttft", "tpot", "e2e", "output_throughput"} == set(whole["metrics"])
    for value in whole["metrics"].values():
        assert 0 < value["low"] <= value["p50"] <= value["high"]


def test_described_hardware_needs_no_measurement_of_it(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Any number type that it has, and models of any size."""
    arguments = ["--model", "shape:llama-3.1-8b", "--prompt-tokens", "1000", "--dtype", "bfloat16"]
    assert 0 == main(["predict", str(fitted), *arguments, "--hardware", "h100-sxm"])
    assert "NVIDIA H100 data sheet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", *SWEEP, "--out", "x", "--prompt-tokens", "1021"], "1021 prompt and 4 new tokens were asked for"),
        (["sweep", *SWEEP, "--out", "x", "--prompt-tokens", "8,,9"], "expected values with commas between them"),
        (["sweep", *SWEEP, "--out", "x", "--prompt-tokens", "0"], "expected a whole number of at least 1"),
        (["sweep", "--models", "shape:gpt9", "--out", "x"], "there is no shape 'gpt9'. Did you mean 'gpt2'?"),
        (["sweep", "--models", "shape:gpt2"], "the following arguments are required: --out"),
        (["fit", "nowhere", "--out", "fit.json"], "nowhere holds no sweep"),
        (["predict", "nowhere.json", "--model", "shape:gpt2", "--prompt-tokens", "8"], "nowhere.json cannot be read"),
    ],
)
def test_misuse_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is measured."""
    monkeypatch.chdir(tmp_path)
    assert 2 == main(arguments)
    error = capsys.readouterr().err
    assert words in error
    assert 1 == len(error.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt-tokens", "900"], "900 prompt tokens, fitted on 16 to 200"),
        (["--prompt-tokens", "1024"], "has a context of 1024"),
        (["--prompt-tokens", "64", "--threads", "7"], "threads 7 was not measured (1 was)"),
        (["--prompt-tokens", "64", "--hardware", "h100"], "Did you mean 'h100-sxm'"),
    ],
)
def test_what_the_fit_does_not_say_is_refused(
    fitted: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it."""
    assert 2 == main(["predict", str(fitted), "--model", "shape:gpt2-tiny", *arguments])
    assert words in capsys.readouterr().err


def test_too_few_lengths_cannot_be_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sweep is named what it lacks."""
    assert 0 == main(["sweep", *SWEEP, "--prompt-tokens", "16,32", "--out", str(tmp_path / "s"), "--quiet"])
    assert 2 == main(["fit", str(tmp_path / "s"), "--out", str(tmp_path / "fit.json")])
    assert "2 points of 2 prompt lengths, and a fit needs at least 3" in capsys.readouterr().err
    assert not (tmp_path / "fit.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_sweep_that_is_stopped_goes_on(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """By Ctrl-C, by a job's limit, and by kill -9, which loses one turn at most."""
    out = tmp_path / "s"
    words = [*COMMAND, "sweep", *SWEEP, "--rounds", "40", "--prompt-tokens", "16,64,200", "--out", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, text=True)
    end = time.monotonic() + 120
    while time.monotonic() < end and (not out.exists() or len(_turns(out)) < 4):
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert code == process.returncode, error
    kept = len(_turns(out))
    assert kept >= 4
    if code == 130:
        assert "run the same command again to go on" in error
        assert (out / "results.csv").exists()
    rounds = -(-kept // 3)
    assert 0 == main([*words[len(COMMAND) :], "--rounds", str(rounds), "--quiet"])
    assert 3 * rounds <= len(_turns(out)) <= 3 * rounds + 1


def _turns(out: Path) -> list[Any]:
    try:
        return list(Folder(out).outcomes())
    except ValueError:
        return []


def test_progress_is_one_line() -> None:
    """Without a time before the first turn."""
    cell = Cell(model="shape:gpt2", prompt_tokens=64, new_tokens=32)
    assert "0 of 8 turns · shape:gpt2 64+32 ×1" == progress(Step(done=0, of=8, cell=cell, turn=0, left_s=None))
    assert "8 of 8 turns · 0 s left" == progress(Step(done=8, of=8, cell=None, turn=2, left_s=0.0))
