"""`llm-latency extract`: results of saved notebooks as a table, CSV and JSON, and what cannot be read."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_latency.cli.main import main
from llm_latency.cli.saved import read_notebook
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import METADATA_KEY, Measurement, from_json, to_json
from llm_latency.core.trace import Request, Trace
from llm_latency.core.verdict import Verdict

Make = Callable[..., Measurement]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
MS = 1_000_000
COLUMNS = "notebook,cell,name,recorded_at,complete,metric,unit,n,p50,low,high,max,definition"
COLUMNS += ",device,torch,transformers,warnings"


def kept(measurement: Measurement) -> dict[str, Any]:
    """A measurement as an output's metadata holds it."""
    return {METADATA_KEY: json.loads(to_json(measurement))}


def code(*metadata: Mapping[str, object], count: int | None = 1) -> dict[str, Any]:
    """A code cell with a printed line and an output for each metadata."""
    outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": ["hello\n"]}]
    outputs += [{"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": one} for one in metadata]
    return {"cell_type": "code", "execution_count": count, "metadata": {}, "outputs": outputs, "source": []}


TEXT = {"cell_type": "markdown", "metadata": {METADATA_KEY: {}}, "source": ["# A title"]}


def write(path: Path, *cells: object, **more: object) -> str:
    """Save a notebook; its path."""
    document = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


@pytest.fixture
def generated(measured: Make) -> Measurement:
    """Six calls: ttft 100 … 105 ms, two gaps of 20 ms, 10 ms behind; one budget passed, one failed."""

    def call(ttft_ms: int) -> Trace:
        emissions = tuple(((ttft_ms + gap) * MS, 1) for gap in (0, 20, 40))
        request = Request(
            kind="generate", start_ns=0, stop_ns=emissions[-1][0], emissions=emissions, rows=1, row_tokens=(3,)
        )
        return Trace(start_ns=0, stop_ns=(ttft_ms + 50) * MS, requests=(request,))

    return measured(
        name="answers",
        traces=tuple(call(100 + index) for index in range(6)),
        environment=Environment(device="cuda:0", torch="2.13.0", transformers="5.24.0"),
        recorded_at="2026-11-25T21:22:15+00:00",
        warnings=("a profiler runs",),
        verdicts=(
            Verdict(budget="ttft p50 < 1 s", outcome="pass", metric="ttft", observed=0.1, limit=1.0),
            Verdict(budget="total p50 < 1 ms", outcome="fail", metric="total", observed=0.15, limit=0.001),
        ),
    )


def test_the_table_to_the_letter(
    generated: Measurement,
    measured: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line a result: the number in brackets that the notebook shows, or the cell's place."""
    monkeypatch.chdir(tmp_path)
    partial = measured(name="stopped", traces=measured().traces[:1], complete=False)
    write(Path("a.ipynb"), TEXT, code(count=2), code(kept(generated), count=3), code(kept(partial), count=None))
    write(Path("b.ipynb"), code(kept(measured())))
    assert 0 == main(["extract", "a.ipynb", "b.ipynb"])
    # The medians lie between the third and the fourth call, at 102.5, 142.5 and 152.5 ms; three digits round to even.
    expected = """\
notebook  cell  name           calls    ttft     tpot     e2e    total  verdicts
a.ipynb   [3]   answers            6  102 ms  20.0 ms  142 ms   152 ms  PASS, TOO SLOW
a.ipynb   #4    stopped  1 (partial)                           10.0 ms
b.ipynb   [1]   chat               6                           10.0 ms
"""
    assert (expected, "") == capsys.readouterr()


def test_columns_that_no_result_fills_are_left_out(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell without a model has a total only."""
    assert 0 == main(["extract", write(tmp_path / "a.ipynb", code(kept(measured())))])
    assert ["notebook", "cell", "name", "calls", "total"] == capsys.readouterr().out.splitlines()[0].split()


def test_csv_is_a_line_a_result_and_metric(
    generated: Measurement, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In base units; alone on stdout; metrics without a value have no line."""
    path = write(tmp_path / "a.ipynb", code(kept(generated), count=7))
    assert 0 == main(["extract", path, "--csv", "-"])
    out, err = capsys.readouterr()
    assert (COLUMNS, "") == (out.splitlines()[0], err)
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [name for name, row in generated.derived().items() if row.n] == [line["metric"] for line in lines]
    assert {
        "notebook": path,
        "cell": "[7]",
        "name": "answers",
        "recorded_at": "2026-11-25T21:22:15+00:00",
        "complete": "true",
        "metric": "ttft",
        "unit": "s",
        "n": "6",
        "p50": "0.1025",
        "low": "0.1",
        "high": "0.105",
        "max": "0.105",
        "definition": "ttft@1",
        "device": "cuda:0",
        "torch": "2.13.0",
        "transformers": "5.24.0",
        "warnings": "a profiler runs",
    } == lines[0]


def test_csv_of_a_single_call_has_no_interval(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty cells; why, in the last one."""
    one = measured(traces=measured().traces[:1], complete=False)
    assert 0 == main(["extract", write(tmp_path / "a.ipynb", code(kept(one))), "--csv", "-"])
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert ("0.01", "", "", "false", "one call, no interval", "", "") == tuple(
        line[name] for name in ("p50", "low", "high", "complete", "warnings", "recorded_at", "torch")
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\t=", "\r@"])
def test_a_spreadsheet_runs_nothing(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str
) -> None:
    """Text from outside that would be a formula begins with an apostrophe, or with a visible control character."""
    text = f'{start}HYPERLINK("http://evil")'
    environment = Environment(device=text, torch=text, transformers=text)
    hostile = measured(name=text, recorded_at=text, environment=environment, warnings=(text,))
    path = write(tmp_path / "a.ipynb", code(kept(hostile)))
    assert 0 == main(["extract", path, "--csv", "-"])
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    cells = [line[name] for name in ("name", "recorded_at", "device", "torch", "transformers", "warnings")]
    assert 1 == len(set(cells))
    assert cells[0][0] in "'\\"


def test_numbers_below_zero_stay_numbers(tmp_path: Path, measured: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """The guard is for text: a minus in front of a joule is data."""
    trace = Trace(start_ns=0, stop_ns=MS, energy_j=-1.5)
    path = write(tmp_path / "a.ipynb", code(kept(measured(traces=(trace,)))))
    assert 0 == main(["extract", path, "--csv", "-"])
    lines = {line["metric"]: line for line in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert "-1.5" == lines["energy"]["p50"]


def test_json_holds_every_measurement_whole(
    generated: Measurement, measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With where it comes from, and a schema."""
    path = write(tmp_path / "a.ipynb", TEXT, code(kept(generated)), code(kept(measured()), count=None))
    assert 0 == main(["extract", path, "--json", "-"])
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (["schema", "llm_latency", "results"], 1, "") == (list(document), document["schema"], err)
    places = [(one["notebook"], one["execution_count"], one["position"]) for one in document["results"]]
    assert [(path, 1, 2), (path, None, 3)] == places
    read = [from_json(json.dumps(one["measurement"])) for one in document["results"]]
    assert [generated, measured()] == read


def test_files_are_written_beside_the_table(measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once."""
    path = write(tmp_path / "a.ipynb", code(kept(measured())))
    assert 0 == main(["extract", path, "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")])
    assert capsys.readouterr().out.startswith("notebook")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").startswith(COLUMNS)
    assert 1 == json.loads((tmp_path / "a.json").read_bytes())["schema"]


def test_a_result_that_is_shown_again_counts_once(measured: Make, generated: Measurement, tmp_path: Path) -> None:
    """`%llmtime --last`, or a variable at the end of a cell; the same notebook named twice, too."""
    cells = (code(kept(generated), kept(measured())), code(kept(generated), count=2))
    path = write(tmp_path / "a.ipynb", *cells)
    assert ["[1]", "[1]"] == [one.cell for one in read_notebook(path).results]
    assert 2 == len(read_notebook(write(tmp_path / "b.ipynb", *cells)).results)


def test_a_notebook_named_twice_is_read_once(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By two patterns, say; the order is that of the first names."""
    first, second = (write(tmp_path / f"{name}.ipynb", code(kept(measured()))) for name in "ba")
    assert 0 == main(["extract", first, second, f"{tmp_path}/./b.ipynb"])
    assert [first, second] == [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]


NONE = "holds no result of %%llmtime; run its cells and save it, outputs included"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"cells": [', "is no notebook, or was cut off: it is not complete JSON"),
        (b"", "is no notebook, or was cut off: it is not complete JSON"),
        (b"\xff\xfe{}", "is no notebook, or was cut off: it is not complete JSON ('utf-8' codec"),
        (b"[" * 200_000, "is no notebook, or was cut off: it is not complete JSON"),
        (b"[]", "is no notebook: it has no list of cells, as nbformat 4 has"),
        (b'{"name": "package"}', "is no notebook: it has no list of cells, as nbformat 4 has"),
        (b'{"worksheets": [], "nbformat": 3}', "has a format before nbformat 4; save it with a Jupyter of today"),
        (b'{"cells": []}', NONE),
        (b'{"cells": [1, null, {"cell_type": "code"}, {"cell_type": "code", "outputs": 7}]}', NONE),
        (b'{"cells": [{"cell_type": "code", "outputs": [1, {"metadata": 2}, {"metadata": {}}]}]}', NONE),
        (
            b'{"cells": [{"cell_type": "code", "execution_count": 4, "outputs": [{"metadata": {"llm_latency": 5}}]}]}',
            "cell [4] has no integer 'schema'; it is not a measurement of llm-latency",
        ),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_extracted(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    """One line on stderr with the file's name; exit code 2."""
    bad = tmp_path / "bad.ipynb"
    bad.write_bytes(content)
    good = write(tmp_path / "good.ipynb", code(kept(measured())))
    assert 2 == main(["extract", str(bad), good])
    out, err = capsys.readouterr()
    assert [good] == [line.split()[0] for line in out.splitlines()[1:]]
    assert 1 == err.count("\n")
    assert err.startswith(f"llm-latency: error: {bad}")
    assert words in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("*.ipynb", "no file matches {path}: the shell replaces a pattern by names, and has found none"),
        ("none.ipynb", "{path} cannot be read: No such file or directory"),
        ("", "{path} is a folder; name the notebooks in it, such as {path}/*.ipynb"),
    ],
)
def test_a_name_that_is_no_file_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    """What stands there and what was expected."""
    path = str(tmp_path / name)
    assert 2 == main(["extract", path])
    assert ("", f"llm-latency: error: {words.format(path=path)}\n") == capsys.readouterr()


def test_a_newer_result_is_named_and_the_others_kept(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one notebook, even in one cell."""
    newer = {METADATA_KEY: kept(measured())[METADATA_KEY] | {"schema": 99}}
    path = write(tmp_path / "a.ipynb", TEXT, code(newer, kept(measured()), count=5))
    assert 2 == main(["extract", path])
    out, err = capsys.readouterr()
    assert 2 == len(out.splitlines())
    assert f"{path}, cell [5] has schema 99 and this version reads up to 1" in err


def test_without_any_result_no_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty one would replace an earlier one."""
    (tmp_path / "a.csv").write_text("earlier")
    path = write(tmp_path / "a.ipynb", code())
    assert 2 == main(["extract", path, "--csv", str(tmp_path / "a.csv")])
    assert ("", f"llm-latency: error: {path} {NONE}\n") == capsys.readouterr()
    assert "earlier" == (tmp_path / "a.csv").read_text()


def test_a_notebook_is_not_overwritten_by_its_result(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`extract --json a.ipynb a.ipynb` is a slip that costs work."""
    path = write(tmp_path / "a.ipynb", code(kept(measured())))
    before = (tmp_path / "a.ipynb").read_bytes()
    assert 2 == main(["extract", "--json", f"{tmp_path}/./a.ipynb", path])
    assert "is a notebook that is read; give the result its own file" in capsys.readouterr().err
    assert before == (tmp_path / "a.ipynb").read_bytes()


def test_outputs_are_checked_before_anything_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `time` does."""
    assert 2 == main(["extract", "none.ipynb", "--csv", "-", "--json", "-"])
    assert "--csv and --json cannot both go to stdout" in capsys.readouterr().err
    assert 2 == main(["extract", "none.ipynb", "--csv", str(tmp_path / "missing" / "a.csv")])
    assert "none.ipynb" not in capsys.readouterr().err


def test_text_from_outside_stays_on_its_line(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in the table nor in the CSV can a name colour the terminal or begin a line."""
    path = write(tmp_path / "a.ipynb", code(kept(measured(name="x\x1b[31m\n[9] faked \u202e"))))
    for arguments in ([], ["--csv", "-"]):
        assert 0 == main(["extract", path, *arguments])
        out = capsys.readouterr().out
        assert 2 == len(out.splitlines())
        assert r"x\x1b[31m\n[9] faked \u202e" in out


def test_a_verdict_of_a_newer_version_is_shown_as_it_is(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An outcome or a metric that this version does not know."""
    odd = Verdict(budget="b", outcome="deferred", metric="total", observed=1.0, limit=1.0)
    newer = measured(verdicts=(odd, msgspec.structs.replace(odd, metric="joy")))
    assert 0 == main(["extract", write(tmp_path / "a.ipynb", code(kept(newer)))])
    assert capsys.readouterr().out.splitlines()[1].endswith("DEFERRED, DEFERRED")


def test_a_byte_order_mark_is_no_matter(measured: Make, tmp_path: Path) -> None:
    """Some editors of Windows add one."""
    path = write(tmp_path / "a.ipynb", code(kept(measured())))
    (tmp_path / "a.ipynb").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.ipynb").read_bytes())
    assert 1 == len(read_notebook(path).results)


def test_the_quickstart_as_it_is_saved(command: Run) -> None:
    """A real notebook through the installed command."""
    notebook = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"
    run = command("extract", notebook)
    assert (0, "") == (run.returncode, run.stderr)
    saved = json.loads(notebook.read_text(encoding="utf-8"))
    names = [
        output["metadata"][METADATA_KEY]["name"]
        for cell in saved["cells"]
        for output in cell.get("outputs", [])
        if METADATA_KEY in output.get("metadata", {})
    ]
    assert names
    assert all(name in run.stdout for name in names)
