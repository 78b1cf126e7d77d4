"""Every metric of the table against traces whose numbers can be checked by head."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS, gaps, metric
from llm_latency.core.peaks import Peaks
from llm_latency.core.trace import Contention, Phase, Request, Trace
from llm_latency.errors import UsageError

MS = 1_000_000
HERE = Environment(peaks=Peaks(flops=1e9, bandwidth=1e8))


def request(start_ms: int, *emissions_ms: tuple[int, int], **fields: object) -> Request:
    """A request by its entry and its (instant, positions), in milliseconds; it returns 5 ms after its last token."""
    stop_ms = (emissions_ms[-1][0] if emissions_ms else start_ms) + 5
    emissions = tuple((instant * MS, positions) for instant, positions in emissions_ms)
    timed = {"kind": "generate", "start_ns": start_ms * MS, "stop_ns": stop_ms * MS, "emissions": emissions}
    return Request(**timed | fields)  # type: ignore[arg-type]


def trace(*requests: Request, **fields: object) -> Trace:
    """A call of one second."""
    return Trace(**{"start_ns": 0, "stop_ns": 1000 * MS, "requests": requests} | fields)  # type: ignore[arg-type]


def read(name: str, call: Trace) -> tuple[float, ...]:
    """Values of a metric in a call."""
    return METRICS[name].read(call, HERE)


# Two requests one after the other: two rows of 5 and 3 tokens, whose third emission holds two positions, then a
# row of 2. The phases lie beside them; tokenizing happened twice.
RICH = trace(
    request(
        120,
        *((320, 1), (340, 1), (380, 2), (400, 1)),
        rows=2,
        prompt_tokens=40,
        row_tokens=(5, 3),
        prefill_flops=60_000_000,
        step_bytes=1_000_000,
    ),
    request(500, (600, 1), (760, 1), rows=1, prompt_tokens=10, row_tokens=(2,)),
    phases=tuple(
        Phase(name=name, start_ns=start * MS, stop_ns=stop * MS)
        for name, start, stop in (
            ("load", 0, 100),
            ("tokenize", 100, 110),
            ("tokenize", 112, 117),
            ("detokenize", 900, 904),
            ("other", 910, 990),
        )
    ),
    peak_bytes={"reserved": 8 * 2**30, "allocated": 6 * 2**30},
    energy_j=32.0,
    # Other programs had 50 ms before the first token, 20 in its decoding, nothing in the second request.
    contention=Contention(
        readings=tuple((at * MS, ms * MS) for at, ms in ((0, 0), (120, 0), (320, 50), (400, 70), (1000, 70)))
    ),
)
EXPECTED = {
    "total": (1.0,),
    "ttft": (0.2, 0.1),  # 320 - 120, 600 - 500
    "tpot": (0.02, 0.16),  # (400 - 320)/(5 - 1), (760 - 600)/(2 - 1)
    "itl": (0.02, 0.04, 0.02, 0.16),
    "itl_per_token": (0.02, 0.02, 0.02, 0.02, 0.16),  # the gap of 40 ms brought two positions
    "ntpot": (0.056, 0.13),  # (400 - 120)/5, (760 - 500)/2
    "e2e": (0.28, 0.26),
    "load": (0.1,),
    "tokenize": (0.015,),  # 10 + 5
    "prefill": (0.3,),  # 200 + 100
    "decode": (0.24,),  # 80 + 160
    "detokenize": (0.004,),
    "output_throughput": (15.625,),  # 5 + 3 + 2 tokens from 120 to 760
    "prefill_throughput": (200.0, 100.0),  # 40/0.2, 10/0.1
    "decode_throughput": (75.0, 6.25),  # (4 + 2)/0.08, 1/0.16
    "decode_throughput_per_sequence": (50.0, 6.25),  # 1/tpot
    "input_throughput": (78.125,),  # 50 tokens from 120 to 760
    "request_throughput": (4.6875,),  # 3 rows from 120 to 760
    "peak_memory": (6.0 * 2**30,),
    "ttft_own": (0.15, 0.1),  # 200 - 50, 100
    "tpot_own": (0.015, 0.16),  # (80 - 20)/4, 160
    "e2e_own": (0.21, 0.26),  # 280 - 70, 260
    "energy": (32.0,),
    "energy_per_token": (3.2,),  # 32 J, 10 tokens
    "mfu": (0.3,),  # 60 MFLOP in 0.2 s, of 1 GFLOP/s; the second request's cost is not known
    "mbu": (0.5,),  # 1 MB in 0.02 s, of 100 MB/s
}


def test_every_metric_is_tested_here() -> None:
    """A new row of the table needs its expectation."""
    assert set(METRICS) == set(EXPECTED)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_reads_what_its_definition_says(name: str) -> None:
    """By hand, from the instants of the call above."""
    assert read(name, RICH) == pytest.approx(EXPECTED[name], rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_versioned_definition(name: str) -> None:
    """Files name the definition, so that a changed one is not compared with the old."""
    row = METRICS[name]
    assert f"{name}@1" == row.definition
    assert name == row.name
    assert row.meaning
    assert row.source


@pytest.mark.parametrize("name", METRICS)
def test_rates_are_better_high_and_the_rest_low(name: str) -> None:
    """A rate is per second, and a share is of a peak."""
    row = METRICS[name]
    assert ("higher" if row.unit.endswith("/s") or row.unit == "1" else "lower") == row.better


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"total"}))
def test_a_call_without_requests_has_a_total_only(name: str) -> None:
    """A missing metric has no value, never 0."""
    assert read(name, trace()) == ()
    assert read("total", trace()) == (1.0,)


# A call in which no model was recognised, and an encoder's forward, have an end but no tokens.
WITHOUT_EMISSIONS = {"total", "e2e"}


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_request_without_emissions_has_an_end_only(name: str) -> None:
    """Without tokens, e2e goes from entry to return: 5 ms."""
    call = trace(request(100, kind="call"))
    assert read(name, call) == {"total": (1.0,), "e2e": (0.005,)}.get(name, ())


def test_an_encoder_is_judged_by_its_rates() -> None:
    """3 rows and 60 prompt tokens in a forward of 5 ms."""
    call = trace(request(100, kind="forward", rows=3, prompt_tokens=60))
    assert read("request_throughput", call) == pytest.approx((600.0,))
    assert read("input_throughput", call) == pytest.approx((12_000.0,))
    assert read("prefill_throughput", call) == read("output_throughput", call) == ()


def test_one_token_has_no_time_per_output_token() -> None:
    """A single token divides by nothing: no tpot, no gap, no decoding; ttft, e2e and e2e/n are the same 200 ms."""
    call = trace(request(100, (300, 1), rows=1, row_tokens=(1,)))
    for name in ("tpot", "itl", "itl_per_token", "decode", "decode_throughput", "decode_throughput_per_sequence"):
        assert read(name, call) == (), name
    assert [(0.2,)] * 3 == [read(name, call) for name in ("ttft", "e2e", "ntpot")]


def test_rows_that_ended_at_once_produce_no_token() -> None:
    """Zero tokens are counted, so there is a sum, but nothing per token."""
    call = trace(request(100, (300, 1), rows=1, row_tokens=(0,)))
    assert 0 == call.new_tokens
    for name in ("tpot", "ntpot", "output_throughput", "energy_per_token"):
        assert read(name, call) == (), name


def test_unknown_counts_leave_the_times() -> None:
    """Without row_tokens there are ttft, itl and e2e, and nothing that divides by tokens."""
    call = trace(request(100, (300, 1), (400, 1)), energy_j=5.0)
    assert [(0.2,), (0.1,), (0.3,), (0.1,)] == [read(name, call) for name in ("ttft", "itl", "e2e", "decode")]
    per_token = ("tpot", "ntpot", "decode_throughput", "output_throughput", "prefill_throughput", "input_throughput")
    for name in (*per_token, "request_throughput", "energy_per_token"):
        assert read(name, call) == (), name


def test_rows_that_are_an_empty_tuple_have_no_longest() -> None:
    """A batch of no rows has no tokens."""
    assert read("tpot", trace(request(100, (300, 1), (400, 1), rows=0, row_tokens=()))) == ()


def test_a_batch_is_timed_by_its_longest_row() -> None:
    """Rows of 4, 9 and 1 tokens with nine emissions 10 ms apart: tpot is 80/(9 - 1) ms.

    Decoding brought (4 - 1) + (9 - 1) + 0 tokens after the first in 80 ms.
    """
    call = trace(request(0, *((100 + 10 * i, 1) for i in range(9)), rows=3, row_tokens=(4, 9, 1)))
    assert read("tpot", call) == pytest.approx((0.010,))
    assert read("decode_throughput", call) == pytest.approx((11 / 0.08,))
    assert read("output_throughput", call) == pytest.approx((14 / 0.18,))


def test_emissions_of_several_positions_keep_the_gap_and_share_it() -> None:
    """Accepted drafts: gaps of 30 ms with 3 positions and 20 ms with 1, after a first emission of 2.

    tpot is 50 ms over the 6 - 1 tokens after the first *token*, as elsewhere; decode_throughput leaves out the whole
    first emission: 4 tokens in 50 ms.
    """
    call = trace(request(0, (100, 2), (130, 3), (150, 1), rows=1, row_tokens=(6,)))
    assert read("itl", call) == pytest.approx((0.03, 0.02))
    assert read("itl_per_token", call) == pytest.approx((0.01, 0.01, 0.01, 0.02))
    assert [(0.03, 3), (0.02, 1)] == [(pytest.approx(gap), k) for gap, k in gaps(call)]
    assert read("tpot", call) == pytest.approx((0.01,))
    assert read("decode_throughput", call) == pytest.approx((80.0,))


def test_requests_that_overlap_share_the_window() -> None:
    """From 0 to 500 and from 100 to 400: 8 tokens in 0.5 s, while each request keeps its own times."""
    call = trace(
        request(0, (200, 1), (300, 1), (400, 1), (500, 1), rows=1, prompt_tokens=20, row_tokens=(4,)),
        request(100, (250, 1), (300, 1), (350, 1), (400, 1), rows=1, prompt_tokens=30, row_tokens=(4,)),
    )
    assert read("output_throughput", call) == pytest.approx((16.0,))
    assert read("input_throughput", call) == pytest.approx((100.0,))
    assert read("request_throughput", call) == pytest.approx((4.0,))
    assert read("ttft", call) == pytest.approx((0.2, 0.15))
    assert read("e2e", call) == pytest.approx((0.5, 0.3))
    assert read("prefill", call) == pytest.approx((0.35,))


def test_pauses_of_a_live_view_are_nobodys_time() -> None:
    """50 ms within ttft and 10 ms within a gap are taken out of everything that spans them."""
    call = trace(
        request(0, (200, 1), (250, 1), (300, 1), rows=1, row_tokens=(3,)),
        pauses=((100 * MS, 150 * MS), (260 * MS, 270 * MS)),
    )
    assert read("total", call) == pytest.approx((0.94,))
    assert read("ttft", call) == pytest.approx((0.15,))
    assert read("itl", call) == pytest.approx((0.05, 0.04))
    assert read("tpot", call) == pytest.approx((0.045,))
    assert read("e2e", call) == pytest.approx((0.24,))
    assert read("output_throughput", call) == pytest.approx((12.5,))


def test_instants_that_coincide_give_no_rate() -> None:
    """A clock that stood still: zero seconds are a time, and no rate is infinite."""
    call = trace(request(100, (100, 1), (100, 1), rows=1, prompt_tokens=5, row_tokens=(2,)))
    assert [(0.0,)] * 3 == [read(name, call) for name in ("ttft", "tpot", "e2e")]
    rates = [name for name, row in METRICS.items() if row.better == "higher"]
    assert [()] * len(rates) == [read(name, call) for name in rates]


def test_memory_is_what_is_allocated_and_else_what_is_resident() -> None:
    """A reserved pool alone is no high-water mark of use."""
    peaks = [{"allocated": 6, "reserved": 8, "rss": 9}, {"rss": 9}, {"reserved": 8}, {}, None]
    assert [(6.0,), (9.0,), (), (), ()] == [read("peak_memory", trace(peak_bytes=peak)) for peak in peaks]


def test_energy_needs_tokens_to_be_shared() -> None:
    """No energy was measured, or no tokens were counted."""
    assert read("energy_per_token", trace(request(0, (1, 1), row_tokens=(2,)))) == ()
    assert read("energy", trace(energy_j=0.0)) == (0.0,)
    assert read("energy_per_token", trace(energy_j=4.0)) == ()


def test_instants_far_from_zero_lose_no_nanosecond() -> None:
    """A counter at 2⁶² ns (146 years): the differences are taken in integers."""
    base = 2**62
    call = Trace(
        start_ns=base,
        stop_ns=base + 3,
        requests=(Request(kind="stream", start_ns=base, stop_ns=base + 3, emissions=((base + 1, 1), (base + 3, 1))),),
    )
    assert [(1e-9,), (2e-9,), (3e-9,)] == [read(name, call) for name in ("ttft", "itl", "e2e")]


def vllm(start: float, stamps: Sequence[float], output_len: int) -> dict[str, object]:
    """What `vllm bench serve` makes of a request.

    Times by async_request_openai_completions (vllm/benchmarks/lib/endpoint_request_func.py), tpot by
    calculate_metrics (vllm/benchmarks/serve.py); sglang/bench_serving.py has the same formulas.
    """
    ttft, itl, most_recent = 0.0, [], start
    for stamp in stamps:
        if ttft == 0.0:
            ttft = stamp - start
        else:
            itl.append(stamp - most_recent)
        most_recent = stamp
    latency = most_recent - start
    tpot = (latency - ttft) / (output_len - 1) if output_len > 1 else 0.0
    return {"ttft": ttft, "itl": itl, "tpot": tpot, "e2e": latency}


@pytest.mark.parametrize("first", range(2))
def test_the_serving_benchmarks_say_the_same(first: int) -> None:
    """Formulas of vLLM and SGLang over the same stamps, request by request."""
    part = RICH.requests[first]
    call = trace(part)
    assert part.row_tokens is not None
    theirs = vllm(part.start_ns * 1e-9, [instant * 1e-9 for instant, _ in part.emissions], max(part.row_tokens))
    assert read("itl", call) == pytest.approx(tuple(theirs.pop("itl")))  # type: ignore[arg-type]
    assert theirs == {name: pytest.approx(read(name, call)[0]) for name in theirs}


def test_a_metric_is_found_by_name() -> None:
    """The row of the table itself."""
    assert metric("tpot") is METRICS["tpot"]


def test_an_unknown_metric_is_answered_with_the_nearest_and_all() -> None:
    """A slip of the finger gets a suggestion, anything else the list."""
    known = re.escape(", ".join(METRICS))
    with pytest.raises(UsageError, match=rf"^there is no metric 'tppt'; did you mean 'tpot'\? Known: {known}$"):
        metric("tppt")
    with pytest.raises(UsageError, match=rf"^there is no metric 'zzz'\. Known: {known}$"):
        metric("zzz")


def test_mfu_is_the_prefills_share_of_the_peak() -> None:
    """30 MFLOP in 100 ms are 0.3 GFLOP/s, of 1; and a forward's is over its whole time."""
    one = trace(request(0, (100, 1), (120, 1), row_tokens=(2,), prefill_flops=30_000_000))
    assert (pytest.approx(0.3),) == read("mfu", one)
    forward = Request(kind="forward", start_ns=0, stop_ns=50 * MS, prefill_flops=10_000_000)
    assert (pytest.approx(0.2),) == read("mfu", trace(forward))


def test_mbu_is_a_steps_share_of_the_bandwidth() -> None:
    """1 MB in steps of 20 ms is 50 MB/s, of 100."""
    one = trace(request(0, (100, 1), (120, 1), (140, 1), row_tokens=(3,), step_bytes=1_000_000))
    assert (pytest.approx(0.5),) == read("mbu", one)


def test_without_peaks_or_costs_there_is_no_share() -> None:
    """Nor with one token, which has no step."""
    one = trace(request(0, (100, 1), (120, 1), row_tokens=(2,), prefill_flops=1, step_bytes=1))
    assert () == METRICS["mfu"].read(one, Environment()) == METRICS["mbu"].read(one, Environment())
    bare = trace(request(0, (100, 1), (120, 1), row_tokens=(2,)))
    assert () == read("mfu", bare) == read("mbu", bare)
    single = trace(request(0, (100, 1), row_tokens=(1,), step_bytes=1))
    assert () == read("mbu", single)
