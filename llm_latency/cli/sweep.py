"""`llm-latency sweep`: a grid of models and lengths, measured; options, progress and files, not the measuring."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from llm_latency.cli.parser import PROGRAM, count, listed
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import INTERRUPTED, PASSED, UNUSABLE, complain, print_safely
from llm_latency.cli.version import version
from llm_latency.core.units import show
from llm_latency.errors import UsageError
from llm_latency.predict.folder import Folder
from llm_latency.predict.sweep import REPEAT, ROUNDS, Step, Sweep, read_sweep, sweep
from llm_latency.report.status import StatusLine
from llm_latency.report.sweep import SCHEMA, records, sweep_csv, sweep_table, units
from llm_latency.report.sweep_plot import picture

_DESCRIPTION = (
    "Measure every combination of models, lengths and settings, in rounds and in random order. Every turn of a cell is"
    " on disk when it has ended: run the same command again and it goes on."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} sweep --models shape:gpt2 --prompt-tokens 16,64,256 --out DIR
  {PROGRAM} sweep --models shape:gpt2,shape:gpt2-medium --prompt-tokens 16,64,256 --new-tokens 32 --batch 1,4 \\
      --threads 2 --out DIR
  {PROGRAM} fit DIR --out FIT.json

writes into DIR: runs.jsonl with every call, results.csv, results.json, and where matplotlib is installed length.svg
and frontier.svg

exit codes:
  0 every cell was measured, or is left out with the reason   2 misuse, or no cell could be measured
  130 interrupted or terminated; what was measured until then is kept
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """What was asked of `sweep`."""

    models: tuple[str, ...]
    axes: dict[str, Any]
    device: str | None
    rounds: int
    repeat: int
    seed: int
    out: str
    quiet: bool

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        names = ("prompt_tokens", "new_tokens", "batch", "dtype", "attention", "threads")
        return cls(
            models=given.models,
            axes={name: value for name in names if (value := getattr(given, name)) is not None},
            device=given.device,
            rounds=given.rounds,
            repeat=given.repeat,
            seed=given.seed,
            out=given.out,
            quiet=given.quiet,
        )


def add_command(commands: Any) -> None:
    """Add `sweep` to the main parser's commands."""
    parser = commands.add_parser(
        "sweep", help="measure a grid of models and lengths", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(SweepSettings.from_namespace(given)))
    grid = parser.add_argument_group("the grid", "lists with commas; every combination is a cell")
    numbers: dict[str, Any] = {"type": listed(count(1)), "metavar": "N,N"}
    grid.add_argument("--models", type=listed(str), required=True, metavar="NAMES", help="shape:NAME, folders, hub ids")
    grid.add_argument("--prompt-tokens", **numbers, help="tokens of each prompt (16,64,256)")
    grid.add_argument("--new-tokens", **numbers, help="tokens to generate in each row (32)")
    grid.add_argument("--batch", **numbers, help="rows (1)")
    grid.add_argument("--dtype", type=listed(str), metavar="NAMES", help="float32, bfloat16, float16")
    grid.add_argument("--attention", type=listed(str), metavar="NAMES", help="such as eager,sdpa")
    grid.add_argument("--threads", **numbers, help="threads of torch")
    grid.add_argument("--device", metavar="NAME", help="such as cpu or cuda:1 (the first accelerator, else cpu)")
    calls = parser.add_argument_group("the calls")
    calls.add_argument("--rounds", type=count(1), default=ROUNDS, metavar="N", help=f"turns of each cell ({ROUNDS})")
    calls.add_argument("--repeat", type=count(1), default=REPEAT, metavar="N", help=f"calls in each turn ({REPEAT})")
    calls.add_argument("--seed", type=count(0), default=0, metavar="N", help="of the order of the cells (0)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where it is kept, and goes on from")
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")


def run(settings: SweepSettings) -> int:
    """Measure and write; returns the exit code. Raises LLMLatencyError for a grid that cannot be measured."""
    status = StatusLine(sys.stderr, shown=not settings.quiet and sys.stderr.isatty())
    interrupted = False
    with quiet_libraries(bars=False):
        try:
            found = sweep(
                settings.models,
                **settings.axes,
                device=settings.device,
                rounds=settings.rounds,
                repeat=settings.repeat,
                seed=settings.seed,
                out=settings.out,
                on_progress=lambda step: status.write(progress(step)),
            )
        except KeyboardInterrupt:
            interrupted, found = True, read_sweep(settings.out)
        finally:
            status.clear()
        if interrupted and not found.points:
            complain("interrupted before the first turn of a cell had ended; nothing was measured")
            return INTERRUPTED
        arrived = _write(found, Folder(settings.out))
    if not settings.quiet:
        width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
        arrived = print_safely(sweep_table(found, width=width), sys.stdout) and arrived
    if interrupted:
        print(f"{PROGRAM}: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    return PASSED if arrived and found.measured else UNUSABLE


def progress(step: Step) -> str:
    """One line: how far, how long still, and which cell is next."""
    left = "" if step.left_s is None else f" · {show(step.left_s, 's')} left"
    what = "" if step.cell is None else f" · {step.cell.key}"
    return f"{step.done} of {step.of} turns{left}{what}"


def _write(found: Sweep, folder: Folder) -> bool:
    """The results beside the runs; without matplotlib there are no pictures."""
    whole = {"schema": SCHEMA, "llm_latency": version(), "units": units(), "cells": records(found)}
    try:
        folder.write("results.csv", sweep_csv(found))
        folder.write("results.json", msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
        for kind in ("length", "frontier"):
            with suppress(UsageError):  # no matplotlib, or nothing to draw
                folder.write(f"{kind}.svg", picture(found, kind))
    except OSError as error:
        complain(
            f"--out {folder.path}: the results could not be written ({error.strerror or error}); the runs are kept"
        )
        return False
    return True
