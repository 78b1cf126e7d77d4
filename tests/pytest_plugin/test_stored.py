"""Stored baselines in a user's run: each mode, and what is written when."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llm_latency.gate.stored.fingerprint import Machine
from tests.pytest_plugin.reruns import RERUN
from tests.pytest_plugin.stored_project import CONFTEST, FILE, MACHINE, SOURCE, Project

if TYPE_CHECKING:
    pass

pytest_plugins = ["pytester"]


def test_each_run_with_create_adds_a_row_that_later_runs_are_checked_by(any_project: Project) -> None:
    """Workers carry their rows to the process that writes; the folder alone switches the check on."""
    any_project.create(10.0, 10.1, 9.9, suite=any_project.suite)
    assert [10.0, 10.1, 9.9] == any_project.values()
    assert [20.0, 20.2, 19.8] == any_project.values("test_b")
    assert 6 == len(any_project.baseline.rows)
    before = any_project.file.read_bytes()
    seen = any_project.run("-v", ms=10.0)
    assert {"passed": 1, "undecided": 2} == seen.counts
    # t(2) at 99 % is 6.965, the noise about 1 %: ±8 %.
    assert seen.having("UNDECIDED  test_it.py::test_a  total +0.0 % [−7.7, +8.4], limit 5 %, 3 rows")
    assert seen.having("test_it.py::test_a and 1 more: the interval holds the limit; processes differ by 1.0 %")
    assert before == any_project.file.read_bytes()
    seen = any_project.run(source=SOURCE.replace("5%", "10%"))
    assert {"passed": 3} == seen.counts
    assert seen.having("ok  test_it.py::test_b  total +0.0 % [−7.7, +8.4], limit 10 %, 3 rows")
    assert 0 == seen.code


def test_what_create_says(project: Project) -> None:
    """Which row it is, how many are needed, and where it lies."""
    first = project.run("--latency-baseline=create")
    assert first.having("ok  test_it.py::test_a  row 1 of the 3 that a comparison needs")
    assert first.having(f"stored: 2 rows in {FILE}; commit it")
    assert first.having("llm-latency: ", "baseline=create")
    project.run("--latency-baseline=create")
    third = project.run("--latency-baseline=create")
    assert third.having("ok  test_it.py::test_a  total +0.0 %, limit 5 %, 2 rows; row 3")
    assert {"passed": 3} == third.counts


def test_a_slowdown_fails_its_test(any_project: Project) -> None:
    """With the word, the interval, the numbers, and how to accept it; JUnit and the exit code say so too."""
    any_project.create(10.0, 10.0, 10.0)
    seen = any_project.run("-v", ms=12.0)
    assert {"failed": 2, "passed": 1} == seen.counts
    assert 1 == seen.code
    assert seen.having(
        "TOO SLOW test_it.py::test_a - total +20.0 % [+20.0, +20.0], limit 5 %, 3 rows, 10.0 ms → 12.0 ms"
    )
    assert seen.having("Where the slowdown is wanted: pytest --latency-baseline=update --latency-accept 'why'")
    assert "hidden" not in seen.text
    failure = seen.case("test_a").find("failure")
    assert failure is not None and "total +20.0 %" in failure.get("message", "")
    assert "TOO SLOW total +20.0 % [+20.0, +20.0], limit 5 %, 3 rows" == seen.properties("test_a")["latency.baseline"]
    faster = any_project.run("-v", ms=8.0)
    assert {"passed": 3} == faster.counts
    assert faster.having("FASTER  test_it.py::test_a  total −20.0 %")
    assert faster.having("test_it.py::test_a ", "FASTER", "[")


@pytest.mark.parametrize(("undecided", "code"), [("pass", 0), ("fail", 1)])
def test_too_few_rows_are_undecided(project: Project, undecided: str, code: int) -> None:
    """Loud, and red where that was asked for."""
    project.create(10.0)
    seen = project.run("-v", f"--latency-undecided={undecided}")
    assert code == seen.code
    assert {"pass": 2, "fail": 0}[undecided] == seen.counts.get("undecided", 0)
    assert seen.having(
        "test_a and 1 more: 1 row stored, and an interval needs 3: run pytest --latency-baseline=create 2"
    )
    assert 2 == len(seen.having("test_it.py::test_", "UNDECIDED", "%]"))


def test_without_a_folder_nothing_happens_but_a_word(project: Project) -> None:
    """max_slowdown alone guards nothing, and that is said once."""
    seen = project.run()
    assert ({"passed": 3}, 0) == (seen.counts, seen.code)
    assert 1 == len(seen.having("max_slowdown is not gated in this run"))
    assert not (project.path / "latency_baselines").exists()
    assert not (project.path / ".llm-latency").exists()
    quiet = project.run(source="def test_a(llmtime):\n    llmtime(lambda: [10.0] * 6)\n")
    assert not quiet.having("llm-latency baseline")


def test_off_reads_and_writes_nothing(project: Project) -> None:
    """Not even a broken file."""
    project.file.parent.mkdir(parents=True)
    project.file.write_text("{")
    seen = project.run("--latency-baseline=off")
    assert ({"passed": 3}, 0) == (seen.counts, seen.code)
    assert "{" == project.file.read_text()
    assert not (project.path / ".llm-latency").exists()


def test_environment_and_ini_file_choose_the_mode(project: Project) -> None:
    """As every option."""
    project.suite.pytester.makeini("[pytest]\nlatency_baseline = create\n")
    project.run()
    project.run(llm_latency_baseline="off")
    assert [10.0] == project.values()


def test_rows_lie_beside_the_ini_file(project: Project) -> None:
    """Wherever pytest was started."""
    project.suite.pytester.makeini("[pytest]\n")
    inner = project.path / "tests" / "deep"
    inner.mkdir(parents=True)
    (project.path / "conftest.py").rename(project.path / "tests" / "conftest.py")
    (inner / "test_x.py").write_text("def test_x(llmtime):\n    llmtime(lambda: [10.0] * 6)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inner)
        assert 0 == project.suite.run("", "--latency-baseline=create").code
    assert [FILE.name] == [path.name for path in (project.path / "latency_baselines" / "tests__deep__test_x").iterdir()]


@pytest.mark.parametrize("mode", ["create", "update"])
def test_a_regressed_run_is_not_stored(project: Project, mode: str) -> None:
    """The test fails, so that nobody takes it for done."""
    project.create(10.0, 10.0, 10.0)
    before = project.file.read_bytes()
    seen = project.run(f"--latency-baseline={mode}", ms=12.0)
    assert ({"failed": 2, "passed": 1}, 1) == (seen.counts, seen.code)
    assert seen.having("TOO SLOW test_it.py::test_a - not stored: total +20.0 % (10.0 ms → 12.0 ms, 3 rows). Where the")
    assert before == project.file.read_bytes()


def test_a_reason_stores_it_and_stands_in_the_file(any_project: Project) -> None:
    """With the date and both numbers; later runs are compared with the new row."""
    any_project.create(10.0, 10.0, 10.0)
    seen = any_project.run(
        "--latency-baseline=update", "--latency-accept", "a safer sampler", ms=12.0, when="2026-12-01T08:00:00+00:00"
    )
    assert ({"passed": 3}, 0) == (seen.counts, seen.code)
    assert seen.having("ACCEPTED  test_it.py::test_a  total +20.0 %", "in place of its rows: a safer sampler")
    assert [12.0] == any_project.values()
    told = [line for line in any_project.file.read_text().splitlines() if "a safer sampler" in line]
    assert [("test_a", 0.01, 0.012), ("test_b", 0.02, 0.024)] == [
        (one["test"], one["metrics"]["total@1"]["old"], one["metrics"]["total@1"]["new"])
        for one in (json.loads(line.rstrip(",")) for line in told)
    ]
    assert all('"when":"2026-12-01T08:00:00+00:00"' in line for line in told)
    for _ in range(2):
        any_project.run("--latency-baseline=create", ms=12.0)
    assert {"passed": 3} == any_project.run(ms=12.0).counts


def test_update_puts_a_faster_run_in_the_place_of_its_rows_and_create_does_not(project: Project) -> None:
    """Beside them it would look like noise."""
    project.create(10.0, 10.0, 10.0)
    seen = project.run("--latency-baseline=create", ms=8.0)
    assert seen.having(
        "FASTER  test_it.py::test_a", "not stored: it is faster than its rows; --latency-baseline=update"
    )
    assert [10.0] * 3 == project.values()
    seen = project.run("--latency-baseline=update", ms=8.0)
    assert seen.having("FASTER  test_it.py::test_a", "in place of its rows: shown to be faster")
    assert [8.0] == project.values()


def test_a_run_like_its_rows_is_added_by_update_with_a_reason_or_without(project: Project) -> None:
    """A reason that nobody needs is not kept."""
    project.create(10.0, 10.0, 10.0)
    project.run("--latency-baseline=update")
    project.run("--latency-baseline=update", "--latency-accept=nothing")
    assert [10.0] * 5 == project.values()
    assert () == project.baseline.accepted


BAD = """
def calls():
    return [10.0] * 6

@fast
def test_budget_broken(llmtime):
    llmtime(calls, budget="total < 1 ms")

def test_wrong(llmtime):
    llmtime(calls)
    assert 1 == 2

@pytest.fixture
def falls():
    yield
    raise ValueError

def test_wrong_at_the_end(llmtime, falls):
    llmtime(calls)

@pytest.mark.xfail(strict=False)
def test_xfailed(llmtime):
    llmtime(calls)
    assert 1 == 2

@pytest.mark.xfail(strict=False)
def test_xpassed(llmtime):
    llmtime(calls)

def test_skipped(llmtime):
    llmtime(calls)
    pytest.skip("no")

def test_broke_off(llmtime):
    def breaks():
        raise OSError
    with pytest.raises(OSError):
        llmtime(breaks)

def test_without_a_call(llmtime):
    llmtime(lambda: [])

def test_good(llmtime):
    llmtime(calls)
"""


def test_only_tests_that_went_well_to_their_end_are_stored(any_project: Project) -> None:
    """A failure of any kind leaves no row, and keeps nobody else's from being stored."""
    seen = any_project.run("--latency-baseline=create", source=BAD)
    assert 1 == seen.code
    assert ("test_good",) == any_project.baseline.tests()


def test_a_rerun_stores_what_the_rerun_measured(any_project: Project) -> None:
    """Nothing of the failed attempt."""
    any_project.suite.pytester.makeconftest(CONFTEST + RERUN)
    source = """
runs = []

def test_flaky(llmtime):
    runs.append(1)
    llmtime(lambda: [len(runs) * 10.0] * 6)
    assert len(runs) > 1
"""
    seen = any_project.run("--latency-baseline=create", source=source)
    assert {"passed": 1, "rerun": 1} == seen.counts
    assert [20.0] == any_project.values("test_flaky")


def test_an_interrupted_run_stores_nothing(project: Project) -> None:
    """And says so."""
    source = SOURCE + "\ndef test_last():\n    raise KeyboardInterrupt\n"
    seen = project.run("--latency-baseline=create", source=source)
    assert int(pytest.ExitCode.INTERRUPTED) == seen.code
    assert not project.file.exists()
    assert seen.having("the run was interrupted: no row is stored")


def test_several_measurements_of_a_test_have_rows_of_their_own(project: Project) -> None:
    """Also where they have one name; JUnit numbers them."""
    source = """
@limits(max_slowdown="5%")
def test_many(llmtime):
    llmtime(lambda: [10.0] * 6)
    llmtime(lambda: [20.0] * 6, name="second")
    llmtime(lambda: [30.0] * 6, name="second")
"""
    project.create(1.0, 1.0, 1.0, source=source)
    names = ("test_many", "second", "second (2)")
    assert [[10.0] * 3, [20.0] * 3, [30.0] * 3] == [project.values("test_many", name) for name in names]
    seen = project.run(source=source)
    assert seen.having("ok  test_it.py::test_many second (2)  total +0.0 %")
    assert "ok total +0.0 % [+0.0, +0.0], limit 5 %, 3 rows" == seen.properties("test_many")["latency.3.baseline"]


def test_every_metric_of_the_marker_is_compared(project: Project) -> None:
    """max_slowdown is about those with a limit; min_change keeps what is too small to matter from failing."""
    source = """
import os
calls = lambda: [float(os.environ["MS"])] * 6

@limits(e2e="1 h", total="1 h", max_slowdown="5%")
def test_two(llmtime):
    llmtime(calls)

@limits(max_slowdown="5%", min_change="3 ms")
def test_small(llmtime):
    llmtime(calls)

def test_by_the_run(llmtime):
    llmtime(calls)
"""
    project.create(10.0, 10.0, 10.0, source=source)
    seen = project.run("--latency-max-slowdown=50%", source=source, ms=12.0)
    assert {"failed": 1, "passed": 2} == seen.counts
    assert seen.having("TOO SLOW  test_it.py::test_two  e2e +20.0 % [+20.0, +20.0], limit 5 %, 3 rows; total +20.0 %")
    assert seen.having("ok  test_it.py::test_small  total +20.0 %", "limit 30 %")
    assert seen.having("ok  test_it.py::test_by_the_run  total +20.0 %", "limit 50 %")


@pytest.mark.parametrize("require", [False, True])
def test_another_machine_is_undecided_with_the_differences(project: Project, require: bool) -> None:
    """Never a silent pass; an error where a baseline is required."""
    project.create(10.0, 10.0, 10.0)
    arguments = ["--latency-require-baseline"] if require else []
    seen = project.run(*arguments, facts={"cores": 4, "torch": "2.13.0"})
    assert (1 if require else 0) == seen.code
    other = Machine(cores=4, device="cpu", memory_gib=8, processor="AMD EPYC", system="Linux")
    assert seen.having(
        f"{other.fingerprint} has no file; {MACHINE.fingerprint} differs in cores: 2 → 4. Record it here"
    )
    assert {"failed": 2} if require else {"undecided": 2} == {k: n for k, n in seen.counts.items() if k != "passed"}


def test_other_versions_are_compared_and_said(project: Project) -> None:
    """Once for the module, and in the failure."""
    project.create(10.0, 10.0, 10.0)
    same = project.run(facts={"torch": "2.13.0", "system": "Linux 6.9"})
    assert {"passed": 3} == same.counts
    assert 1 == len(same.having("test_it.py differs from its latest rows in torch: 2.6.0 → 2.13.0"))
    assert same.having("test_it.py differs from its latest rows in system: Linux 6.1 → Linux 6.9")
    slow = project.run(ms=12.0, facts={"torch": "2.13.0"})
    assert 3 == len(slow.having("differs from its latest rows in torch"))


def test_rows_of_one_day_are_said_to_be(project: Project) -> None:
    """What changes from day to day is not in their noise."""
    for _ in range(3):
        project.run("--latency-baseline=create")
    seen = project.run()
    assert 1 == len(seen.having("rows of test_it.py are all of 2026-11-25: what changes from day to day"))
