"""How much longer the head took, by each metric: exact numbers on hand-made calls, without delay; and its statistic."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import fmean, median, stdev

import msgspec
import pytest

from llm_latency.core.metrics import METRICS
from llm_latency.core.trace import Contention, Phase, Request, Trace
from llm_latency.gate.pair import Alternated
from llm_latency.gate.ratio import Ratio, log_ratio, ratio, trimmed_mean, value_of

MS = 1_000_000


def generate(*, ttft: int = 100, gap: int = 20, delay: int = 0, before: int = 0, **fields: object) -> Trace:
    """A generate of four tokens and two rows, 10 ms of tokenizing before it; lengths in ms.

    `delay` is what other programs took of the first gap; it is part of no other length, and read at the call's begin,
    the first emission and the end. `before` is the same of ttft.
    """
    start = 10 * MS
    first = start + (ttft + before) * MS
    instants = [first, *(first + (delay + number * gap) * MS for number in (1, 2, 3))]
    request = Request(
        kind="generate",
        start_ns=start,
        stop_ns=instants[-1],
        emissions=tuple((instant, 1) for instant in instants),
        rows=2,
        prompt_tokens=50,
        row_tokens=(4, 4),
    )
    readings = ((0, 0), (first, before * MS), (instants[-1], (before + delay) * MS))
    given: dict[str, object] = {
        "start_ns": 0,
        "stop_ns": instants[-1],
        "requests": (request,),
        "phases": (Phase(name="tokenize", start_ns=0, stop_ns=start),),
        "peak_bytes": {"rss": 1000, "allocated": 600},
        "energy_j": 3.0,
        "contention": Contention(readings=readings),
    }
    return Trace(**given | fields)  # type: ignore[arg-type]  # fields by name


def whole(milliseconds: float, **fields: object) -> Trace:
    """A call in which nothing was recognised."""
    return Trace(start_ns=0, stop_ns=round(milliseconds * MS), **fields)  # type: ignore[arg-type]  # fields by name


def pair(base: Sequence[Trace], head: Sequence[Trace]) -> Alternated:
    """Both sides' calls."""
    return Alternated(test="t", name="t", index=1, base=tuple(base), head=tuple(head))


def of_two(base: Trace, head: Trace, metric: str) -> Ratio | None:
    """One round of alike calls."""
    return ratio(pair([base] * 2, [head] * 2), metric)


# --- each metric, without the delay by other programs ---

# The head against the base by hand: ttft 100 → 110 ms, gaps 20 → 25 ms, so decode 60 → 75, e2e 160 → 185 and total
# 170 → 195 ms; three of four tokens of two rows after the first. Delays of 30 ms before the first token and 40 in the
# first gap of the head's calls add 30 to ttft, 40 to decode and 70 to e2e and total in wall time, and nothing to own.
# own base, own head, wall head
BY_HAND = {
    "ttft": (0.1, 0.11, 0.14),
    "prefill": (0.1, 0.11, 0.14),
    "tpot": (0.02, 0.025, 0.115 / 3),
    "itl": (0.02, 0.025, 0.115 / 3),
    "itl_per_token": (0.02, 0.025, 0.115 / 3),
    "decode": (0.06, 0.075, 0.115),
    "ntpot": (0.04, 0.185 / 4, 0.255 / 4),
    "e2e": (0.16, 0.185, 0.255),
    "total": (0.17, 0.195, 0.265),
    "tokenize": (0.01, 0.01, 0.01),
    # Their wall is own time already, by delay that grows evenly between readings: 2 of the 30 ms lie in the 10 before
    # the request.
    "ttft_own": (0.1, 0.11, 0.112),
    "tpot_own": (0.02, 0.025, 0.025),
    "e2e_own": (0.16, 0.185, 0.187),
    "output_throughput": (8 / 0.16, 8 / 0.185, 8 / 0.255),
    "prefill_throughput": (50 / 0.1, 50 / 0.11, 50 / 0.14),
    "decode_throughput": (6 / 0.06, 6 / 0.075, 6 / 0.115),
    "decode_throughput_per_sequence": (50.0, 40.0, 3 / 0.115),
    "input_throughput": (50 / 0.16, 50 / 0.185, 50 / 0.255),
    "request_throughput": (2 / 0.16, 2 / 0.185, 2 / 0.255),
    "peak_memory": (600.0, 660.0, 660.0),
    "energy": (3.0, 3.6, 3.6),
    "energy_per_token": (3 / 8, 3.6 / 8, 3.6 / 8),
}


@pytest.mark.parametrize("metric", BY_HAND)
def test_delay_is_taken_out_of_each_metric(metric: str) -> None:
    """Own time is as it would be without the delay, wall time as it was; more is more, also where that is better."""
    base = generate()
    head = generate(ttft=110, gap=25, before=30, delay=40, peak_bytes={"rss": 1, "allocated": 660}, energy_j=3.6)
    own_base, own_head, wall_head = BY_HAND[metric]
    found = of_two(base, head, metric)
    assert found is not None
    assert (own_base, own_head) == pytest.approx((found.base, found.head))
    assert math.log(own_head / own_base) == pytest.approx(found.own)
    assert math.log(wall_head / own_base) == pytest.approx(found.wall)


def test_every_metric_is_looked_at() -> None:
    """But for those of phases that these calls have not, and of peaks, which a pair does not know."""
    assert {"load", "detokenize", "mfu", "mbu"} == set(METRICS) - set(BY_HAND)
    assert None is of_two(generate(), generate(), "load")


def test_delay_of_the_base_is_taken_out_too() -> None:
    """100 ms with 50 of delay and 100 without are twice as long, not as long."""
    delayed = whole(100, contention=Contention(readings=((0, 0), (100 * MS, 50 * MS))))
    found = of_two(delayed, whole(100), "total")
    assert found is not None
    assert (math.log(2), 0.0, 0.05, 0.1) == pytest.approx((found.own, found.wall, found.base, found.head))


def test_where_delay_was_not_read_own_time_is_wall_time() -> None:
    """No /proc, or requests side by side in threads: none is made up."""
    found = of_two(whole(100), whole(110), "total")
    assert found is not None
    assert found.own == found.wall == pytest.approx(math.log(1.1))
    threads = tuple(Request(kind="generate", start_ns=0, stop_ns=10 * MS, thread=name) for name in "xy")
    beside = whole(100, requests=threads, contention=Contention(readings=((0, 0), (100 * MS, 50 * MS))))
    found = of_two(whole(100), beside, "total")
    assert found is not None and 0.0 == found.own


# --- values that cannot be set against each other ---


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param(whole(0), id="no time"),
        pytest.param(Trace(start_ns=5, stop_ns=0), id="a clock that stepped back"),
        pytest.param(whole(10, contention=Contention(readings=((0, 0), (10 * MS, 10 * MS)))), id="all of it delay"),
    ],
)
@pytest.mark.parametrize("side", ["base", "head"])
def test_a_call_without_time_leaves_the_pair_without_a_value(side: str, spoiled: Trace) -> None:
    """A log of nothing would be no number, and a call of no time no quick one."""
    good = [whole(10)] * 4
    sides = {"base": good, "head": good} | {side: [*good[:3], spoiled]}
    assert None is ratio(pair(sides["base"], sides["head"]), "total")


@pytest.mark.parametrize("energy", [math.nan, math.inf, 0.0, -1.0, None])
def test_a_reading_that_is_no_number_above_zero_is_no_value(energy: float | None) -> None:
    """Of joules, which a counter gives."""
    assert None is of_two(whole(10, energy_j=1.0), whole(10, energy_j=energy), "energy")


@pytest.mark.parametrize("metric", ["ttft", "tpot", "output_throughput", "peak_memory", "energy", "tokenize"])
def test_a_metric_that_one_call_lacks_has_no_value(metric: str) -> None:
    """In one of eight calls."""
    calls = [generate()] * 4
    assert None is not ratio(pair(calls, calls), metric)
    assert None is ratio(pair(calls, [*calls[:3], whole(10)]), metric)


def test_too_few_calls_are_no_round() -> None:
    """None, and one a side."""
    for calls in ([], [whole(10)]):
        assert None is ratio(pair(calls, calls), "total")


def test_bytes_of_two_kinds_are_not_compared() -> None:
    """A device's allocator on one side and a process's resident memory on the other."""
    device, host = (whole(10, peak_bytes={kind: 100}) for kind in ("allocated", "rss"))
    assert None is of_two(device, host, "peak_memory")
    found = of_two(host, host, "peak_memory")
    assert found is not None and 0.0 == found.own


# --- rounds ---


def test_a_round_is_two_calls_a_side() -> None:
    """(10 + 30)/(10 + 10) and (20 + 20)/(10 + 30) are 2 and 1, whose mean log is that of the root of 2."""
    base, head = [10.0, 10.0, 10.0, 30.0], [10.0, 30.0, 20.0, 20.0]
    assert math.log(2) / 2 == pytest.approx(log_ratio(base, head))


def test_a_call_that_is_in_no_whole_round_does_not_count() -> None:
    """Five against six, and five against five: a third call set against two would be a ratio of a half."""
    even = log_ratio([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 4.0, 4.0])
    assert even == log_ratio([1.0, 2.0, 3.0, 4.0, 99.0], [2.0, 2.0, 4.0, 4.0, 1.0, 1.0])
    assert even == log_ratio([1.0, 2.0, 3.0, 4.0, 99.0], [2.0, 2.0, 4.0, 4.0, 1.0])


@pytest.mark.parametrize(("n", "kept"), [(1, 1), (4, 4), (5, 3), (6, 4), (9, 7), (10, 6), (15, 9), (35, 21), (40, 24)])
def test_a_fifth_is_trimmed_at_either_end(n: int, kept: int) -> None:
    """Whole values only: one of five to nine, two of ten; those that are left out may be anything."""
    values = [float(number) for number in range(n)]
    cut = (n - kept) // 2
    spoiled = [-math.inf] * cut + values[cut : n - cut] + [1e300] * cut
    expected = fmean(values[cut : n - cut])
    assert expected == pytest.approx(trimmed_mean(values))
    random.Random(n).shuffle(spoiled)
    assert expected == pytest.approx(trimmed_mean(spoiled))


def test_several_values_of_a_call_count_by_their_mean() -> None:
    """Two requests of 10 and 30 ms."""
    requests = tuple(Request(kind="forward", start_ns=0, stop_ns=took * MS) for took in (10, 30))
    assert 0.02 == value_of(whole(40, requests=requests), "e2e")
    assert None is value_of(whole(40), "e2e")


# --- whether the statistic is the right one ---


def rounds(
    chance: random.Random, *, count: int, slowdown: float = 0.0, outliers: tuple[float, float] = (1.15, 1.6)
) -> tuple[list[float], list[float]]:
    """Own times of a pair on a machine whose speed drifts and jumps, for both sides at once, and 5 % of outliers.

    Each call has a spread of 3 %; the speed walks by 1 % a call and once in the pair changes by 10 % (sd). An outlier
    takes as many times as long: of 9,632 own times of a 15 ms call, 11 % were more than 1.15 times their neighbours'
    median, 3.5 % more than 1.3, 0.9 % more than 1.5 and 0.01 % more than twice (86 pairs, 2-core AMD EPYC VM).
    """
    jump_at, jump, speed = chance.randrange(4 * count), chance.gauss(0.0, 0.10), 0.0
    taken: dict[str, list[float]] = {"a": [], "b": []}
    for number, side in enumerate("".join(chance.choice(("abba", "baab")) for _ in range(count))):
        speed += chance.gauss(0.0, 0.01) + (jump if number == jump_at else 0.0)
        log = speed + chance.gauss(0.0, 0.03) + (math.log1p(slowdown) if side == "b" else 0.0)
        taken[side].append(math.exp(log) * (chance.uniform(*outliers) if chance.random() < 0.05 else 1.0))
    return taken["a"], taken["b"]


def errors_of(pairs: Sequence[tuple[list[float], list[float]]], slowdown: float) -> tuple[list[float], list[float]]:
    """What the statistic is off by in each pair, and the ratio of the two medians, in logs."""
    true = math.log1p(slowdown)
    return (
        [log_ratio(base, head) - true for base, head in pairs],
        [math.log(median(head) / median(base)) - true for base, head in pairs],
    )


# Rounds; the most that the spread may be; how many times as wide that of the ratio of medians is, from and to.
WIDTHS = [(6, 0.028, (0.8, 1.0)), (10, 0.018, (1.1, 1.3)), (24, 0.0105, (1.25, 1.5))]


@pytest.mark.parametrize("slowdown", [0.0, 0.06])
@pytest.mark.parametrize(("count", "most", "times"), WIDTHS)
def test_a_ratio_taken_inside_of_rounds_has_no_bias_and_is_narrow(
    count: int, most: float, times: tuple[float, float], slowdown: float
) -> None:
    """Over 2,000 pairs: from ten rounds on narrower than the ratio of the two medians, with six a little wider.

    The standard error of a mean of 2,000 is at most 0.028/44.7 = 0.06 %; three of it are allowed.
    """
    chance = random.Random(11)
    errors, medians = errors_of([rounds(chance, count=count, slowdown=slowdown) for _ in range(2_000)], slowdown)
    assert abs(fmean(errors)) < 0.0019
    assert stdev(errors) < most
    assert times[0] < stdev(medians) / stdev(errors) < times[1]


def test_what_a_fifth_cannot_trim_makes_it_wide() -> None:
    """Calls of up to three times as long, of which the measured ones had 1 in 10,000: here medians would be better.

    5 % of calls are 19 % of the rounds: of ten more than two a side are hit in one pair of sixteen. There is no bias.
    """
    chance = random.Random(11)
    errors, medians = errors_of([rounds(chance, count=10, outliers=(1.2, 3.0)) for _ in range(2_000)], 0.0)
    assert abs(fmean(errors)) < 0.0019
    assert 0.02 < stdev(errors) < 0.03
    assert 1.2 < stdev(errors) / stdev(medians) < 1.5


def test_a_drift_alone_hardly_widens_it() -> None:
    """Without outliers, over 2,000 pairs of ten rounds; the ratio of the two medians it makes half as wide again."""
    chance = random.Random(11)
    errors, medians = errors_of([rounds(chance, count=10, outliers=(1.0, 1.0)) for _ in range(2_000)], 0.0)
    assert stdev(errors) < 0.011
    assert stdev(medians) > 1.4 * stdev(errors)


def test_a_pair_says_the_same_both_ways() -> None:
    """Head and base exchanged give the same with the other sign."""
    chance = random.Random(3)
    for _ in range(50):
        base, head = rounds(chance, count=10, slowdown=0.1)
        assert -log_ratio(base, head) == pytest.approx(log_ratio(head, base), abs=1e-12)
        found = ratio(pair([whole(100 * value) for value in base], [whole(100 * value) for value in head]), "total")
        assert found is not None
        assert log_ratio(base, head) == pytest.approx(found.own, abs=1e-6)


def test_a_ratio_survives_its_file() -> None:
    """To the last digit."""
    found = of_two(generate(), generate(ttft=107), "ttft")
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Ratio)
