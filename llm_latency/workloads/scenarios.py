"""Scenario: what inference is used for, with its typical inputs, objective and limits; not how well it is met."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.budget import parse_budget
from llm_latency.errors import TargetError, UsageError

# What is to be small, but for throughput: seconds of a call, or tokens a second of all rows.
OBJECTIVES = ("e2e", "ttft", "tpot", "first_clause", "output_throughput")


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Typical inputs: `prompt_tokens` and `batch` to choose among, `new_tokens` a row, and what is to be good.

    `calls` is how often a chosen strategy is expected to run, over which what it costs to set up is spread. `limits`
    are budgets as text.
    """

    name: str
    objective: str
    prompt_tokens: tuple[int, ...]
    new_tokens: int
    batch: tuple[int, ...] = (1,)
    calls: int = 1000
    limits: tuple[str, ...] = ()

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.objective == "output_throughput"


@cache
def scenarios() -> Mapping[str, Scenario]:
    """Those that come with the package."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return {name: _scenario(name, fields, "scenarios.toml") for name, fields in tomllib.loads(text).items()}


def find_scenario(name: str) -> Scenario:
    """By name, or `FILE.toml:NAME` for one's own, with the fields of Scenario.

    Raises UsageError with the known names, TargetError for a file that holds none.
    """
    known = scenarios()
    if name in known:
        return known[name]
    file, separator, entry = name.rpartition(":")
    if name.endswith(".toml") or (separator and file.endswith(".toml")):
        return _own(file if separator else name, entry if separator else None)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"there is no scenario {name!r}.{hint} Known: {', '.join(known)}, or FILE.toml:NAME")


def _own(file: str, name: str | None) -> Scenario:
    try:
        found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"{file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise TargetError(f"{file} is no TOML: {error}") from error
    tables = [one for one, fields in found.items() if isinstance(fields, dict)]
    if name is None and len(tables) == 1:
        name = tables[0]
    if name not in tables:
        raise TargetError(
            f"{file} has no scenario {name!r}; it has: {', '.join(tables) or 'none'}. Name it FILE.toml:NAME"
        )
    return _scenario(str(name), found[str(name)], file)


def _scenario(name: str, fields: Mapping[str, Any], source: str) -> Scenario:
    try:
        found = msgspec.convert({"name": name} | dict(fields), type=Scenario)
    except msgspec.ValidationError as error:
        raise TargetError(f"{source}, [{name}]: {error}") from error
    if found.objective not in OBJECTIVES:
        raise UsageError(f"{source}, [{name}]: objective {found.objective!r}; known: {', '.join(OBJECTIVES)}")
    counts = {"prompt_tokens": found.prompt_tokens, "batch": found.batch, "new_tokens": (found.new_tokens,)}
    for field, values in (counts | {"calls": (found.calls,)}).items():
        if not values or min(values) < 1:
            raise UsageError(f"{source}, [{name}]: {field} is {values!r}; expected whole numbers of at least 1")
    for limit in found.limits:
        parse_budget(limit)
    return found
