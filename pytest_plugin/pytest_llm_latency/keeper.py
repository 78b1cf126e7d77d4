"""Keeper: at the end of a run, the rows that its reports carry into the stored baselines, and what was missing in it.

One for each run, in the process that has all reports: workers of pytest-xdist never write. Loads the rest when there is
something to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llm_latency.settings import Settings

OFF, CHECK = "off", "check"
FOLDER = "latency_baselines"
_COLORS = {"TOO SLOW": "red", "ok": "green", "FASTER": "green"}


def mode_of(settings: Settings, root: Path) -> str:
    """What is done with stored baselines: what was asked for, else a check where there are any.

    With a base it is nothing: the gate has a better answer to the same question.
    """
    if settings.base is not None:
        return OFF
    if settings.baseline is not None:
        return settings.baseline
    return CHECK if settings.require_baseline or (root / FOLDER).is_dir() else OFF


class Keeper:
    """What the reports of a run say about stored baselines; the rows wait here until the run has ended."""

    def __init__(self, settings: Settings, *, root: Path, workers: int) -> None:
        """`workers` is how many pytest-xdist starts, 0 without it."""
        self._settings, self._root, self._workers = settings, root, workers
        self._found: dict[str, dict[str, Any]] = {}
        self._bad: set[str] = set()
        self._lines: list[str] = []
        self._problems: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test's last run has found; what it measured is stored only where all of it went well.

        It leaves the report, which others write to files.
        """
        if report.when == "call":
            self._bad.discard(report.nodeid)
            self._found[report.nodeid] = getattr(report, "llm_latency", {}).pop("baseline", {})
        if not report.passed or hasattr(report, "wasxfail"):
            self._bad.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write, and let the run fail where a baseline was required and nothing was guarded."""
        if session.config.option.collectonly:
            return
        timed = {test: found for test, found in self._found.items() if found.get("timed")}
        self._require(timed)
        is_failed = bool(self._problems)
        if timed and mode_of(self._settings, self._root) != OFF:
            is_interrupted = session.exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
            try:
                is_failed |= not self._write(timed, is_interrupted=is_interrupted)
            except Exception as error:
                self._problems.append(f"the baselines could not be written: {error!r}")
                is_failed = True
        if is_failed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _require(self, timed: dict[str, dict[str, Any]]) -> None:
        if not self._settings.require_baseline or self._settings.base is not None:
            return
        if not timed:
            self._problems.append(
                "a baseline is required (--latency-require-baseline) and no test of this run has timed anything:"
                " nothing was guarded. Select the tests that use llmtime, or leave the option out"
            )
        if self._workers > 1:
            self._problems.append(
                f"a baseline is required and {self._workers} workers of pytest-xdist ran beside each other: their times"
                " are of another machine than that of the rows. Run the timed tests in a step of their own, with -n 0"
            )

    def _write(self, timed: dict[str, dict[str, Any]], *, is_interrupted: bool) -> bool:
        """Whether all that was to be written is."""
        raw = [(f"{test} {name}", text.encode()) for test in sorted(timed) for name, text in timed[test]["raw"]]
        rows = [text for test in sorted(timed.keys() - self._bad) for text in timed[test]["promotions"]]
        self._keep_raw(raw)
        if not rows or is_interrupted:
            self._lines += ["the run was interrupted: no row is stored"] if rows else []
            return True
        from llm_latency.errors import LLMLatencyError
        from llm_latency.gate.stored.store import Store, promotions_from

        store, is_whole = Store(self._root), True
        for module, own in promotions_from(rows).items():
            try:
                paths = store.write(own)
            except LLMLatencyError as error:
                self._problems.append(f"{module}: {error}")
                is_whole = False
                continue
            written = ", ".join(str(path.relative_to(self._root)) for path in paths)
            self._lines.append(f"stored: {len(own)} row{'s' if len(own) > 1 else ''} in {written}; commit it")
        return is_whole

    def _keep_raw(self, raw: list[tuple[str, bytes]]) -> None:
        import secrets

        from llm_latency.gate.stored.runs import keep_run

        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        try:
            keep_run(self._root, name, raw)
        except OSError as error:
            self._lines.append(f"the raw calls of this run are not kept: {error}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show each comparison, what is said of all of them, and what was written."""
        told = [
            (test, *said) for test, found in sorted(self._found.items()) for said in found.get("said", ()) if said[2]
        ]
        notes = dict.fromkeys(note for _, found in sorted(self._found.items()) for note in found.get("notes", ()))
        if not (told or notes or self._lines or self._problems):
            return
        terminalreporter.section("llm-latency baseline")
        for test, name, word, text in told:
            own = "" if test.endswith(f"::{name}") else f" {name.removeprefix(test.rpartition('::')[2]).strip()}"
            color = _COLORS.get(word, "yellow")
            terminalreporter.write_line(f"{word or 'not gated'}  {test}{own}  {text}", **{color: True})
        for line in (*self._reasons(), *notes):
            terminalreporter.write_line(line, yellow=True)
        for line in self._lines:
            terminalreporter.write_line(line)
        for line in self._problems:
            terminalreporter.write_line(f"ERROR {line}", red=True)

    def _reasons(self) -> Iterator[str]:
        """Each reason for doubt once, with the tests that it is about."""
        tests: dict[str, list[str]] = {}
        for test, found in sorted(self._found.items()):
            for reason in dict.fromkeys(found.get("reasons", ())):
                tests.setdefault(reason, []).append(test)
        for reason, own in tests.items():
            yield f"{own[0]}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: {reason}"
