"""The plugin's options and the frozen settings made of them; pytest's config ends here."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

# Name: what stands for its value in the help (None: a switch, "+": may be repeated), and the help.
_OPTIONS: dict[str, tuple[str | None, str]] = {
    "undecided": (
        "pass|fail",
        "what a latency budget or gate that could not be decided does to its test (default: pass, marked UNDECIDED;"
        " fail with --latency-base or --latency-require-baseline)",
    ),
    "time_budget": ("TIME", 'how long one llmtime() call may sample, such as "30 s"'),
    "precision": (
        "SHARE",
        'without budgets, sample until the 95%% interval of the median is this narrow, such as "3%%"',
    ),
    "base": ("REF", "gate every llmtime() test against this git ref: both run here, call by call in turn"),
    "base_python": ("PYTHON", "the interpreter of the base's side, to gate a change of dependencies"),
    "tests": ("head|base", "whose test files both sides run (default: head)"),
    "max_slowdown": ("SHARE", 'the limit of tests whose marker has no max_slowdown, such as "5%%" (the default)'),
    "gate_time": ("TIME", 'how long a whole gate may take, such as "15 min" (the default)'),
    "patience": ("TIME", 'how long a gate\'s worker may say nothing before it is given up (default: "5 min")'),
    "share": ("+PATH", "a path that git does not know and the base needs too, relative to the rootdir; repeatable"),
    "report": ("+PATH", "write a gate's result to this .json, .md or .html; repeatable"),
    "baseline": ("check|create|update|off", "what to do with stored baselines (default: check where there are any)"),
    "accept": ("REASON", "let --latency-baseline=update store a slowdown, and say why"),
    "require_baseline": (None, "a test without anything to compare with is an error"),
}
_DEFAULT_SLOWDOWN, _DEFAULT_GATE_S, _DEFAULT_PATIENCE_S = 0.05, 900.0, 300.0


def add_options(parser: pytest.Parser) -> None:
    """Add each option with its ini twin."""
    group = parser.getgroup("llm-latency", "timing of LLM code")
    for name, (value, text) in _OPTIONS.items():
        option, plain = f"--latency-{name.replace('_', '-')}", text.replace("%%", "%")
        if value is None:
            group.addoption(option, dest=f"latency_{name}", action="store_true", default=None, help=text)
            parser.addini(f"latency_{name}", plain, type="bool", default=False)
        elif value.startswith("+"):
            group.addoption(option, dest=f"latency_{name}", metavar=value[1:], action="append", help=text)
            parser.addini(f"latency_{name}", plain, type="args", default=[])
        else:
            group.addoption(option, dest=f"latency_{name}", metavar=value, help=text)
            parser.addini(f"latency_{name}", plain, default="")


# Every pytest run pays for this class: a dataclass takes 0.45 ms to make, a named tuple 0.05 ms (CPython 3.11).
class Settings(NamedTuple):
    """What was asked for; times in seconds and shares as such, None where nobody said.

    `undecided` is what a budget does to its test that was not decided, `undecided_gate` what a comparison does.
    """

    undecided: str
    time_budget_s: float | None
    precision: float | None
    undecided_gate: str = "pass"
    base: str | None = None
    base_python: str | None = None
    tests: str = "head"
    max_slowdown: float = _DEFAULT_SLOWDOWN
    gate_time_s: float = _DEFAULT_GATE_S
    patience_s: float = _DEFAULT_PATIENCE_S
    share: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    baseline: str | None = None
    accept: str | None = None
    require_baseline: bool = False

    @classmethod
    def from_pytest_config(cls, config: pytest.Config) -> Settings:
        """Read command line, environment (`LLM_LATENCY_*`) and ini file, in that order.

        Raises pytest.UsageError that shows the value and where it stands.
        """
        base, place = _find(config, "base")
        if base is not None and not base.strip():
            raise pytest.UsageError(f"{place} is empty; expected a branch, tag or commit, such as origin/main")
        require = _is_set(config, "require_baseline")
        undecided = _one_of(config, "undecided", ("pass", "fail"))
        baseline = _one_of(config, "baseline", ("check", "create", "update", "off"))
        accept, accept_place = _find(config, "accept")
        if accept is not None and (baseline != "update" or not accept.strip()):
            raise pytest.UsageError(
                f"{accept_place} is {accept!r}; expected a reason, and --latency-baseline=update, which stores it"
            )
        if base is not None and baseline in ("create", "update"):
            raise pytest.UsageError(
                f"--latency-baseline={baseline} stores what this tree does, and --latency-base={base} compares two:"
                " run pytest once for each"
            )
        if config.getoption("latency_report") and base is None:
            raise pytest.UsageError(
                "--latency-report writes what a gate found, and there is none without --latency-base; for the numbers"
                " of one run there is --junitxml"
            )
        if require and baseline == "off" and base is None:
            raise pytest.UsageError(
                "--latency-require-baseline needs something to compare with, and --latency-baseline=off leaves nothing"
            )
        return cls(
            undecided=undecided or "pass",
            undecided_gate=undecided or ("fail" if base is not None or require else "pass"),
            time_budget_s=_seconds(*_find(config, "time_budget")),
            precision=_share(*_find(config, "precision")),
            base=base,
            base_python=_find(config, "base_python")[0],
            tests=_one_of(config, "tests", ("head", "base")) or "head",
            max_slowdown=_share(*_find(config, "max_slowdown"), of="base", below=10.0) or _DEFAULT_SLOWDOWN,
            gate_time_s=_seconds(*_find(config, "gate_time")) or _DEFAULT_GATE_S,
            patience_s=_seconds(*_find(config, "patience")) or _DEFAULT_PATIENCE_S,
            share=_listed(config, "share"),
            report=_listed(config, "report"),
            baseline=baseline,
            accept=accept,
            require_baseline=require,
        )

    def __str__(self) -> str:
        parts = [f"base={self.base}"] if self.base is not None else []
        parts += [f"undecided={self.undecided_gate if self.base is not None else self.undecided}"]
        parts += [f"time budget {self.time_budget_s:g} s"] if self.time_budget_s is not None else []
        parts += [f"precision {self.precision:.3g}"] if self.precision is not None else []
        parts += [f"baseline={self.baseline}"] if self.baseline is not None else []
        return ", ".join(parts)


def _one_of(config: pytest.Config, name: str, known: tuple[str, ...]) -> str | None:
    value, place = _find(config, name)
    if value is not None and value not in known:
        raise pytest.UsageError(f"{place} is {value!r}; expected {', '.join(known[:-1])} or {known[-1]}")
    return value


def _listed(config: pytest.Config, name: str) -> tuple[str, ...]:
    given: list[str] | None = config.getoption(f"latency_{name}")
    variable = os.environ.get(f"LLM_LATENCY_{name.upper()}")
    return tuple(given or (variable.split(os.pathsep) if variable else config.getini(f"latency_{name}")))


def _is_set(config: pytest.Config, name: str) -> bool:
    variable = f"LLM_LATENCY_{name.upper()}"
    value = os.environ.get(variable, "").strip().lower()
    if value not in ("", "0", "1", "true", "false", "yes", "no"):
        raise pytest.UsageError(f"environment variable {variable} is {value!r}; expected 1 or 0")
    return bool(
        config.getoption(f"latency_{name}")
        or value in ("1", "true", "yes")
        or (not value and config.getini(f"latency_{name}"))
    )


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


def _share(text: str | None, place: str, *, of: str = "median", below: float = 1.0) -> float | None:
    if text is None:
        return None
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < below:
        raise pytest.UsageError(f'{place} is {text!r}; expected a share of the {of}, such as "3%" or "0.03"')
    return share
