"""The latency_budget marker as limits, and what is wrong with it in words; not the judgement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from llm_latency.core.budget import Budget, parse_key
from llm_latency.core.units import SCALES, parse
from llm_latency.errors import UsageError

MARKER = "latency_budget"
_EXAMPLE = f'{MARKER}(ttft_p95="250 ms", decode_throughput_p50="40 tok/s")'
_KEYS = (
    "A key is a metric, alone or with _p50, _p95, _p99, _max or _min, or time_budget, max_slowdown, min_change or"
    " same_output, which are about a base or stored baseline"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a test's markers ask for; `time_budget_s` in seconds, None where they do not say.

    `max_slowdown` is a share; `min_change` a value in the base unit that stands behind it; with `same_output` a gate
    compares only answers of the same tokens.
    """

    budgets: tuple[Budget, ...] = ()
    time_budget_s: float | None = None
    max_slowdown: float | None = None
    min_change: tuple[float, str] | None = None
    same_output: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that max_slowdown is about: those with a limit of their own, else the whole call."""
        return tuple(dict.fromkeys(budget.metric for budget in self.budgets)) or ("total",)


def read_limits(marks: Iterable[pytest.Mark]) -> Limits:
    """Merge a test's latency_budget marks, nearest first; the nearest wins for each metric and statistic.

    Raises UsageError for an argument without a key, an unknown key, a limit that cannot be read, or no limit at all.
    """
    listed = tuple(marks)
    budgets: dict[tuple[str, str], Budget] = {}
    others: dict[str, Any] = {}
    for mark in listed:
        if mark.args or not mark.kwargs:
            given = ", ".join(map(repr, mark.args))
            raise UsageError(f"{MARKER}({given}) has no keys to say what is limited; write {_EXAMPLE}")
        own: dict[tuple[str, str], Budget] = {}
        for key, limit in mark.kwargs.items():
            if key in _OTHERS:
                others.setdefault(_OTHERS[key][0], _OTHERS[key][1](limit))
                continue
            budget = _read(key, limit)
            place = (budget.metric, budget.statistic)
            if place in own:
                raise UsageError(f"{MARKER} limits {' '.join(place)} twice, as {own[place]} and {budget}; keep one")
            own[place] = budget
        budgets = own | budgets
    if listed and not budgets and "max_slowdown" not in others:
        keys = ", ".join(dict.fromkeys(key for mark in listed for key in mark.kwargs))
        raise UsageError(f"{MARKER} limits nothing but {keys}; write {_EXAMPLE}")
    return Limits(tuple(budgets.values()), **others)


def _read(key: str, limit: object) -> Budget:
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


def _max_slowdown(limit: object) -> float:
    asked = f"{MARKER}(max_slowdown={limit!r})"
    if not isinstance(limit, str) or not limit.strip().endswith("%"):
        raise UsageError(f'{asked}: expected a share as text, such as "5%"')
    try:
        share = float(limit.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 10:
        raise UsageError(f'{asked}: expected more than 0% and less than 1000%, such as "5%"')
    return share


def _min_change(limit: object) -> tuple[float, str]:
    for unit in SCALES:
        try:
            return parse(limit, unit=unit), unit  # type: ignore[arg-type]  # it says what is wrong with what is no text
        except UsageError:
            continue
    raise UsageError(f'{MARKER}(min_change={limit!r}): expected a number with a unit, such as "0.2 ms" or "10 MiB"')


def _same_output(asked: object) -> bool:
    if not isinstance(asked, bool):
        raise UsageError(f"{MARKER}(same_output={asked!r}): expected True or False")
    return asked


_OTHERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "time_budget": ("time_budget_s", _time_budget),
    "max_slowdown": ("max_slowdown", _max_slowdown),
    "min_change": ("min_change", _min_change),
    "same_output": ("same_output", _same_output),
}


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
