"""What every run obeys: Ctrl-C works, and where a browser is required, a browser test that is skipped has failed."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest

BROWSER_REQUIRED = "LLM_LATENCY_REQUIRE_BROWSER"


def pytest_configure() -> None:
    """Hear SIGINT: a run that a script starts with `&` ignores it, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this user has probed on this machine is in no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_LATENCY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a browser test's skip into a failure where CI has installed a browser for it."""
    report = yield
    if item.get_closest_marker("browser") and not hasattr(report, "wasxfail"):
        fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that is skipped whole may hold browser tests."""
    report = yield
    fail_if_skipped(report)
    return report


def fail_if_skipped(report: Any) -> None:
    """Rewrite a skipped report as a failed one, when the environment requires the browser."""
    if report.skipped and os.environ.get(BROWSER_REQUIRED) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was not run ({reason}), and {BROWSER_REQUIRED}=1 forbids that"
