"""What moved in a call: each part's medians, ratio and seconds, on calls whose parts are set by hand."""

from __future__ import annotations

import math

import msgspec
import pytest

from llm_latency.core.tolerance import mean_factor
from llm_latency.core.trace import Contention, Phase, Request, Trace
from llm_latency.gate.moved import Parts
from llm_latency.gate.pair import Alternated
from llm_latency.gate.result import Moved

MS = 1_000_000


def call(*, tokenize: int = 10, ttft: int = 100, gap: int = 20, detokenize: int = 5, host: int = 15) -> Trace:
    """A call of phases and one request of five tokens, lengths in ms; the host's time is halved to begin and end."""
    at = host * MS // 2
    phases = [Phase(name="tokenize", start_ns=at, stop_ns=at + tokenize * MS)]
    at += tokenize * MS
    instants = [at + (ttft + index * gap) * MS for index in range(5)]
    request = Request(
        kind="generate",
        start_ns=at,
        stop_ns=instants[-1],
        emissions=tuple((instant, 1) for instant in instants),
        row_tokens=(5,),
    )
    at = instants[-1]
    phases.append(Phase(name="detokenize", start_ns=at, stop_ns=at + detokenize * MS))
    stop = at + detokenize * MS + host * MS - host * MS // 2
    return Trace(start_ns=0, stop_ns=stop, requests=(request,), phases=tuple(phases))


def pair(base: Trace, head: Trace, *, calls: int = 12, problem: str = "") -> Alternated:
    """A pair whose calls are all alike on each side."""
    return Alternated(test="t", name="t", index=1, base=(base,) * calls, head=(head,) * calls, problem=problem)


def moved(*pairs: Alternated) -> tuple[Moved, ...]:
    """The parts of these pairs."""
    parts = Parts()
    for one in pairs:
        parts.add(one)
    return parts.moved()


def by_part(*pairs: Alternated) -> dict[str, Moved]:
    """The same, by name."""
    return {one.metric: one for one in moved(*pairs)}


def test_no_pair_and_one_pair_tell_nothing() -> None:
    """An interval over pairs needs two."""
    assert () == moved()
    assert () == moved(pair(call(), call()))


def test_a_part_that_took_longer_is_told_first() -> None:
    """10 ms more of 100 in ttft are +10 %; what did not move adds nothing, in the order of the call."""
    found = moved(*[pair(call(), call(ttft=110))] * 3)
    assert ["ttft", "tokenize", "tpot", "decode", "detokenize", "host"] == [one.metric for one in found]
    first = found[0]
    assert ("s", 0.1, 0.11) == (first.unit, first.base, first.head)
    assert (pytest.approx(math.log(1.1)),) * 3 == (first.low, first.log, first.high)
    assert pytest.approx(0.01) == first.seconds
    assert [0.0] * 5 == [one.seconds for one in found[1:]]
    assert {"host": 0.015, "decode": 0.08, "tpot": 0.02, "tokenize": 0.01, "detokenize": 0.005} == pytest.approx(
        {one.metric: one.base for one in found[1:]}
    )


def test_a_step_counts_by_all_its_steps() -> None:
    """20 % more of 20 ms are 4 ms a token, and 16 ms of the call, which is more than ttft's 10 ms."""
    found = moved(*[pair(call(), call(ttft=110, gap=24, host=14))] * 3)
    assert ["tpot", "decode", "ttft"] == [one.metric for one in found][:3]
    assert (0.02, 0.024) == (found[0].base, found[0].head)
    assert [0.016, 0.016, 0.01] == pytest.approx([one.seconds for one in found[:3]])
    # What became shorter comes last.
    assert ("host", pytest.approx(-0.001)) == (found[-1].metric, found[-1].seconds)


def test_the_interval_is_students_over_pairs() -> None:
    """Ratios of 1.08, 1.10 and 1.12 in three pairs: mean and t over the root of 3 of their logs; medians of medians."""
    found = by_part(*(pair(call(), call(ttft=ttft)) for ttft in (112, 108, 110)))["ttft"]
    logs = [math.log(ratio) for ratio in (1.08, 1.10, 1.12)]
    mean = sum(logs) / 3
    spread = math.sqrt(sum((log - mean) ** 2 for log in logs) / 2)
    assert pytest.approx(mean) == found.log
    # t(0.975, 2) = 4.3027 (tables).
    assert pytest.approx(4.3027 / math.sqrt(3) * spread, rel=1e-4) == found.high - found.log
    assert pytest.approx(mean_factor(3, 0.975) * spread) == found.log - found.low
    assert (0.1, 0.11) == (found.base, found.head)
    assert pytest.approx(0.1 * math.expm1(mean)) == found.seconds


def test_parts_that_the_calls_do_not_have_are_left_out() -> None:
    """Without phases no tokenize; with one token no tpot; nothing of load."""
    request = Request(kind="generate", start_ns=10 * MS, stop_ns=60 * MS, emissions=((60 * MS, 1),), row_tokens=(1,))
    bare = Trace(start_ns=0, stop_ns=70 * MS, requests=(request,))
    assert {"ttft": 0.05, "host": 0.02} == pytest.approx(
        {k: v.base for k, v in by_part(*[pair(bare, bare)] * 2).items()}
    )


def test_a_request_without_tokens_is_a_part_itself() -> None:
    """A forward of 30 ms in a call of 50 ms."""
    forward = Request(kind="forward", start_ns=10 * MS, stop_ns=40 * MS)
    trace = Trace(start_ns=0, stop_ns=50 * MS, requests=(forward,))
    found = by_part(*[pair(trace, trace)] * 2)
    assert {"request": 0.03, "host": 0.02} == pytest.approx({part: one.base for part, one in found.items()})


def test_a_call_in_which_no_model_was_seen_has_no_parts() -> None:
    """The request that stands for all of it would only repeat the total; a phase is seen nevertheless."""
    whole = Request(kind="call", start_ns=0, stop_ns=50 * MS)
    trace = Trace(start_ns=0, stop_ns=50 * MS, requests=(whole,))
    assert {} == by_part(*[pair(trace, trace)] * 2)
    phase = Phase(name="tokenize", start_ns=0, stop_ns=20 * MS)
    with_phase = msgspec.structs.replace(trace, phases=(phase,))
    found = by_part(*[pair(with_phase, with_phase)] * 2)
    assert {"tokenize": 0.02, "host": 0.03} == pytest.approx({part: one.base for part, one in found.items()})


def test_requests_at_once_are_covered_once() -> None:
    """10 to 40 and 20 to 60 ms, with a phase inside, leave 20 of 70 ms; one that outlives the call ends with it."""
    requests = tuple(
        Request(kind="generate", start_ns=start * MS, stop_ns=stop * MS, emissions=((stop * MS, 1),), row_tokens=(1,))
        for start, stop in ((10, 40), (20, 60))
    )
    phase = Phase(name="tokenize", start_ns=30 * MS, stop_ns=35 * MS)
    trace = Trace(start_ns=0, stop_ns=70 * MS, requests=requests, phases=(phase,))
    assert pytest.approx(0.02) == by_part(*[pair(trace, trace)] * 2)["host"].base
    short = msgspec.structs.replace(trace, stop_ns=50 * MS)
    assert pytest.approx(0.01) == by_part(*[pair(short, short)] * 2)["host"].base


def test_ttft_of_several_requests_counts_as_often() -> None:
    """The mean of 30 and 40 ms is shown; each 10 % slower they add 7 ms to the call."""

    def two(scale: float) -> Trace:
        spans = ((10, round(30 * scale)), (60, round(40 * scale)))
        return Trace(
            start_ns=0,
            stop_ns=120 * MS,
            requests=tuple(
                Request(
                    kind="generate",
                    start_ns=start * MS,
                    stop_ns=(start + took) * MS,
                    emissions=(((start + took) * MS, 1),),
                    row_tokens=(1,),
                )
                for start, took in spans
            ),
        )

    found = by_part(*[pair(two(1.0), two(1.1))] * 2)["ttft"]
    assert (0.035, 0.0385) == pytest.approx((found.base, found.head))
    assert pytest.approx(0.007) == found.seconds


def test_delay_by_other_programs_and_pauses_are_not_the_parts() -> None:
    """20 ms of delay before the first token, and a view of 4 ms at the end of the call, change nothing."""
    plain = call(host=0)
    first = plain.requests[0].emissions[0][0]
    late = call(host=0, ttft=120)
    readings = ((0, 0), (10 * MS, 0), (first + 20 * MS, 20 * MS), (late.stop_ns, 20 * MS))
    delayed = msgspec.structs.replace(late, contention=Contention(readings=readings))
    found = by_part(*[pair(plain, delayed)] * 2)
    assert (0.1, 0.1, pytest.approx(0.0)) == (found["ttft"].base, found["ttft"].head, found["ttft"].log)
    seen = call(host=20)
    paused = msgspec.structs.replace(
        call(host=28), pauses=((0, 4 * MS), (call(host=28).stop_ns - 4 * MS, call(host=28).stop_ns))
    )
    found = by_part(*[pair(seen, paused)] * 2)
    assert pytest.approx(0.02) == found["host"].base == found["host"].head


@pytest.mark.parametrize(
    "spoiled", [pair(call(), call(ttft=900), problem="head: it broke off"), pair(call(), call(), calls=1)]
)
def test_a_pair_that_broke_off_says_nothing(spoiled: Alternated) -> None:
    """Neither one with a problem nor one of too few calls."""
    assert moved(*[pair(call(), call(ttft=110))] * 2) == moved(
        pair(call(), call(ttft=110)), spoiled, pair(call(), call(ttft=110))
    )


def test_a_part_that_only_some_pairs_have_is_told_by_these() -> None:
    """A tokenizer that one pair's calls did not reach."""
    without = msgspec.structs.replace(call(), phases=())
    both = pair(call(), call(tokenize=11))
    found = by_part(both, pair(without, without), both)
    assert (0.01, 0.011) == (found["tokenize"].base, found["tokenize"].head)
    assert "tokenize" not in by_part(both, pair(without, without))
