"""The latency_budget marker: which limits it means, and what it says when it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_latency.errors import UsageError
from pytest_llm_latency.limits import read_limits

if TYPE_CHECKING:
    from conftest import Suite

pytest_plugins = ["pytester"]


def marks(*given: Any) -> list[pytest.Mark]:
    """Marks as a test has them, nearest first; each a dict of its keys or a tuple of arguments without."""
    made = [
        pytest.mark.latency_budget(**one) if isinstance(one, dict) else pytest.mark.latency_budget(*one)
        for one in given
    ]
    return [one.mark for one in made]


def test_no_marker_limits_nothing() -> None:
    """A test without the marker has no budgets and no time of its own."""
    assert ((), None) == (read_limits([]).budgets, read_limits([]).time_budget_s)


def test_keys_name_metric_and_statistic_and_the_median_is_meant_without() -> None:
    """Directions come with the metric."""
    limits = read_limits(
        marks({"ttft_p95": "250 ms", "tpot": "18 ms", "decode_throughput_p50": "40 tok/s", "peak_memory_max": "6 GiB"})
    )
    assert [
        "ttft p95 < 250 ms",
        "tpot p50 < 18 ms",
        "decode_throughput p50 > 40 tok/s",
        "peak_memory max < 6 GiB",
    ] == [str(budget) for budget in limits.budgets]


def test_the_nearest_marker_wins_for_each_statistic() -> None:
    """A class may limit what its module limits otherwise; `ttft` and `ttft_p50` are the same limit."""
    limits = read_limits(
        marks({"ttft": "1 s", "time_budget": "5 s"}, {"ttft_p50": "2 s", "tpot": "1 s", "time_budget": "1 min"})
    )
    assert {"ttft p50 < 1 s", "tpot p50 < 1 s"} == {str(budget) for budget in limits.budgets}
    assert 5.0 == limits.time_budget_s


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("250 ms",), r"latency_budget\('250 ms'\) has no keys .* write latency_budget\(ttft_p95="),
        ({}, r"latency_budget\(\) has no keys"),
        ({"time_budget": "3 s"}, "limits nothing but time_budget; write"),
        (
            {"tfft": "1 s"},
            r"latency_budget\(tfft='1 s'\): there is no metric 'tfft'; did you mean 'ttft'.*Known: ttft, ",
        ),
        ({"ttft_p100": "1 s"}, "no statistic 'p100'; expected p50, p95"),
        ({"ttft_p95": "250"}, "'250' is not a number with a unit; expected something like '250 ms'"),
        ({"ttft_p95": "6 GiB"}, "has the unit 'GiB'; expected one of ns, us"),
        ({"ttft_p95": 250}, r'ttft_p95=250 has no unit; write the limit as text, such as ttft_p95="250 ms"'),
        ({"ttft": "1 s", "ttft_p50": "2 s"}, "limits ttft p50 twice, as ttft p50 < 1 s and ttft p50 < 2 s"),
        ({"max_slowdown": 0.05}, r'latency_budget\(max_slowdown=0.05\): expected a share as text, such as "5%"'),
        ({"max_slowdown": "5"}, "expected a share as text"),
        ({"max_slowdown": "5%", "same_output": "yes"}, r"same_output='yes'\): expected True or False"),
        ({"max_slowdown": "five%"}, "expected more than 0% and less than 1000%"),
        ({"max_slowdown": "0%"}, "expected more than 0% and less than 1000%"),
        ({"max_slowdown": "5%", "min_change": "1"}, r"min_change='1'\): expected a number with a unit"),
        ({"max_slowdown": "5%", "min_change": 1.0}, "expected a number with a unit"),
        ({"min_change": "1 ms", "time_budget": "1 s"}, "limits nothing but min_change, time_budget; write"),
        ({"ttft": "1 s", "time_budget": 30}, r"latency_budget\(time_budget=30\): 30 has no unit"),
        ({"ttft": "1 s", "time_budget": "0 s"}, "expected more than no time"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(given: Any, message: str) -> None:
    """Unknown keys and units list the known ones."""
    with pytest.raises(UsageError, match=message):
        read_limits(marks(given))


BROKEN = """
class TestClass:
    @limits(ttft_p95="250")
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_no_unit(self, llmtime, n):
        llmtime(tokens)

    @limits(tfft="1 s")
    def test_no_metric(self, llmtime):
        llmtime(tokens)

    def test_sound(self):
        pass
"""


def test_a_broken_marker_is_a_collection_error_that_names_the_tests(any_suite: Suite) -> None:
    """Nothing runs, as after an import error; each problem is told once."""
    seen = any_suite.run(BROKEN)
    assert seen.code not in (0, int(pytest.ExitCode.INTERNAL_ERROR))
    assert {"errors": 1} == seen.counts
    assert seen.having("ERROR collecting test_it.py")
    assert seen.having("::TestClass::test_no_unit[1] and 2 more: latency_budget(ttft_p95='250'): '250' is not a number")
    assert seen.having("test_it.py::TestClass::test_no_metric: latency_budget(tfft='1 s'): there is no metric 'tfft'")
    assert "Traceback" not in seen.text


def test_other_files_are_collected_beside_a_broken_marker(any_suite: Suite) -> None:
    """`--continue-on-collection-errors` runs what is sound, as with an import error."""
    (any_suite.pytester.path / "test_other.py").write_text("def test_fine():\n    pass\n", encoding="utf-8")
    seen = any_suite.run(BROKEN, "--continue-on-collection-errors")
    assert {"passed": 1, "errors": 1} == seen.counts
    assert int(pytest.ExitCode.TESTS_FAILED) == seen.code


def test_markers_on_module_class_and_function_stack(any_suite: Suite) -> None:
    """The module's limit is broken except where class or function say otherwise."""
    seen = any_suite.run(
        """
pytestmark = limits(ttft="1 ns", tpot="1 h")

def test_of_the_module(llmtime):
    llmtime(tokens)

@limits(ttft="1 h")
class TestClass:
    def test_of_the_class(self, llmtime):
        assert ["tpot p50 < 3,600 s", "ttft p50 < 3,600 s"] == sorted(v.budget for v in llmtime(tokens).verdicts)

    @limits(ttft_p50="1 ns")
    def test_of_the_function(self, llmtime):
        llmtime(tokens)
""",
        "-v",
    )
    assert {"passed": 1, "failed": 2} == seen.counts
    assert seen.having("TOO SLOW", "test_of_the_module", "%]")
    assert seen.having("TOO SLOW", "test_of_the_function", "%]")


def test_a_marker_that_is_added_while_the_test_runs_counts(suite: Suite) -> None:
    """It is read at the call; one that cannot be read is the test's failure then."""
    seen = suite.run("""
def test_sound(llmtime, request):
    request.node.add_marker(slow)
    llmtime(tokens)

def test_unsound(llmtime, request):
    request.node.add_marker(limits(tfft="1 s"))
    llmtime(tokens)
""")
    assert {"failed": 2} == seen.counts
    assert seen.having("TOO SLOW test_it.py::test_sound")
    assert seen.having("FAILED test_it.py::test_unsound", "there is no metric 'tfft'")


@pytest.mark.parametrize(
    ("marks", "metrics", "slowdown", "change"),
    [
        ([{"max_slowdown": "5%"}], ("total",), 0.05, None),
        ([{"ttft_p95": "1 s", "ttft": "1 s", "tpot": "1 s", "max_slowdown": "12.5 %"}], ("ttft", "tpot"), 0.125, None),
        ([{"max_slowdown": "3%"}, {"max_slowdown": "9%", "min_change": "0.2 ms"}], ("total",), 0.03, (0.0002, "s")),
        ([{"max_slowdown": "3%", "min_change": "2 MiB"}], ("total",), 0.03, (2.0 * 2**20, "B")),
        ([{"ttft": "1 s"}], ("ttft",), None, None),
    ],
)
def test_what_a_comparison_is_about(
    marks: list[dict[str, str]], metrics: tuple[str, ...], slowdown: float | None, change: tuple[float, str] | None
) -> None:
    """max_slowdown is about the metrics that have limits, or the whole call; the nearest mark wins."""
    limits = read_limits(pytest.mark.latency_budget(**mark).mark for mark in marks)
    assert (metrics, slowdown, change) == (limits.metrics, limits.max_slowdown, limits.min_change)
