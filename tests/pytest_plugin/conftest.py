"""A pytest inside of pytest, with our plugin and no other that is installed, in one process or under pytest-xdist."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

# A pytest in this process forgets what it has imported, and parts of numpy cannot be imported twice.
import numpy.fft
import numpy.ma
import numpy.random  # noqa: F401  # for what it loads, as the two above
import pytest

import pytest_llm_latency.outcome  # noqa: F401  # the same
from pytest_llm_latency import gating
from pytest_llm_latency.lock import DeviceLock
from tests.pytest_plugin.stored_project import Project
from tests.pytest_plugin.written_gates import Written

# Calls take milliseconds and limits are a nanosecond or an hour, so that nothing here depends on the machine.
PRELUDE = """
import asyncio, time
import pytest

limits = pytest.mark.latency_budget
slow = limits(ttft="1 ns")
fast = limits(ttft="1 h")
unsure = limits(ttft_p95="1 h")  # where a test makes one call only

def tokens():
    for token in range(3):
        time.sleep(0.001)
        yield token

def plain():
    time.sleep(0.001)

async def tokens_async():
    for token in range(3):
        await asyncio.sleep(0.001)
        yield token

async def chat():
    await asyncio.sleep(0.001)
"""


@dataclass(frozen=True)
class Seen:
    """What the user of a pytest run sees."""

    code: int
    text: str
    counts: dict[str, int]
    junit: Path

    @property
    def lines(self) -> list[str]:
        """The terminal's lines."""
        return self.text.splitlines()

    def having(self, *parts: str) -> list[str]:
        """The lines that hold every part."""
        return [line for line in self.lines if all(part in line for part in parts)]

    def case(self, test: str) -> ElementTree.Element:
        """A test's element in the JUnit file."""
        return next(case for case in ElementTree.parse(self.junit).iter("testcase") if case.get("name") == test)

    def properties(self, test: str) -> dict[str, str]:
        """A test's properties in the JUnit file."""
        return {p.get("name", ""): p.get("value", "") for p in self.case(test).iter("property")}


class Suite:
    """Tests of a user, to be run."""

    def __init__(self, pytester: pytest.Pytester, *, spread: tuple[str, ...] = (), is_fresh: bool = False) -> None:
        """Start with an empty folder; `spread` are arguments of every run, a fresh one has its own process."""
        self.pytester = pytester
        self._spread = spread
        self._is_fresh = is_fresh

    def afresh(self) -> Suite:
        """The same in a process of its own, for what this process would not survive."""
        return Suite(self.pytester, spread=self._spread, is_fresh=True)

    def run(self, source: str = "", *arguments: str) -> Seen:
        """Run the tests in `source`, which stands below the prelude; without it, those of the last run."""
        if source:
            (self.pytester.path / "test_it.py").write_text(PRELUDE + source, encoding="utf-8")
        arguments = ("-p", "llm_latency", "--junitxml=junit.xml", *self._spread, *arguments)
        if self._is_fresh:
            result = self.pytester.runpytest_subprocess(*arguments)
        else:
            # This process has imported the plugin already.
            arguments = ("-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments)
            result = self.pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)
        text = result.stdout.str() + result.stderr.str()
        counts = result.parseoutcomes() if re.search(r" in \d", text.rstrip().rpartition("\n")[2]) else {}
        return Seen(int(result.ret), text, counts, self.pytester.path / "junit.xml")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite that runs in one process: this one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for told_by_ci in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(told_by_ci, raising=False)  # pytest's summary is longer there
    for name in [name for name in os.environ if name.startswith("LLM_LATENCY_")]:
        monkeypatch.delenv(name)
    return Suite(pytester)


@pytest.fixture
def fresh_suite(suite: Suite) -> Suite:
    """A suite that runs in a process of its own."""
    return suite.afresh()


@pytest.fixture(params=[(), ("-p", "xdist", "-n", "2")], ids=["one process", "two workers"])
def any_suite(suite: Suite, request: pytest.FixtureRequest) -> Suite:
    """A suite that runs in one process, and once more in two workers of pytest-xdist."""
    return Suite(suite.pytester, spread=request.param)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Written:
    """Pairs that are written, where a gate in this process would have two checkouts; the base has no test."""
    base = tmp_path / "base"
    base.mkdir()
    gate = Written(base)
    monkeypatch.setattr(gating, "opened", gate.opened)
    # Whoever times something on this machine at the moment is not in the way.
    monkeypatch.setattr(gating, "DeviceLock", lambda: DeviceLock(folder=tmp_path))
    for name in [name for name in os.environ if name.startswith("LLM_LATENCY_") or name == "GITHUB_STEP_SUMMARY"]:
        monkeypatch.delenv(name)
    return gate


@pytest.fixture
def project(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One with stored baselines, run in one process."""
    return Project(suite, monkeypatch)


@pytest.fixture
def any_project(any_suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same, run in one process, and once more in two workers of pytest-xdist."""
    return Project(any_suite, monkeypatch)
