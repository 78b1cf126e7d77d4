"""Stored baselines in a user's run: each fault, what is required, and where rows lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import llm_latency.gate.stored.store  # so that the runs in this process have the same module
import pytest_llm_latency.keeper
from llm_latency.core.measurement import load
from llm_latency.gate.stored.baseline import to_json
from tests.pytest_plugin.stored_project import FILE, SOURCE, Project

if TYPE_CHECKING:
    pass

pytest_plugins = ["pytester"]

FAULTS = {
    "truncated": (lambda text: text[: len(text) // 2], "is not complete JSON"),
    "empty": (lambda text: "", "is not complete JSON"),
    "edited": (
        lambda text: text.replace('"n":6', '"n":"six"', 1),
        "was edited: Expected `int`, got `str` - at `$.rows[0]",
    ),
    "newer": (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema is 2 and this version reads 1"),
    "merged": (lambda text: "<<<<<<< HEAD\n" + text, "has a merge's conflict markers"),
    "copied": (lambda text: text.replace("test_it.py", "test_other.py"), "$.module is 'test_other.py'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_baseline_that_cannot_be_read_is_loud(project: Project, fault: str) -> None:
    """Undecided in a check, red where it is required or written to, and left as it is."""
    project.create(10.0, 10.0, 10.0)
    spoil, words = FAULTS[fault]
    project.file.write_text(spoil(project.file.read_text()))
    broken = project.file.read_bytes()
    for arguments, code in (((), 0), (("--latency-require-baseline",), 1), (("--latency-baseline=create",), 1)):
        seen = project.run(*arguments)
        assert code == seen.code, arguments
        assert seen.having("test_it.py::test_a and 1 more: ", str(FILE), words)
        assert 2 == seen.counts["failed" if code else "undecided"]
        assert broken == project.file.read_bytes()


def test_workers_read_what_is_stored_and_say_what_is_wrong_with_it(any_project: Project) -> None:
    """In one process or several, the same words."""
    any_project.create(10.0, 10.0, 10.0)
    any_project.file.write_text(any_project.file.read_text()[:-100])
    seen = any_project.run("--latency-baseline=create")
    assert ({"passed": 1, "failed": 2}, 1) == (seen.counts, seen.code)
    assert seen.having("test_it.py::test_a and 1 more: ", str(FILE), "is not complete JSON")


def test_a_test_without_a_row_is_not_gated(project: Project) -> None:
    """With max_slowdown it is yellow; without it is a line; an error for both where a baseline is required."""
    project.create(10.0, 10.0, 10.0)
    source = SOURCE + "\n@guarded\ndef test_new(llmtime):\n    llmtime(calls())\n"
    source += "\ndef test_plain(llmtime):\n    llmtime(calls())\n"
    seen = project.run("-v", source=source)
    assert ({"passed": 4, "undecided": 1}, 0) == (seen.counts, seen.code)
    assert seen.having("test_it.py::test_new ", "NOT GATED")
    assert seen.having("not gated  test_it.py::test_plain  no row is stored for it")
    assert seen.having("test_it.py::test_new and 1 more: --latency-baseline=create records a row")
    required = project.run("--latency-require-baseline", source=source)
    assert ({"passed": 3, "failed": 2}, 1) == (required.counts, required.code)
    assert required.having("NOT GATED test_it.py::test_new - no row is stored for it")
    assert required.having("NOT GATED test_it.py::test_plain")


def test_a_renamed_test_is_told_which_it_may_have_been(project: Project) -> None:
    """One that is stored and no longer here; not one that was only left out of this run."""
    project.create(10.0, 10.0, 10.0)
    source = SOURCE.replace("def test_a(", "def test_alpha(")
    seen = project.run("--latency-require-baseline", source=source)
    assert ({"passed": 2, "failed": 1}, 1) == (seen.counts, seen.code)
    assert seen.having("no row is stored for it (was it 'test_a', which is stored and no longer here?")
    new = SOURCE + "\n@guarded\ndef test_a2(llmtime):\n    llmtime(calls())\n"
    left_out = project.run("-k", "test_a2", source=new)
    assert left_out.having("test_a2  no row is stored for it")
    assert not left_out.having("was it")


def test_a_run_that_times_nothing_fails_where_a_baseline_is_required(any_project: Project) -> None:
    """Also one without any test; looking at what there is costs nothing."""
    any_project.create(10.0, 10.0, 10.0)
    for arguments in (("-k", "untimed"), ("-k", "nothing_of_that_name")):
        seen = any_project.run("--latency-require-baseline", *arguments)
        assert 1 == seen.code
        assert seen.having("ERROR a baseline is required", "no test of this run has timed anything")
    assert 0 == any_project.run("--latency-require-baseline", "--collect-only").code
    assert 0 == any_project.run("-k", "untimed").code


def test_workers_beside_each_other_fail_where_a_baseline_is_required(any_project: Project) -> None:
    """Alone, and in a single worker, nobody is beside."""
    any_project.create(10.0, 10.0, 10.0)
    seen = any_project.run("--latency-require-baseline")
    beside = seen.having("ERROR a baseline is required and 2 workers of pytest-xdist ran beside each other")
    assert (seen.code, {"passed": 3}) == (len(beside), seen.counts)
    assert 0 == any_project.run("--latency-require-baseline", "-p", "xdist", "-n", "1").code


def test_a_tracer_is_no_condition_for_a_comparison(project: Project) -> None:
    """Nothing is compared, nothing is stored, and it is an error where a baseline is required."""
    project.create(10.0, 10.0, 10.0)
    tracing = """
import sys

@pytest.fixture(autouse=True)
def traced():
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    yield
    sys.settrace(before)
"""
    before = project.file.read_bytes()
    for arguments, word in (((), "UNDECIDED"), (("--latency-baseline=create",), "NOT STORED")):
        seen = project.run(*arguments, source=tracing + SOURCE)
        assert ({"passed": 1, "undecided": 2}, 0) == (seen.counts, seen.code)
        assert seen.having(f"{word}  test_it.py::test_a  nothing was compared or stored")
        assert seen.having("test_a and 1 more: a tracer, profiler or debugger is active")
    seen = project.run("--latency-require-baseline", source=tracing + SOURCE)
    assert ({"passed": 1, "failed": 2}, 1) == (seen.counts, seen.code)
    assert before == project.file.read_bytes()


def test_a_tool_of_sys_monitoring_is_a_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As coverage is from Python 3.12 on."""
    from pytest_llm_latency.stored import active_tracer

    class Monitoring:
        @staticmethod
        def get_tool(index: int) -> str | None:
            return "coverage" if index == 1 else None

    for name in ("gettrace", "getprofile"):
        monkeypatch.setattr(sys, name, lambda: None)
    monkeypatch.setattr(sys, "monitoring", Monitoring, raising=False)
    assert "a tracer (coverage)" == active_tracer()
    monkeypatch.delattr(sys, "monitoring")
    assert "" == active_tracer()


def test_a_row_is_of_a_quiet_machine(project: Project) -> None:
    """A busy one is compared, by the time that was its own, and not stored."""
    seen = project.run("--latency-baseline=create", delay="0.5")
    assert ({"passed": 1, "undecided": 2}, 0) == (seen.counts, seen.code)
    assert seen.having("NOT STORED  test_it.py::test_a  other programs had its cores for 50% of the middle call")
    assert not project.file.exists()
    project.create(10.0, 10.0, 10.0)
    assert {"passed": 3} == project.run(ms=20.0, delay="0.5").counts


def test_unequal_work_needs_a_reason(project: Project) -> None:
    """No slowdown can be told from it, and none excluded."""
    project.create(10.0, 10.0, 10.0)
    text = project.file.read_text()
    project.file.write_text(text.replace('"kinds":"call"', '"kinds":"generate"'))
    seen = project.run()
    assert ({"passed": 1, "undecided": 2}, 0) == (seen.counts, seen.code)
    assert seen.having("left out: 3 of 3 rows, of unequal work (kinds: generate → call)")
    refused = project.run("--latency-baseline=update")
    assert ({"passed": 1, "failed": 2}, 1) == (refused.counts, refused.code)
    assert refused.having("NOT STORED test_it.py::test_a - not stored: total: left out: 3 of 3 rows")
    assert 0 == project.run("--latency-baseline=update", "--latency-accept=another model").code
    assert [10.0] == project.values()


@pytest.mark.parametrize("problem", ["No space left on device", "Read-only file system"])
def test_a_disk_that_cannot_be_written_to_fails_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """The tests are what they are; the file is what it was."""
    project.create(10.0)
    before = project.file.read_bytes()

    def refuse(path: Path, content: bytes) -> None:
        raise OSError(28, problem, str(path))

    monkeypatch.setattr(llm_latency.gate.stored.store, "write_atomically", refuse)
    seen = project.run("--latency-baseline=create")
    assert ({"passed": 3}, 1) == (seen.counts, seen.code)
    assert seen.having(f"ERROR test_it.py: {project.file} cannot be written ({problem}): what was measured")
    assert before == project.file.read_bytes()


def test_a_mistake_in_the_writing_costs_nobody_the_summary(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the run has failed."""

    def breaks(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(llm_latency.gate.stored.store.Store, "write", breaks)
    seen = project.run("--latency-baseline=create")
    assert ({"passed": 3}, 1) == (seen.counts, seen.code)
    assert seen.having("ERROR the baselines could not be written: RuntimeError('planted')")


def test_two_runs_at_once_lose_no_row(project: Project) -> None:
    """Each in a process of its own."""
    (project.path / "test_it.py").write_text("import pytest\nlimits = pytest.mark.latency_budget\n" + SOURCE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "llm_latency", "-p", "no:cacheprovider"]
    runs = [
        subprocess.Popen(
            [*command, "--latency-baseline=create"],
            cwd=project.path,
            env=os.environ | {"MS": ms},
            stdout=subprocess.DEVNULL,
        )
        for ms in ("10", "10.1", "10.2")
    ]
    assert [0, 0, 0] == [run.wait(timeout=120) for run in runs]
    assert [10.0, 10.1, 10.2] == sorted(project.values())


def test_raw_calls_are_kept_where_git_does_not_look(any_project: Project) -> None:
    """As measurements that can be loaded; of a failed test too, and a bounded number of runs."""
    any_project.create(10.0, 10.0, 10.0)
    any_project.run(ms=12.0)
    runs = sorted((any_project.path / ".llm-latency" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert 4 == len(runs)
    assert ["001-test_it.py_test_a_test_a.json", "002-test_it.py_test_b_test_b.json"] == sorted(
        path.name for path in runs[-1].iterdir()
    )
    assert load(runs[-1] / "001-test_it.py_test_a_test_a.json").total.p50 == "12 ms"
    assert "*\n" == (any_project.path / ".llm-latency" / ".gitignore").read_text()


def test_a_place_where_raw_calls_cannot_be_kept_is_said(project: Project) -> None:
    """Nothing depends on them in a check."""
    (project.path / "latency_baselines").mkdir()
    (project.path / ".llm-latency").write_text("a file")
    seen = project.run()
    assert 0 == seen.code
    assert seen.having("the raw calls of this run are not kept: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latency-accept=why"], "--latency-accept is 'why'; expected a reason, and --latency-baseline=update"),
        (["--latency-accept=why", "--latency-baseline=create"], "--latency-accept is 'why'; expected a reason, and"),
        (["--latency-accept= ", "--latency-baseline=update"], "--latency-accept is ' '; expected a reason"),
        (["--latency-baseline=update", "--latency-base=main"], "--latency-baseline=update stores what this tree does"),
        (["--latency-baseline=sometimes"], "is 'sometimes'; expected check, create, update or off"),
        (["--latency-baseline=off", "--latency-require-baseline"], "needs something to compare with"),
    ],
)
def test_options_that_do_not_fit_end_the_run_before_it_begins(
    project: Project, arguments: list[str], message: str
) -> None:
    """In words."""
    seen = project.run(*arguments)
    assert int(pytest.ExitCode.USAGE_ERROR) == seen.code
    assert seen.having(message)


def test_the_folder_has_one_name() -> None:
    """The plugin's start may not load the gate to ask for it."""
    assert llm_latency.gate.stored.store.FOLDER == pytest_llm_latency.keeper.FOLDER


def test_what_is_stored_is_as_the_gate_writes_it(project: Project) -> None:
    """A row a line, to the byte."""
    project.create(10.0, 10.1)
    assert project.file.read_bytes() == to_json(project.baseline)
    (row, *_) = project.baseline.rows_of("test_a", "test_a")
    assert {"requests": "1", "kinds": "call"} == row.work
    assert {"system": "Linux 6.1", "torch": "2.6.0"} == row.facts
    assert {"total@1"} <= row.metrics.keys()
