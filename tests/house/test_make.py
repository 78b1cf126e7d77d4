"""The Makefile's promises about the environment it makes, with a stand-in for Python, so that nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TARGETS = ["help", "demo", "test", "notebook", "bench", "gpu-check", "lint", "clean"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# Answers the version check, makes an environment out of itself, and logs every other call.
STAND_IN = """#!/bin/sh
case "$1 $2" in
    "-c "*) exit ${FAKE_VERSION_CHECK:-0} ;;
    "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip") echo "$@" >>log; exit ${FAKE_INSTALL:-0} ;;
    *) echo "$@" >>log ;;
esac
"""


class Checkout:
    """A folder with the Makefile, in which `make` runs with a stand-in for Python."""

    def __init__(self, folder: Path) -> None:
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, folder)
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(STAND_IN, encoding="utf-8")
        self.python.chmod(0o755)

    def make(self, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one target."""
        command = ["make", target, f"PYTHON={self.python}"]
        # `make test` runs this too, and its own settings would reach the inner make.
        outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
        environment = {name: value for name, value in os.environ.items() if name not in outer} | environment
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def installs(self) -> list[str]:
        """What pip was asked for, in order."""
        log = self.folder / "log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [line.split()[-1] for line in lines if line.startswith("-m pip install")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout."""
    return Checkout(tmp_path)


def test_help_lists_every_target(checkout: Checkout) -> None:
    """One line each."""
    assert TARGETS == [line.split()[1] for line in checkout.make("help").stdout.splitlines()]


def test_the_environment_is_made_once(checkout: Checkout) -> None:
    """A second run installs nothing."""
    assert checkout.make("test").returncode == 0
    assert checkout.make("test").returncode == 0
    assert [".[all,dev]"] == checkout.installs()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_the_environment_is_renewed_when_its_description_changes(checkout: Checkout, name: str) -> None:
    """Both files describe it."""
    checkout.make("test")
    stamp = (checkout.folder / ".venv/.installed-dev").stat().st_mtime
    os.utime(checkout.folder / name, (stamp + 10, stamp + 10))
    checkout.make("test")
    assert [".[all,dev]"] * 2 == checkout.installs()


def test_a_failed_install_is_tried_again(checkout: Checkout) -> None:
    """It leaves no stamp that would call the environment complete."""
    assert checkout.make("test", FAKE_INSTALL="1").returncode != 0
    assert not (checkout.folder / ".venv/.installed-dev").exists()
    assert checkout.make("test").returncode == 0
    assert [".[all,dev]"] * 2 == checkout.installs()


def test_the_demo_installs_less_and_is_content_with_more(checkout: Checkout) -> None:
    """The demo alone is quick to set up; after `make test` it needs nothing new."""
    checkout.make("demo")
    assert [".[all,demo]"] == checkout.installs()
    checkout.make("test")
    checkout.make("demo")
    assert [".[all,demo]", ".[all,dev]"] == checkout.installs()


def test_the_gpu_check_makes_no_environment(checkout: Checkout) -> None:
    """It runs with the Python that is named, in which the checkout is found by its path."""
    assert checkout.make("gpu-check").returncode == 0
    assert "benchmarks/gpu_check.py --out docs/measurements\n" == (checkout.folder / "log").read_text(encoding="utf-8")
    assert not (checkout.folder / ".venv").exists()


def test_an_old_python_is_refused_with_what_to_do(checkout: Checkout) -> None:
    """Before anything is made."""
    run = checkout.make("test", FAKE_VERSION_CHECK="1")
    assert run.returncode != 0
    assert "needs Python 3.11 or newer" in run.stdout
    assert "make test PYTHON=" in run.stdout
    assert not (checkout.folder / ".venv").exists()
