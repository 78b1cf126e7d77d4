"""Options, environment and ini file, and which of them wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Suite

pytest_plugins = ["pytester"]

# (ini, environment, command line), and what the header says.
PLACES = [
    ((None, None, None), "undecided=pass"),
    (("fail", None, None), "undecided=fail"),
    (("fail", "pass", None), "undecided=pass"),
    (("pass", "pass", "fail"), "undecided=fail"),
    (("fail", "", None), "undecided=fail"),  # an empty variable is none
]


@pytest.mark.parametrize(("given", "expected"), PLACES)
def test_the_command_line_wins_over_the_environment_over_the_ini_file(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, given: tuple[str | None, str | None, str | None], expected: str
) -> None:
    """The header shows what was decided."""
    ini, variable, option = given
    if ini is not None:
        suite.pytester.makeini(f"[pytest]\nlatency_undecided = {ini}\n")
    if variable is not None:
        monkeypatch.setenv("LLM_LATENCY_UNDECIDED", variable)
    seen = suite.run("def test_nothing():\n    pass\n", *([f"--latency-undecided={option}"] if option else []))
    assert [f"llm-latency: {expected}"] == seen.having("llm-latency:")
    assert 0 == seen.code


def test_every_setting_is_in_the_one_header_line(suite: Suite) -> None:
    """Nobody has to look up what a run was asked for."""
    seen = suite.run(
        "def test_nothing():\n    pass\n",
        "--latency-time-budget=1.5 min",
        "--latency-precision=5%",
        "--latency-undecided=fail",
    )
    assert ["llm-latency: undecided=fail, time budget 90 s, precision 0.05"] == seen.having("llm-latency:")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--latency-undecided=maybe", "--latency-undecided is 'maybe'; expected pass or fail"),
        ("--latency-time-budget=30", "--latency-time-budget: '30' is not a number with a unit"),
        ("--latency-time-budget=0 s", "--latency-time-budget is '0 s'; expected more than no time"),
        ("--latency-precision=much", "--latency-precision is 'much'; expected a share of the median"),
        ("--latency-precision=0", "--latency-precision is '0'; expected a share"),
        ("--latency-precision=100%", "--latency-precision is '100%'; expected a share"),
    ],
)
def test_a_value_that_cannot_be_used_ends_the_run_before_it_begins(suite: Suite, option: str, message: str) -> None:
    """The message names the place, the value and what was expected."""
    seen = suite.run("def test_nothing():\n    pass\n", option)
    assert int(pytest.ExitCode.USAGE_ERROR) == seen.code
    assert seen.having(message)


def test_a_wrong_value_in_the_environment_names_the_variable(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user looks where it stands."""
    monkeypatch.setenv("LLM_LATENCY_TIME_BUDGET", "soon")
    seen = suite.run("def test_nothing():\n    pass\n")
    assert seen.having("environment variable LLM_LATENCY_TIME_BUDGET: 'soon' is not a number with a unit")


# No call loads a model, so these budgets are never decided.
TIME_BUDGETS = """
@limits(output_throughput_p1="1 tok/s")
def test_from_the_run(llmtime):
    assert "time budget of 0.02 s used" in llmtime(tokens).stopped_because

@limits(output_throughput_p1="1 tok/s", time_budget="30 ms")
def test_from_the_marker(llmtime):
    assert "time budget of 0.03 s used" in llmtime(tokens).stopped_because

@limits(output_throughput_p1="1 tok/s", time_budget="30 ms")
def test_from_the_call(llmtime):
    assert "time budget of 0.04 s used" in llmtime(tokens, time_budget="40 ms").stopped_because
    assert "time budget of 0.05 s used" in llmtime(tokens, time_budget=0.05).stopped_because
"""


def test_the_call_wins_over_the_marker_over_the_run(any_suite: Suite) -> None:
    """The nearer to the timed call, the stronger."""
    seen = any_suite.run(TIME_BUDGETS, "--latency-time-budget=20 ms")
    assert {"undecided": 3} == seen.counts


def test_precision_is_that_of_the_call_or_of_the_run(suite: Suite) -> None:
    """A wide interval is reached soon, and the share is named."""
    seen = suite.run(
        """
def test_precision(llmtime):
    assert "interval within ±99% after" in llmtime(tokens).stopped_because
    assert "interval within ±98% after" in llmtime(tokens, precision=0.98).stopped_because
""",
        "--latency-precision=99%",
    )
    assert {"passed": 1} == seen.counts
