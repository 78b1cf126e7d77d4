"""`llm-latency gate`: what it makes of its options, and that it becomes pytest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import pytest

from llm_latency.cli import gate
from llm_latency.cli.main import main


class Became(Exception):
    """The program was replaced by this command."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(command)
        self.command = list(command)


@pytest.fixture(autouse=True)
def never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a replaced program be seen."""

    def become(command: Sequence[str]) -> NoReturn:
        raise Became(command)

    monkeypatch.setattr(gate, "become", become)


def test_only_a_base_is_needed() -> None:
    """The base is all that has to be said; pytest finds the tests by itself."""
    with pytest.raises(Became) as became:
        main(["gate", "--base", "origin/main"])
    assert [sys.executable, "-m", "pytest", "--latency-base=origin/main"] == became.value.command


def test_every_option_is_the_plugins() -> None:
    """Each option becomes the plugin's of the same meaning; what stands behind -- is handed on as it is."""
    options = ["--base-python", "old/python", "--tests", "base", "--max-slowdown", "3%", "--time-budget", "2 min"]
    options += ["--undecided", "pass", "--share", "weights", "--share", "data", "--report", "a.md"]
    options += ["--require-baseline"]
    with pytest.raises(Became) as became:
        main(["gate", "--base", "v1", *options, "--", "tests/latency", "-k", "chat and not slow", "--base=mine"])
    assert [
        "--latency-base=v1",
        "--latency-base-python=old/python",
        "--latency-tests=base",
        "--latency-max-slowdown=3%",
        "--latency-gate-time=2 min",
        "--latency-undecided=pass",
        "--latency-share=weights",
        "--latency-share=data",
        "--latency-report=a.md",
        "--latency-require-baseline",
        "tests/latency",
        "-k",
        "chat and not slow",
        "--base=mine",
    ] == became.value.command[3:]


def test_a_base_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a base there is nothing to compare with."""
    assert 2 == main(["gate"])
    assert "the following arguments are required: --base" in capsys.readouterr().err


def test_a_hostile_ref_is_only_a_value() -> None:
    """A ref that looks like an option stays the value of --latency-base."""
    with pytest.raises(Became) as became:
        main(["gate", "--base=--help; rm -rf ~"])
    assert "--latency-base=--help; rm -rf ~" == became.value.command[3]


def test_without_pytest_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate runs in pytest; where that is missing, the extra is named."""
    monkeypatch.setattr(gate, "find_spec", lambda name: None)
    assert 2 == main(["gate", "--base", "main"])
    assert "pip install 'llm-latency[pytest]'" in capsys.readouterr().err
