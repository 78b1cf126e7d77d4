"""A command's result as text for people and JSON for programs: where each goes; not what either says."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from typing import Any, TextIO

import msgspec

from llm_latency.cli.output import STDOUT, Output
from llm_latency.cli.result import deliver, print_safely
from llm_latency.cli.version import version

# Where nobody says how wide the screen is; wider than this a line is hard to follow. As for the table of `time`.
_WIDTH, _MOST_WIDTH = 100, 120
_LEAST_SHARE, _MOST_SHARE = 0.005, 1.0


def share(text: str) -> float:
    """A type for argparse: a share from text such as `5%` or `0.05`."""
    bare = text.strip()
    try:
        found = float(bare.removesuffix("%")) / (100 if bare.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not _LEAST_SHARE <= found <= _MOST_SHARE:
        raise argparse.ArgumentTypeError(f"{text!r} was given; expected a share from 0.5% to 100%, such as 5%")
    return found


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`, whose file may be left out for stdout."""
    parser.add_argument(
        "--json", metavar="FILE", nargs="?", const=STDOUT, help="write everything as JSON; - or nothing for stdout"
    )


def json_output(given: argparse.Namespace) -> tuple[Output, ...]:
    """The output that `--json` asked for, if it did."""
    return () if given.json is None else (Output(option="--json", path=given.json),)


def present(
    text: Callable[[int], str], found: Any, outputs: tuple[Output, ...], *, schema: int, stdout: TextIO
) -> bool:
    """Print the text, on stderr where the JSON takes stdout, and write the JSON; return whether all of it arrived."""
    is_taken = any(output.is_stdout for output in outputs)
    stream = sys.stderr if is_taken else stdout
    arrived = print_safely(text(width_of(stream)), stream) or is_taken
    return deliver(outputs, lambda _: to_json(found, schema=schema), stdout=stdout) and arrived


def to_json(found: Any, *, schema: int) -> bytes:
    """One object: `schema`, the version that wrote it, and the fields of a struct."""
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    written = msgspec.json.encode({"schema": schema, "llm_latency": version()} | fields)
    return msgspec.json.format(written, indent=1) + b"\n"


def width_of(stream: TextIO) -> int:
    """Columns of a terminal, as many as a line is followed over; a hundred where nobody says."""
    return min(shutil.get_terminal_size((_WIDTH, 24)).columns, _MOST_WIDTH) if stream.isatty() else _WIDTH
