"""What other tools make of the same stamps: their formulas, written out anew from the sources named; not ours.

A tool's function takes a call and gives its numbers by their names, in its own units; no value is an empty tuple.
To a tool that loads a server, a request is one stream of chunks, so each row of a batch is a request of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from traces import MS, PREFILL_J, SELECTION_MS

from llm_latency.core.trace import Trace

Numbers = dict[str, tuple[float, ...]]
J_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Stream:
    """One answer as a client sees it, in seconds: (instant, tokens) of each chunk, and when the stream was closed."""

    start: float
    chunks: tuple[tuple[float, int], ...]
    close: float
    tokens: int
    prompt: int

    @property
    def first(self) -> float:
        """When the first chunk came."""
        return self.chunks[0][0]

    @property
    def last(self) -> float:
        """When the last chunk came, or an answer without chunks."""
        return self.chunks[-1][0] if self.chunks else self.close


def streams(call: Trace) -> Iterator[Stream]:
    """Each row of each request."""
    for request in call.requests:
        rows = request.row_tokens or (0,)
        for tokens in rows:
            chunks, left = [], tokens
            for instant, positions in request.emissions:
                if left > 0:
                    chunks.append((instant / 1e9, min(positions, left)))
                left -= positions
            prompt = (request.prompt_tokens or 0) // len(rows)
            yield Stream(request.start_ns / 1e9, tuple(chunks), request.stop_ns / 1e9, tokens, prompt)


def _rates(over: list[Stream], seconds: float) -> dict[str, float]:
    output, prompt = sum(s.tokens for s in over), sum(s.prompt for s in over)
    amounts = {"requests": len(over), "input": prompt, "output": output, "total": prompt + output}
    return {name: amount / seconds for name, amount in amounts.items()}


def _duration(call: Trace) -> float:
    """From before the first request is sent until after the last one's task was gathered."""
    return (call.stop_ns - call.start_ns) / 1e9


def vllm(call: Trace) -> Numbers:
    """vllm/benchmarks/serve.py (calculate_metrics), vllm/benchmarks/lib/endpoint_request_func.py (completions)."""
    answers = list(streams(call))
    ttft, itl, tpot, e2el = [], [], [], []
    for s in answers:
        latency = s.last - s.start
        e2el.append(latency * 1e3)
        if s.chunks:
            ttft.append((s.first - s.start) * 1e3)
            itl += [(after - before) * 1e3 for (before, _), (after, _) in pairwise(s.chunks)]
            if s.tokens > 1:
                tpot.append((latency - (s.first - s.start)) / (s.tokens - 1) * 1e3)
    rate = _rates(answers, _duration(call))
    return {
        "ttft": tuple(ttft),
        "tpot": tuple(tpot),
        "itl": tuple(itl),
        "e2el": tuple(e2el),
        "request_throughput": (rate["requests"],),
        "output_throughput": (rate["output"],),
        "total_token_throughput": (rate["total"],),
    }


def sglang(call: Trace) -> Numbers:
    """sglang/benchmark/metrics.py, backends/oai_client.py; `itl, --backend sglang` is that of sglang_client.py.

    `latency` is taken again at every line that arrives, [DONE] included.
    """
    answers = list(streams(call))
    ttft = {s: (s.first - s.start) * 1e3 for s in answers if s.chunks}
    latency = {s: (s.close - s.start) * 1e3 for s in answers}
    gaps = [(after - before, k) for s in ttft for (before, _), (after, k) in pairwise(s.chunks)]
    rate = _rates(answers, _duration(call))
    return {
        "ttft": tuple(ttft.values()),
        "tpot": tuple((latency[s] - ttft[s]) / (s.tokens - 1) for s in ttft if s.tokens > 1),
        "itl": tuple(gap * 1e3 for gap, _ in gaps),
        "itl, --backend sglang": tuple(gap / k * 1e3 for gap, k in gaps for _ in range(k)),
        "e2e_latency": tuple(latency.values()),
        "request_throughput": (rate["requests"],),
        "input_throughput": (rate["input"],),
        "output_throughput": (rate["output"],),
    }


def aiperf(call: Trace) -> Numbers:
    """aiperf/metrics/types/*.py (the names of genai-perf, its predecessor); in ns there, in ms on the screen."""
    answers = list(streams(call))
    seen = [s for s in answers if s.chunks]
    itl = [(s.last - s.first) / (s.tokens - 1) for s in seen if s.tokens >= 2]
    rate = _rates(answers, max(s.last for s in answers) - min(s.start for s in answers))
    return {
        "time_to_first_token": tuple((s.first - s.start) * 1e3 for s in seen),
        "inter_token_latency": tuple(value * 1e3 for value in itl),
        "inter_chunk_latency": tuple((b - a) * 1e3 for s in seen for (a, _), (b, _) in pairwise(s.chunks)),
        "request_latency": tuple((s.last - s.start) * 1e3 for s in answers),
        "output_token_throughput": (rate["output"],) if seen else (),
        "output_token_throughput_per_user": tuple(1 / value for value in itl if value > 0),
        "prefill_throughput": tuple(s.prompt / (s.first - s.start) for s in seen),
        "request_throughput": (rate["requests"],),
    }


def guidellm(call: Trace) -> Numbers:
    """guidellm/schemas/request_stats.py; the start and end of requests: guidellm/backends/openai/http.py."""
    answers = list(streams(call))
    seen = [s for s in answers if s.chunks]
    return {
        "time_to_first_token_ms": tuple(1e3 * (s.first - s.start) for s in seen),
        "time_per_output_token_ms": tuple(1e3 * (s.last - s.start) / s.tokens for s in seen),
        "inter_token_latency_ms": tuple(1e3 * (s.last - s.first) / (s.tokens - 1) for s in seen if s.tokens > 1),
        "request_latency": tuple(s.close - s.start for s in answers),
    }


def llmperf(call: Trace) -> Numbers:
    """llmperf/ray_clients/openai_chat_completions_client.py and token_benchmark_ray.py.

    The gaps, ttft among them, are summed and divided by the number of chunks.
    """
    answers = list(streams(call))
    seen = [s for s in answers if s.chunks]
    return {
        "ttft_s": tuple(s.first - s.start for s in seen),
        "inter_token_latency_s": tuple((s.last - s.start) / len(s.chunks) for s in seen),
        "end_to_end_latency_s": tuple(s.close - s.start for s in answers),
        "request_output_throughput_token_per_s": tuple(s.tokens / (s.close - s.start) for s in seen),
        "mean_output_throughput_token_per_s": (_rates(answers, _duration(call))["output"],),
    }


def inference_perf(call: Trace) -> Numbers:
    """inference_perf/reportgen/base.py: every token of a chunk has the chunk's instant."""
    answers = list(streams(call))
    times = {s: [instant for instant, k in s.chunks for _ in range(k)] for s in answers}
    streamed = [s for s in answers if len(times[s]) > 1]
    rate = _rates(answers, max(s.close for s in answers) - min(s.start for s in answers))
    return {
        "time_to_first_token": tuple(s.first - s.start for s in streamed),
        "time_per_output_token": tuple((s.last - s.first) / (s.tokens - 1) for s in streamed),
        "inter_token_latency": tuple(after - before for s in streamed for before, after in pairwise(times[s])),
        "normalized_time_per_output_token": tuple((s.close - s.start) / s.tokens if s.tokens else 0.0 for s in answers),
        "request_latency": tuple(s.close - s.start for s in answers),
        "input_tokens_per_sec": (rate["input"],),
        "output_tokens_per_sec": (rate["output"],),
        "requests_per_sec": (rate["requests"],),
    }


def mlperf(call: Trace) -> Numbers:
    """mlcommons/inference loadgen (results.cc, logging.cc, loadgen.cc), in ns; the system under test says when.

    Here it reports its first token and its completion at once, and no query waited for its turn.
    """
    answers = list(streams(call))
    seen = [s for s in answers if s.chunks]
    return {
        "first_token_latency": tuple((s.first - s.start) * 1e9 for s in seen),
        "time_per_output_token": tuple((s.last - s.first) * 1e9 / (s.tokens - 1) for s in seen if s.tokens > 1),
        "sample_latency": tuple((s.last - s.start) * 1e9 for s in answers),
    }


def _generate_calls(call: Trace) -> list[Any]:
    return [request for request in call.requests if request.emissions]


def transformers_v2(call: Trace) -> Numbers:
    """huggingface/transformers benchmark_v2/framework/benchmark_runner.py and data_classes.py.

    The streamer stamps the prompt, which is left out, each `put`, and `end`, which is not left out.
    """
    ttft, itl, latency, throughput = [], [], [], []
    for request in _generate_calls(call):
        stamps = [instant / 1e9 for instant, _ in request.emissions] + [request.stop_ns / 1e9]
        start = request.start_ns / 1e9
        latency.append(request.stop_ns / 1e9 - start)
        ttft.append(stamps[0] - start)
        itl.append((stamps[-1] - stamps[0]) / (len(stamps) - 1))
        throughput.append(len(request.row_tokens) * max(request.row_tokens) / latency[-1])
    return {
        "time_to_first_token": tuple(ttft),
        "inter_token_latency": tuple(itl),
        "e2e_latency": tuple(latency),
        "throughput": tuple(throughput),
    }


def optimum_benchmark(*calls: Trace) -> Numbers:
    """huggingface/optimum-benchmark trackers/{latency,memory,energy}.py and scenarios/inference/scenario.py, on a CPU.

    PerTokenLatencySessionTrackerLogitsProcessor over the calls of one session: `per_token_events` is not emptied
    between them.
    """
    prefill, decode, generate, events = [], [], [], []
    starts, ends = [], []
    volume = rows = 0
    for request in (request for call in calls for request in _generate_calls(call)):
        logits = [(instant - SELECTION_MS * MS) / 1e9 for instant, _ in request.emissions]
        start, stop = request.start_ns / 1e9, request.stop_ns / 1e9
        events += logits
        starts += events[:-1]
        ends += events[1:]
        prefill.append(logits[0] - start)
        decode.append(stop - logits[0])
        generate.append(stop - start)
        rows = len(request.row_tokens)
        volume = rows * (max(request.row_tokens) - 1)
    peak, energy = calls[0].peak_bytes or {}, calls[0].energy_j
    return {
        "prefill.latency": tuple(prefill),
        "per_token.latency": tuple(end - start for start, end in zip(starts, ends, strict=True)),
        "decode.latency": tuple(decode),
        "generate.latency": tuple(generate),
        "prefill.throughput": (rows * len(prefill) / sum(prefill),) if prefill else (),
        "decode.throughput": (volume * len(decode) / sum(decode),) if decode else (),
        "generate.throughput": (rows * len(generate) / sum(generate),) if generate else (),
        "max_allocated": tuple(peak[key] / 1e6 for key in ("allocated",) if key in peak),
        "generate.energy": () if energy is None else (energy / J_PER_KWH,),
        "decode.efficiency": () if energy is None else (volume / ((energy - PREFILL_J) / J_PER_KWH),),
    }


def llama_bench(call: Trace) -> Numbers:
    """ggml-org/llama.cpp tools/llama-bench/llama-bench.cpp: 1e9 · n_tokens / t of `pp` and of `tg`, separate runs.

    No token is chosen: `pp` is the prompt's pass through the model, `tg` passes of one token each.
    """
    values: dict[str, list[float]] = {"pp": [], "tg": []}
    for request in _generate_calls(call):
        logits = [instant - SELECTION_MS * MS for instant, _ in request.emissions]
        values["pp"].append(1e9 * request.prompt_tokens / (logits[0] - request.start_ns))
        if len(logits) > 1:
            values["tg"].append(1e9 * (len(logits) - 1) / (logits[-1] - logits[0]))
    return {name: tuple(found) for name, found in values.items()}


def ipython(call: Trace) -> Numbers:
    """IPython/core/magics/execution.py, `%%time`: wall clock after the cell less wall clock before it."""
    return {"%%time": (_duration(call),)}


def torch_memory(call: Trace) -> Numbers:
    """torch.cuda.max_memory_allocated after reset_peak_memory_stats, in bytes."""
    return {"max_memory_allocated": tuple(float(v) for k, v in (call.peak_bytes or {}).items() if k == "allocated")}


TOOLS = {
    "vLLM": vllm,
    "SGLang": sglang,
    "AIPerf": aiperf,
    "guidellm": guidellm,
    "llmperf": llmperf,
    "inference-perf": inference_perf,
    "MLPerf": mlperf,
    "transformers benchmark_v2": transformers_v2,
    "optimum-benchmark": optimum_benchmark,
    "llama-bench": llama_bench,
    "IPython": ipython,
    "torch": torch_memory,
}
