"""What %llmtime does with results that are there: showing, listing, comparing, keeping and exporting them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_latency.core.contrast import Contrast
from llm_latency.core.measurement import Measurement, save
from llm_latency.notebook import export
from llm_latency.notebook.desk import Desk
from llm_latency.notebook.result import bundle
from tests.notebook.results import result

NOTHING = "UsageError: nothing has been timed yet; put %%llmtime on the first line of a cell"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines lie below the working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def desk(shell: Any) -> Desk:
    """The magic's desk in the shell."""
    found = shell.ip.find_line_magic("llmtime").__self__.desk
    assert isinstance(found, Desk)
    return found


def timed(desk: Desk, *names: str) -> list[Measurement]:
    """Results in the session, of 1, 2, 3 ms and so on, six calls each."""
    for name in names:
        number = len(desk.session.entries) + 1
        desk.session.add(result(name, total_ms=number, calls=6), source=f"code {number}", inputs=number)
    return [entry.measurement for entry in desk.session.entries]


def refused(shell: Any, capsys: pytest.CaptureFixture[str], cell: str) -> str:
    """The one line that a cell of wrong use shows; it has no other output."""
    capsys.readouterr()
    before = len(shell.outputs)
    assert not shell.run(cell).success
    shown = capsys.readouterr()
    assert ("", before) == (shown.out, len(shell.outputs))
    (line,) = shown.err.splitlines()
    return line


@pytest.mark.parametrize("action", ["--last", "--history", "--baseline main", "--export test_x.py"])
def test_nothing_can_be_done_with_no_result(shell: Any, capsys: pytest.CaptureFixture[str], action: str) -> None:
    """The message says what comes first; no file is made."""
    assert NOTHING == refused(shell, capsys, f"%llmtime {action}")
    assert [] == list(Path().iterdir())


@pytest.mark.parametrize("action", ["--last", "--history", "--compare", "--export=x.py"])
def test_an_action_times_nothing(shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str], action: str) -> None:
    """Code below it does not run, in the cell and as run_cell_magic."""
    timed(desk, "a", "b")
    name = action.partition("=")[0]
    expected = f"UsageError: {name} times nothing; write %llmtime {name} on its own"
    assert expected == refused(shell, capsys, f"%%llmtime {action}\nx = 1")
    assert expected == refused(shell, capsys, f"get_ipython().run_cell_magic('llmtime', {action!r}, 'x = 1')")
    assert ("x" in shell.names, 2) == (False, len(desk.session.entries))


def test_the_last_of_a_name_is_shown_again(shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, with its metadata; by its number too, and into a variable."""
    first, second, third = timed(desk, "a", "b", "a")
    for line, expected in (("", third), ("--name b", second), ("--name 1", first)):
        assert shell.value(f"%llmtime --last {line} -v m") is None
        shown = shell.outputs[-1]
        assert (bundle(expected), True) == ((shown["data"], shown["metadata"]), shell.names["m"] is expected)
    assert "there is no measurement 'x'; known: 1 (a), 2 (b), 3 (a)" in refused(
        shell, capsys, "%llmtime --last --name x"
    )


def test_history_is_a_line_for_each_result(shell: Any, desk: Desk) -> None:
    """Numbered; as text, as a table, and with -o as the measurements."""
    measurements = timed(desk, "a", "<b>")
    assert shell.value("%llmtime --history") is None
    (output,) = shell.outputs
    assert [
        "#  name  calls    total",
        "1  a         6  1.00 ms",
        "2  <b>       6  2.00 ms",
    ] == output["data"]["text/plain"].splitlines()
    assert "&lt;b&gt;" in output["data"]["text/html"]
    assert output["data"]["text/html"].startswith("<table>")
    assert measurements == shell.value("%llmtime --history -o")
    assert shell.value("%llmtime --history -q") is None
    assert 1 == len(shell.outputs)


def names_of(contrast: Any) -> tuple[str, str]:
    """Which two were compared, the first first."""
    assert isinstance(contrast, Contrast)
    return contrast.names


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ("", ("b", "c")),
        ("a", ("a", "c")),
        ("1 2", ("a", "b")),
        ("c a", ("c", "a")),
        ("variable", ("v", "c")),
        ("main variable", ("kept", "v")),
        ("'a file.json' main", ("written", "kept")),
    ],
)
def test_two_results_are_compared(shell: Any, desk: Desk, operands: str, expected: tuple[str, str]) -> None:
    """The last two, a named one with the last, or two named ones: number, name, variable, baseline or file."""
    timed(desk, "a", "b", "c")
    shell.names["variable"] = result("v", calls=6)
    Path(".llm-latency").mkdir()
    save(result("kept", calls=6), ".llm-latency/main.json")
    save(result("written", calls=6), "a file.json")
    assert expected == names_of(shell.value(f"%llmtime -o --compare {operands}"))
    shell.run(f"%llmtime --compare {operands}")
    assert shell.tables[0].startswith(f"first: {expected[0]} · second: {expected[1]}\n")


def test_a_comparison_is_shown_or_returned(shell: Any, desk: Desk) -> None:
    """Text and a table with a picture, once; with -o the value alone, with -q nothing."""
    timed(desk, "a", "b")
    assert shell.value("%llmtime --compare") is None
    (output,) = shell.outputs
    assert {"text/plain", "text/html"} == set(output["data"])
    assert "total" in output["data"]["text/plain"]
    assert "<table>" in output["data"]["text/html"]
    assert ("a", "b") == names_of(shell.value("%llmtime -o --compare"))
    assert shell.value("%llmtime -q --compare") is None
    assert 1 == len(shell.outputs)


@pytest.mark.parametrize(("have", "operands"), [(0, ""), (1, ""), (0, "a")])
def test_a_comparison_needs_two_results(
    shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str], have: int, operands: str
) -> None:
    """A named one counts as one of them; the message says how many there are."""
    timed(desk, *["a"] * have)
    expected = f"UsageError: %llmtime --compare needs two results and there are {have}; time another cell"
    assert expected == refused(shell, capsys, f"%llmtime --compare {operands}")


def test_two_named_results_need_no_session(shell: Any) -> None:
    """A notebook that only reads what others measured."""
    for name in ("a", "b"):
        save(result(name, calls=6), f"{name}.json")
    shell.run("%llmtime --compare a.json b.json")
    assert shell.tables[0].startswith("first: a · second: b\n")


def test_what_cannot_be_compared_is_said_in_one_line(
    shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown name with the known ones, a broken file with what is wrong with it."""
    timed(desk, "a", "b")
    Path("x.json").write_text("{")
    assert "there is no measurement 'nix'; known by number or name: 1 (a), 2 (b)" in refused(
        shell, capsys, "%llmtime --compare nix"
    )
    assert "x.json is not complete JSON" in refused(shell, capsys, "%llmtime --compare a x.json")


def test_a_line_keeps_the_last_result_and_then_compares(shell: Any, desk: Desk) -> None:
    """Kept once; from then on what comes is set beside it, with its name."""
    timed(desk, "a")
    assert shell.value("%llmtime --baseline main") is None
    timed(desk, "b")
    assert shell.value("%llmtime --baseline main") is None
    path = Path(".llm-latency") / "main.json"
    assert f"kept as baseline main in {path}" == shell.tables[0]
    assert shell.tables[1].startswith("first: a (baseline main) · second: b\n")
    assert 2 == len(shell.tables)


def test_force_keeps_anew(shell: Any, desk: Desk) -> None:
    """Also the last of a name, into another folder."""
    timed(desk, "a", "b")
    shell.run("%config LLMTime.baselines = 'kept here'")
    for line in ("", "--force", "--force --name a"):
        shell.run(f"%llmtime --baseline main {line}")
    assert [f"kept as baseline main in {Path('kept here/main.json')}"] * 3 == shell.tables
    assert "a" == desk.session.find("main", names={}, baselines=Path("kept here")).name


@pytest.mark.parametrize("options", ["-o", "-q", "-o -q"])
def test_keeping_is_silenced_or_returned(shell: Any, desk: Desk, options: str) -> None:
    """With -o the measurement, then the comparison; never both shown and returned."""
    (first,) = timed(desk, "a")
    kept = shell.value(f"%llmtime {options} --baseline main")
    compared = shell.value(f"%llmtime {options} --baseline main")
    if "-o" in options:
        assert (True, ("a (baseline main)", "a")) == (kept is first, names_of(compared))
    else:
        assert (None, None) == (kept, compared)
    assert [] == shell.outputs


@pytest.mark.parametrize("name", ["''", "../x", "a/b", "-x", "/x", "'a b'"])
@pytest.mark.parametrize("form", ["%llmtime --baseline {}", "%%llmtime --baseline {}\nx = 1"])
def test_a_hostile_baseline_is_refused_before_anything_runs(
    shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    """On a line and on a cell: nothing is run, nothing is written."""
    timed(desk, "a")
    assert "expected letters, digits, dots, dashes" in refused(shell, capsys, form.format(name))
    assert ("x" in shell.names, []) == (False, list(Path().iterdir()))


def test_a_broken_baseline_is_not_written_over(shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It may have been the only one; --force does it."""
    timed(desk, "a")
    Path(".llm-latency").mkdir()
    path = Path(".llm-latency/main.json")
    path.write_text("{")
    line = refused(shell, capsys, "%llmtime --baseline main")
    assert line.endswith("; --force keeps this result in its place")
    assert "main.json is not complete JSON" in line
    assert "{" == path.read_text()
    shell.run("%llmtime --baseline main --force")
    assert "kept as baseline main" in shell.tables[0]


def test_what_broke_off_is_no_baseline(shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line; a baseline that is there is compared with all the same."""
    partial = msgspec.structs.replace(result("a", calls=6), complete=False)
    desk.session.add(partial, source="", inputs=1)
    assert "'a' broke off; a baseline is of calls that ended" in refused(shell, capsys, "%llmtime --baseline main")
    timed(desk, "b")
    shell.run("%llmtime --baseline main")
    shell.run("%llmtime --baseline main --name a")
    assert shell.tables[-1].startswith("first: b (baseline main) · second: a\n")


def test_a_cell_keeps_its_result_and_then_compares(shell: Any, desk: Desk) -> None:
    """Below its own table; its value is shown as ever."""
    assert [1, 2] == [shell.value(f"%%llmtime --baseline main\n{n}") for n in (1, 2)]
    heads = [text.splitlines()[0] for text in shell.tables]
    kept = f"kept as baseline main in {Path('.llm-latency/main.json')}"
    assert ["In [1] · call", kept, "In [2] · call", "first: In [1] (baseline main) · second: In [2]"] == heads
    assert [] == shell.hidden


def test_a_cell_whose_baseline_is_broken_says_so_in_one_line(
    shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """After its table: what was timed is kept in the session, and no frame of ours is shown."""
    Path(".llm-latency").mkdir()
    Path(".llm-latency/main.json").write_text("{")
    capsys.readouterr()
    assert not shell.run("%%llmtime --baseline main -v m\n1").success
    shown = capsys.readouterr()
    assert ("", 1, 1) == (shown.out, len(shown.err.splitlines()), len(shell.tables))
    assert shown.err.startswith("UsageError: .llm-latency/main.json is not complete JSON")
    assert shell.names["m"] is desk.session.last().measurement
    assert [] == shell.hidden


def test_a_cell_that_breaks_is_not_kept(shell: Any) -> None:
    """Its exception is all there is to say."""
    assert not shell.run("%%llmtime --baseline main --strict\n1 / 0").success
    assert (1, []) == (len(shell.tables), list(Path().iterdir()))


def test_export_is_given_the_cell_and_what_came_before(
    shell: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As IPython transformed it, without the marker; the path, the names, the head-room and whether to overwrite."""
    asked: list[dict[str, Any]] = []

    def write_test(path: Path, **given: Any) -> str:
        asked.append({"path": path} | given)
        return f"wrote {path}"

    monkeypatch.setattr(export, "write_test", write_test)
    shell.run("x = 1")
    shell.run("y = !echo 2")
    shell.run("%%llmtime --name mine\nz = x + 1\n\nz * 2")
    shell.run("late = 3")
    shell.run("%llmtime -q x + 5")
    shell.run("%config LLMTime.headroom = 0.2")
    assert shell.value("%llmtime --export tests/test_x.py --name mine --force") is None
    shell.run("%llmtime --export=last.py")
    assert ["wrote tests/test_x.py", "wrote last.py"] == shell.tables[1:]
    first, second = asked
    assert (Path("tests/test_x.py"), True, False) == (first["path"], first["force"], second["force"])
    assert ("z = x + 1\n\nz * 2", "x + 5") == (first["source"].strip(), second["source"].strip())
    assert ["x = 1", "y = get_ipython().getoutput('echo 2')"] == [cell.strip() for cell in first["earlier"]]
    assert (0.2, True) == (first["headroom"], first["namespace"] is shell.names)
    assert "mine" == first["measurement"].name
    assert "late = 3" == second["earlier"][-1].strip()
    shell.run("%llmtime -q --export quiet.py")
    assert 3 == len(shell.tables)


def test_a_refused_export_is_one_line(
    shell: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exporter's own words; an unknown name is refused before it is asked."""

    def write_test(path: Path, **_: Any) -> str:
        raise export.UsageError(f"{path} is there already")

    monkeypatch.setattr(export, "write_test", write_test)
    timed(desk, "a")
    assert "UsageError: x.py is there already" == refused(shell, capsys, "%llmtime --export x.py")
    assert "there is no measurement 'b'" in refused(shell, capsys, "%llmtime --export x.py --name b")


def test_the_last_result_is_not_compared_with_itself(
    shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--compare A` sets the last result beside A, which must be another one."""
    timed(desk, "a", "b")
    assert "'b' is the last result itself" in refused(shell, capsys, "%llmtime --compare b")


def test_a_semicolon_silences_an_action(shell: Any, desk: Desk) -> None:
    """`%llmtime --last -o;` is what it is without, but for Out."""
    timed(desk, "a", "b")
    assert shell.value("%llmtime --last -o;") is None
    assert shell.value("%llmtime --compare a b;") is None
    assert "first: a" in shell.tables[-1]


def test_a_refused_view_leaves_only_the_refusal(shell: Any, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """No widget here: nothing ran, and there is no result to speak of."""
    shell.run("%%llmtime --live widget\nx = 1")
    assert "no live widget" in capsys.readouterr().out
    assert ([], False) == (shell.outputs, "x" in shell.names)
