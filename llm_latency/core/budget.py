"""Limits as text to a Budget: "ttft p95 < 250 ms", or the marker's key ttft_p95="250 ms"; not the judgement."""

from __future__ import annotations

import re

import msgspec

from llm_latency.core.metrics import METRICS, Metric, metric
from llm_latency.core.units import parse, show_exactly
from llm_latency.errors import UsageError

_TEXT = re.compile(
    r"\s*(?P<metric>\w+)(?:[\s_.]+(?P<statistic>p\d+(?:\.\d+)?|median|max|min))?\s*(?P<sign><=?|>=?|≤|≥)(?P<limit>.+)"
)
_STATISTIC = re.compile(r"p(\d+(?:\.\d+)?)|max|min")


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit on a statistic of a metric, in the metric's base unit.

    The limit is an upper one where lower is better, and a lower one where higher is better.
    """

    metric: str
    statistic: str
    limit: float

    @property
    def row(self) -> Metric:
        """The metric's row in the table."""
        return METRICS[self.metric]

    @property
    def quantile(self) -> float | None:
        """The statistic as a quantile in (0, 1), or None for max and min."""
        match = _STATISTIC.fullmatch(self.statistic)
        return float(match[1]) / 100 if match and match[1] else None

    @property
    def is_upper(self) -> bool:
        """Whether values must lie below the limit."""
        return self.row.better == "lower"

    def __str__(self) -> str:
        sign = "<" if self.is_upper else ">"
        return f"{self.metric} {self.statistic} {sign} {show_exactly(self.limit, self.row.unit)}"


def _make(name: str, statistic: str, limit: str) -> Budget:
    row = metric(name)
    statistic = {"median": "p50", "": "p50"}.get(statistic, statistic)
    match = _STATISTIC.fullmatch(statistic)
    if match is None or (match[1] and not 0 < float(match[1]) < 100):
        raise UsageError(f"there is no statistic {statistic!r}; expected p50, p95, p99 (0 < p < 100), max or min")
    return Budget(metric=name, statistic=statistic, limit=parse(limit, unit=row.unit))


def _split(key: str) -> tuple[str, str]:
    """Metric and statistic of a key such as ttft_p95; "" where it names no statistic."""
    name, _, statistic = key.rpartition("_")
    is_split = key not in METRICS and (statistic == "median" or _STATISTIC.fullmatch(statistic))
    return (name, statistic) if is_split else (key, "")


def parse_budget(text: str) -> Budget:
    """Read a limit such as "ttft p95 < 250 ms"; without a statistic the median is meant.

    Raises UsageError when metric, statistic, direction or unit do not fit.
    """
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f'{text!r} is not a budget; expected METRIC [STATISTIC] < LIMIT, such as "ttft p95 < 250 ms"')
    name = match["metric"]
    statistic = match["statistic"] or ""
    if not statistic:
        name, statistic = _split(name)
    try:
        budget = _make(name, statistic, match["limit"])
    except UsageError as error:
        raise UsageError(f"budget {text!r}: {error}") from error
    if budget.is_upper != (match["sign"] in "<=≤"):
        better = budget.row.better
        raise UsageError(f"{text!r} points the wrong way: {better} is better for {name}; write {str(budget)!r}")
    return budget


def parse_key(key: str, limit: str) -> Budget:
    """Read a marker's key and limit, such as ttft_p95 and "250 ms"; raises UsageError when they do not fit."""
    name, statistic = _split(key)
    if not isinstance(limit, str):
        metric(name)
        raise UsageError(f'{key}={limit!r} has no unit; write the limit as text, such as {key}="250 ms"')
    return _make(name, statistic, limit)
