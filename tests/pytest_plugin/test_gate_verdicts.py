"""Real gates to their end: each verdict once, in one run; what is decided is far from every limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm_latency.gate.result import from_json
from tests.pytest_plugin.gates import Project

BASE = """
def spin(n):
    return sum(range(n))

def same():
    return spin(40_000)

def slower():
    return spin(40_000)

def faster():
    return spin(160_000)

def mended():
    raise ValueError("not yet")

def broken():
    return spin(40_000)

def answer():
    for token in range(4):
        spin(10_000)
        yield token
"""
HEAD = (
    BASE.replace("def slower():\n    return spin(40_000)", "def slower():\n    return spin(160_000)")
    .replace("def faster():\n    return spin(160_000)", "def faster():\n    return spin(40_000)")
    .replace('def mended():\n    raise ValueError("not yet")', "def mended():\n    return spin(40_000)")
    .replace("def broken():\n    return spin(40_000)", 'def broken():\n    raise ValueError("no longer")')
    .replace("range(4)", "range(6)")
    + "\ndef new():\n    return spin(40_000)\n"
)
TESTS = """
import os
from pathlib import Path
import pkg, pytest

def test_same(llmtime):
    llmtime(pkg.same)

def test_slower(llmtime):
    llmtime(pkg.slower)

@pytest.mark.xfail(strict=True, reason="known to be slower")
def test_slower_as_expected(llmtime):
    llmtime(pkg.slower)

@pytest.mark.xfail(strict=True, reason="known to raise")
def test_raises_as_expected(llmtime):
    llmtime(lambda: 1 / 0)

@pytest.mark.latency_budget(e2e="1 h")
def test_faster(llmtime):
    llmtime(pkg.faster)

def test_mended(llmtime):
    llmtime(pkg.mended)

def test_broken(llmtime):
    llmtime(pkg.broken)

def test_unequal(llmtime):
    llmtime(pkg.answer)

def test_skips(llmtime):
    pytest.skip("no model")

def test_weights(llmtime):
    llmtime(lambda: Path(pkg.__file__).with_name("ignored.bin").read_bytes())

def test_needs_more_calls(llmtime):
    assert llmtime(pkg.same).total.p99_9 < "1 h"

def test_plain():
    with open(os.environ["NOTES"], "a") as file:
        file.write("{}\\n")
"""
NEW = "import pkg\n\ndef test_new(llmtime):\n    llmtime(pkg.new)\n"
IMPORTS = "from pkg import new, same\n\ndef test_imports(llmtime):\n    llmtime(same)\n"
OLD = "from pkg import same\n\ndef test_imports(llmtime):\n    llmtime(same)\n"
_IN_V = re.compile(r"tests/test_\w+\.py::(\S+) ([A-Za-z ]+?)(?: \(.*\))? +\[ *\d+%\]")


@pytest.mark.slow
def test_each_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working tree is the head; both sides run its tests, a test without llmtime is run once, here."""
    project = Project(tmp_path, monkeypatch)
    files = {"tests/test_it.py": TESTS, "tests/test_imports.py": OLD, ".gitignore": "ignored.*\n"}
    project.commit({"pkg.py": BASE, **files}, tag="base")
    project.write({"pkg.py": HEAD, "tests/test_new.py": NEW, "tests/test_imports.py": IMPORTS, "ignored.bin": "x" * 9})
    seen = project.gate("--latency-max-slowdown=50%", "-v", "--latency-report=ignored.json", env={"QUICK_PAIRS": ""})
    assert {
        "test_same": "PASSED",
        "test_slower": "TOO SLOW",
        "test_slower_as_expected": "XFAIL",
        "test_raises_as_expected": "XFAIL",
        "test_faster": "FASTER",
        "test_mended": "UNDECIDED",
        "test_broken": "FAILED",
        "test_unequal": "UNDECIDED",
        "test_skips": "SKIPPED",
        "test_weights": "UNDECIDED",
        "test_needs_more_calls": "PASSED",
        "test_plain": "PASSED",
        "test_new": "NEW",
        "test_imports": "UNDECIDED",
    } == {match[1]: match[2] for line in seen.text.splitlines() if (match := _IN_V.fullmatch(line))}, seen.text
    assert (1, 1) == (seen.code, len(seen.notes))
    for words in (
        "it fails at the base: ValueError: not yet",
        "it fails in the gate's workers: ValueError: no longer",
        "unequal work: 4 and 6 new tokens",
        "ignored.bin is in ",
        "name it in --latency-share",
        "Both sides run the same test files: import what only one of them has inside of the tests that need it",
        "changed: pkg.py, tests/test_imports.py, tests/test_new.py",
    ):
        assert words in seen.text, seen.text
    result = from_json((project.top / "ignored.json").read_bytes())
    answers = {answer.test.rpartition("::")[2]: answer for answer in result.answers}
    assert (
        not answers["test_same"].fresh and min(len(answers["test_slower"].fresh), len(answers["test_same"].pairs)) >= 6
    )
    assert {"pkg": "pkg.py"} == result.base.files == result.head.files
    assert [] == project.left()
