"""`llm-latency selftest`: does the gate work on this machine? Options, progress and exit code; not how it is found."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any, Self

from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM, duration
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import INTERRUPTED, NOT_DECIDED, PASSED, UNUSABLE
from llm_latency.cli.shown import add_json, json_output, present, share
from llm_latency.errors import TargetError
from llm_latency.gate.selftest.selftest import has_models
from llm_latency.gate.selftest.soundness import FAILS, SCHEMA, WORKS, Plan, Soundness, selftest
from llm_latency.report.selftest import selftest_table, standing_line
from llm_latency.report.status import StatusLine

GATE_FAILED = 1
_CODES = {WORKS: PASSED, FAILS: GATE_FAILED}
# A quick one takes 12 pairs of two tests, some 5 s each on a quiet machine, and the start.
_FULL_S, _QUICK_S = 240.0, 90.0
_DESCRIPTION = (
    "Try the gate on this machine: unchanged code and planted slowdowns, through the gate's own engine. Shows how often"
    " it alarms falsely, how often it catches, and the smallest change that it sees here."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} selftest
  {PROGRAM} selftest --quick
  {PROGRAM} selftest --max-slowdown 10% --time-budget "5 min" --json selftest.json

exit codes:
  0 the gate works here at this limit   1 it does not: a false alarm, or twice the limit was not caught
  2 misuse, or it cannot run here   3 could not tell: too few pairs, or gates that could not decide
  130 interrupted or terminated; what was found until then is shown
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestSettings:
    """What was asked of `selftest`."""

    plan: Plan
    outputs: tuple[Output, ...]
    quiet: bool

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        seconds = given.time_budget or (_QUICK_S if given.quick else _FULL_S)
        return cls(
            plan=Plan(limit=given.max_slowdown, time_budget_s=seconds, is_quick=given.quick),
            outputs=json_output(given),
            quiet=given.quiet,
        )


def add_command(commands: Any) -> None:
    """Add `selftest` to the main parser's commands."""
    parser = commands.add_parser(
        "selftest", help="try the gate on this machine", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(SelftestSettings.from_namespace(given)))
    parser.add_argument(
        "--max-slowdown",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="the limit to try (5%%); what is planted is 0, 0.6, 1.2 and 2 times as much",
    )
    parser.add_argument("--time-budget", type=duration, metavar="TIME", help='such as 90, 90s or "4 min" (4 min)')
    parser.add_argument(
        "--quick", action="store_true", help="one gate of unchanged code and one of twice the limit, in 90 s at most"
    )
    add_json(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(settings: SelftestSettings) -> int:
    """Run it and hand over; returns the exit code. Raises LLMLatencyError where it cannot run here."""
    check_outputs(settings.outputs)
    if not has_models():
        raise TargetError(
            "the self-test times a small model, and torch or transformers is not installed: pip install '.[torch]' in"
            " the clone of llm-latency"
        )
    status = StatusLine(sys.stderr, shown=not settings.quiet and sys.stderr.isatty())
    is_taken = any(output.is_stdout for output in settings.outputs)
    with reserved_stdout(reserve=is_taken) as stdout, quiet_libraries(bars=False):
        try:
            found = selftest(
                settings.plan,
                on_progress=lambda standing: status.write(standing_line(standing)),
                on_stage=lambda stage: status.write(f"{stage} …"),
            )
        finally:
            status.clear()
        arrived = present(
            lambda width: selftest_table(found, width=width), found, settings.outputs, schema=SCHEMA, stdout=stdout
        )
    return exit_code(found) if arrived else UNUSABLE


def exit_code(found: Soundness) -> int:
    """130 where it was interrupted, else what the outcome says."""
    return _CODES.get(found.outcome, NOT_DECIDED) if found.complete else INTERRUPTED
