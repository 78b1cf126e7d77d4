"""`llm-latency extract`: results out of saved notebooks, as a table, CSV or JSON; not how they are found there."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM
from llm_latency.cli.result import PASSED, UNUSABLE, complain, deliver, print_safely
from llm_latency.cli.saved import Saved, read_notebook
from llm_latency.cli.version import version
from llm_latency.core.measurement import Measurement, to_json
from llm_latency.errors import UsageError
from llm_latency.report.escape import plain
from llm_latency.report.listing import filled, listed
from llm_latency.report.text import aligned

SCHEMA = 1
_WORDS = ("notebook", "cell", "name", "verdicts")
_FACTS = ("device", "torch", "transformers")
_NUMBERS = ("n", "p50", "low", "high", "max")
_COLUMNS = ("notebook", "cell", "name", "recorded_at", "complete", "metric", "unit", *_NUMBERS, "definition")
# A spreadsheet takes a text that begins so for a formula, also in full width (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_DESCRIPTION = "Read the results that %%llmtime left in saved notebooks; nothing is run."
_EXAMPLES = f"""\
examples:
  {PROGRAM} extract chat.ipynb
  {PROGRAM} extract notebooks/*.ipynb --csv results.csv
  {PROGRAM} extract chat.ipynb --json - | jq '.results[].measurement.metrics.ttft.p50'

exit codes:
  0 every notebook gave its results   2 misuse, or a notebook could not be read or has none; the others are extracted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractSettings:
    """What was asked of `extract`."""

    notebooks: tuple[str, ...]
    outputs: tuple[Output, ...]

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        paths = (("--csv", given.csv), ("--json", given.json))
        return cls(
            notebooks=_distinct(given.notebooks),
            outputs=tuple(Output(option=option, path=path) for option, path in paths if path is not None),
        )


def _distinct(paths: Sequence[str]) -> tuple[str, ...]:
    """Each file once, by its first name: two patterns may both match it."""
    names: dict[str, str] = {}
    for path in paths:
        names.setdefault(os.path.realpath(path), path)
    return tuple(names.values())


def add_command(commands: Any) -> None:
    """Add `extract` to the main parser's commands."""
    parser = commands.add_parser(
        "extract", help="read the results out of saved notebooks", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(ExtractSettings.from_namespace(given)))
    parser.add_argument("notebooks", metavar="FILE.ipynb", nargs="+", help="a notebook as Jupyter saves it")
    parser.add_argument("--csv", metavar="FILE", help="write a line a result and metric, in base units; - for stdout")
    parser.add_argument("--json", metavar="FILE", help="write every result with its calls; - for stdout")


def run(settings: ExtractSettings) -> int:
    """Print the table, or write the files; returns the exit code. What cannot be read is said and left out."""
    check_outputs(settings.outputs)
    _spare_notebooks(settings)
    is_taken = any(output.is_stdout for output in settings.outputs)
    results: list[Saved] = []
    arrived = True
    with reserved_stdout(reserve=is_taken) as stdout:
        for path in settings.notebooks:
            contents = read_notebook(path)
            results += contents.results
            for problem in contents.problems:
                complain(problem)
                arrived = False
        if not results:
            return UNUSABLE  # an empty file would replace an earlier one
        if not is_taken:
            arrived &= print_safely("\n".join(_table(results)), stdout)
        arrived &= deliver(settings.outputs, lambda output: _content(results, output), stdout=stdout)
    return PASSED if arrived else UNUSABLE


def _spare_notebooks(settings: ExtractSettings) -> None:
    read = set(map(os.path.realpath, settings.notebooks))
    for output in settings.outputs:
        if not output.is_stdout and os.path.realpath(output.path) in read:
            raise UsageError(f"{output.option} {output.path} is a notebook that is read; give the result its own file")


def _table(results: Sequence[Saved]) -> list[str]:
    """A line a result, without the columns that none fills."""
    where = [("notebook", "cell"), *((one.notebook, one.cell) for one in results)]
    what = listed(one.measurement for one in results)
    lines = filled([(*place, *line) for place, line in zip(where, what, strict=True)])
    return aligned(lines, words=[index for index, head in enumerate(lines[0]) if head in _WORDS])


def _content(results: Sequence[Saved], output: Output) -> bytes:
    return _to_json(results) if output.option == "--json" else _to_csv(results)


def _to_json(results: Sequence[Saved]) -> bytes:
    found = [
        {
            "notebook": one.notebook,
            "execution_count": one.execution_count,
            "position": one.position,
            "measurement": msgspec.Raw(to_json(one.measurement)),
        }
        for one in results
    ]
    return msgspec.json.encode({"schema": SCHEMA, "llm_latency": version(), "results": found}) + b"\n"


def _to_csv(results: Sequence[Saved]) -> bytes:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow((*_COLUMNS, *_FACTS, "warnings"))
    for one in results:
        writer.writerows(_records(one, one.measurement))
    return written.getvalue().encode("utf-8")


def _records(one: Saved, measurement: Measurement) -> Iterator[tuple[object, ...]]:
    """A record for each metric that has a value; a number that is not known is empty."""
    where = tuple(map(_text, (one.notebook, one.cell, measurement.name, measurement.recorded_at)))
    facts = tuple(_text(getattr(measurement.environment, fact)) for fact in _FACTS)
    for name, row in measurement.derived().items():
        if row.n:
            numbers = (getattr(row, number) for number in _NUMBERS)
            doubts = _text("; ".join((*row.warnings, *measurement.warnings)))
            complete = "true" if measurement.complete else "false"
            yield (*where, complete, name, row.unit, *numbers, row.definition, *facts, doubts)


def _text(value: str | None) -> str:
    """A text from outside as a cell that no spreadsheet runs."""
    text = "" if value is None else plain(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
