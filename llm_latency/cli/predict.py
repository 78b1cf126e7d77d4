"""`llm-latency predict`: what a fit says of a model and an input; options and output, not the predicting."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Self

from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM, count
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import PASSED, UNUSABLE
from llm_latency.cli.shown import add_json, json_output, present
from llm_latency.core.cost import Architecture
from llm_latency.predict.cell import Cell
from llm_latency.predict.fit import Fit, load_fit
from llm_latency.predict.hardware import HARDWARE, find_hardware
from llm_latency.predict.prediction import SCHEMA, Prediction, predict, predict_described
from llm_latency.report.prediction import prediction_table
from llm_latency.workloads.described import architecture_of

_DESCRIPTION = (
    "Predict time to first token, time per token, end-to-end time and throughput from a fit, with intervals and the"
    " error of held-out points; or from a device's data sheet, for what is not here."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} predict FIT.json --model shape:gpt2 --prompt-tokens 300 --new-tokens 24
  {PROGRAM} predict FIT.json --model shape:gpt3-175b --prompt-tokens 1000 --new-tokens 100 --dtype bfloat16 \\
      --hardware 8xh100-sxm

hardware: {", ".join(HARDWARE)}; 8xNAME for several; or a JSON file

exit codes:
  0 predicted   2 misuse, or too far beyond what was fitted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """What was asked of `predict`."""

    fit: str
    cell: Cell
    hardware: str | None
    extrapolate: bool
    outputs: tuple[Output, ...]

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        return cls(
            fit=given.fit,
            cell=Cell(
                model=given.model,
                prompt_tokens=given.prompt_tokens,
                new_tokens=given.new_tokens,
                batch=given.batch,
                dtype=given.dtype,
                attention=given.attention,
                threads=given.threads,
                device=given.device,
            ),
            hardware=given.hardware,
            extrapolate=given.extrapolate,
            outputs=json_output(given),
        )


def add_command(commands: Any) -> None:
    """Add `predict` to the main parser's commands."""
    parser = commands.add_parser(
        "predict", help="predict a model's time for an input", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(PredictSettings.from_namespace(given)))
    parser.add_argument("fit", metavar="FIT.json", help="what `fit --out` wrote")
    parser.add_argument("--model", required=True, metavar="NAME", help="shape:NAME, a folder or a hub id; not built")
    parser.add_argument("--prompt-tokens", type=count(1), required=True, metavar="N", help="tokens of each prompt")
    parser.add_argument("--new-tokens", type=count(1), default=32, metavar="N", help="tokens of each answer (32)")
    parser.add_argument("--batch", type=count(1), default=1, metavar="N", help="rows (1)")
    parser.add_argument("--dtype", metavar="NAME", help="which of the fitted number types; of --hardware any it has")
    parser.add_argument("--attention", metavar="NAME", help="which of the fitted attention implementations")
    parser.add_argument("--threads", type=count(1), metavar="N", help="which of the fitted thread counts")
    parser.add_argument("--device", metavar="NAME", help="which of the fitted devices")
    parser.add_argument("--hardware", metavar="NAME", help="a described device instead of the fitted one")
    parser.add_argument("--extrapolate", action="store_true", help="also beyond twice the fitted range")
    add_json(parser)


def run(settings: PredictSettings) -> int:
    """Predict and hand over; returns the exit code. Raises LLMLatencyError where it cannot."""
    check_outputs(settings.outputs)
    is_taken = any(output.is_stdout for output in settings.outputs)
    with reserved_stdout(reserve=is_taken) as stdout, quiet_libraries(bars=False):
        found = load_fit(settings.fit)
        predicted = _predicted(settings, found, architecture_of(settings.cell.model))
        arrived = present(
            lambda width: prediction_table(predicted, width=width),
            predicted,
            settings.outputs,
            schema=SCHEMA,
            stdout=stdout,
        )
    return PASSED if arrived else UNUSABLE


def _predicted(settings: PredictSettings, found: Fit, architecture: Architecture) -> Prediction:
    if settings.hardware is None:
        return predict(found, architecture, settings.cell, extrapolate=settings.extrapolate)
    reached = [(group.mfu, group.mbu) for group in found.groups if group.setting.nature == architecture.kind]
    mfu = max((one for one, _ in reached if one is not None), default=None)
    mbu = max((two for _, two in reached if two is not None), default=None)
    return predict_described(architecture, settings.cell, find_hardware(settings.hardware), reached=(mfu, mbu))
