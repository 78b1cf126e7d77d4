"""Stored baselines in a user's run: each mode, each fault, and what is written when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import llm_latency.gate.stored.store  # so that the runs in this process have the same module
import pytest_llm_latency.keeper
from llm_latency.core.measurement import load
from llm_latency.gate.stored.baseline import Baseline, from_json, to_json
from llm_latency.gate.stored.fingerprint import Machine

if TYPE_CHECKING:
    from conftest import Seen, Suite

pytest_plugins = ["pytester"]

# What llmtime would measure: calls of as many ms as the environment variable MS says, on a machine of its own.
CONFTEST = """
import json, os
import pytest
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, verdict_on
from llm_latency.core.trace import Contention, Request, Trace

def measured(target, *, name, budget=(), **_):
    machine = {"device": "cpu", "processor": "AMD EPYC", "cores": 2, "memory_bytes": 8 * 2**30, "system": "Linux 6.1"}
    environment = Environment(**(machine | {"torch": "2.6.0"} | json.loads(os.environ.get("FACTS", "{}"))))
    calls = []
    for ms in target():
        stop, delay = round(ms * 1e6), round(float(os.environ.get("DELAY", "0")) * ms * 1e6)
        request = Request(kind="call", start_ns=0, stop_ns=stop)
        contention = Contention(readings=((0, 0), (stop, delay)))
        calls.append(Trace(start_ns=0, stop_ns=stop, requests=(request,), contention=contention))
    return Measurement(
        name=name, workload={}, environment=environment, traces=tuple(calls), stopped_because="as told",
        verdicts=tuple(verdict_on(one, calls, environment) for one in budget),
        recorded_at=os.environ.get("WHEN", "2026-11-25T08:00:00+00:00"),
    )

@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr("pytest_llm_latency.llmtime.measure", measured)
"""
SOURCE = """
import os

guarded = limits(max_slowdown="5%")

def calls(factor=1.0):
    return lambda: [float(os.environ.get("MS", "10")) * factor] * 6

@guarded
def test_a(llmtime):
    llmtime(calls())

@guarded
def test_b(llmtime):
    llmtime(calls(2))

def test_untimed():
    pass
"""
MACHINE = Machine(cores=2, device="cpu", memory_gib=8, processor="AMD EPYC", system="Linux")
FILE = Path("latency_baselines") / "test_it" / f"{MACHINE.fingerprint}.json"


class Project:
    """A user's project whose times are told."""

    def __init__(self, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is stored yet."""
        self.suite, self._monkeypatch = suite, monkeypatch
        self.path = suite.pytester.path
        self.file = self.path / FILE
        suite.pytester.makeconftest(CONFTEST)
        for name in ("BASELINE", "ACCEPT", "REQUIRE_BASELINE", "BASE"):
            monkeypatch.delenv(f"LLM_LATENCY_{name}", raising=False)

    def run(self, *arguments: str, source: str = SOURCE, ms: float = 10.0, **environment: Any) -> Seen:
        """Run the tests in `source`, whose calls take `ms`; FACTS are of their environment, WHEN their time."""
        with self._monkeypatch.context() as patch:
            patch.setenv("MS", repr(ms))
            for name, value in environment.items():
                patch.setenv(name.upper(), value if isinstance(value, str) else json.dumps(value))
            return self.suite.run(source, *arguments)

    def create(self, *times: float, source: str = SOURCE, suite: Suite | None = None) -> None:
        """Store a row for each of the times, on a day of its own; in one process, which is quicker, or by `suite`."""
        own, self.suite = self.suite, suite or type(self.suite)(self.suite.pytester)
        for day, ms in enumerate(times, start=1):
            seen = self.run("--latency-baseline=create", source=source, ms=ms, when=f"2026-11-{day:02}T08:00:00+00:00")
            assert 0 == seen.code, seen.text
        self.suite = own

    @property
    def baseline(self) -> Baseline:
        """What is stored."""
        return from_json(self.file.read_bytes(), source="stored")

    def values(self, test: str = "test_a", name: str = "") -> list[float]:
        """The totals in ms of the rows that count."""
        if not self.file.exists():
            return []
        return [round(1e3 * row.metrics["total@1"].value, 6) for row in self.baseline.rows_of(test, name or test)]


@pytest.fixture
def project(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Runs in one process."""
    return Project(suite, monkeypatch)


@pytest.fixture
def any_project(any_suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Runs in one process, and once more in two workers of pytest-xdist."""
    return Project(any_suite, monkeypatch)


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


# As pytest-rerunfailures does it.
RERUN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports):
        for report in reports:
            if report.failed:
                report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True

def pytest_report_teststatus(report):
    if report.outcome == "rerun":
        return "rerun", "R", "RERUN"
"""


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
