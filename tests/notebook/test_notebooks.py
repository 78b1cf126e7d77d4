"""The notebooks of this repository: what a reader sees who does not run them, and that they run."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from llm_latency.core.measurement import METADATA_KEY, Measurement, from_json

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ["from_cell_to_gate", "quickstart", "reading_a_result", "time_size_length"]
# Parts of a path that would be of the machine on which a notebook was run.
FOLDERS = ("/tmp/", "/var/", "/home/", "/root/", "/Users/", "C:\\\\", str(FOLDER.parent))


class Cells:
    """The code cells of a notebook, found by a piece of their code."""

    def __init__(self, notebook: Any) -> None:
        self.code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    def text(self, piece: str) -> str:
        """Everything that the one cell with `piece` in its code shows as text."""
        (cell,) = [cell for cell in self.code if piece in cell.source]
        return "\n".join(map(_text, cell.outputs))

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Measurements in the outputs' metadata, by their names."""
        kept = [o.metadata[METADATA_KEY] for c in self.code for o in c.outputs if METADATA_KEY in o.get("metadata", {})]
        return {found.name: found for found in (from_json(json.dumps(one)) for one in kept)}


def _text(output: Any) -> str:
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return str(output.text if output.output_type == "stream" else output.data["text/plain"])


def saved(name: str) -> Any:
    """A notebook as it is in the repository."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


@contextmanager
def executed(name: str, folder: Path) -> Iterator[tuple[Cells, NotebookClient]]:
    """Run a copy of a notebook beside copies of the others, offline; its kernel lives until the block ends."""
    shutil.copytree(FOLDER, folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(FOLDER.parent / "examples", folder / "examples")
    notebook = saved(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = NotebookClient(notebook, kernel_name="python3", timeout=300)
    environment = os.environ | {"IPYTHONDIR": str(folder / "ipython"), "HF_HUB_OFFLINE": "1"}
    with client.setup_kernel(env=environment, cwd=str(folder / "notebooks")):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        yield Cells(notebook), client


def test_these_are_all() -> None:
    """A notebook that is added is looked at here."""
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_was_run_from_top_to_bottom(name: str) -> None:
    """Executed once, in order, without an error, a warning, or the hours at which it ran."""
    cells = Cells(saved(name)).code
    assert list(range(1, len(cells) + 1)) == [cell.execution_count for cell in cells]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [] == [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert [] == [cell.metadata for cell in cells if cell.metadata]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_tells_nothing_of_the_machines_folders(name: str) -> None:
    """Its size is that of a page, and no absolute path is in it."""
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < 400_000
    assert [] == [folder for folder in FOLDERS if folder in text]


@pytest.mark.parametrize("name", NAMES)
def test_its_links_lead_somewhere(name: str) -> None:
    """Each relative link names a file that is there."""
    words = "\n".join(cell.source for cell in saved(name).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)#]+)", words)
    assert [] == [target for target in targets if not (FOLDER / target).exists()]


@pytest.mark.parametrize("name", NAMES)
def test_every_table_holds_its_measurement(name: str) -> None:
    """What is shown as a table can be read back as numbers; cells with -q show none."""
    cells = Cells(saved(name))
    timed = [cell for cell in cells.code if cell.source.startswith("%%llmtime") and " -q" not in cell.source]
    for cell in timed:
        (output,) = [output for output in cell.outputs if output.output_type == "display_data"]
        measurement = from_json(json.dumps(output.metadata[METADATA_KEY]))
        assert output.data["text/plain"].startswith(f"{measurement.name} · ")
        assert "text/html" in output.data
    assert len(cells.measurements) >= len(timed) > 0


def quickstart_says(cells: Cells) -> None:
    """What the quickstart's text says of its outputs, on any machine."""
    named = cells.measurements
    assert {"text to text", "six calls", "judged", "streamed", "bert.model(**words)"} == set(named)
    assert (1, 6, 6) == tuple(len(named[name].traces) for name in ("text to text", "six calls", "bert.model(**words)"))
    assert all(word in cells.text('"text to text"') for word in ("ttft", "tpot", "tokenize", "prefill", "decode"))
    assert 6 == len([line for line in cells.text("m.to_frame()").splitlines() if re.match(r"\d", line)])
    assert "Figure" in cells.text("m.plot")
    assert "TOO SLOW" in cells.text("--budget")
    assert "" == cells.text('-q --name "four beams"')
    assert "four beams" in cells.text("--history")
    assert "kept as baseline main" in cells.text("--baseline main")
    assert "ttft" not in cells.text("bert.model")
    assert cells.text("%unload_ext").startswith("tpot p50")


def reading_says(cells: Cells) -> None:
    """What the text of reading_a_result says of its outputs, on any machine."""
    named = cells.measurements
    assert 15 == named["one call"].itl.n
    assert float(named["one call"].output_throughput.p50) < 1 / float(named["one call"].tpot.p50)
    six = cells.text('"six calls"')
    assert (6, 90) == (named["six calls"].ttft.n, named["six calls"].itl.n)
    assert re.search(r"^ttft .* max ", six, re.MULTILINE)
    assert re.search(r"^itl .* p95 ", six, re.MULTILINE)
    assert cells.text("calm.ttft.p95").startswith("p95 needs at least 20 values and this sample has 6")
    assert "(kept apart)" in cells.text('"built once"')
    assert all(re.search(f"^{phase} ", cells.text('"with loading"'), re.MULTILINE) for phase in ("load", "tokenize"))
    assert "MiB and then" in cells.text("del other")
    busy = cells.text('"beside neighbours"')
    assert all(word in busy for word in ("ttft_own", "tpot_own", "e2e_own", "warning: other programs had"))
    assert "decode_throughput_per_sequence" in cells.text("both.loc")
    assert {"eos", "length"} == set(re.findall(r"[a-z]+", cells.text("finish_reasons")))
    assert "warning: new tokens a call vary from" in cells.text('"answers that end"')
    assert 1 == len(named["chat"].traces)
    assert "unequal work: prompt tokens went from" in cells.text('"chat"')
    assert named["prompt lookup"].itl.n < named["prompt lookup"].itl_per_token.n == 23
    assert 3 == named["from a server"].traces[0].new_tokens
    assert "each item of the stream counts as one token" in cells.text('"from a server"')


def gate_says(cells: Cells) -> None:
    """What the text of from_cell_to_gate says of its outputs, on any machine."""
    assert "wrote tests/test_answer.py" in cells.text("--export")
    assert "@pytest.mark.latency_budget(ttft_p50=" in cells.text("print(Path")
    passing, breaking = [_text_of(cell) for cell in cells.code if "pytest -q" in cell.source]
    assert "1 passed" in passing or "UNDECIDED" in passing
    assert "tpot p50 < 5 ms: observed" in breaking
    assert "1 failed" in breaking
    assert 'answer("What makes a language model fast?")' in pasted(breaking)
    kept, compared = [_text_of(cell) for cell in cells.code if cell.source == "%llmtime --baseline main"]
    assert "kept as baseline main in .llm-latency/main.json" == kept
    assert compared.startswith("first: an answer (baseline main) · second: with four beams")
    assert all(name in cells.text("extract quickstart.ipynb") for name in ("text to text", "streamed"))
    unchanged, slower = gates(cells)
    assert "gate against HEAD: ok" in unchanged or "UNDECIDED" in unchanged
    assert "gate against HEAD: TOO SLOW" in slower or "UNDECIDED" in slower


def sizes_say(cells: Cells) -> None:
    """What the text of time_size_length says of its outputs, on any machine."""
    assert "T = 1e+07 and Q = 10000" in cells.text("quoted_time(10e9, 1000)")
    assert "T for 64 tokens over T for 768: 12" in cells.text("quoted_time(10e9, 1000)")
    assert "sweep · 12 cells · 12 measured" in cells.text("print(swept)")
    assert "Figure" in cells.text('swept.plot("length")')
    assert "image/png" in next(cell for cell in cells.code if "swept.plot" in cell.source).outputs[-1].data
    relative = [line.split() for line in cells.text("print(relative").splitlines() if re.match(r"\d", line)]
    assert ["16", "64", "256"] == [line[0] for line in relative]
    *measured, quoted = map(float, relative[-1][1:])
    assert min(measured) > 1 > quoted == 0.06
    assert "shape:rwkv-169m" in cells.text('["shape:gpt2", "shape:rwkv-169m"]')
    assert "held out by length" in cells.text("print(fit_table(fitted))")
    assert all(f"{name}: measured" in cells.text('"ttft", "tpot", "e2e"') for name in ("ttft", "tpot", "e2e"))
    assert "8 that share every layer without cost" in cells.text("8xh100-sxm")
    times = re.findall(r"tokens: ([\d.]+) to", cells.text('"h100-sxm"'))
    assert sorted(times, key=float) == times
    assert 3 == len(times)


def gates(cells: Cells) -> tuple[str, str]:
    """What the gates of from_cell_to_gate have printed: of unchanged code, and of slower code."""
    unchanged, slower = [_text_of(cell) for cell in cells.code if "llm-latency gate" in cell.source]
    return unchanged, slower


def _text_of(cell: Any) -> str:
    return "".join(map(_text, cell.outputs))


def pasted(output: str) -> str:
    """The cell to paste out of what pytest has printed."""
    found = re.search(r"^-+ llm-latency: a cell to paste -+\n(.*?)\n[-=]{3,}", output.replace("\r", ""), re.M | re.S)
    assert found is not None, output
    return found[1]


def test_the_saved_quickstart_shows_what_it_says() -> None:
    """Its words fit the outputs that are kept, those that another machine might not give too."""
    cells = Cells(saved("quickstart"))
    quickstart_says(cells)
    assert re.search(r"^ttft .* slower$", cells.text("--compare"), re.MULTILINE)
    assert re.search(r"ttft p50 < 2 s +PASS", cells.text("--budget"))


def test_the_saved_reading_of_a_result_shows_what_it_says() -> None:
    """Its words fit the outputs that are kept, those that another machine might not give too."""
    cells = Cells(saved("reading_a_result"))
    reading_says(cells)
    assert "2 cores" in cells.text('"one call"')
    assert "warning" not in cells.text('"one call"') + cells.text('"six calls"')
    busy = cells.text('"beside neighbours"')
    assert "UNDECIDED" in busy
    assert "without the delay by other programs" in busy


def test_the_saved_time_size_and_length_shows_what_it_says() -> None:
    """Its words fit the outputs that are kept, those that another machine might not give too."""
    cells = Cells(saved("time_size_length"))
    sizes_say(cells)
    for name in ("ttft", "tpot", "e2e"):
        found = re.search(rf"{name}: measured ([\d.]+) (m?s), predicted (\d+) ms", cells.text('"ttft", "tpot", "e2e"'))
        assert found is not None
        measured = float(found[1]) * (1 if found[2] == "ms" else 1000)
        assert abs(float(found[3]) / measured - 1) < 0.25


def test_the_saved_way_to_the_gate_shows_what_it_says() -> None:
    """Its words fit the outputs that are kept, those that another machine might not give too."""
    cells = Cells(saved("from_cell_to_gate"))
    gate_says(cells)
    passing, breaking = [_text_of(cell) for cell in cells.code if "pytest -q" in cell.source]
    assert "1 passed" in passing
    assert "TOO SLOW" in breaking
    assert "slower" in [_text_of(cell) for cell in cells.code if cell.source == "%llmtime --baseline main"][1]
    unchanged, slower = gates(cells)
    assert "gate against HEAD: ok" in unchanged
    assert "gate against HEAD: TOO SLOW" in slower


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path) -> None:
    """From top to bottom without an error, and its outputs are what the text says."""
    with executed("quickstart", tmp_path) as (cells, _):
        quickstart_says(cells)


@pytest.mark.slow
def test_the_reading_of_a_result_runs(tmp_path: Path) -> None:
    """From top to bottom without an error, and its outputs are what the text says."""
    with executed("reading_a_result", tmp_path) as (cells, _):
        reading_says(cells)


@pytest.mark.slow
def test_time_size_and_length_run(tmp_path: Path) -> None:
    """From top to bottom without an error, and its outputs are what the text says."""
    with executed("time_size_length", tmp_path) as (cells, _):
        sizes_say(cells)


@pytest.mark.slow
def test_the_way_to_the_gate_runs(tmp_path: Path) -> None:
    """From top to bottom without an error; its outputs are what the text says, and the cell to paste runs in it."""
    with executed("from_cell_to_gate", tmp_path) as (cells, client):
        gate_says(cells)
        source = pasted(next(text for text in map(_text_of, cells.code) if "a cell to paste" in text))
        cell = nbformat.v4.new_code_cell(source)
        client.nb.cells.append(cell)
        client.execute_cell(cell, len(client.nb.cells) - 1)
        assert re.search("tpot p50 < 5 ms +TOO SLOW", _text_of(cell))
