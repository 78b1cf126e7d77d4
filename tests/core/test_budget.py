"""Limits as text and as a marker's keys."""

from __future__ import annotations

import pytest

from llm_latency.core.budget import Budget, parse_budget, parse_key
from llm_latency.core.metrics import METRICS
from llm_latency.errors import UsageError


def budget(metric: str, statistic: str, limit: float) -> Budget:
    """A budget in base units."""
    return Budget(metric=metric, statistic=statistic, limit=limit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ttft p95 < 250 ms", budget("ttft", "p95", 0.25)),
        ("ttft p95<250ms", budget("ttft", "p95", 0.25)),
        ("  ttft\tp95  <=  250 ms ", budget("ttft", "p95", 0.25)),
        ("ttft p95 ≤ 250 ms", budget("ttft", "p95", 0.25)),
        ("ttft.p95 < 250 ms", budget("ttft", "p95", 0.25)),
        ("ttft_p95 < 250 ms", budget("ttft", "p95", 0.25)),
        ("ttft < 250 ms", budget("ttft", "p50", 0.25)),
        ("ttft p50 < 250 ms", budget("ttft", "p50", 0.25)),
        ("ttft median < 250 ms", budget("ttft", "p50", 0.25)),
        ("ttft_median < 250 ms", budget("ttft", "p50", 0.25)),
        ("e2e max < 2 min", budget("e2e", "max", 120.0)),
        ("e2e min < 1 s", budget("e2e", "min", 1.0)),
        ("tpot p99.9 < 20 ms", budget("tpot", "p99.9", 0.02)),
        ("itl p5 < 250µs", budget("itl", "p5", 0.00025)),
        ("output_throughput > 40 tok/s", budget("output_throughput", "p50", 40.0)),
        ("output_throughput p5 >= 40 tok/s", budget("output_throughput", "p5", 40.0)),
        ("output_throughput_p5 ≥ 40 tok/s", budget("output_throughput", "p5", 40.0)),
        ("request_throughput min > 8 req/s", budget("request_throughput", "min", 8.0)),
        ("peak_memory max < 6 GiB", budget("peak_memory", "max", 6.0 * 2**30)),
        ("energy_per_token < 0.4 J/tok", budget("energy_per_token", "p50", 0.4)),
        ("decode_throughput_per_sequence p50 > 40 tok/s", budget("decode_throughput_per_sequence", "p50", 40.0)),
    ],
)
def test_a_limit_is_read_from_text(text: str, expected: Budget) -> None:
    """Metric, statistic (the median where none is named), a sign that points the right way, and a limit with unit."""
    assert expected == parse_budget(text)


@pytest.mark.parametrize(
    ("key", "limit", "expected"),
    [
        ("ttft", "250 ms", budget("ttft", "p50", 0.25)),
        ("ttft_p50", "250 ms", budget("ttft", "p50", 0.25)),
        ("ttft_median", "250 ms", budget("ttft", "p50", 0.25)),
        ("ttft_p95", "250 ms", budget("ttft", "p95", 0.25)),
        ("e2e_max", "2 s", budget("e2e", "max", 2.0)),
        ("peak_memory", "6 GB", budget("peak_memory", "p50", 6e9)),
        ("peak_memory_max", "6 GB", budget("peak_memory", "max", 6e9)),
        ("itl_per_token_p99", "5 ms", budget("itl_per_token", "p99", 0.005)),
        ("output_throughput_p5", "40 tok/s", budget("output_throughput", "p5", 40.0)),
    ],
)
def test_a_limit_is_read_from_a_markers_key(key: str, limit: str, expected: Budget) -> None:
    """The key's last word is a statistic where it can be one and the whole is no metric."""
    assert expected == parse_key(key, limit)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_direction(name: str) -> None:
    """An upper limit where lower is better, else a lower one; the budget's text is read back as itself."""
    example = {
        "s": "250 ms",
        "tok/s": "40 tok/s",
        "req/s": "8 req/s",
        "B": "6 GiB",
        "J": "30 J",
        "J/tok": "2 J/tok",
        "1": "40 %",
    }
    limit = example[METRICS[name].unit]
    lower = METRICS[name].better == "lower"
    made = parse_key(f"{name}_p95", limit)
    assert (lower, 0.95) == (made.is_upper, made.quantile)
    assert made == parse_budget(f"{name} p95 {'<' if lower else '>'} {limit}") == parse_budget(str(made))


@pytest.mark.parametrize(("statistic", "expected"), [("p50", 0.5), ("p99.9", 0.999), ("max", None), ("min", None)])
def test_a_statistic_is_a_quantile_or_an_extreme(statistic: str, expected: float | None) -> None:
    """Extremes have no quantile."""
    found = budget("ttft", statistic, 1.0).quantile
    assert expected == (found if found is None else pytest.approx(found))


@pytest.mark.parametrize(
    ("text", "better", "right"),
    [
        ("ttft p95 > 250 ms", "lower", "ttft p95 < 250 ms"),
        ("ttft >= 250 ms", "lower", "ttft p50 < 250 ms"),
        ("peak_memory max ≥ 6 GiB", "lower", "peak_memory max < 6 GiB"),
        ("output_throughput < 40 tok/s", "higher", "output_throughput p50 > 40 tok/s"),
    ],
)
def test_a_sign_that_points_the_wrong_way_is_turned(text: str, better: str, right: str) -> None:
    """The message says which way is better, and writes the budget right."""
    with pytest.raises(UsageError) as refusal:
        parse_budget(text)
    assert f"{text!r} points the wrong way: {better} is better for" in str(refusal.value)
    assert str(refusal.value).endswith(f"write {right!r}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ttft",
        "ttft p95",
        "ttft p95 250 ms",
        "ttft p95 == 250 ms",
        "< 250 ms",
        "ttft mean < 250 ms",
        "250 ms > ttft p95",
        "ttft p95 p99 < 250 ms",
    ],
)
def test_text_that_is_no_limit_is_refused(text: str) -> None:
    """With what one looks like."""
    with pytest.raises(UsageError) as refusal:
        parse_budget(text)
    expected = f'{text!r} is not a budget; expected METRIC [STATISTIC] < LIMIT, such as "ttft p95 < 250 ms"'
    assert expected == str(refusal.value)


@pytest.mark.parametrize("value", [None, 250, True, b"ttft < 1 s", ["ttft < 1 s"]])
def test_what_is_no_text_is_no_limit(value: object) -> None:
    """The value is shown."""
    with pytest.raises(UsageError) as refusal:
        parse_budget(value)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(f"{value!r} is not a budget")


@pytest.mark.parametrize("statistic", ["p0", "p100", "p250"])
def test_a_percentile_lies_between_0_and_100(statistic: str) -> None:
    """The ends are called min and max."""
    for read in (lambda: parse_budget(f"ttft {statistic} < 1 s"), lambda: parse_key(f"ttft_{statistic}", "1 s")):
        with pytest.raises(UsageError, match=rf"there is no statistic '{statistic}'; expected .* max or min"):
            read()


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("250", "'250' is not a number with a unit"),
        ("-250 ms", "'-250 ms' is not a number with a unit"),
        ("1,5 s", "'1,5 s' is not a number with a unit"),
        ("nan s", "'nan s' is not a number with a unit"),
        ("inf s", "'inf s' is not a number with a unit"),
        ("6 GiB", "'6 GiB' has the unit 'GiB'"),
        ("< 250 ms", "'< 250 ms' is not a number with a unit"),
    ],
)
def test_a_limit_needs_a_unit_of_the_metric(limit: str, message: str) -> None:
    """The same words for text and for keys; text is shown whole."""
    with pytest.raises(UsageError) as from_key:
        parse_key("ttft_p95", limit)
    with pytest.raises(UsageError) as from_text:
        parse_budget(f"ttft p95 <{limit}")
    assert str(from_key.value).startswith(message)
    assert str(from_text.value) == f"budget {f'ttft p95 <{limit}'!r}: {from_key.value}"


@pytest.mark.parametrize("limit", [250, 0.25, True, None, ["250 ms"]])
def test_a_keys_limit_is_text(limit: object) -> None:
    """A bare number would be seconds to the one and milliseconds to the other."""
    with pytest.raises(UsageError) as refusal:
        parse_key("ttft_p95", limit)  # type: ignore[arg-type]
    assert f'ttft_p95={limit!r} has no unit; write the limit as text, such as ttft_p95="250 ms"' == str(refusal.value)


@pytest.mark.parametrize("limit", ["250 ms", 250])
def test_an_unknown_metric_is_the_first_thing_said(limit: object) -> None:
    """Whatever the limit; the nearest is suggested and all are listed."""
    with pytest.raises(UsageError, match="there is no metric 'tfft'; did you mean 'ttft'") as refusal:
        parse_key("tfft_p95", limit)  # type: ignore[arg-type]
    assert all(name in str(refusal.value) for name in METRICS)
    with pytest.raises(UsageError, match="there is no metric 'tfft'; did you mean 'ttft'"):
        parse_budget("tfft p95 < 250 ms")


def test_a_budget_prints_as_it_is_written() -> None:
    """For reports and ids of tests."""
    texts = ["ttft p95 < 250 ms", "e2e max < 2 s", "output_throughput p5 > 40.5 tok/s", "peak_memory p50 < 6 GiB"]
    texts += ["ttft p50 < 100.4 ms", "tpot p50 < 1.2345 ms"]
    assert texts == [str(parse_budget(text)) for text in texts]
