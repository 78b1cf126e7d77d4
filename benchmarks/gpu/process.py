"""Process: one fact or the tests in a process of their own, so that a crash or a hang ends that one only."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gpu.fact import Fact

REPOSITORY = Path(__file__).parents[2]
_INI = "[pytest]\nmarkers =\n    gpu: needs a CUDA device\n    browser: not here\n    slow: not here\n"


def run_fact(command: Sequence[str], *, name: str, most_s: float) -> Fact:
    """Run a command that writes a Fact as its last line; a failed one where it does not, or takes too long."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=most_s, errors="replace")
    except subprocess.TimeoutExpired:
        return Fact(name=name, outcome="failed", words=f"stopped after {most_s:.0f} s, its limit")
    last = (run.stdout.strip().splitlines() or [""])[-1]
    try:
        return msgspec.json.decode(last, type=Fact)
    except (msgspec.DecodeError, msgspec.ValidationError):
        said = (run.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        return Fact(name=name, outcome="failed", words=f"the process ended with {run.returncode}: {said}")


def run_tests(*, most_s: float) -> Fact:
    """Run the suite's GPU tests with this Python; the plugins that the project's settings name need not be there.

    So those settings are not read: an option of an absent plugin is an error under --strict-config.
    """
    with tempfile.TemporaryDirectory() as folder:
        ini = Path(folder) / "pytest.ini"
        ini.write_text(_INI, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-c", str(ini), "--rootdir", str(REPOSITORY)]
        command += ["--confcutdir", str(REPOSITORY), "--import-mode=importlib", "-p", "no:cacheprovider"]
        command += ["-p", "pytest_llm_latency.plugin", "-m", "gpu", "-q", "-ra", str(REPOSITORY / "tests" / "gpu")]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        try:
            run = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=most_s, errors="replace"
            )
        except subprocess.TimeoutExpired:
            return Fact(name="tests", outcome="failed", words=f"stopped after {most_s:.0f} s, their limit")
    lines = run.stdout.strip().splitlines() or run.stderr.strip().splitlines() or ["no output"]
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return Fact(
        name="tests",
        outcome="ok" if run.returncode == 0 else "failed",
        words="" if run.returncode == 0 else "; ".join(failures) or lines[-1],
        claims={"pytest -m gpu passes": run.returncode == 0},
        figures={"summary": lines[-1].strip("= ")},
    )
