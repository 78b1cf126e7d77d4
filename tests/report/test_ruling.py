"""Verdicts in words."""

from __future__ import annotations

import pytest

from llm_latency.core.budget import parse_budget
from llm_latency.core.stats import Sample
from llm_latency.core.verdict import Verdict, judge
from llm_latency.report.ruling import Ruling, rule


def ruled(budget: str, *values: float) -> tuple[str, str]:
    """Word and reason for a sample of independent calls."""
    sample = Sample(values=values, calls=tuple(range(len(values))))
    ruling = rule(judge(parse_budget(budget), sample))
    return ruling.word, ruling.why


NINE = tuple(0.100 + 0.001 * index for index in range(9))


@pytest.mark.parametrize(
    ("budget", "values", "word", "why"),
    [
        # One-sided 95 % bounds of the median of nine: the 2nd and the 8th (1 - 10/512 = 98 %).
        ("ttft < 120 ms", NINE, "PASS", "observed 104 ms; upper bound 107 ms (95%)"),
        ("ttft < 50 ms", NINE, "TOO SLOW", "observed 104 ms; lower bound 101 ms (95%)"),
        (
            "ttft < 105 ms",
            NINE,
            "UNDECIDED",
            "observed 104 ms; the limit lies inside the interval [101 ms, 107 ms]; more calls narrow it",
        ),
        ("output_throughput > 20 tok/s", (40.0,) * 6, "PASS", "observed 40.0 tok/s; lower bound 40.0 tok/s (95%)"),
        ("output_throughput > 50 tok/s", (40.0,) * 6, "TOO SLOW", "observed 40.0 tok/s; upper bound 40.0 tok/s (95%)"),
        ("peak_memory < 1 GiB", (2.0 * 2**30,) * 6, "TOO MUCH", "observed 2.00 GiB; lower bound 2.00 GiB (95%)"),
        ("energy < 1 J", (2.0,) * 6, "TOO MUCH", "observed 2.00 J; lower bound 2.00 J (95%)"),
        ("ttft max < 250 ms", NINE, "PASS", "max of 9 is 108 ms"),
        ("ttft max < 105 ms", NINE, "TOO SLOW", "max of 9 is 108 ms"),
        ("ttft < 250 ms", (0.1,), "UNDECIDED", "observed 100 ms; one call has no interval; repeat the call"),
        ("ttft < 250 ms", (), "UNDECIDED", "ttft has no value in these calls"),
    ],
)
def test_a_verdict_says_what_decided_it(budget: str, values: tuple[float, ...], word: str, why: str) -> None:
    """A pass rests on the bound next to the limit, a failure on the other one."""
    assert (word, why) == ruled(budget, *values)


def test_an_assumption_stands_beside_its_bound() -> None:
    """A bound of p95 from eight calls exists only if they are log-normal; equal ones have no spread."""
    word, why = ruled("ttft p95 < 250 ms", *(0.1,) * 8)
    assert ("PASS", "observed 100 ms; upper bound 100 ms (95%, log-normal tolerance bound from 8 calls)") == (word, why)


def test_an_undecided_percentile_names_the_calls_that_would_decide() -> None:
    """0.95 ** 59 < 5 %."""
    _, why = ruled("ttft p95 < 110 ms", 0.1, 0.108)
    assert "observed 108 ms; needs 59 calls for a p95 at 95%, has 2" == why


def test_a_metric_of_a_newer_version_keeps_its_reasons() -> None:
    """A file may be judged by what this version does not know."""
    verdict = Verdict(budget="mood p50 < 1", outcome="pass", metric="mood", observed=0.5, limit=1.0, reasons=("ok",))
    assert Ruling(budget="mood p50 < 1", word="PASS", why="ok") == rule(verdict)
