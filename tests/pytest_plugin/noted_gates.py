"""A repository whose tests write down what they find in the gate's workers; no tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytest_plugin.gates import Project, Seen

CONFTEST = """
import json, os, sys
import pytest

@pytest.fixture
def note(request):
    def write(**facts):
        with open(os.environ["NOTES"], "a") as file:
            file.write(json.dumps({"who": "", "test": request.node.name, **facts}) + "\\n")
    return write
"""
WORK = "def work():\n    return sum(range(20_000))\n"
FEW = ("--latency-undecided=pass",)


def noting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with one commit: a package, and how its tests take notes."""
    files = {"pkg.py": WORK, "tests/conftest.py": CONFTEST, ".gitignore": "ignored.*\n"}
    return Project(folder, monkeypatch).commit(files, tag="base")


def gate(project: Project, source: str, *arguments: str, **env: str) -> Seen:
    """Gate a test file of the head for one pair, which is too few to decide and may be."""
    project.write({"tests/test_it.py": source})
    return project.gate(*FEW, *arguments, env=env)


def require_gated(project: Project, seen: Seen, tests: int, workers: int = 2) -> None:
    """Every test was timed on both sides and waits for more pairs; nothing is left."""
    assert 0 == seen.code, seen.text
    assert f"{tests} undecided" in seen.text.splitlines()[-1], seen.text
    assert workers * tests == len(seen.notes), seen.text
    assert [] == project.left()
