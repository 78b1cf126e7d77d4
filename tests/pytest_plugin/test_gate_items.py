"""A test in a gate is reported as any other: skips, xfails, fixtures, reruns, selections; pairs are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pytest_plugin.written_gates import GATE, Timed, fails, gate, skips, words_of

if TYPE_CHECKING:
    from conftest import Suite

    from tests.pytest_plugin.written_gates import Written

pytest_plugins = ["pytester"]

XFAILS = """
xfail = pytest.mark.xfail

@xfail(strict=True, reason="known to be slow")
def test_slow_as_expected(llmtime): ...

@xfail(strict=True, raises=AssertionError)
def test_slow_as_expected_by_its_kind(llmtime): ...

@xfail(strict=True)
def test_same_against_the_rule(llmtime): ...

@xfail(strict=False)
def test_same_unexpectedly(llmtime): ...

@xfail(reason="known to be broken")
def test_broken_as_expected(llmtime): ...

@xfail(raises=AssertionError)
def test_broken_otherwise_than_expected(llmtime): ...

def test_gives_up(llmtime): ...

@pytest.mark.skip(reason="not today")
def test_skip(llmtime): ...

@pytest.mark.skipif(True, reason="not on this machine")
def test_skipif(llmtime): ...

@xfail(run=False, reason="crashes")
def test_not_run(llmtime): ...
"""


def test_xfail_and_skip_are_those_of_any_test(suite: Suite, written: Written) -> None:
    """A slowdown under xfail is xfailed, and what fails in the workers as it was expected to, is too."""
    skip = {name: skips("base", "head", words=words) for name, words in (("test_skip", "x"), ("test_skipif", "x"))}
    seen = gate(
        suite,
        written,
        XFAILS,
        "-v",
        "-rxXs",
        test_slow_as_expected=Timed(share=0.5),
        test_slow_as_expected_by_its_kind=Timed(share=0.5),
        test_broken_as_expected=skips("base", "head", words="xfailed: known to be broken"),
        test_broken_otherwise_than_expected=fails("head", words="E   OSError: no\n\ntest_it.py:9: OSError"),
        test_gives_up=skips("base", "head", words="xfailed: not on this GPU"),
        test_not_run=skips("base", "head", words="xfailed: [NOTRUN] crashes"),
        **skip,
    )
    assert {
        "test_slow_as_expected": "XFAIL",
        "test_slow_as_expected_by_its_kind": "XFAIL",
        "test_same_against_the_rule": "FAILED",
        "test_same_unexpectedly": "XPASS",
        "test_broken_as_expected": "XFAIL",
        "test_broken_otherwise_than_expected": "FAILED",
        "test_gives_up": "XFAIL",
        "test_skip": "SKIPPED",
        "test_skipif": "SKIPPED",
        "test_not_run": "XFAIL",
    } == words_of(seen)
    assert seen.having("XFAIL test_it.py::test_slow_as_expected - known to be slow")
    assert seen.having("XFAIL test_it.py::test_broken_as_expected - known to be broken")
    assert seen.having("XFAIL test_it.py::test_gives_up - not on this GPU")
    assert seen.having("SKIPPED [1] test_it.py", ": not today")


def test_one_failure_in_many_is_told_and_decides_nothing(suite: Suite, written: Written) -> None:
    """A flaky test whose times are there is judged by them."""
    how = {"test_flaky": fails("head", words="E   OSError: a port was taken", for_pairs=1)}
    seen = gate(suite, written, "def test_flaky(llmtime):\n    pass\n", "-v", **how)
    assert {"test_flaky": "PASSED"} == words_of(seen)
    assert seen.having("it fails at the head in 1 of 7 pairs: ", "OSError: a port was taken")


FIXTURES = """
import unittest

@pytest.fixture(scope="session", autouse=True)
def weights():
    leave()

@pytest.fixture(scope="module")
def model(weights):
    leave()

@pytest.fixture
async def client(model):
    leave()

def leave():
    import os
    os._exit(77)

def test_fixtures(llmtime, model, client, tmp_path):
    leave()

class TestClass:
    def setup_method(self):
        leave()

    @pytest.mark.parametrize("n", [1, pytest.param(2, id="odd [id]/é")])
    def test_method(self, llmtime, n):
        leave()

class TestOld(unittest.TestCase):
    def setUp(self):
        leave()

    @pytest.fixture(autouse=True)
    def _inject(self, llmtime):
        leave()

    def test_unittest(self):
        leave()
"""


def test_fixtures_and_setups_stay_out_of_this_process(suite: Suite, written: Written) -> None:
    """No model is loaded a third time, whatever kind of test asks for it."""
    seen = gate(suite, written, FIXTURES, "-v", "--setup-show")
    assert (0, {"passed": 4}) == (seen.code, seen.counts)
    assert 4 == len(seen.having("test_it.py::", "total", "10.0 ms", " ok"))


def test_a_fixture_that_is_asked_for_on_the_way_fails(suite: Suite, written: Written) -> None:
    """The gate could not see it beforehand, and passes over no test that times."""
    source = """
def test_same(llmtime):
    pass

@pytest.mark.usefixtures("llmtime")
def test_used():
    pass

def test_dynamic(request):
    request.getfixturevalue("llmtime")(tokens)
"""
    seen = gate(suite, written, source, "-v")
    assert {"test_same": "PASSED", "test_used": "PASSED", "test_dynamic": "FAILED"} == words_of(seen)
    assert seen.having("FAILED test_it.py::test_dynamic - ", "the gate did not see that this test uses llmtime")


CHOICE = """
import pytest

def test_one(llmtime): ...

@pytest.mark.slow
def test_two(llmtime): ...

class TestClass:
    @pytest.mark.parametrize("n", [3, 4])
    def test_n(self, llmtime, n): ...

def test_plain(): ...
"""
ALL = ["test_one", "test_two", "test_n[3]", "test_n[4]"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ALL),
        (["-k", "one or 4"], ["test_one", "test_n[4]"]),
        (["-m", "slow"], ["test_two"]),
        (["-m", "not slow"], ["test_one", "test_n[3]", "test_n[4]"]),
        (["test_it.py::TestClass::test_n[3]", "test_it.py::test_one"], ["test_n[3]", "test_one"]),
        (["test_it.py::TestClass"], ["test_n[3]", "test_n[4]"]),
        (["--deselect", "test_it.py::test_one"], ["test_two", "test_n[3]", "test_n[4]"]),
        (["test_it.py", "test_it.py", "--keep-duplicates"], ALL),
    ],
)
def test_what_is_selected_is_gated(suite: Suite, written: Written, arguments: list[str], expected: list[str]) -> None:
    """By name, marker, node id or exclusion, in the order in which pytest has it."""
    seen = gate(suite, written, CHOICE, *arguments)
    assert expected == written.asked
    assert 0 == seen.code


def test_the_last_failed_are_gated_alone_or_first(suite: Suite, written: Written) -> None:
    """--lf and --ff know what was too slow, as a failure of any kind."""
    slow = {"test_two": Timed(share=0.5)}
    assert {"failed": 1, "passed": 4} == gate(suite, written, CHOICE, **slow).counts
    for option, expected in (("--lf", ["test_two"]), ("--ff", ["test_two", "test_one", "test_n[3]", "test_n[4]"])):
        written.asked = []
        assert 1 == suite.run("", GATE, option).code
        assert expected == written.asked


@pytest.mark.parametrize(
    ("option", "code", "counts"),
    [("-x", 1, {"failed": 1}), ("--maxfail=2", 1, {"failed": 2}), ("--sw", 2, {"failed": 1})],
)
def test_a_slow_test_ends_the_run_where_a_failure_does(
    suite: Suite, written: Written, option: str, code: int, counts: dict[str, int]
) -> None:
    """The gate has been run by then, and its table has every test."""
    slow = {test: Timed(share=0.5) for test in ("test_one", "test_two", "test_n[3]")}
    seen = gate(suite, written, CHOICE, option, **slow)
    assert (code, counts) == (seen.code, seen.counts)
    assert 3 == len(seen.having("total", "+50.0 %", "6 + 6 fresh", "TOO SLOW"))
    assert seen.having("test_n[4]", "total", " ok")


RERUN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in (2, 1, 0):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if left and any(report.failed for report in reports):
            for report in reports:
                report.outcome = "rerun"
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        if not any(report.outcome == "rerun" for report in reports):
            return True

def pytest_report_teststatus(report):
    if report.outcome == "rerun":
        return "rerun", "R", "RERUN"
"""


def test_a_rerun_is_no_second_chance(suite: Suite, written: Written) -> None:
    """Plugins that run a failed test again hear the same: there was one gate."""
    suite.pytester.makeconftest(RERUN)
    seen = gate(suite, written, CHOICE, "-k", "one or two", test_two=Timed(share=0.5))
    assert (1, 12) == (seen.code, written.pairs)
    assert (1, 1) == (seen.counts["passed"], seen.counts["failed"])
    assert 1 == len(seen.having("test_it.py::test_two ", "48"))  # a row of the table of what was timed
