"""What a budget does to its test: outcome, word, text and JUnit."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.pytest_plugin.reruns import RERUN

if TYPE_CHECKING:
    from conftest import Seen, Suite

pytest_plugins = ["pytester"]

OUTCOMES = """
@fast
def test_kept(llmtime):
    llmtime(tokens)

@slow
def test_broken(llmtime):
    llmtime(tokens)

@unsure
def test_unsure(llmtime):
    llmtime(tokens, repeat=1)

@slow
@pytest.mark.xfail(strict=False, reason="known")
def test_broken_as_expected(llmtime):
    llmtime(tokens)

@slow
@pytest.mark.xfail(strict=True, raises=AssertionError)
def test_broken_as_expected_strictly(llmtime):
    llmtime(tokens)

@slow
@pytest.mark.xfail(strict=True, raises=OSError)
def test_broken_otherwise_than_expected(llmtime):
    llmtime(tokens)

@fast
@pytest.mark.xfail(strict=False)
def test_kept_unexpectedly(llmtime):
    llmtime(tokens)

@fast
@pytest.mark.xfail(strict=True)
def test_kept_against_the_rule(llmtime):
    llmtime(tokens)

@slow
def test_broken_then_xfailed(llmtime):
    llmtime(tokens)
    pytest.xfail("said inside")

@slow
@pytest.mark.skip(reason="not today")
def test_skipped(llmtime):
    llmtime(tokens)

@slow
def test_skipped_inside(llmtime):
    llmtime(tokens)
    pytest.skip("not today either")

@slow
def test_wrong(llmtime):
    llmtime(tokens)
    assert 1 == 2

@slow
class TestClass:
    def test_method(self, llmtime):
        llmtime(tokens)

    @pytest.mark.parametrize("n", [6, pytest.param(7, marks=fast)])
    def test_parametrized(self, llmtime, n):
        llmtime(tokens, repeat=n)

def test_unmarked(llmtime):
    llmtime(tokens, repeat=1)
"""


def check_junit(seen: Seen) -> None:
    """A breach is a failure in JUnit; passing and breaching tests hold their numbers in base units with the unit."""
    broken, kept, unsure = (seen.properties(test) for test in ("test_broken", "test_kept", "test_unsure"))
    assert ["fail", "pass", "undecided"] == [found["latency.verdict"] for found in (broken, kept, unsure)]
    # A failure at 99 % a look needs seven calls; a limit that far away is kept after six.
    for found, n in ((broken, "9"), (kept, "6")):
        assert 0.001 <= float(found["latency.ttft.p50"]) < 60
        assert float(found["latency.ttft.low"]) <= float(found["latency.ttft.p50"]) <= float(found["latency.ttft.high"])
        assert ("s", n) == (found["latency.ttft.unit"], found["latency.ttft.n"])
        assert "tok/s" == found["latency.output_throughput.unit"]
    assert broken["latency.budget.ttft_p50"].startswith("ttft p50 < 1 ns TOO SLOW: observed")
    assert "latency.ttft.low" not in unsure
    failure = seen.case("test_broken").find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("ttft p50 < 1 ns: observed")
    (root,) = ElementTree.parse(seen.junit).iter("testsuite")
    assert ("6", "0") == (root.get("failures"), root.get("errors"))
    assert seen.case("test_broken_as_expected").find("skipped") is not None


def test_every_outcome_is_that_of_a_test_that_failed_by_itself(any_suite: Suite) -> None:
    """A breach under xfail is xfailed, strict too; a kept budget under xfail is XPASS; a skip stays a skip."""
    seen = any_suite.run(OUTCOMES, "-v")
    words = {
        "test_kept": "PASSED",
        "test_broken": "TOO SLOW",
        "test_unsure": "UNDECIDED",
        "test_broken_as_expected": "XFAIL",
        "test_broken_as_expected_strictly": "XFAIL",
        "test_broken_otherwise_than_expected": "TOO SLOW",
        "test_kept_unexpectedly": "XPASS",
        "test_kept_against_the_rule": "FAILED",
        "test_broken_then_xfailed": "XFAIL",
        "test_skipped": "SKIPPED",
        "test_skipped_inside": "SKIPPED",
        "test_wrong": "FAILED",
        "TestClass::test_method": "TOO SLOW",
        "TestClass::test_parametrized[6]": "TOO SLOW",
        "TestClass::test_parametrized[7]": "PASSED",
        "test_unmarked": "PASSED",
    }
    told = seen.lines[: next(i for i, line in enumerate(seen.lines) if "= FAILURES =" in line)]
    for test, word in words.items():
        lines = [f"{line} " for line in told if f"::{test} " in f"{line} " and "%]" in line]
        assert len(lines) == 1, test
        assert f" {word} " in lines[0]
    assert {"passed": 3, "failed": 6, "undecided": 1, "xfailed": 3, "xpassed": 1, "skipped": 2} == seen.counts
    assert pytest.ExitCode.TESTS_FAILED == seen.code
    check_junit(seen)


def test_a_breach_says_limit_value_bound_and_count_and_shows_the_table(any_suite: Suite) -> None:
    """The failure needs no second look: every broken limit, what else was judged, and the measurement's table."""
    seen = any_suite.run("""
@limits(ttft="1 ns", e2e_max="1 ns", tpot="1 h", output_throughput="1e9 tok/s")
def test_broken(llmtime):
    llmtime(tokens)
""")
    start = next(i for i, line in enumerate(seen.lines) if line.startswith("___") and "test_broken" in line)
    body = [line for line in seen.lines[start + 1 : start + 6] if not line.startswith("[gw")]
    assert body[0].startswith("ttft p50 < 1 ns: observed ")
    assert body[0].endswith("(99%), n = 9")
    assert "lower bound" in body[0]
    assert body[1].startswith("e2e max < 1 ns: max of 9 is ")
    assert body[2].startswith("output_throughput p50 > 1,000,000,000 tok/s: observed ")
    assert "upper bound" in body[2]
    assert "test_broken: every budget decided after 9 calls; tpot p50 < 3,600 s PASS" == body[3]
    assert 1 == len(seen.having("---", "llm-latency: test_broken"))
    assert 1 == len(seen.having("metric", "median", "95 % interval"))
    assert 1 == len(seen.having("TOO SLOW test_it.py::test_broken - ttft p50 < 1 ns: observed"))
    assert "outcome.py" not in seen.text


def test_the_letters_of_a_quiet_run(suite: Suite) -> None:
    """Dots stay dots; a breach is a T and an undecided budget a U."""
    seen = suite.run(
        """
@fast
def test_a(llmtime):
    llmtime(tokens)

@slow
def test_b(llmtime):
    llmtime(tokens)

@unsure
def test_c(llmtime):
    llmtime(tokens, repeat=1)
""",
        "-q",
    )
    assert 1 == len(seen.having(".TU", "[100%]"))


def test_line_tracebacks_name_the_test(suite: Suite) -> None:
    """`--tb=line` points into the user's file, not into this plugin."""
    seen = suite.run("@slow\ndef test_broken(llmtime):\n    llmtime(tokens)\n", "--tb=line")
    assert 1 == len(seen.having("test_it.py:", ": ttft p50 < 1 ns: observed"))


def test_several_measurements_of_a_test_are_numbered_in_junit(suite: Suite) -> None:
    """Without a number, the second would hide the first."""
    seen = suite.run("""
def test_two(llmtime, request):
    request.node.user_properties.append(("mine", "kept"))
    llmtime(tokens, repeat=1, name="first")
    llmtime(plain, repeat=1)
""")
    found = seen.properties("test_two")
    assert ("first", "test_two #2") == (found["latency.1.name"], found["latency.2.name"])
    assert "latency.1.ttft.p50" in found
    assert "latency.2.ttft.p50" not in found
    assert "kept" == found["mine"]


def test_x_stops_at_a_breach_and_last_failed_runs_it_again(any_suite: Suite) -> None:
    """`-x`, `--maxfail` and `--lf` take a breach for the failure that it is."""
    source = "@slow\ndef test_a(llmtime):\n    llmtime(tokens)\n\ndef test_b():\n    pass\n"
    seen = any_suite.run(source, "-x")
    assert seen.having("stopping after 1 failures")
    assert 1 == seen.counts["failed"]
    again = any_suite.run("", "--lf")
    assert {"failed": 1} == {word: n for word, n in again.counts.items() if word != "deselected"}


def test_a_rerun_judges_what_the_rerun_measured(any_suite: Suite) -> None:
    """Plugins that run a failed test again see the breach, and nothing of the first run stays."""
    any_suite.pytester.makeconftest(RERUN)
    seen = any_suite.run("""
runs = []

def test_flaky(llmtime):
    runs.append(1)
    llmtime(tokens, budget="ttft < 1 ns" if len(runs) == 1 else "ttft < 1 h")
""")
    assert {"passed": 1, "rerun": 1} == seen.counts
    found = seen.properties("test_flaky")
    assert "pass" == found["latency.verdict"]
    assert not any(name.startswith("latency.2") for name in found)
    assert 1 == len(seen.having("test_it.py::test_flaky", "PASS"))


def test_a_marked_test_that_timed_nothing_fails(any_suite: Suite) -> None:
    """A budget that guards nothing is not a green one, unless the test had another end."""
    seen = any_suite.run("""
@fast
def test_without_the_fixture():
    pass

@fast
def test_without_a_call(llmtime):
    pass

@fast
def test_broken_off(llmtime):
    def breaks():
        raise ValueError("no")
    with pytest.raises(ValueError):
        llmtime(breaks)

@fast
def test_skipped(llmtime):
    pytest.skip("no model here")

@fast
@pytest.mark.xfail
def test_xfailed(llmtime):
    assert False
""")
    assert {"failed": 3, "skipped": 1, "xfailed": 1} == seen.counts
    assert 3 == len(seen.having("FAILED test_it.py", "latency_budget, but timed nothing"))


@pytest.mark.parametrize("outcome", ["pass", "fail"])
def test_undecided_passes_loudly_or_fails(any_suite: Suite, outcome: str) -> None:
    """The header says which, and the reason is told either way."""
    seen = any_suite.run(
        """
@unsure
def test_unsure(llmtime):
    llmtime(tokens, repeat=1)

@unsure
@pytest.mark.xfail(strict=False)
def test_unsure_as_expected(llmtime):
    llmtime(tokens, repeat=1)
""",
        f"--latency-undecided={outcome}",
        "-v",
    )
    assert seen.having(f"llm-latency: undecided={outcome}")
    assert seen.having("test_it.py::test_unsure: ttft p95 < 3,600 s UNDECIDED: ", "one call has no interval")
    expected = {"pass": {"undecided": 1, "xpassed": 1}, "fail": {"failed": 1, "xfailed": 1}}[outcome]
    assert expected == seen.counts
    assert (1 if outcome == "fail" else 0) == seen.code
    assert seen.having("UNDECIDED", "test_it.py::test_unsure", "%]")


def test_the_worst_of_several_measurements_decides(suite: Suite) -> None:
    """One broken call among kept ones fails the test, and only it is complained about."""
    seen = suite.run("""
@limits(total="1 h")
def test_three(llmtime):
    llmtime(tokens, name="good")
    llmtime(tokens, name="bad", budget="ttft < 1 ns")
    llmtime(tokens, name="unsure", budget="ttft p95 < 1 h", repeat=1)
""")
    assert {"failed": 1} == seen.counts
    assert seen.having("bad: every budget decided after 9 calls; total p50 < 3,600 s PASS")
    assert ["PASS", "TOO SLOW", "UNDECIDED"] == [
        next(word for word in ("PASS", "TOO SLOW", "UNDECIDED") if seen.having(f"test_three {name} ", word))
        for name in ("good", "bad", "unsure")
    ]


def test_a_unittest_method_fails_with_its_own_failure_or_the_breach(suite: Suite) -> None:
    """unittest hides exceptions from pytest's hooks; a breach must not replace them, nor get lost."""
    seen = suite.run("""
import unittest

class TestOld(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _inject(self, llmtime):
        self.llmtime = llmtime

    @slow
    def test_broken(self):
        self.llmtime(tokens)

    @slow
    def test_wrong(self):
        self.assertEqual(1, 2)

    @slow
    def test_skipped(self):
        self.skipTest("not today")

    @fast
    def test_kept(self):
        self.llmtime(tokens)
""")
    assert {"failed": 2, "skipped": 1, "passed": 1} == seen.counts
    assert seen.having("TOO SLOW test_it.py::TestOld::test_broken")
    assert seen.having("FAILED test_it.py::TestOld::test_wrong", "1 != 2")


def test_an_exception_goes_on_with_the_calls_so_far_as_a_section(any_suite: Suite) -> None:
    """What the callable raises is the test's failure; the partial table is shown, and no budget is judged on it."""
    seen = any_suite.run("""
@limits(total="1 h")
def test_breaks(llmtime):
    left = iter(range(9))
    def call():
        if next(left) == 3:
            raise ValueError("the server went away")
        time.sleep(0.001)
    llmtime(call, warmup=0)
""")
    assert {"failed": 1} == seen.counts
    assert seen.having("FAILED test_it.py::test_breaks - ValueError: the server went away")
    assert seen.having("---", "llm-latency: test_breaks")
    assert seen.having("test_it.py::test_breaks", "broke off")
    assert "latency.verdict" not in seen.properties("test_breaks")
    assert "pytest_llm_latency/llmtime.py" not in seen.text


def test_a_limit_on_a_metric_without_a_value_fails_at_the_first_look(any_suite: Suite) -> None:
    """It would guard nothing for ever; the reason names the metric, and sampling does not go on for it."""
    seen = any_suite.run("""
@fast
def test_no_tokens(llmtime):
    llmtime(plain)
""")
    assert {"failed": 1} == seen.counts
    assert seen.having("ttft p50 < 3,600 s: ttft has no value in these calls, n = 0")
    assert seen.having("no value for ttft in 6 calls: more of them would not decide its budget")


def test_an_interrupt_ends_the_run(suite: Suite) -> None:
    """Ctrl-C inside a timed call is pytest's, as anywhere else."""
    seen = suite.run("""
@slow
def test_interrupted(llmtime):
    def call():
        raise KeyboardInterrupt
    llmtime(call)

def test_next():
    pass
""")
    assert int(pytest.ExitCode.INTERRUPTED) == seen.code
    assert seen.having("KeyboardInterrupt")
