"""The plugin's options and the frozen settings made of them; pytest's config ends here."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

_OPTIONS = {
    "undecided": (
        "pass|fail",
        "what a latency budget that could not be decided does to its test (default: pass, marked UNDECIDED)",
    ),
    "time_budget": ("TIME", 'how long one llmtime() call may sample, such as "30 s"'),
    "precision": (
        "SHARE",
        'without budgets, sample until the 95%% interval of the median is this narrow, such as "3%%"',
    ),
}


def add_options(parser: pytest.Parser) -> None:
    """Add each option with its ini twin."""
    group = parser.getgroup("llm-latency", "timing of LLM code")
    for name, (value, text) in _OPTIONS.items():
        group.addoption(f"--latency-{name.replace('_', '-')}", dest=f"latency_{name}", metavar=value, help=text)
        parser.addini(f"latency_{name}", text.replace("%%", "%"), default="")


# Every pytest run pays for this class: a dataclass takes 0.45 ms to make, a named tuple 0.05 ms (CPython 3.11).
class Settings(NamedTuple):
    """What was asked for; `time_budget_s` in seconds and `precision` as a share, None where nobody said."""

    undecided: str
    time_budget_s: float | None
    precision: float | None

    @classmethod
    def from_pytest_config(cls, config: pytest.Config) -> Settings:
        """Read command line, environment (`LLM_LATENCY_*`) and ini file, in that order.

        Raises pytest.UsageError that shows the value and where it stands.
        """
        undecided, place = _find(config, "undecided")
        if undecided not in (None, "pass", "fail"):
            raise pytest.UsageError(f"{place} is {undecided!r}; expected pass or fail")
        return cls(
            undecided=undecided or "pass",
            time_budget_s=_seconds(*_find(config, "time_budget")),
            precision=_share(*_find(config, "precision")),
        )

    def __str__(self) -> str:
        parts = [f"undecided={self.undecided}"]
        parts += [f"time budget {self.time_budget_s:g} s"] if self.time_budget_s is not None else []
        parts += [f"precision {self.precision:.3g}"] if self.precision is not None else []
        return ", ".join(parts)


def _find(config: pytest.Config, name: str) -> tuple[str | None, str]:
    """The value, None where nobody gave one, and the place that it stands in."""
    variable = f"LLM_LATENCY_{name.upper()}"
    places: dict[str, str | None] = {
        f"--latency-{name.replace('_', '-')}": config.getoption(f"latency_{name}"),
        f"environment variable {variable}": os.environ.get(variable) or None,
        f"latency_{name} in the ini file": config.getini(f"latency_{name}") or None,
    }
    return next(((value, place) for place, value in places.items() if value is not None), (None, ""))


def _seconds(text: str | None, place: str) -> float | None:
    if text is None:
        return None
    from llm_latency.core.units import parse
    from llm_latency.errors import UsageError

    try:
        seconds = parse(text, unit="s")
    except UsageError as error:
        raise pytest.UsageError(f"{place}: {error}") from None
    if seconds <= 0:
        raise pytest.UsageError(f'{place} is {text!r}; expected more than no time, such as "30 s"')
    return seconds


def _share(text: str | None, place: str) -> float | None:
    if text is None:
        return None
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise pytest.UsageError(f'{place} is {text!r}; expected a share of the median, such as "3%" or "0.03"')
    return share
