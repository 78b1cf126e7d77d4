"""What measurements do to their test: the failure, its word in the terminal, its numbers in JUnit; not the judging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.verdict import FAIL, PASS, UNDECIDED, Verdict
from llm_latency.gate.result import OK
from llm_latency.report.rows import default_metrics
from llm_latency.report.ruling import rule
from llm_latency.report.text import table
from pytest_llm_latency.explain import without_value
from pytest_llm_latency.llmtime import LlmTime
from pytest_llm_latency.stash import GATED

Facts = dict[str, Any]
_WORSE = (FAIL, UNDECIDED, PASS)


class BudgetFailure(pytest.fail.Exception, AssertionError):  # type: ignore[name-defined,misc]  # pytest's public name for it
    """A test's latency budget was not kept: to pytest a failure in words, to `xfail(raises=...)` an AssertionError."""

    # As pytest's own outcomes do, so that the summary line is not begun with a module's name.
    __module__ = "builtins"

    def __init__(self, message: str, *, word: str = "", measurements: Iterable[Measurement] = ()) -> None:
        """Say what happened; `word` takes the place of FAILED, and `measurements` are those that broke a budget."""
        pytest.fail.Exception.__init__(self, message, pytrace=False)
        self.word = word
        self.measurements = tuple(measurements)


class WorkersFailure(pytest.fail.Exception):  # type: ignore[name-defined,misc]  # the same
    """A test's own code failed in a gate's workers, where xfail has had its say: none of what `raises` may name."""

    __module__ = "builtins"

    def __init__(self, message: str) -> None:
        """Say what happened."""
        super().__init__(message, pytrace=False)


def require_budgets_kept(timed: LlmTime | None, *, is_marked: bool) -> None:
    """Raise BudgetFailure when a limit was broken, was undecided where that fails, or guarded nothing."""
    whole = [m for m in timed.measurements if m.complete] if timed else []
    if is_marked and not whole:
        raise BudgetFailure(
            "the test has a latency_budget, but timed nothing: llmtime() was never called to its end (or not awaited);"
            " time a call with the `llmtime` fixture, or take the marker off this test"
        )
    # A limit on what these calls do not have, such as ttft of a call without tokens, would guard nothing for ever.
    broken = [(m, verdict) for m in whole for verdict in m.verdicts if verdict.outcome == FAIL or verdict.n == 0]
    if timed is not None and timed.settings.undecided == "fail" and not broken:
        broken = [(m, verdict) for m in whole for verdict in m.verdicts if verdict.outcome == UNDECIDED]
    if broken:
        measurements = {id(m): m for m, _ in broken}.values()
        raise BudgetFailure("\n".join(_complaint(broken)), word=rule(broken[0][1]).word, measurements=measurements)


def _complaint(broken: list[tuple[Measurement, Verdict]]) -> Iterator[str]:
    for _, verdict in broken:
        yield f"{verdict.budget}: {_why(verdict)}"
    for measurement in {id(m): m for m, _ in broken}.values():
        calls = f"{measurement.name}: {measurement.stopped_because}"
        others = [f"{v.budget} {rule(v).word}" for v in measurement.verdicts if all(v is not bad for _, bad in broken)]
        yield "; ".join((calls, *others))


def describe(verdict: Verdict) -> str:
    """A verdict on one line: budget, word, observed value, bound and n."""
    return f"{verdict.budget} {rule(verdict).word}: {_why(verdict)}"


def _why(verdict: Verdict) -> str:
    return f"{rule(verdict).why}, n = {verdict.n}"


def worst(measurements: Iterable[Measurement]) -> Verdict | None:
    """The verdict that decides, None where nothing was judged; a call that broke off was not."""
    verdicts = [verdict for m in measurements if m.complete for verdict in m.verdicts]
    return min(verdicts, key=lambda verdict: _WORSE.index(verdict.outcome), default=None)


def add_to_report(
    report: pytest.TestReport, item: pytest.Item, timed: LlmTime | None, error: BaseException | None
) -> None:
    """Put word, numbers and tables on a test's report, as what survives pytest-xdist: text, numbers, lists, dicts.

    A mistake in here is told in the summary: raised from a hook, it would end the whole run.
    """
    try:
        _add(report, item, timed, error)
    except Exception as mistake:
        problem = f"{report.nodeid}: what was measured could not be reported: {mistake!r}"
        report.__dict__["llm_latency"] = {"word": "", "rows": [], "problem": problem}


def _add(report: pytest.TestReport, item: pytest.Item, timed: LlmTime | None, error: BaseException | None) -> None:
    measurements = timed.measurements if timed is not None else []
    deciding = worst(measurements)
    word = error.word if isinstance(error, BudgetFailure) else ""
    if report.passed and deciding is not None and deciding.outcome == UNDECIDED:
        word = rule(deciding).word
    gated = item.stash.get(GATED, None)
    if report.passed and gated is not None and not word and gated.tested.word != OK:
        word = gated.word
    if report.when == "call" or report.failed:
        rows = [_row(report, measurement) for measurement in measurements]
        report.__dict__["llm_latency"] = {"word": word, "rows": rows, "problem": timed.lock.problem if timed else ""}
    if isinstance(error, BudgetFailure | WorkersFailure):
        _point_at_test(report, error)
    if report.failed:
        report.sections += [(f"llm-latency: {measurement.name}", table(measurement)) for measurement in measurements]
        if isinstance(error, TypeError | AttributeError) and "NoneType" in str(error):
            report.sections += [("llm-latency: metrics without a value", text) for text in without_value(measurements)]
        if isinstance(error, BudgetFailure) and timed is not None and error.measurements:
            from pytest_llm_latency.paste import cells

            report.sections += cells([(m, timed.target_of(m)) for m in error.measurements], item)


def _point_at_test(report: pytest.TestReport, error: BaseException) -> None:
    """Let `--tb=line`, JUnit and the last lines name the test and the limit, not where this plugin raised."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        path, line, _ = report.location
        crash.path, crash.lineno, crash.message = path, (line or 0) + 1, str(error)


def _row(report: pytest.TestReport, measurement: Measurement) -> Facts:
    deciding = worst([measurement])
    verdict = rule(deciding).word if deciding is not None else "–"
    undecided = [describe(v) for v in measurement.verdicts if measurement.complete and v.outcome == UNDECIDED]
    return {
        "test": report.nodeid,
        "name": measurement.name,
        "n": str(len(measurement.traces)),
        **{f"{metric} p50": str(measurement.reading(metric).p50 or "–") for metric in ("ttft", "tpot", "e2e")},
        "verdict": verdict if measurement.complete else "broke off",
        "undecided": [f"{text} ({measurement.stopped_because})" for text in undecided],
    }


def properties(measurements: list[Measurement]) -> list[tuple[str, str | int]]:
    """Numbers for JUnit: `latency.ttft.p50` in base units with `latency.ttft.unit`; `latency.2.` where several."""
    try:
        return list(_properties(measurements))
    except Exception as mistake:
        return [("latency.problem", repr(mistake))]


def _properties(measurements: list[Measurement]) -> Iterator[tuple[str, str | int]]:
    for index, measurement in enumerate(measurements, start=1):
        start = "latency" if len(measurements) == 1 else f"latency.{index}"
        deciding = worst([measurement])
        yield f"{start}.name", measurement.name
        yield f"{start}.calls", len(measurement.traces)
        yield f"{start}.stopped_because", measurement.stopped_because
        if deciding is not None:
            yield f"{start}.verdict", deciding.outcome
        for verdict in measurement.verdicts if measurement.complete else ():
            yield f"{start}.budget.{'_'.join(verdict.budget.split()[:2])}", describe(verdict)
        for name in default_metrics(measurement):
            reading = measurement.reading(name)
            numbers = {"p50": reading.p50, "low": reading.low, "high": reading.high}
            yield from ((f"{start}.{name}.{key}", f"{float(v):.9g}") for key, v in numbers.items() if v is not None)
            if reading:
                yield f"{start}.{name}.n", reading.n
                yield f"{start}.{name}.unit", reading.metric.unit
