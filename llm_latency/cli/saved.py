"""Saved: the measurements that `%%llmtime` left in a saved notebook, read from its JSON; not what is made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.measurement import METADATA_KEY, Measurement, from_json
from llm_latency.errors import MeasurementFileError

_FORMAT = 4  # of nbformat: since 2014; what came before kept its cells elsewhere


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement and where it stands: the cell's number as the notebook shows it, and its place from 1."""

    notebook: str
    execution_count: int | None
    position: int
    measurement: Measurement

    @property
    def cell(self) -> str:
        """Which cell: `[3]` as the notebook shows it, `#7` for the seventh where it shows none."""
        return _cell(self.execution_count, self.position)


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a notebook held, and in words what of it could not be read."""

    results: tuple[Saved, ...] = ()
    problems: tuple[str, ...] = ()


def read_notebook(path: str) -> Contents:
    """Read every measurement of a notebook; one that is shown again, as by `%llmtime --last`, counts once."""
    try:
        cells = _cells(path)
    except MeasurementFileError as error:
        return Contents(problems=(str(error),))
    notebook = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    results: list[Saved] = []
    problems: list[str] = []
    for position, cell in enumerate(cells, start=1):
        count = cell.get("execution_count")
        count = count if isinstance(count, int) else None
        for kept in _kept(cell):
            try:
                measurement = from_json(json.dumps(kept), source=f"{path}, cell {_cell(count, position)}")
            except MeasurementFileError as error:
                problems.append(str(error))
                continue
            if all(measurement != other.measurement for other in results):
                results.append(
                    Saved(notebook=notebook, execution_count=count, position=position, measurement=measurement)
                )
    if not results and not problems:
        problems.append(f"{path} holds no result of %%llmtime; run its cells and save it, outputs included")
    return Contents(results=tuple(results), problems=tuple(problems))


def _cell(count: int | None, position: int) -> str:
    return f"#{position}" if count is None else f"[{count}]"


def _cells(path: str) -> list[dict[str, Any]]:
    """The cells of a notebook; raises MeasurementFileError when the file is none."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError for a name with a NUL
        raise MeasurementFileError(_unreadable(path, error)) from error
    try:
        whole = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MeasurementFileError(
            f"{path} is no notebook, or was cut off: it is not complete JSON ({error})"
        ) from error
    cells = whole.get("cells") if isinstance(whole, dict) else None
    if isinstance(whole, dict) and isinstance(whole.get("worksheets"), list):
        raise MeasurementFileError(f"{path} has a format before nbformat {_FORMAT}; save it with a Jupyter of today")
    if not isinstance(cells, list):
        raise MeasurementFileError(f"{path} is no notebook: it has no list of cells, as nbformat {_FORMAT} has")
    return [cell if isinstance(cell, dict) else {} for cell in cells]


def _unreadable(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and any(character in path for character in "*?["):
        return f"no file matches {path}: the shell replaces a pattern by names, and has found none"
    if isinstance(error, IsADirectoryError) or Path(path).is_dir():
        return f"{path} is a folder; name the notebooks in it, such as {Path(path) / '*.ipynb'}"
    return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"


def _kept(cell: dict[str, Any]) -> Iterator[object]:
    """What the outputs of a code cell keep under our name, in their order."""
    outputs = cell.get("outputs") if cell.get("cell_type") == "code" else None
    for output in outputs if isinstance(outputs, list) else ():
        metadata = output.get("metadata") if isinstance(output, dict) else None
        if isinstance(metadata, dict) and METADATA_KEY in metadata:
            yield metadata[METADATA_KEY]
