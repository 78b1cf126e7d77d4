"""Cold call, warm-up, when to stop and why, on hand-made calls."""

from __future__ import annotations

from itertools import cycle, repeat

import pytest
from scipy import stats as scipy_stats

from llm_latency.core.budget import Budget, parse_budget
from llm_latency.core.environment import Environment
from llm_latency.core.trace import Request, Trace
from llm_latency.core.verdict import LOOK_LEVEL
from llm_latency.errors import UsageError
from llm_latency.record.sampling import Plan, Sampling, make_plan
from tests.record.sampled import MS, call, sample

# --- what the user asks for ---


def test_nothing_asked_is_the_default() -> None:
    """Until the interval is within 3 % or 10 s have passed."""
    expected = Plan(repeat=None, warmup=None, budgets=(), time_budget_s=10.0, precision=0.03)
    assert expected == make_plan()


def test_budgets_are_given_more_time() -> None:
    """30 s, unless the user says otherwise."""
    assert (30.0, 5.0) == (
        make_plan(budget="ttft < 1 s").time_budget_s,
        make_plan(budget="ttft < 1 s", time_budget=5).time_budget_s,
    )


TTFT, E2E = parse_budget("ttft p95 < 250 ms"), parse_budget("e2e max < 2 s")


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (None, ()),
        ((), ()),
        ("ttft p95 < 250 ms", (TTFT,)),
        (TTFT, (TTFT,)),
        (["ttft p95 < 250 ms", E2E], (TTFT, E2E)),
        ((text for text in ("ttft p95 < 250 ms", "e2e max < 2 s")), (TTFT, E2E)),
    ],
)
def test_budgets_are_one_or_several(budget: object, expected: tuple[Budget, ...]) -> None:
    """As text or as budgets."""
    assert expected == make_plan(budget=budget).budgets  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -1, 1.0, 2.5, True, "3"])
def test_a_count_of_calls_is_a_whole_number(count: object) -> None:
    """Of at least 1, and not None spelled otherwise."""
    with pytest.raises(UsageError) as refusal:
        make_plan(repeat=count)  # type: ignore[arg-type]
    assert f"repeat={count!r}; expected a whole number of calls, at least 1" == str(refusal.value)


@pytest.mark.parametrize("count", [-1, 1.0, False, "0"])
def test_a_count_of_warm_up_calls_is_a_whole_number(count: object) -> None:
    """0 is one."""
    with pytest.raises(UsageError) as refusal:
        make_plan(warmup=count)  # type: ignore[arg-type]
    assert f"warmup={count!r}; expected a whole number of calls, 0 for none" == str(refusal.value)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), True, "10 s"])
def test_a_time_budget_is_seconds(seconds: object) -> None:
    """More than none, and an end."""
    with pytest.raises(UsageError) as refusal:
        make_plan(time_budget=seconds)  # type: ignore[arg-type]
    assert f"time_budget={seconds!r}; expected seconds, more than 0, such as 10.0" == str(refusal.value)


@pytest.mark.parametrize("share", [0, 1, 3, -0.1, float("nan"), True, "3%", None])
def test_a_precision_is_a_share(share: object) -> None:
    """3 % is 0.03 and not 3."""
    with pytest.raises(UsageError) as refusal:
        make_plan(precision=share)  # type: ignore[arg-type]
    expected = f"precision={share!r}; expected a share of the median between 0 and 1, such as 0.03"
    assert expected == str(refusal.value)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("", "'' is not a budget"),
        ("ttft < 250", "' 250' is not a number with a unit"),
        (["ttft < 1 s", 250], "250 is not a budget"),
        ({"ttft_p95": "250 ms"}, "'ttft_p95' is not a budget"),
        (250, "budget=250; expected text such as"),
        (0, "budget=0; expected text such as"),
        (True, "budget=True; expected text such as"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused(budget: object, message: str) -> None:
    """Before any call is made."""
    with pytest.raises(UsageError, match=message):
        make_plan(budget=budget)  # type: ignore[arg-type]


# --- cold call and warm-up ---


def test_a_count_runs_the_cold_call_the_warm_up_and_then_that_many() -> None:
    """The second call already agrees with the first."""
    sampling, stages = sample(make_plan(repeat=3), repeat(call(200)))
    assert ["cold", "warmup", "counted", "counted", "counted"] == stages
    assert "3 calls, as asked" == sampling.stopped_because
    assert (call(200), [call(200)], [call(200)] * 3) == (sampling.cold, sampling.warmup, sampling.traces)


def test_no_warm_up_runs_the_counted_calls_and_nothing_else() -> None:
    """The first call is then the first of the sample."""
    sampling, stages = sample(make_plan(repeat=2, warmup=0), [call(900), call(200)])
    assert (["counted", "counted"], None, []) == (stages, sampling.cold, sampling.warmup)


def test_one_call_is_the_sample() -> None:
    """Labelled so."""
    sampling, stages = sample(make_plan(repeat=1, warmup=0), repeat(call(900)))
    assert (["counted"], "one call") == (stages, sampling.stopped_because)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_count_of_warm_up_calls_is_kept(count: int) -> None:
    """Beside the cold call, whether they agree or not."""
    _, stages = sample(make_plan(repeat=1, warmup=count), cycle([call(100), call(900)]))
    assert ["cold", *["warmup"] * count, "counted"] == stages


def test_warm_up_ends_when_two_calls_agree() -> None:
    """500, 300 and 250 ms fall by more than 10 % each; 240 ms is within it."""
    _, stages = sample(make_plan(repeat=1), [call(ms) for ms in (500, 300, 250, 240, 240)])
    assert ["cold", "warmup", "warmup", "warmup", "counted"] == stages


@pytest.mark.parametrize(("second", "expected"), [(219, 1), (181, 1), (221, 2), (179, 2)])
def test_calls_agree_within_a_tenth(second: float, expected: int) -> None:
    """Of the one before, in either direction: 200 ms and 219 ms do, 200 ms and 221 ms do not."""
    _, stages = sample(make_plan(repeat=1), [call(200, 100), call(second, 100), *[call(second, 100)] * 2])
    assert expected == stages.count("warmup")


def test_the_first_token_must_agree_too() -> None:
    """A prefill that still falls from 100 to 50 ms is not warm, though the total is."""
    _, stages = sample(make_plan(repeat=1), [call(1000, 100), call(1000, 50), call(1000, 48), call(1000, 48)])
    assert ["cold", "warmup", "warmup", "counted"] == stages


def test_calls_without_tokens_agree_by_their_total() -> None:
    """A call in which no model was seen has no ttft."""
    plain = Trace(start_ns=0, stop_ns=100 * MS, requests=(Request(kind="call", start_ns=0, stop_ns=100 * MS),))
    assert ["cold", "warmup", "counted"] == sample(make_plan(repeat=1), repeat(plain))[1]


def test_calls_that_take_no_time_agree() -> None:
    """On a clock that stands still nothing is divided by zero."""
    assert ["cold", "warmup", "counted"] == sample(make_plan(repeat=1), repeat(call(0)))[1]


def test_a_first_token_that_appears_is_no_agreement() -> None:
    """A call with tokens follows one without: the warm-up goes on."""
    silent = call(200, emissions=(), row_tokens=(0,))
    assert 2 == sample(make_plan(repeat=1), [silent, call(200), call(200), call(200)])[1].count("warmup")


def test_calls_that_never_agree_end_the_warm_up_at_ten() -> None:
    """Then the noise is what is measured."""
    _, stages = sample(make_plan(repeat=1), cycle([call(100), call(900)]), seconds_a_call=0.0)
    assert ["cold", *["warmup"] * 10, "counted"] == stages


def test_warm_up_takes_at_most_three_tenths_of_the_time() -> None:
    """Of 10 s: calls of 2 s that never agree get two of them, since 4 s are more than 3 s."""
    _, stages = sample(make_plan(), cycle([call(1500), call(2500)]), seconds_a_call=2.0)
    assert ["cold", "warmup"] == stages[:2]
    assert {"counted"} == set(stages[2:])


def test_a_call_longer_than_the_warm_ups_share_is_followed_by_a_counted_one() -> None:
    """4 s of 10 s are gone after the cold call; two calls more, and it is 12 s."""
    sampling, stages = sample(make_plan(), repeat(call(4000)), seconds_a_call=4.0)
    assert ["cold", "counted", "counted"] == stages
    assert "time budget of 10 s used after 2 calls" == sampling.stopped_because


# --- when to stop ---


def test_six_equal_calls_are_enough() -> None:
    """An interval of no width is within 3 %."""
    sampling, stages = sample(make_plan(), repeat(call(200)))
    assert (6, "interval within ±3% after 6 calls") == (stages.count("counted"), sampling.stopped_because)


def test_precision_is_what_the_user_asks_for() -> None:
    """±5 % at six calls, from 95 to 105 ms around 100 ms, is within 6 % and not within 4 %."""
    noisy = [call(ms) for ms in (95, 105, 100, 100, 100, 100)]
    for precision, stopped in ((0.06, "interval within ±6% after 6 calls"), (0.04, None)):
        sampling, _ = sample(make_plan(warmup=0, precision=precision), noisy)
        assert stopped == sampling.stopped_because


def test_the_interval_is_looked_at_after_6_9_and_13_calls() -> None:
    """Of nine calls the median's interval goes from the 2nd to the 8th value, which leaves out the two odd ones.

    P(X <= 1) = 1.95 % for X ~ Binomial(9, ½), below 2.5 %. After 6 they are its ends; 7 and 8 are not looked at.
    """
    assert scipy_stats.binom.cdf(1, 9, 0.5) <= 0.025 < scipy_stats.binom.cdf(2, 9, 0.5)
    noisy = [call(ms) for ms in (50, 150, *[100] * 20)]
    sampling, stages = sample(make_plan(warmup=0), noisy)
    assert (9, "interval within ±3% after 9 calls") == (len(stages), sampling.stopped_because)


@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_first_and_later_tokens_steer_too(name: str) -> None:
    """Equal totals do not end sampling while ttft, and with it tpot, still varies by ±50 %."""
    varying = [call(200, ttft) for ttft in (50, 150, 100, 100, 100, 100)]
    sampling, _ = sample(make_plan(warmup=0), varying)
    assert sampling.stopped_because is None
    assert sampling.half_width("total") == 0.0
    assert sampling.half_width(name) == pytest.approx(0.5)


def test_the_time_budget_ends_what_does_not_settle() -> None:
    """Ten calls of 1 s."""
    sampling, stages = sample(make_plan(warmup=0), cycle([call(500), call(1500)]), seconds_a_call=1.0)
    assert (10, "time budget of 10 s used after 10 calls") == (len(stages), sampling.stopped_because)


def test_at_least_one_call_is_counted() -> None:
    """Though the cold call alone took longer than the time there was."""
    sampling, stages = sample(make_plan(time_budget=0.5), repeat(call(9000)), seconds_a_call=9.0)
    assert (["cold", "counted"], "time budget of 0.5 s used after 1 call") == (stages, sampling.stopped_because)


def test_a_count_is_kept_whatever_the_time() -> None:
    """And however soon the interval is narrow."""
    _, stages = sample(make_plan(repeat=40, warmup=0, time_budget=1), repeat(call(200)), seconds_a_call=1.0)
    assert 40 == len(stages)


def golden(low: float, high: float, n: int) -> list[Trace]:
    """Totals spread evenly at every length of the list: multiples of the golden ratio, modulo 1."""
    return [call(low + (high - low) * (i * 0.6180339887498949 % 1.0)) for i in range(n)]


def test_noise_that_has_converged_ends_sampling() -> None:
    """Totals even from 50 to 150 ms: ±3 % is out of reach, and 90 calls show the same spread as 45.

    The interval goes between the ranks of Binomial(90, ½) at 2.5 %, 36 and 55, of values 100/90 ms apart: about ±10 %.
    """
    sampling, stages = sample(make_plan(warmup=0), golden(50, 150, 200))
    rank = int(scipy_stats.binom.ppf(0.025, 90, 0.5))
    totals = sorted(50 + 100 * (i * 0.6180339887498949 % 1.0) for i in range(90))
    median = (totals[44] + totals[45]) / 2
    width = (totals[90 - rank] - totals[rank - 1]) / 2 / median
    assert len(stages) == 90
    assert f"noise of this machine converged after 90 calls: ±{width:.1%}" == sampling.stopped_because


def test_noise_that_still_grows_does_not_end_sampling() -> None:
    """45 even calls and 45 that vary twice as much: the spread of 90 is not that of 45."""
    sampling, stages = sample(make_plan(warmup=0), [*golden(80, 120, 45), *golden(20, 180, 46)])
    assert (91, None) == (len(stages), sampling.stopped_because)


def test_noise_around_nothing_has_no_width_to_name() -> None:
    """Three of five calls take no time: the median is 0, so nothing is relative to it, and sampling goes on."""
    sampling, stages = sample(make_plan(warmup=0), [call(ms) for _ in range(19) for ms in (0, 0, 0, 9, 9)])
    assert (95, None) == (len(stages), sampling.stopped_because)


def test_ten_thousand_calls_are_the_most() -> None:
    """A clock that stands still would otherwise never end sampling."""
    sampling = Sampling(make_plan(warmup=0), Environment())
    sampling.traces += [call(0)] * 9_999
    assert "counted" == sampling.next_stage(0.0)
    sampling.add("counted", call(0))
    assert sampling.next_stage(0.0) is None
    assert "10000 calls, the most that are kept" == sampling.stopped_because


# --- budgets ---


def test_budgets_that_are_decided_end_sampling() -> None:
    """Both a pass and a failure are decisions; a median's bound at 99 % a look needs seven calls: 2⁻⁷ < 1 %."""
    calls = [call(ms) for ms in (190, 210, 200, 195, 205, 200, 198, 202, 200)]
    plan = make_plan(warmup=0, budget=["ttft p95 < 250 ms", "e2e < 100 ms"])
    assert "every budget decided after 9 calls" == sample(plan, calls)[0].stopped_because


def test_a_budget_that_is_undecided_asks_for_more() -> None:
    """One slow call of nine holds a median back at 240 ms; of thirteen its bound is the 12th value, which is inside.

    P(X <= 11) = 99.8 % for X ~ Binomial(13, ½), and P(X <= 7) = 98.0 % for X ~ Binomial(9, ½): each look is at 99 %.
    """
    assert scipy_stats.binom.cdf(10, 13, 0.5) < LOOK_LEVEL <= scipy_stats.binom.cdf(11, 13, 0.5)
    assert scipy_stats.binom.cdf(7, 9, 0.5) < LOOK_LEVEL
    calls = [call(ms) for ms in (200, 300, *(200,) * 11)]
    sampling, stages = sample(make_plan(warmup=0, budget="e2e < 240 ms"), calls)
    assert (13, "every budget decided after 13 calls") == (len(stages), sampling.stopped_because)


def test_one_undecided_budget_keeps_sampling_going() -> None:
    """Until the time is over: half of the calls lie on either side of the limit."""
    calls = cycle([call(100), call(300)])
    plan = make_plan(warmup=0, budget=["e2e < 200 ms", "e2e max < 1 s"])
    sampling, stages = sample(plan, calls, seconds_a_call=1.0)
    assert (30, "time budget of 30 s used after 30 calls") == (len(stages), sampling.stopped_because)


def test_a_count_with_budgets_is_a_count() -> None:
    """Decided or not."""
    sampling, stages = sample(make_plan(repeat=2, warmup=0, budget="e2e < 1 s"), repeat(call(100)))
    assert (2, "2 calls, as asked") == (len(stages), sampling.stopped_because)


def test_a_width_needs_six_calls() -> None:
    """And a median above nothing."""
    sampling = Sampling(make_plan(warmup=0), Environment())
    for total, expected in ((90, None), (110, None), (100, None), (100, None), (100, None), (100, 0.1)):
        sampling.add("counted", call(total))
        assert expected == (None if expected is None else pytest.approx(sampling.half_width()))
        assert (expected is None) == (sampling.half_width() is None)
    sampling.traces[:] = [call(0)] * 6
    assert sampling.half_width() is None
