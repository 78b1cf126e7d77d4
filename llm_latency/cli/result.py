"""A measurement handed over: the table printed, the files written, the exit code; not the measuring."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TextIO

from llm_latency.cli.output import Output
from llm_latency.cli.parser import PROGRAM
from llm_latency.core.measurement import Measurement, to_json
from llm_latency.core.verdict import FAIL, UNDECIDED
from llm_latency.report.escape import plain
from llm_latency.report.html import page
from llm_latency.report.markdown import markdown
from llm_latency.report.text import table

PASSED, BUDGET_FAILED, UNUSABLE, NOT_DECIDED, INTERRUPTED = 0, 1, 2, 3, 130
# Where nobody says how wide the screen is; wider than this a line is hard to follow.
_WIDTH, _MOST_WIDTH = 100, 120


def present(measurement: Measurement, outputs: tuple[Output, ...], *, stdout: TextIO, quiet: bool) -> bool:
    """Print the table, then write every output; return whether all of it arrived.

    Where an output takes stdout, the table goes to stderr, or away with `quiet`.
    """
    arrived = True
    if not any(output.is_stdout for output in outputs):
        arrived = print_safely(table(measurement, width=_width(stdout)), stdout)
    elif not quiet:
        print_safely(table(measurement, width=_width(sys.stderr)), sys.stderr)
    return deliver(outputs, lambda output: _content(measurement, output), stdout=stdout) and arrived


def deliver(outputs: tuple[Output, ...], content: Callable[[Output], bytes], *, stdout: TextIO) -> bool:
    """Write every output; return whether all of it arrived. One that fails is reported, and the others are written."""
    arrived = True
    for output in outputs:
        try:
            output.write(content(output), stdout=stdout)
        except BrokenPipeError:
            _drop(stdout)
        except OSError as error:
            if output.is_stdout:
                _drop(stdout)
            where = "stdout" if output.is_stdout else output.path
            complain(f"{output.option}: {where} could not be written ({error.strerror or error})")
            arrived = False
    return arrived


def exit_code(measurement: Measurement, *, strict: bool) -> int:
    """1 when a budget failed, 3 when one is undecided under `strict`, else 0."""
    outcomes = {verdict.outcome for verdict in measurement.verdicts}
    if FAIL in outcomes:
        return BUDGET_FAILED
    return NOT_DECIDED if strict and UNDECIDED in outcomes else PASSED


def complain(message: str) -> None:
    """Say in one line on stderr what went wrong."""
    print(f"{PROGRAM}: error: {plain(message)}", file=sys.stderr, flush=True)


def print_safely(text: str, stream: TextIO) -> bool:
    """Print; return whether the stream took it. A reader that has left (`| head`) is no error."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _drop(stream)
    except OSError as error:
        _drop(stream)
        complain(f"the table could not be printed ({error.strerror or error})")
        return False
    return True


def _content(measurement: Measurement, output: Output) -> bytes:
    if output.option == "--json":
        return to_json(measurement) + b"\n"
    return (page(measurement) if output.option == "--html" else markdown(measurement)).encode("utf-8")


def _width(stream: TextIO) -> int:
    return min(shutil.get_terminal_size((_WIDTH, 24)).columns, _MOST_WIDTH) if stream.isatty() else _WIDTH


def _drop(stream: TextIO) -> None:
    """Send what is still buffered nowhere, or Python would fail once more when it flushes at exit."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
