"""A gate as a part of a pytest run: when it runs, what it was asked for, how far it is, and when it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.gate.gate import Progress
from pytest_llm_latency import gating
from pytest_llm_latency.lock import DeviceLock
from tests.pytest_plugin.written_gates import GATE, Timed, gate, skips

if TYPE_CHECKING:
    from conftest import Suite

    from tests.pytest_plugin.written_gates import Written

pytest_plugins = ["pytester"]

ONE = "def test_one(llmtime): ...\n"
PLAIN = "def test_plain(): ...\n"
USAGE = int(pytest.ExitCode.USAGE_ERROR)


@pytest.mark.parametrize("arguments", [["-k", "plain"], ["-k", "nothing_at_all"], ["test_it.py::test_plain"]])
def test_a_gate_of_nothing_is_an_error(suite: Suite, written: Written, arguments: list[str]) -> None:
    """A marker that was renamed must not leave a green gate behind."""
    seen = gate(suite, written, ONE + PLAIN, *arguments)
    assert (USAGE, 0) == (seen.code, written.pairs)
    assert seen.having(
        "ERROR: --latency-base=main was asked for and no selected test uses the llmtime fixture: nothing"
    )


def test_a_gate_of_skipped_tests_is_an_error(suite: Suite, written: Written) -> None:
    """Tests that this machine skips have compared nothing."""
    skipped = {"test_one": skips("base", "head", words="no GPU here")}
    seen = gate(suite, written, ONE, **skipped)
    assert USAGE == seen.code
    assert seen.having("every timed test was skipped on both sides (no GPU here): nothing was gated")


def test_a_report_without_a_gate_is_an_error(suite: Suite) -> None:
    """The file would never be there."""
    seen = suite.run(PLAIN, "--latency-report=gate.md")
    assert USAGE == seen.code
    assert seen.having("--latency-report writes what a gate found, and there is none without --latency-base")


@pytest.mark.parametrize("option", ["--collect-only", "--setup-only", "--setup-plan", "--fixtures", "--markers"])
def test_what_runs_no_test_runs_no_gate(suite: Suite, written: Written, option: str) -> None:
    """An editor that looks for tests waits for nothing."""
    seen = gate(suite, written, ONE + PLAIN, option)
    assert (0, 0) == (seen.code, written.pairs)
    assert not seen.having("llm-latency gate ===")


def test_a_file_that_cannot_be_collected_stops_the_run_before_the_gate(suite: Suite, written: Written) -> None:
    """As it stops any run, unless it is told to go on."""
    suite.pytester.makepyfile(test_broken="import nothing_of_that_name\n")
    seen = gate(suite, written, ONE)
    assert (int(pytest.ExitCode.INTERRUPTED), 0) == (seen.code, written.pairs)
    seen = gate(suite, written, ONE, "--continue-on-collection-errors")
    assert (1, 6) == (seen.code, written.pairs)
    assert {"passed": 1, "errors": 1} == seen.counts


def test_a_marker_that_cannot_be_read_is_told_before_the_gate(suite: Suite, written: Written) -> None:
    """Nobody waits for it."""
    seen = gate(suite, written, "@limits(max_slowdown='much')\n" + ONE)
    assert (int(pytest.ExitCode.INTERRUPTED), 0) == (seen.code, written.pairs)
    assert seen.having("max_slowdown='much'", "expected a share as text")


def test_workers_of_xdist_are_refused(suite: Suite, written: Written) -> None:
    """They would be each other's noise; without any of them it is a run like all others."""
    seen = gate(suite, written, ONE, "-p", "xdist", "-n", "2")
    assert (USAGE, 0) == (seen.code, written.pairs)
    assert seen.having(
        "--latency-base cannot run under pytest-xdist (-n)", "Run the gate in a step of its own, with -n 0"
    )
    seen = gate(suite, written, ONE, "-p", "xdist", "-n", "0")
    assert (0, 6) == (seen.code, written.pairs)


def test_a_test_outside_of_the_repository_is_refused(
    suite: Suite, written: Written, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There is no second version of it."""
    other = tmp_path_factory.mktemp("other") / "test_other.py"
    other.write_text(ONE)
    seen = gate(suite, written, ONE, str(other), "test_it.py", "--rootdir", str(suite.pytester.path))
    assert (USAGE, 0) == (seen.code, written.pairs)
    assert seen.having(f"ERROR: the gate against main did not run: {other} lies outside of the repository")


PLACES = """
@limits(max_slowdown="2%")
def test_marked(llmtime): ...

@limits(total="1 h")
def test_budget(llmtime): ...

def test_unmarked(llmtime): ...
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None, None), 0.05),
        (("6%", None, None), 0.06),
        (("6%", "7%", None), 0.07),
        (("6%", "7%", "0.08"), 0.08),
        (("6%", "7%", "150%"), 1.5),
    ],
)
def test_the_marker_wins_over_the_command_line_over_the_environment_over_the_ini_file(
    suite: Suite,
    written: Written,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str | None, str | None, str | None],
    expected: float,
) -> None:
    """For the limit on a slowdown, which each row of the table shows."""
    ini, variable, option = given
    if ini is not None:
        suite.pytester.makeini(f"[pytest]\nlatency_max_slowdown = {ini}\n")
    if variable is not None:
        monkeypatch.setenv("LLM_LATENCY_MAX_SLOWDOWN", variable)
    seen = gate(suite, written, PLACES, *([f"--latency-max-slowdown={option}"] if option else []))
    limits = {
        name: float(seen.properties(f"test_{name}")["latency.gate.total.limit"]) for name in ("marked", "unmarked")
    }
    assert {"marked": 0.02, "unmarked": expected} == limits
    assert expected == float(seen.properties("test_budget")["latency.gate.total.limit"])


@pytest.mark.parametrize("place", ["ini", "addopts", "environment", "PYTEST_ADDOPTS"])
def test_a_base_may_be_named_anywhere(
    suite: Suite, written: Written, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Also in files and variables, where a workflow has it."""
    if place in ("ini", "addopts"):
        line = "latency_base = v1.0" if place == "ini" else "addopts = --latency-base=v1.0"
        suite.pytester.makeini(f"[pytest]\n{line}\n")
    elif place == "environment":
        monkeypatch.setenv("LLM_LATENCY_BASE", "v1.0")
    else:
        monkeypatch.setenv("PYTEST_ADDOPTS", "--latency-base=v1.0")
    seen = suite.run(ONE)
    assert (0, 6) == (seen.code, written.pairs)
    assert seen.having("llm-latency: base=v1.0, undecided=fail")
    assert seen.having("gate against v1.0: ok")


def test_every_option_gets_to_the_engine(suite: Suite, written: Written) -> None:
    """From the ini file as from the command line."""
    suite.pytester.makeini("[pytest]\nlatency_share = weights data\nlatency_patience = 7 s\nlatency_tests = base\n")
    gate(suite, written, ONE, "--latency-base-python=/opt/python", "-q")
    refs = written.refs
    assert refs is not None
    assert ("main", "/opt/python", True, 7.0) == (refs.ref, refs.base_python, refs.are_tests_of_base, refs.patience_s)
    assert (("weights", "data"), suite.pytester.path) == (refs.shared, refs.project)
    # With the arguments that this run had, word for word.
    assert [GATE, "--latency-base-python=/opt/python", "-q"] == refs.arguments["argv"][-3:]
    gate(suite, written, ONE, "--latency-share=cache", "--latency-share=more", "--latency-tests=head")
    assert written.refs is not None
    assert (("cache", "more"), False) == (written.refs.shared, written.refs.are_tests_of_base)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--latency-base=", "--latency-base is empty; expected a branch, tag or commit"),
        ("--latency-max-slowdown=fast", "--latency-max-slowdown is 'fast'; expected a share"),
        ("--latency-max-slowdown=0%", "--latency-max-slowdown is '0%'; expected a share"),
        ("--latency-max-slowdown=1000%", "--latency-max-slowdown is '1000%'; expected a share"),
        ("--latency-gate-time=15", "--latency-gate-time: '15' is not a number with a unit"),
        ("--latency-gate-time=0 s", "--latency-gate-time is '0 s'; expected more than no time"),
        ("--latency-patience=0 s", "--latency-patience is '0 s'; expected more than no time"),
        ("--latency-tests=mine", "--latency-tests is 'mine'; expected head or base"),
        ("--latency-undecided=green", "--latency-undecided is 'green'; expected pass or fail"),
        ("--latency-baseline=update", "--latency-baseline=update stores what this tree does, and --latency-base=main"),
        ("--latency-report=gate.txt", "'gate.txt' does not say which report it is; end it in .json, .md, .html"),
        ("--latency-report=gate", "'gate' does not say which report it is"),
        ("--latency-report=no/such/gate.md", "there is no folder "),
    ],
)
def test_a_value_that_cannot_be_used_ends_the_run(suite: Suite, written: Written, option: str, message: str) -> None:
    """Before the gate, with the place that it stands in."""
    seen = gate(suite, written, ONE, option)
    assert (USAGE, 0) == (seen.code, written.pairs)
    assert seen.having("ERROR: ", message)


def test_a_wrong_value_elsewhere_names_its_place(
    suite: Suite, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user looks there."""
    monkeypatch.setenv("LLM_LATENCY_GATE_TIME", "soon")
    assert gate(suite, written, ONE).having("ERROR: environment variable LLM_LATENCY_GATE_TIME: 'soon' is not a number")
    monkeypatch.delenv("LLM_LATENCY_GATE_TIME")
    suite.pytester.makeini("[pytest]\nlatency_gate_time = later\n")
    assert gate(suite, written, ONE).having("ERROR: latency_gate_time in the ini file: 'later' is not a number")


def test_options_are_explained(suite: Suite) -> None:
    """Each of them in --help, and its twin among the ini options."""
    text = suite.run("", "--help").text
    for name in ("base", "base-python", "tests", "max-slowdown", "gate-time", "patience", "share", "report"):
        assert f"  --latency-{name}=" in text
        assert f"  latency_{name.replace('-', '_')} (" in text
    assert "  --latency-require-baseline" in text


def test_the_off_switch_takes_the_options_along(suite: Suite) -> None:
    """-p no:llm_latency with a base is a usage error of pytest's own, and never a green run without a gate."""
    (suite.pytester.path / "test_it.py").write_text(PLAIN)
    result = suite.pytester.runpytest_subprocess("-p", "no:llm_latency", GATE)
    assert USAGE == result.ret
    result.stderr.fnmatch_lines(["*unrecognized arguments: --latency-base=main*"])


def test_a_gate_that_refuses_leaves_no_result(suite: Suite, written: Written, tmp_path: Path) -> None:
    """Neither a table nor a report: pairs that were not what they should be tell nothing."""

    def refuse() -> None:
        raise UsageError("the head imported the other side's code")

    written.at_pair = {3: refuse}
    seen = gate(suite, written, ONE, f"--latency-report={tmp_path / 'gate.json'}")
    assert USAGE == seen.code
    assert seen.having("ERROR: the gate against main did not run: the head imported the other side's code")
    assert not seen.having("llm-latency gate ===")
    assert not (tmp_path / "gate.json").exists()
    assert not written.is_open


def test_paths_of_programs_are_taken(suite: Suite, written: Written) -> None:
    """pytest.main() has them too, which no worker could be told as they are."""
    (suite.pytester.path / "test_it.py").write_text(ONE)
    result = suite.pytester.runpytest_inprocess("-p", "llm_latency", GATE, suite.pytester.path / "test_it.py")
    assert 0 == result.ret
    assert written.refs is not None
    assert str(suite.pytester.path / "test_it.py") == written.refs.arguments["argv"][-1]


def progress(**facts: Any) -> Progress:
    """A second pair of two tests."""
    return Progress(
        **{
            "pair": 2,
            "test": "tests/test_it.py::TestClass::test_chat[3]",
            "seconds": 12.3,
            "time_budget_s": 900.0,
            "tests": 2,
            "open": 1,
            "confirming": 0,
            "widest": None,
            "left_s": None,
            **facts,
        }
    )


def test_progress_says_where_the_gate_stands() -> None:
    """Pair, test, what is open, the widest interval, the time and the next look."""
    assert "gate: pair 1, test_chat[3], 2 tests, 12 of 900 s" == gating.told(progress(pair=1))
    assert "gate: pair 1, test_chat[3], 1 test, 12 of 900 s" == gating.told(progress(pair=1, tests=1))
    found = gating.told(progress(confirming=1, widest=("t", 0.012, -0.004, 0.028), left_s=8.4))
    assert (
        "gate: pair 2, test_chat[3], 1 of 2 open, 1 being confirmed on fresh pairs, +1.2 % [-0.4, +2.8],"
        " 12 of 900 s, next look in 8 s"
    ) == found


def test_progress_has_a_line_for_each_pair(suite: Suite, written: Written) -> None:
    """In a log, where nothing can be overwritten, however many tests there are."""
    seen = gate(suite, written, "def test_one(llmtime): ...\n\ndef test_two(llmtime): ...\n")
    lines = seen.having("gate: pair ")
    assert [f"gate: pair {number}" for number in range(1, 7)] == [line.partition(",")[0] for line in lines]
    assert all(", test_one, " in line for line in lines)


def test_without_a_terminal_reporter_a_gate_is_quiet(suite: Suite, written: Written) -> None:
    """-p no:terminal takes away whoever would show it."""
    seen = gate(suite, written, ONE, "-p", "no:terminal", test_one=Timed(share=0.5))
    assert (1, 12) == (seen.code, written.pairs)
    assert "gate" not in seen.text


def test_progress_on_a_terminal_stays_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is overwritten, never longer than the line, and gone at the end."""
    pty = pytest.importorskip("pty", reason="this system has no such terminals")
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "40")
    with os.fdopen(theirs, "w") as stream:
        config: Any = pytest.Config.fromdictargs({}, [])
        terminal: Any = pytest.TerminalReporter(config, stream)
        with gating.live(terminal) as tell:
            tell(progress(pair=1))
            tell(progress(open=2))
        terminal.write("then")
        stream.flush()
        shown = ""
        while not shown.endswith("then"):
            shown += os.read(ours, 4096).decode()
    os.close(ours)
    first, second, blank, rest = shown.replace("\r\n", "\n").removeprefix("\r").split("\r")
    assert ("gate: pair 1, test_chat[3], 2 tests, 12", "gate: pair 2, test_chat[3], 2 of 2 open") == (
        first.rstrip(),
        second.rstrip(),
    )
    assert ("", "\nthen") == (blank.strip(), rest)
    assert {39} == {len(line) for line in (first, second, blank)}


def test_workers_get_the_path_from_before_pytest(suite: Suite, written: Written) -> None:
    """A folder that pytest has put in front for a conftest may hold a file with a library's name."""
    suite.pytester.makeconftest("")
    gate(suite, written, ONE)
    assert written.refs is not None
    assert str(suite.pytester.path) not in written.refs.path


@pytest.mark.parametrize("asked", [True, False])
def test_the_marker_asks_for_answers_of_the_same_tokens(
    suite: Suite, written: Written, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """What it says reaches the gate."""
    seen: list[bool] = []
    made = gating._asked

    def noted(item: Any, settings: Any) -> Any:
        one = made(item, settings)
        seen.append(one.same_output)
        return one

    monkeypatch.setattr(gating, "_asked", noted)
    gate(suite, written, f"@limits(max_slowdown='5%', same_output={asked})\n{ONE}")
    assert [asked] == seen


def test_a_wait_for_the_turn_is_told(suite: Suite, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that stands still would look as if it hung."""

    class Taken(DeviceLock):
        @contextmanager
        def held(self, *, on_wait: Any = lambda: None) -> Iterator[None]:
            on_wait()
            yield

    monkeypatch.setattr(gating, "DeviceLock", Taken)
    assert gate(suite, written, ONE).having("gate: waiting for the turn: something else is timed on this machine")
