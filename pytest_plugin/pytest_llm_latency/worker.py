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
from llm_latency.gate.pair import BEGUN
from llm_latency.gate.worker import Baton, Released
from pytest_llm_latency.stash import BATON

# Options whose work is the outer run's: what needs somebody at a keyboard, what leaves tests out or ends the run early,
# and what writes to a place that was named once.
_OFF: dict[str, Any] = {
    "usepdb": False,
    "trace": False,
    "maxfail": 0,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "cacheclear": False,
    "xmlpath": None,
    "log_file": os.devnull,
    "pastebin": None,
    "htmlpath": None,  # pytest-html
    "report_log": None,  # pytest-reportlog
    "force_reruns": 0,  # pytest-rerunfailures; it goes before its marker and its ini option
}
# What a test is reported with that failed or gave up as its xfail says.
XFAILED = "xfailed: "
_OF_OTHER_TESTS = (
    "\nBoth sides run the same test files: import what only one of them has inside of the tests that need it"
    " (--latency-tests=base runs the base's files)"
)
_OF_STRICT_XPASS = "[XPASS(strict)]"
_MOST_CHARACTERS = 20_000


def run(job: Job, baton: Baton) -> str:
    """Run a job's tests; what stopped them all, or nothing."""
    # pytest would warn that the modules of a distribution with a plugin are there before it could rewrite them.
    for package in (sys.modules["llm_latency"], sys.modules["pytest_llm_latency"]):
        package.__doc__ = f"{package.__doc__}\n\nPYTEST_DONT_REWRITE"
    own = [] if job.scratch is None else ["-o", f"cache_dir={job.scratch}/cache"]
    plugin = GateWorker(job, baton)
    status = pytest.main([*job.arguments["argv"], *own], plugins=[plugin])
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
        self._is_running = False
        self._of_subtest = ""

    @pytest.hookimpl(trylast=True)
    def pytest_addoption(self, parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
        """Let `cache_dir` be said where pytest's cache is switched off, too."""
        if not pluginmanager.has_plugin("cacheprovider"):
            parser.addini("cache_dir", "where nothing is kept")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Generator[None, None, None]:
        """Go where this side's files are, before any code of the project runs; arguments keep their meaning."""
        early_config.known_args_namespace.cov_source = None  # pytest-cov would slow all that is timed
        inside = Path(os.path.relpath(os.getcwd(), os.path.realpath(self._job.home)))
        if ".." not in inside.parts:
            there = self._own / inside
            os.chdir(there if there.is_dir() else self._own / self._job.project)
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Switch off what is the outer run's, and take on what it has drawn by lot."""
        own = {} if self._job.scratch is None else {"basetemp": f"{self._job.scratch}/tmp"}
        for name, value in (_OFF | own | self._job.arguments["options"]).items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        if getattr(config.option, "tbstyle", "") in ("no", "line"):  # what a test fails with is told by the outer run
            config.option.tbstyle = "short"
        config.option.continue_on_collection_errors = True
        config.stash[BATON] = self._baton

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Keep the tests of the job, in its order, whoever has shuffled them: both sides go through them alike."""
        yield
        found = {item.nodeid: item for item in items}
        wanted: list[str] = self._job.arguments["tests"]
        items[:] = [found[test] for test in wanted if test in found]
        for test in wanted:
            if test not in found:
                self._baton.reported(test, "failed", self._why_missing(session, test))

    def _why_missing(self, session: pytest.Session, test: str) -> str:
        file = test.partition("::")[0]
        errors = getattr(session, "_llm_latency_errors", {})
        if file not in errors:
            return "there is no such test on this side"
        return f"{errors[file]}{_OF_OTHER_TESTS if self._job.home != self._job.own else ''}"

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
        """Count a test's llmtime() calls from its beginning, and say which test it is that may be lost."""
        self._baton.again(nodeid)
        self._baton.reported(nodeid, BEGUN)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self) -> bool:
        """Set no alarm of pytest-timeout's: much of a test's time here is the other side's, which has patience."""
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        """Tell subtests, which are reported while their test is running, from it."""
        self._is_running, self._of_subtest = True, ""
        try:
            yield
        finally:
            self._is_running = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell what became of a test, but for what only the gate has brought about."""
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        is_ours = isinstance(error, Released | TooFewCallsError)
        # It passed, which only the outer run may hold against it.
        is_ours |= error is None and report.longreprtext.startswith(_OF_STRICT_XPASS)
        failure = f"{_last(report.longreprtext)}{self._hint(error)}" if report.failed and not is_ours else ""
        if self._is_running:
            self._of_subtest = self._of_subtest or failure
        elif report.failed and not is_ours:
            self._baton.reported(item.nodeid, "failed", failure)
        elif report.skipped and not is_ours:
            self._baton.reported(item.nodeid, "skipped", _why_skipped(report))
        elif report.when == "call":
            self._baton.reported(item.nodeid, "failed" if self._of_subtest else "passed", self._of_subtest)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_internalerror(self, excrepr: Any) -> Generator[None, Any, Any]:
        """Keep what went wrong in pytest itself."""
        self.problem = _last(str(excrepr))
        return (yield)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keep who has ended the run: pytest.exit() in a test, for one."""
        self.problem = f"{type(excinfo.value).__name__}: {excinfo.value}".removesuffix(": ")

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


def _why_skipped(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"{XFAILED}{report.wasxfail}"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return str(reason).removeprefix("Skipped: ")
