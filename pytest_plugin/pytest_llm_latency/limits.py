"""The latency_budget marker as limits, and what is wrong with it in words; not the judgement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from llm_latency.core.budget import Budget, parse_key
from llm_latency.core.metrics import METRICS
from llm_latency.core.units import parse
from llm_latency.errors import UsageError

MARKER = "latency_budget"
_EXAMPLE = f'{MARKER}(ttft_p95="250 ms", decode_throughput_p50="40 tok/s")'
_KEYS = "A key is a metric, alone or with _p50, _p95, _p99, _max or _min, or time_budget"
_OF_A_GATE = ("max_slowdown", "min_change")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a test's markers ask for; `time_budget_s` in seconds, None where they do not say."""

    budgets: tuple[Budget, ...] = ()
    time_budget_s: float | None = None


def read_limits(marks: Iterable[pytest.Mark]) -> Limits:
    """Merge a test's latency_budget marks, nearest first; the nearest wins for each metric and statistic.

    Raises UsageError for an argument without a key, an unknown key, a limit that cannot be read, or no limit at all.
    """
    listed = tuple(marks)
    budgets: dict[tuple[str, str], Budget] = {}
    time_budgets: list[float] = []
    for mark in listed:
        if mark.args or not mark.kwargs:
            given = ", ".join(map(repr, mark.args))
            raise UsageError(f"{MARKER}({given}) has no keys to say what is limited; write {_EXAMPLE}")
        own: dict[tuple[str, str], Budget] = {}
        for key, limit in mark.kwargs.items():
            if key == "time_budget":
                time_budgets.append(_time_budget(limit))
                continue
            budget = _read(key, limit)
            place = (budget.metric, budget.statistic)
            if place in own:
                raise UsageError(f"{MARKER} limits {' '.join(place)} twice, as {own[place]} and {budget}; keep one")
            own[place] = budget
        budgets = own | budgets
    if listed and not budgets:
        raise UsageError(f"{MARKER} limits nothing but time_budget; write {_EXAMPLE}")
    return Limits(tuple(budgets.values()), time_budgets[0] if time_budgets else None)


def _read(key: str, limit: object) -> Budget:
    if key in _OF_A_GATE:
        raise UsageError(
            f"{MARKER}({key}={limit!r}): there is no gate against a base in this version, so {key} would guard"
            f" nothing; limit a metric, such as {_EXAMPLE}. {_KEYS}. Metrics: {', '.join(METRICS)}"
        )
    try:
        return parse_key(key, limit)  # type: ignore[arg-type]  # it says what is wrong with a limit that is no text
    except UsageError as error:
        asked = f"{key}={limit!r}"
        problem = str(error).removeprefix(f"{asked}: ")
        raise UsageError(f"{MARKER}({asked}): {problem}. {_KEYS}") from None


def _time_budget(limit: object) -> float:
    try:
        seconds = parse(limit, unit="s")  # type: ignore[arg-type]  # as above
    except UsageError as error:
        raise UsageError(f"{MARKER}(time_budget={limit!r}): {error}") from None
    if seconds <= 0:
        raise UsageError(f'{MARKER}(time_budget={limit!r}): expected more than no time, such as "30 s"')
    return seconds


def fail_if_broken(report: pytest.CollectReport) -> None:
    """Turn a collector's report into an error that names each test whose latency_budget cannot be read."""
    problems: dict[str, list[str]] = {}
    for item in report.result or ():
        if isinstance(item, pytest.Item) and item.get_closest_marker(MARKER) is not None:
            try:
                read_limits(item.iter_markers(MARKER))
            except UsageError as error:
                problems.setdefault(str(error), []).append(item.nodeid)
    if not problems:
        return
    report.outcome = "failed"
    report.result = []
    report.longrepr = "\n".join(
        f"{tests[0]}{f' and {len(tests) - 1} more' if len(tests) > 1 else ''}: {problem}"
        for problem, tests in problems.items()
    )
