"""`llm-latency env`: what can change a number on this machine; not how it is read."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import PASSED, UNUSABLE, deliver, print_safely
from llm_latency.cli.version import version
from llm_latency.core.environment import Environment
from llm_latency.core.peaks import Peaks
from llm_latency.errors import DeviceError
from llm_latency.predict.hardware import find_hardware
from llm_latency.record.devices.device import find
from llm_latency.record.devices.peaks import keep_here, peaks_here
from llm_latency.record.machine import read_environment
from llm_latency.report.text import environment_table
from llm_latency.workloads.placement import default_device, dtype_of, require_torch

SCHEMA = 1
LIBRARIES = ("torch", "transformers")
_DESCRIPTION = "Show what can change a number on this machine: processor, threads, versions, and what to beware of."


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSettings:
    """What was asked of `env`."""

    output: Output | None
    peaks: str | None

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        return cls(output=None if given.json is None else Output(option="--json", path=given.json), peaks=given.peaks)


def add_command(commands: Any) -> None:
    """Add `env` to the main parser's commands."""
    examples = f"examples:\n  {PROGRAM} env\n  {PROGRAM} env --peaks\n  {PROGRAM} env --json machine.json\n"
    parser = commands.add_parser(
        "env", help="show what can change a number here", description=_DESCRIPTION, epilog=examples
    )
    parser.set_defaults(run=lambda given: run(EnvSettings.from_namespace(given)))
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for stdout")
    parser.add_argument(
        "--peaks",
        nargs="?",
        const="float32",
        metavar="DTYPE|FILE",
        help="probe what the device computes and reads at most (some 5 s), or take it from a JSON file that describes"
        " it, and keep it for mfu and mbu (float32)",
    )


def run(settings: EnvSettings) -> int:
    """Print the environment with its warnings, or write it; returns the exit code."""
    outputs = () if settings.output is None else (settings.output,)
    check_outputs(outputs)
    is_taken = any(output.is_stdout for output in outputs)
    with reserved_stdout(reserve=is_taken) as stdout, quiet_libraries(bars=False):
        # The environment asks torch and transformers only where they are loaded; here nobody's code has done so.
        for library in LIBRARIES:
            with suppress(ImportError):
                importlib.import_module(library)
        environment = read_environment(device=_device())
        if settings.peaks is not None:
            environment = msgspec.structs.replace(environment, peaks=_peaks(settings.peaks))
        arrived = is_taken or print_safely(environment_table(environment), stdout)
        arrived = deliver(outputs, lambda _: _to_json(environment), stdout=stdout) and arrived
    return PASSED if arrived else UNUSABLE


def _peaks(asked: str) -> Peaks:
    """Probe the device that a model would run on for a number type, or keep what a file says of all that it names.

    Raises LLMLatencyError without torch, for an unknown dtype and for a file that describes no hardware.
    """
    require_torch()
    if not asked.endswith(".json"):
        dtype_of(asked)
        return peaks_here(device=default_device(), dtype=asked, again=True)
    described = find_hardware(asked)
    for dtype in described.flops:
        dtype_of(dtype)
        keep_here(described.peaks(dtype), device=default_device(), dtype=dtype)
    return described.peaks(next(iter(described.flops)))


def _device() -> Mapping[str, object] | None:
    """Facts of the device that a model would run on; None where there is only the CPU, or torch is missing."""
    if "torch" not in sys.modules:
        return None
    try:
        return find(default_device()).describe()
    except DeviceError as error:
        return {"warnings": (str(error),)}


def _to_json(environment: Environment) -> bytes:
    return msgspec.json.encode({"schema": SCHEMA, "llm_latency": version(), "environment": environment}) + b"\n"
