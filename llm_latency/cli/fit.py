"""`llm-latency fit`: a sweep's folder to a file of fitted terms; not the fitting."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any, Self

from llm_latency.cli.output import Output, check_outputs
from llm_latency.cli.parser import PROGRAM
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import PASSED, UNUSABLE, print_safely
from llm_latency.cli.shown import width_of
from llm_latency.predict.fit import fit, save_fit
from llm_latency.predict.sweep import read_sweep
from llm_latency.report.prediction import fit_table

_DESCRIPTION = (
    "Fit time as a function of model and input to what a sweep has measured, with the error of held-out points."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} fit DIR --out FIT.json
  {PROGRAM} predict FIT.json --model shape:gpt2 --prompt-tokens 300 --new-tokens 24

exit codes:
  0 fitted   2 misuse, or too few points to fit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """What was asked of `fit`."""

    sweep: str
    output: Output

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        return cls(sweep=given.sweep, output=Output(option="--out", path=given.out))


def add_command(commands: Any) -> None:
    """Add `fit` to the main parser's commands."""
    parser = commands.add_parser("fit", help="fit times to a sweep", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.set_defaults(run=lambda given: run(FitSettings.from_namespace(given)))
    parser.add_argument("sweep", metavar="DIR", help="the folder that `sweep --out` wrote")
    parser.add_argument("--out", required=True, metavar="FIT.json", help="where the fit is written")


def run(settings: FitSettings) -> int:
    """Fit, print the terms and errors, write; returns the exit code. Raises LLMLatencyError where nothing can be."""
    check_outputs((settings.output,))
    with quiet_libraries(bars=False):
        found = fit(read_sweep(settings.sweep))
    save_fit(found, settings.output.path)
    return PASSED if print_safely(fit_table(found, width=width_of(sys.stdout)), sys.stdout) else UNUSABLE
