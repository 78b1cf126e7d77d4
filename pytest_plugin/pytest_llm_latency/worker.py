"""A gate's worker as a pytest run of its own: the same arguments, the timed tests only; not who conducts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import TooFewCallsError
from llm_latency.gate.message import Job
from llm_latency.gate.worker import Baton, Released
from pytest_llm_latency.stash import BATON

# Options whose work is the outer run's, or that need somebody at a keyboard.
_OFF = {"usepdb": False, "trace": False, "xmlpath": None, "maxfail": 0, "collectonly": False, "reruns": 0}
_MOST_CHARACTERS = 20_000


def run(job: Job, baton: Baton) -> str:
    """Run a job's tests; what stopped them all, or nothing."""
    # pytest would warn that the modules of a distribution with a plugin are there before it could rewrite them.
    for package in (sys.modules["llm_latency"], sys.modules["pytest_llm_latency"]):
        package.__doc__ = f"{package.__doc__}\n\nPYTEST_DONT_REWRITE"
    arguments: dict[str, Any] = job.arguments
    plugin = GateWorker(job, baton)
    status = pytest.main([*arguments["argv"], "-o", f"cache_dir={arguments['cache']}"], plugins=[plugin])
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ""
    return plugin.problem or f"pytest ended with exit code {int(status)}"


class GateWorker:
    """The plugin of a worker's run."""

    def __init__(self, job: Job, baton: Baton) -> None:
        """Nothing has happened yet."""
        self._job, self._baton = job, baton
        self._own = Path(job.own)
        self.problem = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Go where this side's files are, before any code of the project runs; arguments keep their meaning."""
        inside = Path(os.path.relpath(os.getcwd(), os.path.realpath(self._job.home)))
        if ".." in inside.parts:
            return
        there = self._own / inside
        os.chdir(there if there.is_dir() else self._own / self._job.project)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Switch off what is the outer run's."""
        for name, value in _OFF.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        config.option.continue_on_collection_errors = True
        config.stash[BATON] = self._baton

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Keep the tests of the job, in its order: both sides have to go through them alike."""
        found = {item.nodeid: item for item in items}
        wanted: list[str] = self._job.arguments["tests"]
        items[:] = [found[test] for test in wanted if test in found]
        for test in wanted:
            if test not in found:
                self._baton.reported(test, "failed", self._why_missing(session, test))

    def _why_missing(self, session: pytest.Session, test: str) -> str:
        file = test.partition("::")[0]
        errors = getattr(session, "_llm_latency_errors", {})
        return errors.get(file, "") or "there is no such test on this side"

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Keep why a file could not be collected."""
        report = yield
        if report.failed:
            errors = collector.session.__dict__.setdefault("_llm_latency_errors", {})
            errors[report.nodeid.partition("::")[0]] = _last(str(report.longrepr))
        return report

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Count a test's llmtime() calls from its beginning."""
        self._baton.again(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell what became of a test, but for what only the gate has brought about."""
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        is_ours = isinstance(error, Released | TooFewCallsError)
        if report.failed and not is_ours and not hasattr(report, "wasxfail"):
            self._baton.reported(item.nodeid, "failed", f"{_last(report.longreprtext)}{self._hint(error)}")
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
            self._baton.reported(item.nodeid, "skipped", str(reason))
        elif report.when == "call":
            self._baton.reported(item.nodeid, "passed")
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_internalerror(self, excrepr: Any) -> Generator[None, Any, Any]:
        """Keep what went wrong in pytest itself."""
        self.problem = _last(str(excrepr))
        return (yield)

    def _hint(self, error: BaseException | None) -> str:
        """What to do about a file that only the other tree has."""
        name = getattr(error, "filename", None)
        if not isinstance(error, FileNotFoundError) or not isinstance(name, str):
            return ""
        with suppress(ValueError):
            inside = Path(os.path.abspath(name)).relative_to(os.path.realpath(self._own))
            for tree in self._job.trees:
                if (Path(tree) / inside).exists():
                    return (
                        f"\n{inside} is in {tree} only, since git does not know it: name it in --latency-share (ini:"
                        " latency_share), and the other side finds it too"
                    )
        return ""


def _last(text: str) -> str:
    return text[-_MOST_CHARACTERS:]
