"""`llm-latency gate`: pytest with a base to be compared with, in one line; the engine is the plugin's."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NoReturn, Self

from llm_latency.cli.parser import PROGRAM
from llm_latency.errors import UsageError

_DESCRIPTION = """\
Compare the working tree with a git ref: both run the tests that use `llmtime`, call by call in turn, in fresh pairs of
processes on the same cores, until each is shown to be within its limit or shown to be too slow twice."""
_EXAMPLES = f"""\
examples:
  {PROGRAM} gate --base origin/main
  {PROGRAM} gate --base origin/main --max-slowdown 3% -- tests/latency -k chat
  {PROGRAM} gate --base HEAD --base-python ../old/.venv/bin/python     # a change of dependencies
  {PROGRAM} gate --base v1.2 --report gate.html --report gate.json

what stands behind -- is pytest's. exit codes are pytest's too:
  0 every test is within its limit   1 one is too slow, undecided or broken   2 interrupted
  4 the gate could not run, with the reason
"""
# Option here: the plugin's.
_OPTIONS = {
    "base_python": "base-python",
    "tests": "tests",
    "max_slowdown": "max-slowdown",
    "time_budget": "gate-time",
    "undecided": "undecided",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What was asked of `gate`: the arguments of the pytest that it becomes."""

    arguments: tuple[str, ...]

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        own = [f"--latency-base={given.base}"]
        for name, option in _OPTIONS.items():
            if (value := getattr(given, name)) is not None:
                own.append(f"--latency-{option}={value}")
        own += [f"--latency-share={path}" for path in given.share]
        own += [f"--latency-report={path}" for path in given.report]
        own += ["--latency-require-baseline"] if given.require_baseline else []
        return cls(arguments=(*own, *given.pytest))


def add_command(commands: Any) -> None:
    """Add `gate` to the main parser's commands."""
    parser = commands.add_parser(
        "gate", help="compare the working tree with a git ref", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(GateSettings.from_namespace(given)))
    parser.add_argument("--base", required=True, metavar="REF", help="a branch, tag or commit, such as origin/main")
    parser.add_argument("--base-python", metavar="PYTHON", help="the interpreter of the base's side (the same one)")
    parser.add_argument("--tests", choices=("head", "base"), help="whose test files both sides run (head)")
    parser.add_argument("--max-slowdown", metavar="SHARE", help="the limit where a test's marker has none (5%%)")
    parser.add_argument("--time-budget", metavar="TIME", help='how long it may take in all (such as "15 min")')
    parser.add_argument("--undecided", choices=("pass", "fail"), help="what an undecided test does (fail)")
    parser.add_argument(
        "--share", action="append", default=[], metavar="PATH", help="a path that git does not know; may be repeated"
    )
    parser.add_argument(
        "--report", action="append", default=[], metavar="FILE", help="a .json, .md or .html; may be repeated"
    )
    parser.add_argument("--require-baseline", action="store_true", help="a test that the base has not is an error")
    parser.add_argument("pytest", nargs="*", metavar="-- ARGUMENT", help="pytest's own arguments: tests, -k, -m …")


def run(settings: GateSettings) -> NoReturn:
    """Become pytest; raises UsageError where it is not installed."""
    if find_spec("pytest") is None:
        raise UsageError("the gate runs in pytest, which is not installed; pip install 'llm-latency[pytest]'")
    become([sys.executable, "-m", "pytest", *settings.arguments])


def become(command: Sequence[str]) -> NoReturn:
    """Put another program in this one's place, so that signals and the exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], list(command))
