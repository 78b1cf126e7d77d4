"""The lines at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pytest_llm_latency.outcome
import pytest_llm_latency.summary

if TYPE_CHECKING:
    from conftest import Suite

pytest_plugins = ["pytester"]


def test_one_line_for_each_measurement_and_the_reasons_for_doubt(any_suite: Suite) -> None:
    """Test, calls, ttft, tpot, e2e, verdict; a missing number is a dash."""
    seen = any_suite.run("""
@fast
def test_kept(llmtime):
    llmtime(tokens)

@slow
def test_broken(llmtime):
    llmtime(tokens)

@unsure
def test_unsure(llmtime):
    llmtime(tokens, repeat=1)

def test_unjudged(llmtime):
    llmtime(plain, repeat=2)

def test_untimed():
    pass
""")
    start = next(i for i, line in enumerate(seen.lines) if line.startswith("===") and " llm-latency " in line)
    table = [line.split() for line in seen.lines[start + 1 : start + 6]]
    assert ["test", "n", "ttft", "p50", "tpot", "p50", "e2e", "p50", "verdict"] == table[0]
    assert ["test_broken", "test_kept", "test_unjudged", "test_unsure"] == [row[0].split("::")[1] for row in table[1:]]
    assert [["TOO", "SLOW"], ["6", "PASS"], ["2", "–", "–", "–"], ["1", "UNDECIDED"]] == [
        table[1][-2:],
        [table[2][1], table[2][-1]],
        [*table[3][1:4], table[3][-1]],
        [table[4][1], table[4][-1]],
    ]
    doubt = seen.lines[start + 6]
    assert doubt.startswith("test_it.py::test_unsure: ttft p95 < 3,600 s UNDECIDED: observed ")
    assert doubt.endswith("(one call)")
    assert not seen.having("test_untimed", "–")


def test_a_run_without_timing_has_no_summary(suite: Suite) -> None:
    """One header line is all that it costs."""
    seen = suite.run("def test_untimed():\n    pass\n")
    assert ["llm-latency: undecided=pass"] == [line for line in seen.having("llm-latency") if "plugins:" not in line]


def test_the_summary_stays_when_the_run_is_quiet(suite: Suite) -> None:
    """Doubt must be seen, however short the rest."""
    source = "@unsure\ndef test_unsure(llmtime):\n    llmtime(tokens, repeat=1)\n"
    for quieter in ("-q", "-qq", "--no-summary", "--no-header"):
        seen = suite.run(source, quieter)
        assert seen.having("test_it.py::test_unsure: ttft p95 < 3,600 s UNDECIDED")


@pytest.mark.parametrize("broken", ["write_summary", "_row", "_properties"])
def test_a_mistake_in_the_reporting_costs_nobody_the_run(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The test's outcome stands, and the mistake is told."""

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    room = pytest_llm_latency.summary if broken == "write_summary" else pytest_llm_latency.outcome
    monkeypatch.setattr(room, broken, breaks)
    seen = suite.run("@slow\ndef test_broken(llmtime):\n    llmtime(tokens)\n\ndef test_next():\n    pass\n")
    assert {"failed": 1, "passed": 1} == seen.counts
    if broken == "_properties":
        assert "RuntimeError('planted')" == seen.properties("test_broken")["latency.problem"]
    else:
        assert seen.having("RuntimeError('planted')")
