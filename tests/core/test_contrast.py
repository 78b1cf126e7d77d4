"""Two measurements beside each other: ratios, words, unequal work, and what is said about both."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llm_latency.core.contrast import Contrast, Contrasted, contrast
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Request, Trace
from llm_latency.errors import UsageError

# Powers of 1.1 times 100 ms, in whole nanoseconds. Six of them against the same six times r have the ratios
# r * 1.1**k, k = -5 … 5, in 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1 ways: the median is r, and the interval of Mann and
# Whitney goes from the 6th to the 31st of 36, which are r * 1.1**-3 and r * 1.1**3 (see test_comparison.py).
POWERS = (100_000_000, 110_000_000, 121_000_000, 133_100_000, 146_410_000, 161_051_000)
NOTE = (
    "each interval is at 95 % on its own: of twenty comparisons of equal code about one differs, and more where the"
    " machine changed between the two measurements"
)
GAP_NS = 10_000_000


def call(ttft_ns: int, *, tokens: int = 3, **fields: object) -> Trace:
    """A generate from instant 0: the first token after `ttft_ns`, the others 10 ms apart; fields of its request."""
    instants = [ttft_ns + index * GAP_NS for index in range(tokens)]
    given = {"kind": "generate", "rows": 1, "prompt_tokens": 7, "row_tokens": (tokens,), "finish_reasons": ("length",)}
    request = Request(
        start_ns=0,
        stop_ns=instants[-1],
        emissions=tuple((instant, 1) for instant in instants),
        **given | fields,  # type: ignore[arg-type]  # fields by name
    )
    return Trace(start_ns=0, stop_ns=instants[-1], requests=(request,))


def measured(traces: Sequence[Trace], **fields: object) -> Measurement:
    """A measurement of these calls."""
    given = {"name": "chat", "workload": {}, "environment": Environment(), "traces": tuple(traces)}
    return Measurement(**given | {"stopped_because": "as asked"} | fields)  # type: ignore[arg-type]  # fields by name


def calls(factor: float = 1.0, **fields: object) -> Measurement:
    """Six calls whose ttft are the powers, times a factor."""
    return measured([call(round(factor * ttft_ns), **fields) for ttft_ns in POWERS])  # type: ignore[arg-type]


def one(found: Contrast, metric: str) -> Contrasted:
    """A metric's line."""
    (line,) = (line for line in found.metrics if line.metric == metric)
    return line


@pytest.mark.parametrize(
    ("factor", "word", "way", "is_worse"),
    [
        (2.0, "different", "slower", True),  # 1.50 to 2.66
        (0.5, "different", "faster", False),  # 0.38 to 0.67
        (1.3, "not distinguishable", None, False),  # 0.98 to 1.73
        (1.34, "different", "slower", True),  # 1.007 to 1.78
        (1.0, "not distinguishable", None, False),
    ],
)
def test_a_metric_differs_where_the_interval_excludes_one(
    factor: float, word: str, way: str | None, is_worse: bool
) -> None:
    """Medians, ratio and ends follow from powers of 1.1; the word from the ends."""
    line = one(contrast(calls(), calls(factor), ["ttft"]), "ttft")
    median = (POWERS[2] + POWERS[3]) / 2 / 1e9
    assert (pytest.approx(median), pytest.approx(factor * median)) == line.medians
    found = line.comparison
    assert (pytest.approx(factor), (6, 6)) == (found.ratio, found.n)
    assert (pytest.approx(factor / 1.331), pytest.approx(factor * 1.331)) == (found.low, found.high)
    assert ("s", word, way, is_worse, None) == (line.unit, line.word, line.way, line.is_worse, line.reason)


def test_an_end_at_exactly_one_is_not_different() -> None:
    """Equal values: the interval is 1 to 1."""
    line = one(contrast(calls(), calls(), ["tpot"]), "tpot")
    assert (1.0, 1.0, 1.0) == (line.comparison.low, line.comparison.ratio, line.comparison.high)
    assert "not distinguishable" == line.word


@pytest.mark.parametrize(("factor", "way", "is_worse"), [(0.25, "faster", False), (4.0, "slower", True)])
def test_a_rate_that_falls_is_slower(factor: float, way: str, is_worse: bool) -> None:
    """More tokens a second are faster, although the ratio is above one."""
    line = one(contrast(calls(), calls(factor), ["prefill_throughput"]), "prefill_throughput")
    assert pytest.approx(1 / factor) == line.comparison.ratio
    assert (way, is_worse) == (line.way, line.is_worse)


@pytest.mark.parametrize(("metric", "field"), [("peak_memory", "peak_bytes"), ("energy", "energy_j")])
@pytest.mark.parametrize(("factor", "way"), [(2, "more"), (0.5, "less")])
def test_bytes_and_joules_are_more_or_less(metric: str, field: str, factor: float, way: str) -> None:
    """Nothing is slow about them; more is worse."""

    def with_amounts(factor: float) -> Measurement:
        amounts = [factor * (1000 + index) for index in range(6)]
        values = [{"rss": int(amount)} if field == "peak_bytes" else amount for amount in amounts]
        traces = [Trace(start_ns=0, stop_ns=100, **{field: value}) for value in values]  # type: ignore[arg-type]
        return measured(traces)

    line = one(contrast(with_amounts(1), with_amounts(factor), [metric]), metric)
    assert ("different", way, way == "more") == (line.word, line.way, line.is_worse)


def test_few_calls_have_a_ratio_and_a_reason_instead_of_a_word() -> None:
    """Three and three."""
    found = contrast(measured(calls().traces[:3]), measured(calls(2.0).traces[:3]), ["total"])
    line = one(found, "total")
    assert ("no interval", None, "3 and 3 calls, an interval needs 4 and 4") == (line.word, line.way, line.reason)
    assert line.comparison.ratio is not None
    assert () == found.notes


def test_a_value_of_zero_has_no_ratio() -> None:
    """And the reason is the comparison's."""
    found = contrast(*(measured([Trace(start_ns=5, stop_ns=stop_ns)] * 6) for stop_ns in (5, 6)), ["total"])
    assert ("no interval", None, "a ratio needs values above zero and finite ones") == (
        found.metrics[0].word,
        found.metrics[0].comparison.ratio,
        found.metrics[0].reason,
    )


def test_only_metrics_that_both_have_are_compared() -> None:
    """In the order asked for, each once; what one has alone is said."""
    first = calls()
    second = measured([Trace(start_ns=0, stop_ns=100, energy_j=1.0)] * 6)
    found = contrast(first, second, ["total", "ttft", "tpot", "energy", "load", "total"])
    assert ["total"] == [line.metric for line in found.metrics]
    assert ("only the first has ttft, tpot", "only the second has energy", NOTE) == found.notes


def test_an_unknown_metric_is_refused() -> None:
    """With the known ones."""
    with pytest.raises(UsageError, match="there is no metric 'tftt'; did you mean 'ttft'"):
        contrast(calls(), calls(), ["tftt"])


def test_unequal_work_keeps_the_ratio_and_withholds_the_word() -> None:
    """Also of rates and joules; bytes are what they are."""

    def measure(factor: float, prompt: int) -> Measurement:
        traces = [
            Trace(
                start_ns=0,
                stop_ns=t.stop_ns,
                requests=t.requests,
                peak_bytes={"rss": round(factor * 1000)},
                energy_j=factor,
            )
            for t in calls(factor, prompt_tokens=prompt).traces
        ]
        return measured(traces)

    metrics = ("ttft", "output_throughput", "energy", "peak_memory")
    found = contrast(measure(1.0, 7), measure(2.0, 11), metrics)
    assert ("unequal work: 7 and 11 prompt tokens",) == found.unequal
    words = [(line.word, line.way) for line in found.metrics]
    assert [("unequal work", None)] * 3 + [("different", "more")] == words
    assert pytest.approx(2.0) == one(found, "ttft").comparison.ratio


TWO = (call(100).requests[0], call(100).requests[0])


@pytest.mark.parametrize(
    ("first", "second", "sentences"),
    [
        (calls(), calls(rows=4), ("1 and 4 rows",)),
        (calls(), calls(prompt_tokens=None), ("7 and unknown prompt tokens",)),
        (
            calls(prompt_tokens=1200),
            calls(cached_tokens=3),
            ("1,200 and 7 prompt tokens", "0 and 3 cached tokens"),
        ),
        (calls(), calls(kind="stream"), ("generate and stream",)),
        (
            calls(),
            measured([Trace(start_ns=0, stop_ns=200, requests=TWO)] * 6),
            ("1 and 2 requests", "1 and 2 rows", "7 and 14 prompt tokens"),
        ),
        (calls(), measured([*calls().traces, call(100, prompt_tokens=11)]), ("7 and 7–11 prompt tokens",)),
        (
            measured([call(100, prompt_tokens=7), call(100, prompt_tokens=11), call(100, prompt_tokens=9)]),
            measured([call(100, prompt_tokens=7), call(100, prompt_tokens=11)]),
            ("other rows, prompt or cached tokens in some request",),
        ),
    ],
)
def test_what_was_asked_is_compared_over_all_calls(
    first: Measurement, second: Measurement, sentences: tuple[str, ...]
) -> None:
    """Requests, kinds, rows, prompt and cached tokens, as sums over a call; a range where calls differ."""
    found = [text for text in contrast(first, second, ["total"]).unequal if "new tokens" not in text]
    assert [f"unequal work: {sentence}" for sentence in sentences] == found[: len(sentences)]
    assert "unequal work" == contrast(first, second, ["total"]).metrics[0].word


def test_the_same_work_in_another_order_is_equal() -> None:
    """Prompts that differ from call to call are said to, and compared."""
    prompts = (7, 11, 7, 11, 7, 11)
    first = measured([call(t, prompt_tokens=p) for t, p in zip(POWERS, prompts, strict=True)])
    second = measured([call(2 * t, prompt_tokens=p) for t, p in zip(POWERS, prompts[::-1], strict=True)])
    found = contrast(first, second, ["ttft"])
    assert () == found.unequal
    assert "slower" == found.metrics[0].way
    assert ("both: its own calls were asked for unequal work", NOTE) == found.notes


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (calls(tokens=5), "3 and 5 new tokens; compare tpot and itl, not e2e"),
        (calls(finish_reasons=("stop",)), "answers ended by length and by stop"),
        (calls(finish_reasons=()), "answers ended by length and by unknown"),
        (calls(row_tokens=None), "3 and unknown new tokens; compare tpot and itl, not e2e"),
    ],
)
def test_work_that_turned_out_unequal_is_said_and_keeps_its_words(second: Measurement, sentence: str) -> None:
    """Longer answers may be the code's doing."""
    found = contrast(calls(0.1), second, ["ttft"])
    assert (f"unequal work: {sentence}",) == found.unequal
    assert "slower" == found.metrics[0].way


def test_rows_of_other_lengths_are_unequal_work() -> None:
    """Fourteen tokens each; the longest row sets the time. In another order the rows are the same."""
    first, second, turned = (calls(rows=2, row_tokens=rows) for rows in ((4, 10), (7, 7), (10, 4)))
    assert ("unequal work: the rows share their new tokens differently",) == contrast(first, second, ["e2e"]).unequal
    assert () == contrast(first, turned, ["e2e"]).unequal


def test_what_limits_the_calls_is_said_with_whose_it_is() -> None:
    """Partial, single, none."""
    partial = measured(calls().traces[:1], complete=False, stopped_because="KeyboardInterrupt")
    none = measured([], stopped_because="0 calls")
    assert (
        "first: partial, KeyboardInterrupt",
        "first: one call, which has no interval",
        "second: no counted call",
        "only the first has ttft",
    ) == contrast(partial, none, ["ttft"]).notes
    assert ("both: one call, which has no interval",) == contrast(*[measured(calls().traces[:1])] * 2, ["ttft"]).notes
    assert (("unequal work",), ()) == (
        tuple({text.partition(":")[0] for text in contrast(partial, calls(rows=2), []).unequal}),
        contrast(partial, none, []).unequal,
    )


def test_warnings_are_carried_with_whose_they_are() -> None:
    """What both say is said once."""
    first = measured(calls().traces, warnings=("a profiler runs", "other programs had the cores"))
    second = measured(calls().traces, warnings=("total rose by 10%", "a profiler runs", "total rose by 10%"))
    expected = ("both: a profiler runs", "first: other programs had the cores", "second: total rose by 10%")
    assert expected == contrast(first, second, []).warnings


def test_the_machines_are_compared() -> None:
    """By the facts that change numbers."""
    first, second = (measured(calls().traces, environment=Environment(torch=v)) for v in ("2.6.0", "2.13.0"))
    assert ("torch: 2.6.0 → 2.13.0",) == contrast(first, second, []).environment


def test_resident_and_allocated_memory_are_not_compared() -> None:
    """A process on a CPU and an allocator on a GPU count different things under one name."""
    first, second = (
        measured([Trace(start_ns=0, stop_ns=10, peak_bytes={kind: 1000})] * 6) for kind in ("rss", "allocated")
    )
    line = one(contrast(first, second, ["peak_memory"]), "peak_memory")
    assert ("no interval", None) == (line.word, line.comparison.ratio)
    assert "rss and allocated bytes are not the same thing" == line.reason


def test_it_is_shown_by_a_presenter_and_in_a_line_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core knows no format."""
    found = contrast(calls(), measured(calls(2.0).traces, name="v2"), ["ttft", "tpot"])
    line = "<Contrast of 'chat' and 'v2': ttft ×2.000 slower; tpot ×1.000 not distinguishable>"
    monkeypatch.setattr(Contrast, "presenter", None)
    assert (line, line, None) == (repr(found), str(found), found._repr_html_())

    class Loud:
        def text(self, contrast: Contrast) -> str:
            return contrast.names[0].upper()

        def html(self, contrast: Contrast) -> str:
            return contrast.names[1].upper()

    monkeypatch.setattr(Contrast, "presenter", Loud())
    assert (line, "CHAT", "V2") == (repr(found), str(found), found._repr_html_())
    assert "<Contrast of 'chat' and 'chat': no metric of both>" == repr(contrast(calls(), calls(), []))
