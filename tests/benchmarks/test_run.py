"""benchmarks/run.py: every benchmark in turn, one file, and what is kept when something goes wrong."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


def load(path: Path) -> ModuleType:
    """The script as a module: it is no part of a package."""
    spec = importlib.util.spec_from_file_location("benchmarks_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks_run"] = module
    spec.loader.exec_module(module)
    return module


runner = load(REPOSITORY / "benchmarks" / "run.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three benchmarks: one that prints its options, one that fails after a line, one that is fine."""
    found = tmp_path / "benchmarks"
    found.mkdir()
    (found / "bench_a.py").write_text(
        "import sys\nprint('| a |', *sys.argv[1:], end=' knows ')\nprint(\"--quick\")", encoding="utf-8"
    )
    (found / "bench_b.py").write_text("import sys; print('half'); sys.exit('no memory')", encoding="utf-8")
    (found / "bench_c.py").write_text("print('µs')", encoding="utf-8")
    (found / "rounds.py").write_text("raise SystemExit('no benchmark')", encoding="utf-8")
    return found


def test_every_benchmark_runs_and_a_failing_one_does_not_stop_the_rest(folder: Path, tmp_path: Path) -> None:
    """Its section says so beside what it had printed."""
    out = tmp_path / "out.md"
    found = runner.benchmarks(folder, [])
    assert ["bench_b"] == runner.run(found, out, head="# Head", options=["--quick"])
    sections = runner.sections_of(out.read_text(encoding="utf-8"))
    assert ["bench_a", "bench_b", "bench_c"] == list(sections)
    assert "| a | --quick knows --quick" in sections["bench_a"]
    assert sections["bench_a"].startswith("`python benchmarks/bench_a.py --quick`, 0 s")
    assert "half" in sections["bench_b"]
    assert "**Failed** with exit code 1" in sections["bench_b"]
    assert sections["bench_c"].startswith("`python benchmarks/bench_c.py`, 0 s")  # it knows no --quick
    assert sections["bench_c"].endswith("µs")
    assert out.read_text(encoding="utf-8").startswith("# Head\n\n## bench_a\n")


def test_an_interrupted_run_keeps_what_it_has(folder: Path, tmp_path: Path) -> None:
    """The file is whole after each benchmark, and nothing else lies beside it."""
    out = tmp_path / "results" / "out.md"
    out.parent.mkdir()

    def execute(bench: Path, options: Sequence[str]) -> str:
        if bench.stem == "bench_b":
            assert "## bench_a\n\nfine\n" in out.read_text(encoding="utf-8")
            raise KeyboardInterrupt
        return "fine"

    with pytest.raises(KeyboardInterrupt):
        runner.run(runner.benchmarks(folder, []), out, head="# Head", execute=execute)
    assert "# Head\n\n## bench_a\n\nfine\n" == out.read_text(encoding="utf-8")
    assert [out] == list(out.parent.iterdir())


def test_one_benchmark_leaves_the_sections_of_the_others(folder: Path, tmp_path: Path) -> None:
    """`--only` renews its own section, and sections stand in order of their names."""
    out = tmp_path / "out.md"
    kept = {"bench_c": "of before", "bench_a": "old"}
    runner.run(runner.benchmarks(folder, ["a"]), out, head="# Head", kept=kept, execute=lambda *_: "new")
    assert {"bench_a": "new", "bench_c": "of before"} == runner.sections_of(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["a", "bench_a", "bench_a.py"])
def test_a_benchmark_is_named_as_one_likes(folder: Path, name: str) -> None:
    """With and without what all names share."""
    assert [folder / "bench_a.py"] == runner.benchmarks(folder, [name])


def test_an_unknown_benchmark_is_answered_with_the_known_ones(folder: Path) -> None:
    """Before anything runs."""
    with pytest.raises(SystemExit, match=r"^there is no benchmark 'x'; known: a, b, c$"):
        runner.benchmarks(folder, ["x"])


def test_the_header_says_what_ran_where() -> None:
    """The day, the processor, its cores, and the versions that change numbers."""
    head = runner.header(today=date(2026, 11, 25), device="cpu", quick=False)
    assert head.startswith("# Benchmarks of 2026-11-25, cpu\n")
    for part in (runner.processor(), " cores", f"Python {sys.version.split()[0]}", "torch ", "transformers ", "Load"):
        assert part in head
    assert "no figures" in runner.header(today=date(2026, 11, 25), device="cpu", quick=True)


def main_with(monkeypatch: pytest.MonkeyPatch, folder: Path, execute: Any, *arguments: str) -> int:
    """The command line over another folder of benchmarks, without torch."""
    monkeypatch.setattr(runner, "HERE", folder)
    monkeypatch.setattr(runner, "device_name", lambda: "cpu")
    monkeypatch.setitem(runner.run.__kwdefaults__, "execute", execute)
    return int(runner.main(list(arguments)))


def test_the_command_says_where_the_file_lies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quick look has a file of its own, so that it never replaces figures."""
    out = tmp_path / "made"
    assert main_with(monkeypatch, folder, lambda *_: "fine", "--quick", "--only", "a", "--out", str(out)) == 0
    (written,) = out.iterdir()
    assert written.name.endswith("-cpu-bench-quick.md")
    told = capsys.readouterr()
    assert f"written to {written}" in told.err
    assert "fine" in told.out


def test_the_command_fails_where_a_benchmark_did(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the others have run."""
    assert main_with(monkeypatch, folder, runner.output_of, "--out", str(tmp_path / "made")) == 1
    assert "failed: bench_b" in capsys.readouterr().err


def test_the_command_says_what_an_interrupt_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code of an interrupt."""

    def execute(bench: Path, options: Sequence[str]) -> str:
        raise KeyboardInterrupt

    assert main_with(monkeypatch, folder, execute, "--out", str(tmp_path)) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["agreement", "import", "known_time", "observer", "plugin_start"])
def test_a_benchmark_that_takes_minutes_has_a_quick_look(name: str) -> None:
    """Which run.py asks for with `--quick`."""
    assert '"--quick"' in (REPOSITORY / "benchmarks" / f"bench_{name}.py").read_text(encoding="utf-8")
