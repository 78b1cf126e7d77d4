"""`llm-latency doctor`: what makes this machine noisy? Options, progress and exit code; not how it is found."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM, duration
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import INTERRUPTED, NOT_DECIDED, PASSED, UNUSABLE
from llm_latency.cli.shown import add_json, json_output, present, share
from llm_latency.gate.doctor.doctor import FINE, SCHEMA, UNFIT, Checkup, checkup
from llm_latency.report.doctor import checkup_table
from llm_latency.report.selftest import standing_line
from llm_latency.report.status import StatusLine

NOT_FINE = 1
_CODES = {FINE: PASSED, UNFIT: NOT_FINE}
_PROBE_S, _LONGEST_S = 20.0, 30.0
_DESCRIPTION = (
    "Look for what makes times unsteady on this machine, say what to do about it, and probe which max_slowdown it"
    " supports. Nothing is changed."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} doctor
  {PROGRAM} doctor --max-slowdown 3% --time-budget 30s
  {PROGRAM} doctor --json | jq '.findings[] | select(.word != "ok")'

exit codes:
  0 fine for a gate at this limit   1 it is not   2 misuse   3 could not tell
  130 interrupted or terminated; what was found until then is shown
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings:
    """What was asked of `doctor`."""

    max_slowdown: float
    time_budget_s: float
    outputs: tuple[Output, ...]
    quiet: bool

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        return cls(
            max_slowdown=given.max_slowdown,
            time_budget_s=given.time_budget,
            outputs=json_output(given),
            quiet=given.quiet,
        )


def add_command(commands: Any) -> None:
    """Add `doctor` to the main parser's commands."""
    parser = commands.add_parser(
        "doctor", help="what makes this machine noisy, and what to do", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(DoctorSettings.from_namespace(given)))
    parser.add_argument(
        "--max-slowdown", type=share, default=0.05, metavar="SHARE", help="the limit that a gate is to have (5%%)"
    )
    parser.add_argument(
        "--time-budget", type=_brief, default=_PROBE_S, metavar="TIME", help="how long to look, up to 30s (20s)"
    )
    add_json(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(settings: DoctorSettings) -> int:
    """Look and hand over; returns the exit code."""
    check_outputs(settings.outputs)
    status = StatusLine(sys.stderr, shown=not settings.quiet and sys.stderr.isatty())
    is_taken = any(output.is_stdout for output in settings.outputs)
    environ = dict(os.environ)
    with reserved_stdout(reserve=is_taken) as stdout, quiet_libraries(bars=False):
        try:
            found = checkup(
                max_slowdown=settings.max_slowdown,
                time_budget_s=settings.time_budget_s,
                folder=Path.cwd(),
                environ=environ,
                on_stage=lambda stage: status.write(f"{stage} …"),
                on_progress=lambda standing: status.write(standing_line(standing)),
            )
        finally:
            status.clear()
        arrived = present(
            lambda width: checkup_table(found, width=width), found, settings.outputs, schema=SCHEMA, stdout=stdout
        )
    return exit_code(found) if arrived else UNUSABLE


def exit_code(found: Checkup) -> int:
    """130 where it was interrupted, else what the outcome says."""
    return _CODES.get(found.outcome, NOT_DECIDED) if found.complete else INTERRUPTED


def _brief(text: str) -> float:
    """A time of at most half a minute."""
    seconds = duration(text)
    if seconds > _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} was given; expected at most 30s. For more, there is the self-test")
    return seconds
