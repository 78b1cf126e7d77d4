"""The hooks that pytest calls and the fixture; what they do lives beside them and is loaded when a test is timed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm_latency.keeper import Keeper
from pytest_llm_latency.settings import Settings, add_options
from pytest_llm_latency.stash import BATON, GATED, LOCK, PATH, PROBLEMS, RESULT, RUNNING, SETTINGS, STORED, TIMED

if TYPE_CHECKING:
    from pytest_llm_latency.llmtime import LlmTime

_MARKER = "latency_budget"
_HELP = (
    f'{_MARKER}(ttft_p95="250 ms", decode_throughput_p50="40 tok/s", time_budget="30 s", max_slowdown="5%", ...):'
    " limits for every llmtime() call of the test, each a metric with a statistic, the median where none is named;"
    " max_slowdown against a base (--latency-base) or a stored baseline"
)

# What a test fails with that was not shown to be too slow.
_OF_UNDECIDED = ("UNDECIDED", "NOT GATED", "NOT STORED", "NEW")
# How a test is shown that passed with a word of its own.
_OF_PASSED = {
    "NEW": ("new", "N", "yellow"),
    "FASTER": ("passed", ".", "green"),
    "LESS": ("passed", ".", "green"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Keep sys.path for a gate's workers, before folders of the project come first in it."""
    early_config.stash[PATH] = tuple(sys.path)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings and register the marker."""
    settings = config.stash[SETTINGS] = Settings.from_pytest_config(config)
    if settings.base is not None and BATON not in config.stash:
        from pytest_llm_latency.gating import refuse_workers

        refuse_workers(config)
    if BATON not in config.stash and not hasattr(config, "workerinput"):
        workers = len(getattr(config.option, "tx", None) or ())
        config.pluginmanager.register(Keeper(settings, root=config.rootpath, workers=workers), "llm_latency_keeper")
    config.addinivalue_line("markers", _HELP)


def pytest_report_header(config: pytest.Config) -> str:
    """Say what an undecided budget does."""
    return f"llm-latency: {config.stash[SETTINGS]}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse markers that cannot be read, before anything runs."""
    report = yield
    if report.passed and any(
        isinstance(item, pytest.Item) and item.get_closest_marker(_MARKER) for item in report.result
    ):
        from pytest_llm_latency.limits import fail_if_broken

        fail_if_broken(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run the gate before the tests, which then report what it found."""
    config = session.config
    is_asked = config.stash[SETTINGS].base is not None and BATON not in config.stash
    has_stopped = session.testsfailed and not config.option.continue_on_collection_errors
    runs_nothing = config.option.collectonly or getattr(config.option, "setuponly", False)
    if is_asked and not has_stopped and not runs_nothing:
        from pytest_llm_latency.gating import live, run_gate

        with live(config.pluginmanager.get_plugin("terminalreporter")) as tell:
            run_gate(session, tell=tell)
    return (yield)


@pytest.fixture
def llmtime(request: pytest.FixtureRequest) -> Generator[LlmTime, None, None]:
    """Time a callable and give a measurement.

    `m = llmtime(lambda: model.generate(**inputs))`, then `assert m.ttft.p50 < "250 ms"`; in an async test
    `m = await llmtime(chat)`. Limits in the `latency_budget` marker are judged by themselves.
    """
    from pytest_llm_latency.limits import read_limits
    from pytest_llm_latency.llmtime import LlmTime
    from pytest_llm_latency.lock import DeviceLock

    config, item = request.config, request.node
    if RESULT in config.stash:
        pytest.fail(
            "the gate did not see that this test uses llmtime, since it asks for it while it runs; name llmtime in its"
            " arguments or in pytest.mark.usefixtures",
            pytrace=False,
        )
    if LOCK not in config.stash:
        config.stash[LOCK] = DeviceLock()
    timed = LlmTime(
        item.name,
        limits=lambda: read_limits(item.iter_markers(_MARKER)),
        settings=config.stash[SETTINGS],
        lock=config.stash[LOCK],
        turns=functools.partial(config.stash[BATON].turns, item.nodeid) if BATON in config.stash else None,
    )
    item.stash[TIMED] = config.stash[RUNNING] = timed
    yield timed
    del item.stash[TIMED], config.stash[RUNNING]
    if STORED in item.stash:
        del item.stash[STORED]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test whose own code has ended well, as if it had failed: xfail, -x and reruns need nothing else."""
    __tracebackhide__ = True
    try:
        yield
    finally:
        timed = item.stash.get(TIMED, None)
        if timed is not None:
            timed.close()
    is_marked = item.get_closest_marker(_MARKER) is not None
    if BATON in item.config.stash or (GATED in item.stash and not item.stash[GATED].tested.measurements):
        return
    if timed is not None or is_marked:
        from pytest_llm_latency.outcome import require_budgets_kept

        require_budgets_kept(timed, is_marked=is_marked)
    if timed is not None and GATED not in item.stash:
        from pytest_llm_latency.stored import require_baseline_kept

        require_baseline_kept(item, timed)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put numbers, tables and the word on the report of a timed test."""
    timed = item.stash.get(TIMED, None)
    if call.when == "teardown" or (timed is None and item.get_closest_marker(_MARKER) is None):
        return (yield)
    from pytest_llm_latency.outcome import add_to_report, properties

    others = [(name, value) for name, value in item.user_properties if not name.startswith("latency.")]
    item.user_properties[:] = [*others, *properties(timed.measurements if timed is not None else [])]
    if STORED in item.stash:
        item.user_properties += item.stash[STORED].properties
    if GATED in item.stash:
        item.user_properties += item.stash[GATED].properties
    report = yield
    add_to_report(report, item, timed, call.excinfo.value if call.excinfo is not None else None)
    if timed is not None and report.when == "call" and BATON not in item.config.stash and GATED not in item.stash:
        from pytest_llm_latency.stored import add_baseline

        add_baseline(report, item, timed)
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Give a broken or undecided budget its own word."""
    word = getattr(report, "llm_latency", {}).get("word")
    if not word or hasattr(report, "wasxfail"):
        return None
    if report.failed:
        return "failed", "U" if word in _OF_UNDECIDED else "T", (word, {"red": True})
    category, letter, color = _OF_PASSED.get(word, ("undecided", "U", "yellow"))
    return (category, letter, (word, {color: True})) if report.passed else None


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Explain a comparison with something that the running test has measured."""
    timed = config.stash.get(RUNNING, None)
    if timed is None:
        return None
    from pytest_llm_latency.explain import compared

    return compared(op, left, right, timed.measurements)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the gate's reports; one that cannot be written is no success."""
    config = session.config
    if RESULT not in config.stash:
        return
    from pytest_llm_latency.gating import hand_over

    problems = config.stash[PROBLEMS] = list(hand_over(config))
    if problems and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was timed; a mistake in here must not cost anybody their test run."""
    result = config.stash.get(RESULT, None)
    if result is not None:
        from pytest_llm_latency.summary import write_gate

        write_gate(terminalreporter, result)
        for problem in config.stash.get(PROBLEMS, ()):
            terminalreporter.write_line(problem, red=True)
    timed = [
        report.llm_latency
        for category, reports in terminalreporter.stats.items()
        for report in reports
        if category != "rerun" and hasattr(report, "llm_latency")
    ]
    if not timed:
        return
    try:
        from pytest_llm_latency.summary import write_summary

        write_summary(terminalreporter, timed, workers=len(getattr(config.option, "tx", None) or ()))
    except Exception as error:
        terminalreporter.write_line(f"llm-latency: the summary failed: {error!r}")
