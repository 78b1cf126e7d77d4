"""The committed quickstart notebook: what a reader sees who does not run it; `make demo` executes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from llm_latency.core.measurement import from_json
from tests.notebook.conftest import texts

PATH = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    """Its code cells, with their outputs."""
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_was_run_from_top_to_bottom(cells: list[Any]) -> None:
    """Executed once, in order, without an error or a warning."""
    assert list(range(1, len(cells) + 1)) == [cell.execution_count for cell in cells]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [] == [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def test_it_is_small_and_tells_nothing_of_the_machines_folders() -> None:
    """Its size is that of a page, and no absolute path is in it."""
    text = PATH.read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    assert [] == [folder for folder in ("/tmp/", "/var/", "/home/", "/root/", "C:\\\\") if folder in text]


def test_every_timed_cell_holds_its_measurement(cells: list[Any]) -> None:
    """What is shown as a table can be read back as numbers."""
    timed = [cell for cell in cells if "llmtime" in cell.source]
    assert 5 == len(timed)
    for cell in timed:
        (output,) = [output for output in cell.outputs if output.output_type == "display_data"]
        measurement = from_json(json.dumps(output.metadata["llm_latency"]))
        assert texts(cell)[0].startswith(measurement.name)
