"""`llm-latency explain`: where a model's time goes; options and output, not the profiling."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Self

from llm_latency.cli.model import add_model, model_settings
from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import PASSED, UNUSABLE
from llm_latency.cli.shown import add_json, json_output, present
from llm_latency.predict.explain import SCHEMA, explain
from llm_latency.report.explanation import explanation_table
from llm_latency.workloads.target import Settings

_DESCRIPTION = (
    "Say where a model's time goes: phases, layers by kind, operators and the host between them, from one profiled call"
    " beside measured ones, with what the roofline of this machine allows."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} explain shape:gpt2
  {PROGRAM} explain shape:gpt2 --prompt-tokens 512 --new-tokens 16 --trace trace.json

The trace opens in Perfetto (ui.perfetto.dev) or chrome://tracing.

exit codes:
  0 explained   2 misuse, or the target cannot be run
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSettings:
    """What was asked of `explain`."""

    target: str
    model: Settings
    trace: Output | None
    probe: bool
    outputs: tuple[Output, ...]

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        return cls(
            target=given.target,
            model=model_settings(given),
            trace=None if given.trace is None else Output(option="--trace", path=given.trace),
            probe=not given.no_probe,
            outputs=json_output(given),
        )


def add_command(commands: Any) -> None:
    """Add `explain` to the main parser's commands."""
    parser = commands.add_parser(
        "explain", help="say where a model's time goes", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(ExplainSettings.from_namespace(given)))
    parser.add_argument("target", metavar="TARGET", help="shape:NAME, a folder with a model or a hub id")
    add_model(parser)
    parser.add_argument("--trace", metavar="FILE", help="write the profile for Perfetto")
    parser.add_argument("--no-probe", action="store_true", help="do not look for this machine's peaks (5 s, once)")
    add_json(parser)


def run(settings: ExplainSettings) -> int:
    """Explain and hand over; returns the exit code. Raises LLMLatencyError where there is nothing to look into."""
    files = () if settings.trace is None else (settings.trace,)
    check_outputs((*settings.outputs, *files))
    is_taken = any(output.is_stdout for output in settings.outputs)
    with reserved_stdout(reserve=is_taken) as stdout, quiet_libraries(bars=False):
        found = explain(
            settings.target,
            settings=settings.model,
            trace=None if settings.trace is None else settings.trace.path,
            probe=settings.probe,
        )
        arrived = present(
            lambda width: explanation_table(found, width=width), found, settings.outputs, schema=SCHEMA, stdout=stdout
        )
    return PASSED if arrived else UNUSABLE
