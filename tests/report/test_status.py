"""The status line, to the letter."""

from __future__ import annotations

import io

import pytest

from llm_latency.core.trace import Request, Trace
from llm_latency.record.sampling import Progress
from llm_latency.report.status import StatusLine, call_name, describe

MS = 1_000_000
REQUEST = Request(
    kind="generate", start_ns=0, stop_ns=200 * MS, emissions=((100 * MS, 1), (200 * MS, 1)), row_tokens=(2,)
)
GENERATED = Trace(start_ns=0, stop_ns=200 * MS, requests=(REQUEST,))
PLAIN = Trace(start_ns=0, stop_ns=30 * MS)


def progress(**fields: object) -> Progress:
    """The second counted call of a run without a fixed number."""
    given = {"stage": "counted", "done": 1, "of": None, "elapsed_s": 2.0, "time_budget_s": 10.0, "half_width": None}
    return Progress(**given | {"last": PLAIN} | fields)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("fields", "precision", "expected"),
    [
        ({"stage": "cold", "done": 0, "of": 1, "last": None}, 0.03, "first call"),
        ({"stage": "warmup"}, 0.03, "warm-up 2 · 2.00 s of 10.0 s · last total 30.0 ms"),
        ({"stage": "warmup", "of": 3}, 0.03, "warm-up 2 of 3 · 2.00 s · last total 30.0 ms"),
        ({"of": 20}, 0.03, "call 2 of 20 · 2.00 s · last total 30.0 ms"),
        (
            {"half_width": 0.042, "last": GENERATED},
            0.03,
            "call 2 · interval ±4.2% → ±3.0% · 2.00 s of 10.0 s · last ttft 100 ms, 10.0 tok/s",
        ),
        ({"half_width": 0.042}, None, "call 2 · interval ±4.2% · 2.00 s of 10.0 s · last total 30.0 ms"),
        ({"half_width": 0.042, "of": 9}, 0.03, "call 2 of 9 · interval ±4.2% · 2.00 s · last total 30.0 ms"),
    ],
)
def test_the_line_says_what_comes_and_what_ends_it(
    fields: dict[str, object], precision: float | None, expected: str
) -> None:
    """A target only where it ends sampling; the time budget only where it does."""
    assert expected == describe(progress(**fields), precision=precision)


def test_a_call_has_a_name() -> None:
    """The same in progress and in an error."""
    assert "call 2" == call_name(progress())


def test_the_line_is_rewritten_and_leaves_no_trace() -> None:
    """A shorter text covers the longer one; clearing twice writes once."""
    stream = io.StringIO()
    line = StatusLine(stream, shown=True)
    line.write("long text")
    line.write("short")
    line.clear()
    line.clear()
    assert "\rlong text\rshort    \r     \r" == stream.getvalue()


def test_nothing_is_written_where_nobody_looks() -> None:
    """stderr in a file or with --quiet."""
    stream = io.StringIO()
    line = StatusLine(stream, shown=False)
    line.write("x")
    line.follow(progress(), precision=None)
    line.clear()
    assert "" == stream.getvalue()


def test_calls_that_follow_fast_are_not_each_shown() -> None:
    """At most every 0.1 s, and at each new stage."""
    stream = io.StringIO()
    line = StatusLine(stream, shown=True)
    for stage, elapsed in (("cold", 0.0), ("warmup", 0.01), ("counted", 0.02), ("counted", 0.1), ("counted", 0.13)):
        line.follow(progress(stage=stage, elapsed_s=elapsed), precision=None)
    assert 4 == stream.getvalue().count("\r")


def test_the_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps cannot be rewritten; a control character would move the cursor."""
    monkeypatch.setenv("COLUMNS", "20")
    stream = io.StringIO()
    StatusLine(stream, shown=True).write("\x1b" + "x" * 30)
    assert f"\r\\x1b{'x' * 15}" == stream.getvalue()
