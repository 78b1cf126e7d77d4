"""What a gate does to a test: outcome, word, letter, text and JUnit; its pairs are written, and take no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pytest_plugin.written_gates import Timed, fails, gate, skips, words_of

if TYPE_CHECKING:
    from conftest import Suite

    from tests.pytest_plugin.written_gates import Written

pytest_plugins = ["pytester"]

# Every timed test ends the run if this process ever runs its code.
WORDS = """
def leave():
    import os
    os._exit(77)

def test_same(llmtime):
    leave()

@limits(max_slowdown="5%")
def test_slow(llmtime):
    leave()

def test_fast(llmtime):
    leave()

def test_new(llmtime):
    leave()

def test_broken(llmtime):
    leave()

def test_broken_at_the_base(llmtime):
    leave()

def test_unequal(llmtime):
    leave()

def test_skips(llmtime):
    leave()

def test_plain():
    print("the plain one was run")
"""
EACH = {
    "test_slow": Timed(share=0.5),
    "test_fast": Timed(share=-0.5),
    "test_new": fails("base", words="ImportError: no such thing"),
    "test_broken": fails(
        "base",
        "head",
        words="def test_broken(llmtime):\n>   chat()\nE   ValueError: not here\n\ntest_it.py:9: ValueError",
    ),
    "test_broken_at_the_base": fails("base", words="ValueError: not there"),
    "test_unequal": Timed(tokens=(4, 6)),
    "test_skips": skips("base", "head", words="no model"),
}


def test_every_word(suite: Suite, written: Written) -> None:
    """Each test says what was found of it; only those outside of the gate are run here, once."""
    seen = gate(suite, written, WORDS, "-v", "-rA", **EACH)
    assert {
        "test_same": "PASSED",
        "test_slow": "TOO SLOW",
        "test_fast": "FASTER",
        "test_new": "NEW",
        "test_broken": "FAILED",
        "test_broken_at_the_base": "UNDECIDED",
        "test_unequal": "UNDECIDED",
        "test_skips": "SKIPPED",
        "test_plain": "PASSED",
    } == words_of(seen)
    assert {"failed": 4, "passed": 3, "new": 1, "skipped": 1} == seen.counts
    assert int(pytest.ExitCode.TESTS_FAILED) == seen.code
    assert 1 == len(seen.having("the plain one was run"))
    assert not written.is_open
    assert seen.having("TOO SLOW test_it.py::test_slow - total +50.0 % [+49.", "], limit 5 %: TOO SLOW")
    assert seen.having("FAILED test_it.py::test_broken - it fails in the gate's workers: ", "ValueError: not here")
    assert seen.having("UNDECIDED test_it.py::test_broken_at_the_base - it fails at the base: ValueError: not there")
    assert seen.having(
        "UNDECIDED test_it.py::test_unequal - total –, limit 5 %: UNDECIDED, unequal work: 4 and 6 new tok"
    )
    assert seen.having("unequal work: 4 and 6 new tokens; fix the length with min_new_tokens and max_new_tokens")
    assert seen.having("SKIPPED [1] test_it.py:", ": no model")


def test_letters(suite: Suite, written: Written) -> None:
    """One for each test: what is too slow, broken or undecided can be told apart."""
    assert gate(suite, written, WORDS, "-q", "-s", **EACH).having(".T.NFUUs")


def test_what_is_well_passes(suite: Suite, written: Written) -> None:
    """Exit code 0, the table, and the header line that says what was asked for."""
    seen = gate(suite, written, "def test_same(llmtime):\n    pass\n\ndef test_plain():\n    pass\n")
    assert (0, {"passed": 2}) == (seen.code, seen.counts)
    assert ["llm-latency: base=main, undecided=fail"] == seen.having("llm-latency: ")
    assert seen.having("gate against main: ok")
    (row,) = seen.having("test_it.py::test_same", "total", "ok")
    assert ["10.0", "ms"] == row.split()[2:4]
    assert seen.having("6 pairs in ", "every question answered after 6 pairs")


def test_junit(suite: Suite, written: Written) -> None:
    """A slowdown is a failure with its words, and every test has its numbers in base units."""
    seen = gate(suite, written, WORDS, **EACH)
    failure = seen.case("test_slow").find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("total +50.0 % [+49.")
    assert "the whole interval lies above 2.5 %, half of the limit, both times" in failure.get("message", "")
    slow, same = seen.properties("test_slow"), seen.properties("test_same")
    assert ("TOO SLOW", "0.05", "6", "6") == tuple(
        slow[f"latency.gate.total.{name}"] for name in ("word", "limit", "pairs", "fresh")
    )
    assert pytest.approx(0.5, abs=0.001) == float(slow["latency.gate.total.slowdown"])
    assert float(slow["latency.gate.total.low"]) < 0.5 < float(slow["latency.gate.total.high"])
    assert ("ok", "6") == (same["latency.gate.total.word"], same["latency.gate.total.pairs"])
    # The head's calls: four in each of the pairs.
    assert ("24", "0.01") == (same["latency.total.n"], f"{float(same['latency.total.p50']):.2g}")
    skipped = seen.case("test_skips").find("skipped")
    assert skipped is not None and "no model" == skipped.get("message")
    assert {} == {name: value for name, value in seen.properties("test_broken").items() if "gate" in name}


@pytest.mark.parametrize("style", ["no", "line", "short", "long", "native"])
def test_a_failure_is_told_in_every_style(suite: Suite, written: Written, style: str) -> None:
    """The summary line has it even where no traceback is wanted, and none shows this plugin."""
    seen = gate(suite, written, WORDS, f"--tb={style}", "-q", **EACH)
    assert seen.having("TOO SLOW test_it.py::test_slow - total +50.0 %")
    assert "pytest_llm_latency" not in seen.text
    assert (style != "no") == bool(seen.having("--- llm-latency: test_slow ---"))
    assert (style != "no") == bool(seen.having("# which of its callables was timed cannot be told: call it here"))


def test_new_is_an_error_where_a_baseline_is_required(suite: Suite, written: Written) -> None:
    """And says so; what the base has and cannot run stays undecided."""
    seen = gate(suite, written, WORDS, "-v", "--latency-require-baseline", **EACH)
    assert ("NEW", "UNDECIDED") == tuple(words_of(seen)[f"test_{test}"] for test in ("new", "broken_at_the_base"))
    assert {"failed": 5, "passed": 3, "skipped": 1} == seen.counts
    assert seen.having("NEW test_it.py::test_new - the base has no such test, and a baseline is required")
    assert gate(suite, written, WORDS, "-qs", "--latency-require-baseline", **EACH).having(".T.UFUUs")


def test_undecided_passes_where_it_may(suite: Suite, written: Written) -> None:
    """Loudly: with its word, and the reason below the table."""
    source = "def test_few(llmtime):\n    pass\n\ndef test_unequal(llmtime):\n    pass\n"
    how = {"test_unequal": Timed(tokens=(4, 6))}
    strict = gate(suite, written, source, "--latency-gate-time=1 ns", **how)
    assert (1, {"failed": 2}) == (strict.code, strict.counts)
    lenient = gate(suite, written, source, "--latency-gate-time=1 ns", "--latency-undecided=pass", "-v", **how)
    assert (0, {"undecided": 2}) == (lenient.code, lenient.counts)
    assert lenient.having("llm-latency: base=main, undecided=pass")
    assert {"test_few": "UNDECIDED", "test_unequal": "UNDECIDED"} == words_of(lenient)
    for seen in (strict, lenient):
        assert seen.having("fewer than 6 pairs were run")
        assert seen.having("about 5 more pairs would probably decide it")
        assert seen.having("time budget of 1e-09 s used after 1 pair")


METRICS = """
@limits(output_throughput="1 tok/s", max_slowdown="10%")
def test_throughput_lost(llmtime): ...

@limits(output_throughput="1 tok/s", max_slowdown="10%")
def test_throughput_won(llmtime): ...

@limits(max_slowdown="5%", min_change="6 ms")
def test_small_change(llmtime): ...

@limits(max_slowdown="5%", min_change="4 ms")
def test_large_change(llmtime): ...

@limits(max_slowdown="60%")
def test_within(llmtime): ...

@limits(ttft="1 h", total="1 h", max_slowdown="10%")
def test_two_metrics(llmtime): ...

@limits(peak_memory="1 GiB", max_slowdown="10%")
def test_more_memory(llmtime): ...

@limits(peak_memory="1 GiB", max_slowdown="10%")
def test_less_memory(llmtime): ...
"""


def test_metrics_and_limits_of_the_marker(suite: Suite, written: Written) -> None:
    """Each metric with a budget is gated, in its own direction; a change may be too small to count."""
    tests = {f"test_{name}": Timed(share=0.5) for name in ("throughput_lost", "small_change", "large_change", "within")}
    tests |= {"test_throughput_won": Timed(share=-0.5), "test_two_metrics": Timed(share=0.5)}
    tests |= {"test_more_memory": Timed(peaks=(1000, 1500)), "test_less_memory": Timed(peaks=(1000, 500))}
    seen = gate(suite, written, METRICS, "-v", **tests)
    assert {
        "test_throughput_lost": "TOO SLOW",
        "test_throughput_won": "FASTER",
        "test_small_change": "PASSED",
        "test_large_change": "TOO SLOW",
        "test_within": "PASSED",
        "test_two_metrics": "TOO SLOW",
        "test_more_memory": "TOO MUCH",
        "test_less_memory": "LESS",
    } == words_of(seen)
    assert seen.having("output_throughput +50.0 % [", "loss, limit 10 %: TOO SLOW")
    found = seen.properties("test_two_metrics")
    assert ("TOO SLOW", "TOO SLOW") == (found["latency.gate.ttft.word"], found["latency.gate.total.word"])


BUDGETS = """
@limits(total="1 ms", max_slowdown="10%")
def test_over_budget(llmtime): ...

@limits(total="1 h", max_slowdown="10%")
def test_within_budget(llmtime): ...

@limits(total="1 ms")
@limits(total_p99="1 h")
def test_both(llmtime): ...

@limits(output_throughput_p1="1 tok/s")
def test_unsure(llmtime): ...
"""


def test_absolute_budgets_are_judged_on_the_heads_calls(suite: Suite, written: Written) -> None:
    """A base that was too slow already is no excuse, and a slowdown none for a budget."""
    seen = gate(suite, written, BUDGETS, "-v", test_both=Timed(share=0.5))
    assert {
        "test_over_budget": "TOO SLOW",
        "test_within_budget": "PASSED",
        "test_both": "TOO SLOW",
        "test_unsure": "UNDECIDED",
    } == words_of(seen)
    assert seen.having("TOO SLOW test_it.py::test_over_budget - total p50 < 1 ms: observed 10", "n = 24")
    assert seen.having("TOO SLOW test_it.py::test_both - total +50.0 %")
    assert {"failed": 2, "passed": 1, "undecided": 1} == seen.counts


SEVERAL = "def test_three(llmtime):\n    pass\n"


def test_several_calls_in_one_test(suite: Suite, written: Written) -> None:
    """Each llmtime() has its row and properties; a test is as slow as the slowest."""
    seen = gate(suite, written, SEVERAL, "-v", test_three=Timed(share=0.5, names=("", "test_three #2", "chat")))
    assert {"test_three": "TOO SLOW"} == words_of(seen)
    for name in ("test_three", "test_three #2", "test_three chat"):
        assert seen.having(f"test_it.py::{name} ", "total", "+50.0 %", "TOO SLOW")
    assert seen.having("chat total +50.0 % [+49.", "], limit 5 %: TOO SLOW")
    found = seen.properties("test_three")
    assert ["TOO SLOW"] * 3 == [found[f"latency.gate.{number}.total.word"] for number in (1, 2, 3)]
