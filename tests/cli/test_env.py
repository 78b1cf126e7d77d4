"""`llm-latency env`: what can change a number here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm_latency.cli import env
from llm_latency.cli.main import main
from llm_latency.core.environment import Environment
from llm_latency.errors import DeviceError
from llm_latency.record.devices.peaks import known_peaks
from llm_latency.record.machine import read_environment
from llm_latency.testing import FakeDevice, ManualClock

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A machine of the test's own."""
    environment = Environment(device="cpu", processor="Abacus \x1b[31m", cores=2, warnings=("spins",))
    monkeypatch.setattr(env, "read_environment", lambda device: environment)
    monkeypatch.setattr(env, "LIBRARIES", ())
    return environment


def test_env_prints_facts_and_warnings(machine: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, controls visible."""
    assert 0 == main(["env"])
    expected = "device     cpu\nprocessor  Abacus \\x1b[31m\ncores      2\n\nwarning: spins\n"
    assert (expected, "") == capsys.readouterr()


def test_env_as_json_carries_a_schema(machine: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout it is alone."""
    assert 0 == main(["env", "--json", "-"])
    document = json.loads(capsys.readouterr().out)
    assert ["schema", "llm_latency", "environment"] == list(document)
    assert (1, "Abacus \x1b[31m") == (document["schema"], document["environment"]["processor"])


def test_env_writes_a_file_beside_the_text(
    machine: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `time` does."""
    assert 0 == main(["env", "--json", str(tmp_path / "x.json")])
    assert capsys.readouterr().out.startswith("device")
    assert 1 == json.loads((tmp_path / "x.json").read_bytes())["schema"]


def test_env_names_the_device_that_a_model_would_run_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its facts; one that cannot be had is a warning, not a failure."""
    monkeypatch.setattr(env, "LIBRARIES", ())
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    monkeypatch.setattr(env, "default_device", lambda: "cuda:0")
    monkeypatch.setattr(env, "find", lambda name: FakeDevice(ManualClock(), device=name, facts={"driver": "570.86"}))
    assert 0 == main(["env"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [["device", "cuda:0"], ["driver", "570.86"]] == lines[:2]

    def refuse(name: str) -> None:
        raise DeviceError(f"{name} is lost")

    monkeypatch.setattr(env, "find", refuse)
    assert 0 == main(["env"])
    assert "warning: cuda:0 is lost" in capsys.readouterr().out


def test_env_refuses_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2."""
    assert 2 == main(["env", "--json", str(tmp_path / "missing" / "x.json")])
    out, err = capsys.readouterr()
    assert ("", 1) == (out, err.count("\n"))


def test_env_of_this_machine_knows_the_libraries(command: Run) -> None:
    """Nobody's code has imported torch there; env does so itself."""
    torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")
    run = command("env", "--json", "-")
    assert (0, "") == (run.returncode, run.stderr)
    document = json.loads(run.stdout)["environment"]
    assert (str(torch.__version__), read_environment().processor) == (document["torch"], document["processor"])


def test_described_peaks_are_kept_for_mfu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file that names number types; the next environment of a model of that type has them."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("LLM_LATENCY_CACHE", str(tmp_path))
    file = tmp_path / "mine.json"
    file.write_text('{"flops": {"float32": 1e11}, "bandwidth": 2e10, "memory": 8e10}')
    assert 0 == main(["env", "--peaks", str(file)])
    assert "100.0 GFLOP/s, 20.0 GB/s" in capsys.readouterr().out
    found = known_peaks(device="cpu", dtype="float32", threads=torch.get_num_threads(), torch=str(torch.__version__))
    assert found is not None
    assert 1e11 == found.flops


def test_a_number_type_that_is_none_has_no_peaks(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    pytest.importorskip("torch")
    assert 2 == main(["env", "--peaks", "float7"])
    assert "there is no dtype 'float7'" in capsys.readouterr().err
