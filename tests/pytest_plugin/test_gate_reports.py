"""What a gate leaves behind: its reports, the CI's step summary, and what is known when it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from llm_latency.gate.result import from_json
from tests.pytest_plugin.written_gates import COMMIT, GATE, Timed, gate

if TYPE_CHECKING:
    from conftest import Suite

    from tests.pytest_plugin.written_gates import Written

pytest_plugins = ["pytester"]

TWO = "def test_one(llmtime): ...\n\ndef test_two(llmtime): ...\n"
REPORTS = ("gate.json", "gate.md", "gate.html")


def interrupted() -> NoReturn:
    """Ctrl-C, or the time limit of a job."""
    raise KeyboardInterrupt


def test_each_format_is_written_where_it_was_asked_for(suite: Suite, written: Written, tmp_path: Path) -> None:
    """Relative to the folder in which pytest was started, whatever the rootdir is."""
    below = suite.pytester.path / "below"
    (below / "reports").mkdir(parents=True)
    suite.pytester.makeini("[pytest]\n")
    (below / "test_it.py").write_text(TWO)
    suite.pytester.chdir()
    options = [f"--latency-report=reports/{name}" for name in REPORTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        seen = suite.run("", GATE, *options, f"--latency-report={tmp_path / 'else.MD'}")
    assert 0 == seen.code
    result = from_json((below / "reports" / "gate.json").read_bytes())
    assert ("main", COMMIT, True, "ok") == (result.ref, result.base.what, result.complete, result.word)
    assert ["below/test_it.py::test_one", "below/test_it.py::test_two"] == [tested.test for tested in result.tests]
    assert "below/test_it.py::test_one" in (below / "reports" / "gate.md").read_text()
    assert (below / "reports" / "gate.md").read_text() == (tmp_path / "else.MD").read_text()
    assert (below / "reports" / "gate.html").read_text().startswith("<!DOCTYPE html>")


def test_reports_may_be_named_in_the_ini_file_or_the_environment(
    suite: Suite, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of them, too; the nearer place wins."""
    suite.pytester.makeini("[pytest]\nlatency_report = a.md b.html\n")
    gate(suite, written, TWO)
    assert ["a.md", "b.html"] == sorted(path.name for path in suite.pytester.path.glob("?.*"))
    monkeypatch.setenv("LLM_LATENCY_REPORT", "c.md:d.json")
    gate(suite, written, TWO)
    assert ["a.md", "b.html", "c.md", "d.json"] == sorted(path.name for path in suite.pytester.path.glob("?.*"))


def test_what_failed_is_in_the_report(suite: Suite, written: Written) -> None:
    """The same words as in the terminal, with what has changed in the head."""
    written.changed = ("work.py",)
    gate(suite, written, TWO, "--latency-report=gate.json", test_two=Timed(share=0.5))
    result = from_json((suite.pytester.path / "gate.json").read_bytes())
    assert ["ok", "TOO SLOW"] == [tested.word for tested in result.tests]
    assert ("TOO SLOW", ("work.py",)) == (result.word, result.changed)


def test_a_report_that_cannot_be_written_is_no_success(suite: Suite, written: Written) -> None:
    """The others are written, and the exit code says it; a failure stays a failure."""
    (suite.pytester.path / "gate.md").mkdir()
    options = [f"--latency-report={name}" for name in REPORTS]
    seen = gate(suite, written, TWO, *options)
    assert (int(pytest.ExitCode.INTERNAL_ERROR), {"passed": 2}) == (seen.code, seen.counts)
    assert seen.having("llm-latency: a report was not written: ", "gate.md")
    assert (suite.pytester.path / "gate.html").exists()
    seen = gate(suite, written, TWO, *options, test_two=Timed(share=0.5))
    assert 1 == seen.code
    assert seen.having("llm-latency: a report was not written: ", "gate.md")


def test_the_step_summary_is_appended_to(
    suite: Suite, written: Written, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the CI names a file for it; what stands there stays."""
    summary = tmp_path / "summary.md"
    summary.write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    gate(suite, written, TWO, "--latency-report=gate.md")
    text = summary.read_text()
    assert text.startswith("# Before\n")
    assert (suite.pytester.path / "gate.md").read_text() in text
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    seen = gate(suite, written, TWO)
    assert int(pytest.ExitCode.INTERNAL_ERROR) == seen.code
    assert seen.having("llm-latency: the step summary was not written: ")


def test_no_gate_no_report(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run without a base leaves all of that alone."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert 0 == suite.run("def test_plain(): ...\n", "-o", "latency_report=gate.json").code
    assert not (suite.pytester.path / "gate.json").exists()
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize("pair", [1, 4, 9])
def test_an_interrupt_shows_and_writes_what_is_known(suite: Suite, written: Written, pair: int) -> None:
    """Marked as a part; no test is reported, and nothing passes by it."""
    written.at_pair = {pair: interrupted}
    seen = gate(suite, written, TWO, "--latency-report=gate.json", test_two=Timed(share=0.5))
    assert int(pytest.ExitCode.INTERRUPTED) == seen.code
    assert seen.having("PARTIAL: interrupted; this is what ", " pairs can tell" if pair > 1 else "")
    assert seen.having("KeyboardInterrupt")
    assert not seen.having("passed") and not seen.having("failed")
    raw = json.loads((suite.pytester.path / "gate.json").read_bytes())
    assert (False, "interrupted", pair - 1) == (raw["complete"], raw["stopped_because"], raw["pairs"])
    words = {tested["test"].partition("::")[2]: tested["word"] for tested in raw["tests"]}
    assert {"test_one": "ok" if pair > 6 else "UNDECIDED", "test_two": "UNDECIDED"} == words
    assert not written.is_open


def test_an_interrupt_while_tests_report_keeps_the_whole_result(suite: Suite, written: Written) -> None:
    """The gate was over by then."""
    suite.pytester.makeconftest("def pytest_runtest_logfinish(nodeid):\n    raise KeyboardInterrupt\n")
    seen = gate(suite, written, TWO, "--latency-report=gate.json")
    assert int(pytest.ExitCode.INTERRUPTED) == seen.code
    assert json.loads((suite.pytester.path / "gate.json").read_bytes())["complete"]
