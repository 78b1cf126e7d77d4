"""Parser: argparse with one-line errors, and the values that options take; not which options a command has."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from llm_latency.core.budget import Budget, parse_budget
from llm_latency.core.units import parse
from llm_latency.errors import UsageError
from llm_latency.report.escape import plain

PROGRAM = "llm-latency"


class Parser(argparse.ArgumentParser):
    """Reports misuse in one line on stderr with exit code 2, and names the options that an unknown one is close to."""

    def __init__(self, **settings: Any) -> None:
        """Options are written in full; help keeps its line breaks."""
        super().__init__(**settings, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{PROGRAM}: error: {plain(message)}; see `{self.prog} --help`\n")

    # argparse hands what a command's own parser does not know up to the main one, which does not know it either.
    def parse_known_args(  # type: ignore[override] # only the form that argparse itself calls
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse unknown options where the options are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [argument for argument in unknown if argument.startswith("-")]
            self.error("; ".join(self._unknown(argument) for argument in options or unknown))
        return found, unknown

    def _unknown(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"{argument!r} was not expected"
        name = argument.partition("=")[0]
        close = difflib.get_close_matches(name, self._option_string_actions, n=3)
        known = [option for option in self._option_string_actions if option.startswith("--")]
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        return f"there is no option {name}; {hint}"


def count(least: int) -> Any:
    """A type for argparse: a whole number of at least `least`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} was given; expected a whole number of at least {least}")
        return int(text)

    return read


def listed(one: Callable[[str], Any]) -> Any:
    """A type for argparse: one or more of another type with commas between them, each once."""

    def read(text: str) -> tuple[Any, ...]:
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise argparse.ArgumentTypeError(f"{text!r} was given; expected values with commas between them")
        return tuple(dict.fromkeys(one(word) for word in words))

    return read


def duration(text: str) -> float:
    """Seconds from text such as `15`, `15s` or `2 min`, more than none."""
    bare = text.strip()
    try:
        seconds = parse(f"{bare} s" if bare.replace(".", "", 1).isdigit() else bare, unit="s")
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} was given; expected more than no time, such as 15s")
    return seconds


def budget(text: str) -> Budget:
    """A limit from text such as `ttft p95 < 250 ms`."""
    try:
        return parse_budget(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
