"""docs/definitions.md: which number of another tool is which of ours, checked with their formulas on the same calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import pytest
from peers import J_PER_KWH, TOOLS, optimum_benchmark, streams, vllm
from traces import CASES, NOTHING, PREFILL_J, SEVERAL, SINGLE

from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.trace import Trace

PAGE = Path(__file__).parents[2] / "docs" / "definitions.md"
Seconds = Mapping[str, tuple[float, ...]]

# What takes a tool's unit to ours.
TO_OURS = {
    **dict.fromkeys(("s", "tok/s", "req/s", "samples/s", "B"), lambda value: value),
    "ms": lambda value: value * 1e-3,
    "ns": lambda value: value * 1e-9,
    "MB": lambda value: value * 1e6,
    "kWh": lambda value: value * J_PER_KWH,
    "tok/kWh": lambda value: J_PER_KWH / value,
}
# To a tool that loads a server each row of a batch is a request; and it gives an answer that came in one piece a time
# per token of 0, where we give none. Both stand in the page's text, and need no words in a row.
SAID_ONCE = {"batch", "at once"}
# Tools that call generate themselves know nothing else, and generate the same number of tokens in every call.
IN_PROCESS = ("single", "batch", "one token")


@dataclass(frozen=True)
class Peer:
    """Another tool's number beside one of ours, on some of the cases.

    `differs` has, for each case in which theirs is not ours, what theirs is in our unit, derived by hand from the
    instants of the case; `words` says so in the table.
    """

    ours: str
    tool: str
    name: str
    unit: str
    differs: Seconds = field(default_factory=dict)
    words: str = ""
    cases: tuple[str, ...] = tuple(CASES)

    def read(self, call: Trace) -> tuple[float, ...]:
        """Theirs in our unit."""
        return tuple(TO_OURS[self.unit](value) for value in TOOLS[self.tool](call)[self.name])

    @property
    def label(self) -> str:
        """As the table spells it."""
        return f"{self.tool} `{self.name}` ({self.unit})"


def rates(amounts: str, seconds: str) -> dict[str, tuple[float, ...]]:
    """One rate a case, from what was counted and the milliseconds it is shared by, in order of the cases."""
    pairs = zip(amounts.split(), seconds.split(), strict=True)
    return {case: (float(n) / float(ms) * 1e3,) for case, (n, ms) in zip(CASES, pairs, strict=True)}


# Order of the cases: single, batch, several, chunks, one token, at once, nothing.
TOKENS, PROMPTS, REQUESTS, BOTH = "5 14 7 6 1 4 0", "40 30 30 12 8 8 60", "1 3 2 1 1 1 1", "45 44 37 18 9 12 60"
WHOLE, CLOSED = "120 200 200 170 70 70 20", "95 185 180 155 55 55 5"
ROWS_TTFT, ROWS_TPOT = {"batch": (0.1,) * 3}, {"batch": (0.01,) * 2}  # a row of one token has no tpot
ROWS_ITL, ROWS_E2E = {"batch": (0.01,) * 11}, {"batch": (0.13, 0.18, 0.1)}  # 3 + 8 gaps; 140, 190 and 110 from 10
IN_ONE_PIECE = ROWS_TPOT | {"at once": (0.0,)}
# A request that ends when its stream is closed, 5 ms after the last token.
CLOSED_E2E = {
    "single": (0.095,),
    "batch": (0.185,) * 3,
    "several": (0.095, 0.07),
    "chunks": (0.155,),
    "one token": (0.055,),
    "at once": (0.055,),
}
RETURNED_E2E = {"single": (0.095,), "batch": (0.185,), "one token": (0.055,)}
WHOLE_RUN, TO_CLOSE = "over the whole run, from the first send to the last return", "to the close of the last stream"
STREAM_CLOSE, RETURN = "to the close of the stream", "to the return of generate"

PEERS = (
    Peer("ttft", "vLLM", "ttft", "ms", ROWS_TTFT),
    Peer("ttft", "SGLang", "ttft", "ms", ROWS_TTFT),
    Peer("ttft", "AIPerf", "time_to_first_token", "ms", ROWS_TTFT),
    Peer("ttft", "guidellm", "time_to_first_token_ms", "ms", ROWS_TTFT),
    Peer("ttft", "llmperf", "ttft_s", "s", ROWS_TTFT),
    Peer("ttft", "MLPerf", "first_token_latency", "ns", ROWS_TTFT),
    Peer("ttft", "transformers benchmark_v2", "time_to_first_token", "s"),
    Peer(
        *("ttft", "inference-perf", "time_to_first_token", "s"),
        {"batch": (0.1, 0.1), "one token": ()},
        "none for an answer of one token",
    ),
    Peer("tpot", "vLLM", "tpot", "ms", IN_ONE_PIECE),
    Peer("tpot", "AIPerf", "inter_token_latency", "ms", IN_ONE_PIECE),
    Peer("tpot", "guidellm", "inter_token_latency_ms", "ms", IN_ONE_PIECE),
    Peer("tpot", "inference-perf", "time_per_output_token", "s", IN_ONE_PIECE),
    Peer("tpot", "MLPerf", "time_per_output_token", "ns", IN_ONE_PIECE),
    Peer(
        *("tpot", "SGLang", "tpot", "ms"),
        {
            "single": (45 / 4e3,),
            "batch": (85 / 3e3, 85 / 8e3),
            "several": (45 / 2e3, 40 / 3e3),
            "chunks": (55 / 5e3,),
            "at once": (5 / 3e3,),
        },
        STREAM_CLOSE,
    ),
    Peer(
        *("tpot", "transformers benchmark_v2", "inter_token_latency", "s"),
        # From the first token at 60, 110, 60 and 150, 110, 60 to the return, over all stamps after the first.
        {
            "single": (45 / 5e3,),
            "batch": (85 / 9e3,),
            "several": (45 / 3e3, 40 / 4e3),
            "chunks": (55 / 3e3,),
            "one token": (5 / 1e3,),
        },
        f"{RETURN}, which counts as one token more, and a chunk of several as one",
        (*IN_PROCESS, "several", "chunks"),
    ),
    Peer("itl", "vLLM", "itl", "ms", ROWS_ITL),
    Peer("itl", "SGLang", "itl", "ms", ROWS_ITL),
    Peer("itl", "AIPerf", "inter_chunk_latency", "ms", ROWS_ITL),
    Peer(
        *("itl", "inference-perf", "inter_token_latency", "s"),
        ROWS_ITL | {"chunks": (0.0, 0.03, 0.0, 0.0, 0.02), "at once": (0.0,) * 3},
        "a gap of 0 between the tokens of a chunk",
    ),
    Peer(
        *("itl", "optimum-benchmark", "per_token.latency", "s"),
        # Gaps of 60 80 100, then of 60 80 100 150 160 180 185.
        {"several": (0.02, 0.02, 0.02, 0.02, 0.05, 0.01, 0.02, 0.005)},
        "the gaps of a session's earlier calls again with every call, and the gap between calls",
        (*IN_PROCESS, "several"),
    ),
    Peer("itl_per_token", "SGLang", "itl, --backend sglang", "ms", ROWS_ITL),
    Peer("ntpot", "guidellm", "time_per_output_token_ms", "ms", {"batch": (0.13 / 4, 0.18 / 9, 0.1)}),
    Peer(
        *("ntpot", "llmperf", "inter_token_latency_s", "s"),
        {"batch": (0.13 / 4, 0.18 / 9, 0.1), "chunks": (0.15 / 3,), "at once": (0.05,)},
        "over chunks, not tokens",
    ),
    Peer(
        *("ntpot", "inference-perf", "normalized_time_per_output_token", "s"),
        {
            "single": (0.095 / 5,),
            "batch": (0.185 / 4, 0.185 / 9, 0.185),
            "several": (0.095 / 3, 0.07 / 4),
            "chunks": (0.155 / 6,),
            "one token": (0.055,),
            "at once": (0.055 / 4,),
            "nothing": (0.0,),
        },
        f"{STREAM_CLOSE}; 0 without tokens",
    ),
    Peer("e2e", "vLLM", "e2el", "ms", ROWS_E2E),
    Peer("e2e", "AIPerf", "request_latency", "ms", ROWS_E2E),
    Peer("e2e", "MLPerf", "sample_latency", "ns", ROWS_E2E),
    Peer("e2e", "SGLang", "e2e_latency", "ms", CLOSED_E2E, STREAM_CLOSE),
    Peer("e2e", "guidellm", "request_latency", "s", CLOSED_E2E, STREAM_CLOSE),
    Peer("e2e", "llmperf", "end_to_end_latency_s", "s", CLOSED_E2E, STREAM_CLOSE),
    Peer("e2e", "inference-perf", "request_latency", "s", CLOSED_E2E, STREAM_CLOSE),
    Peer("e2e", "optimum-benchmark", "generate.latency", "s", RETURNED_E2E, RETURN, IN_PROCESS),
    Peer("e2e", "transformers benchmark_v2", "e2e_latency", "s", RETURNED_E2E, RETURN, IN_PROCESS),
    Peer("total", "IPython", "%%time", "s"),
    Peer(
        *("prefill", "optimum-benchmark", "prefill.latency", "s"),
        {"single": (0.049,), "batch": (0.099,), "one token": (0.049,)},
        "to the logits of the first token, before it is chosen",
        IN_PROCESS,
    ),
    Peer(
        *("decode", "optimum-benchmark", "decode.latency", "s"),
        {"single": (0.046,), "batch": (0.086,), "one token": (0.006,)},
        f"from the logits of the first token {RETURN}",
        IN_PROCESS,
    ),
    Peer("output_throughput", "AIPerf", "output_token_throughput", "tok/s"),
    Peer("output_throughput", "vLLM", "output_throughput", "tok/s", rates(TOKENS, WHOLE), WHOLE_RUN),
    Peer("output_throughput", "SGLang", "output_throughput", "tok/s", rates(TOKENS, WHOLE), WHOLE_RUN),
    Peer(
        "output_throughput", "llmperf", "mean_output_throughput_token_per_s", "tok/s", rates(TOKENS, WHOLE), WHOLE_RUN
    ),
    Peer("output_throughput", "inference-perf", "output_tokens_per_sec", "tok/s", rates(TOKENS, CLOSED), TO_CLOSE),
    Peer(
        *("output_throughput", "vLLM", "total_token_throughput", "tok/s"),
        rates(BOTH, WHOLE),
        "the prompt's tokens count too",
    ),
    Peer(
        *("output_throughput", "transformers benchmark_v2", "throughput", "tok/s"),
        {"single": (5 / 0.095,), "batch": (27 / 0.185,), "one token": (1 / 0.055,)},
        f"rows × longest row, {RETURN}",
        IN_PROCESS,
    ),
    Peer("prefill_throughput", "AIPerf", "prefill_throughput", "tok/s", {"batch": (100.0,) * 3}),
    Peer(
        "prefill_throughput", "llama-bench", "pp", "tok/s", {"single": (40 / 0.049,)}, "no token is chosen", ("single",)
    ),
    Peer(
        *("prefill_throughput", "optimum-benchmark", "prefill.throughput", "samples/s"),
        {"single": (1 / 0.049,), "batch": (3 / 0.099,), "one token": (1 / 0.049,)},
        "rows, not tokens",
        IN_PROCESS,
    ),
    Peer("decode_throughput", "llama-bench", "tg", "tok/s", cases=("single", "several")),
    Peer(
        *("decode_throughput", "optimum-benchmark", "decode.throughput", "tok/s"),
        {"single": (4 / 0.046,), "batch": (24 / 0.086,), "one token": (0.0,)},
        f"rows × (longest row − 1), from the logits of the first token {RETURN}",
        IN_PROCESS,
    ),
    Peer(
        *("decode_throughput_per_sequence", "AIPerf", "output_token_throughput_per_user", "tok/s"),
        {"batch": (100.0,) * 2},
    ),
    Peer("input_throughput", "SGLang", "input_throughput", "tok/s", rates(PROMPTS, WHOLE), WHOLE_RUN),
    Peer(
        *("input_throughput", "inference-perf", "input_tokens_per_sec", "tok/s"),
        {case: rate for case, rate in rates(PROMPTS, CLOSED).items() if case != "nothing"},
        TO_CLOSE,
    ),
    Peer("request_throughput", "AIPerf", "request_throughput", "req/s"),
    Peer("request_throughput", "vLLM", "request_throughput", "req/s", rates(REQUESTS, WHOLE), WHOLE_RUN),
    Peer("request_throughput", "SGLang", "request_throughput", "req/s", rates(REQUESTS, WHOLE), WHOLE_RUN),
    Peer(
        *("request_throughput", "optimum-benchmark", "generate.throughput", "samples/s"),
        {"single": (1 / 0.095,), "batch": (3 / 0.185,), "one token": (1 / 0.055,)},
        RETURN,
        IN_PROCESS,
    ),
    Peer("peak_memory", "torch", "max_memory_allocated", "B"),
    Peer("peak_memory", "optimum-benchmark", "max_allocated", "MB"),
    Peer("energy", "optimum-benchmark", "generate.energy", "kWh"),
    Peer(
        *("energy_per_token", "optimum-benchmark", "decode.efficiency", "tok/kWh"),
        {"single": ((32 - PREFILL_J) / 4,)},
        "the other way up, without the energy of a run of one token, over n − 1 tokens",
        ("single",),
    ),
)
# No tool that was read has them.
OURS_ALONE = {"load", "tokenize", "detokenize", "ttft_own", "tpot_own", "e2e_own", "mfu", "mbu"}


def ours(name: str, call: Trace) -> tuple[float, ...]:
    """Values of one of our metrics in a call."""
    return METRICS[name].read(call, Environment())


def near(values: tuple[float, ...]) -> object:
    """Equal but for the rounding of seconds to floats and of their differences."""
    return pytest.approx(values, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.ours}-{peer.tool}-{peer.name}")
def test_another_tools_number_is_ours_or_differs_as_the_table_says(peer: Peer) -> None:
    """In every case theirs is ours, or is exactly what the instants of that case give by their rule, and not ours."""
    assert set(peer.differs) <= set(peer.cases)
    for case in peer.cases:
        theirs, mine = peer.read(CASES[case]), ours(peer.ours, CASES[case])
        assert near(peer.differs.get(case, mine)) == theirs, case
        assert (case in peer.differs) == (near(mine) != theirs), case


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.ours}-{peer.tool}-{peer.name}")
def test_a_difference_has_words(peer: Peer) -> None:
    """Unless the page's text has said it for all."""
    assert bool(peer.words) == bool(set(peer.differs) - SAID_ONCE)


def test_every_metric_has_a_row_or_is_ours_alone() -> None:
    """A new metric is looked for in the other tools."""
    rows = {peer.ours for peer in PEERS}
    assert rows <= set(METRICS)
    assert set(METRICS) == (rows | OURS_ALONE) & set(METRICS)
    assert not rows & OURS_ALONE


def table() -> str:
    """The page's table, a row a metric, from the list above."""
    lines = ["| ours | the same number | near it, but |", "| --- | --- | --- |"]
    for name in dict.fromkeys(peer.ours for peer in PEERS):
        row = [peer for peer in PEERS if peer.ours == name]
        same = ", ".join(peer.label for peer in row if not peer.words)
        words = dict.fromkeys(peer.words for peer in row if peer.words)
        near_it = [f"{', '.join(p.label for p in row if p.words == said)}: {said}" for said in words]
        lines.append(f"| `{name}` ({METRICS[name].unit}) | {same or '–'} | {'; '.join(near_it) or '–'} |")
    return "\n".join(lines)


def test_the_page_is_the_list_that_is_tested() -> None:
    """docs/definitions.md holds this table and the names that are ours alone."""
    page = PAGE.read_text(encoding="utf-8")
    assert table() in page, f"expected in it:\n{table()}"
    assert set() == {name for name in OURS_ALONE & set(METRICS) if f"`{name}`" not in page}


def test_the_page_names_the_sources() -> None:
    """Each tool of the table stands in the list of what was read."""
    sources = PAGE.read_text(encoding="utf-8").partition("## What was read")[2]
    assert [] == [tool for tool in TOOLS if not re.search(rf"^- \*\*{re.escape(tool)}\*\*", sources, re.MULTILINE)]


def test_a_missing_value_is_0_in_vllm_and_sglang() -> None:
    """They print `np.mean(values or 0)`: a run without a second token has a mean tpot of 0 ms. Here it has none."""
    import numpy as np

    assert () == vllm(NOTHING)["tpot"] == ours("tpot", NOTHING)
    assert np.mean(list(vllm(NOTHING)["tpot"]) or 0) == 0.0


def test_guidellm_weighs_its_means_by_tokens() -> None:
    """20 ms for 2 tokens and 35/3 ms for 3 are 15 ms a token, and 15.8 ms a request (benchmark/schemas/metrics.py)."""
    each = ours("tpot", SEVERAL)
    gaps = [stream.tokens - 1 for stream in streams(SEVERAL)]
    assert near((0.015,)) == (sum(value * n for value, n in zip(each, gaps, strict=True)) / sum(gaps),)
    assert near((95 / 6e3,)) == (fmean(each),)


def test_mlperf_takes_its_percentiles_from_the_ranks() -> None:
    """Of 1 to 20, `sorted[count * 0.95]` (results.cc) is the 20th; vLLM's and our p95 lies between the 19th and it."""
    values = [float(value) for value in range(1, 21)]
    assert sorted(values)[int(len(values) * 0.95)] == 20.0
    assert near((19.05,)) == (quantile(values, 0.95),)


def test_transformers_benchmark_v2_rounds_its_stamps() -> None:
    """They go through a float32 tensor before the start is taken off: after a day of uptime, 7.8 ms at a time."""
    import numpy as np

    assert float(np.spacing(np.float32(24 * 3600))) == 0.0078125


def test_optimum_benchmark_repeats_gaps_of_earlier_calls() -> None:
    """Three calls of one session have 4 gaps each, and it reports 4 + 9 + 14, two kinds of them between calls."""
    first = SINGLE.requests[0]
    gaps = optimum_benchmark(SINGLE, SINGLE, SINGLE)["per_token.latency"]
    assert 27 == len(gaps)
    # The same call again, so that the gap between them goes from its last logits to its first.
    between = (first.emissions[0][0] - first.emissions[-1][0]) / 1e9
    assert 3 == sum(1 for gap in gaps if gap == pytest.approx(between))


def test_serving_tools_divide_a_batch_into_rows() -> None:
    """The batch of 4, 9 and 1 tokens is three streams to them, which end with their own last tokens."""
    assert [(4, 0.14), (9, 0.19), (1, 0.11)] == [
        (stream.tokens, pytest.approx(stream.last)) for stream in streams(CASES["batch"])
    ]
