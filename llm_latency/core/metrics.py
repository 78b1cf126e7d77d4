"""The table of metrics: what each number is, from a trace to floats in base units; not how sure we are of it.

The same names mean different things in other tools, so each definition has a versioned id (`tpot@1`), and a
changed definition gets a new one.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, pairwise

import msgspec

from llm_latency.core.contention import delay_ns, has_own_time
from llm_latency.core.environment import Environment
from llm_latency.core.trace import Request, Trace
from llm_latency.errors import UsageError

Reader = Callable[[Trace, Environment], tuple[float, ...]]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    `read` gives the values that one call contributes, in base unit `unit`, none where the call has none.
    `better` is "lower" or "higher"; `source` names who else defines it so.
    """

    name: str
    unit: str
    better: str
    read: Reader
    meaning: str
    source: str
    version: int = 1

    @property
    def definition(self) -> str:
        """Versioned id of the definition, such as `tpot@1`."""
        return f"{self.name}@{self.version}"


def _seconds(trace: Trace, start_ns: int, stop_ns: int) -> float:
    # Not * 1e-9, which is rounded itself: 300 ms would be 0.30000000000000004 s, and more than "300 ms".
    return trace.elapsed_ns(start_ns, stop_ns) / 1e9


def _longest_row(request: Request) -> int | None:
    return max(request.row_tokens, default=None) if request.row_tokens is not None else None


def _total(trace: Trace, _: Environment) -> tuple[float, ...]:
    return (_seconds(trace, trace.start_ns, trace.stop_ns),)


def _ttft(trace: Trace, _: Environment) -> tuple[float, ...]:
    return tuple(_seconds(trace, r.start_ns, r.instants[0][0]) for r in trace.requests if r.emissions)


def _e2e(trace: Trace, _: Environment) -> tuple[float, ...]:
    return tuple(_seconds(trace, r.start_ns, r.done_ns) for r in trace.requests)


def gaps(trace: Trace) -> Iterator[tuple[float, int]]:
    """Yield (gap in seconds, positions of the emission that ends it) for neighbouring emissions of a request."""
    for request in trace.requests:
        yield from zip(_gap_seconds(trace, request), (k for _, k in request.instants[1:]), strict=True)


def _gap_seconds(trace: Trace, request: Request) -> list[float]:
    """Gaps of one request. Few have a pause, and a measurement may have a million gaps: 0.1 µs each, not 0.4."""
    instants = [instant for instant, _ in request.instants]
    seconds = [(after - before) / 1e9 for before, after in pairwise(instants)]
    touched: set[int] = set()
    for begin, end in trace.pauses:
        touched |= set(range(max(1, bisect_right(instants, begin)), min(len(instants), bisect_left(instants, end) + 1)))
    for index in touched:
        seconds[index - 1] = _seconds(trace, instants[index - 1], instants[index])
    return seconds


def _itl(trace: Trace, _: Environment) -> tuple[float, ...]:
    return tuple(chain.from_iterable(_gap_seconds(trace, request) for request in trace.requests))


def _itl_per_token(trace: Trace, _: Environment) -> tuple[float, ...]:
    values: list[float] = []
    for request in trace.requests:
        seconds, positions = _gap_seconds(trace, request), [k for _, k in request.instants[1:]]
        if positions.count(1) == len(positions):
            values += seconds
        else:
            values += [gap / k for gap, k in zip(seconds, positions, strict=True) for _ in range(k)]
    return tuple(values)


def _tpot(trace: Trace, _: Environment) -> tuple[float, ...]:
    values = []
    for r in trace.requests:
        tokens = _longest_row(r)
        # All tokens at one instant have no time between them: no value, not 0.
        if len(r.emissions) > 1 and tokens is not None and tokens > 1:
            values.append(_seconds(trace, r.instants[0][0], r.done_ns) / (tokens - 1))
    return tuple(values)


def _own(trace: Trace, spans: Iterable[tuple[int, int, int]]) -> tuple[float, ...]:
    """Seconds of (start, stop, share) without the delay by other programs; none where it is not each request's."""
    if not has_own_time(trace):
        return ()
    told = [(_seconds(trace, start, stop), delay_ns(trace, start, stop), share) for start, stop, share in spans]
    return tuple(max(0.0, wall - delay / 1e9) / share for wall, delay, share in told if delay is not None)


def _ttft_own(trace: Trace, _: Environment) -> tuple[float, ...]:
    return _own(trace, ((r.start_ns, r.emissions[0][0], 1) for r in trace.requests if r.emissions))


def _e2e_own(trace: Trace, _: Environment) -> tuple[float, ...]:
    return _own(trace, ((r.start_ns, r.done_ns, 1) for r in trace.requests))


def _tpot_own(trace: Trace, _: Environment) -> tuple[float, ...]:
    counted = [(r, _longest_row(r) or 0) for r in trace.requests if len(r.emissions) > 1]
    return _own(trace, ((r.emissions[0][0], r.done_ns, tokens - 1) for r, tokens in counted if tokens > 1))


def _ntpot(trace: Trace, _: Environment) -> tuple[float, ...]:
    values = []
    for r in trace.requests:
        tokens = _longest_row(r)
        if r.emissions and tokens:
            values.append(_seconds(trace, r.start_ns, r.done_ns) / tokens)
    return tuple(values)


def _prefill_throughput(trace: Trace, _: Environment) -> tuple[float, ...]:
    return tuple(
        r.prompt_tokens / _seconds(trace, r.start_ns, r.instants[0][0])
        for r in trace.requests
        if r.emissions and r.prompt_tokens and trace.elapsed_ns(r.start_ns, r.instants[0][0]) > 0
    )


def _decode_throughput(trace: Trace, _: Environment) -> tuple[float, ...]:
    values = []
    for r in trace.requests:
        if len(r.emissions) < 2 or r.row_tokens is None:
            continue
        after_first = sum(max(0, tokens - r.emissions[0][1]) for tokens in r.row_tokens)
        span = _seconds(trace, r.instants[0][0], r.done_ns)
        if after_first and span > 0:
            values.append(after_first / span)
    return tuple(values)


def _decode_throughput_per_sequence(trace: Trace, environment: Environment) -> tuple[float, ...]:
    return tuple(1.0 / value for value in _tpot(trace, environment) if value > 0)


def _over_window(trace: Trace, amount: int | None) -> tuple[float, ...]:
    """Rate over the window from the first request's entry to the last one's end."""
    if not trace.requests or not amount:
        return ()
    span = _seconds(trace, min(r.start_ns for r in trace.requests), max(r.done_ns for r in trace.requests))
    return (amount / span,) if span > 0 else ()


def _output_throughput(trace: Trace, _: Environment) -> tuple[float, ...]:
    return _over_window(trace, trace.new_tokens)


def _request_throughput(trace: Trace, _: Environment) -> tuple[float, ...]:
    return _over_window(trace, trace.rows)


def _input_throughput(trace: Trace, _: Environment) -> tuple[float, ...]:
    return _over_window(trace, trace.prompt_tokens)


def _peak_memory(trace: Trace, _: Environment) -> tuple[float, ...]:
    peaks = trace.peak_bytes or {}
    peak = peaks.get("allocated", peaks.get("rss"))
    return () if peak is None else (float(peak),)


def _energy(trace: Trace, _: Environment) -> tuple[float, ...]:
    return () if trace.energy_j is None else (trace.energy_j,)


def _energy_per_token(trace: Trace, _: Environment) -> tuple[float, ...]:
    return (trace.energy_j / trace.new_tokens,) if trace.energy_j is not None and trace.new_tokens else ()


def _mfu(trace: Trace, environment: Environment) -> tuple[float, ...]:
    """Against the peak that was probed or described; none without one. A forward's is over its whole time."""
    if environment.peaks is None:
        return ()
    spans = [
        (r.prefill_flops, _seconds(trace, r.start_ns, r.instants[0][0] if r.emissions else r.done_ns))
        for r in trace.requests
        if r.prefill_flops
    ]
    return tuple(flops / (seconds * environment.peaks.flops) for flops, seconds in spans if seconds > 0)


def _mbu(trace: Trace, environment: Environment) -> tuple[float, ...]:
    if environment.peaks is None:
        return ()
    counted = [(r, _longest_row(r) or 0) for r in trace.requests if r.step_bytes and len(r.emissions) > 1]
    steps = [
        (r.step_bytes or 0, _seconds(trace, r.instants[0][0], r.done_ns) / (tokens - 1))
        for r, tokens in counted
        if tokens > 1
    ]
    return tuple(read / (seconds * environment.peaks.bandwidth) for read, seconds in steps if seconds > 0)


def _phase(name: str) -> Reader:
    def read(trace: Trace, _: Environment) -> tuple[float, ...]:
        spans = [_seconds(trace, p.start_ns, p.stop_ns) for p in trace.phases if p.name == name]
        return (sum(spans),) if spans else ()

    return read


def _prefill(trace: Trace, environment: Environment) -> tuple[float, ...]:
    values = _ttft(trace, environment)
    return (sum(values),) if values else ()


def _decode(trace: Trace, _: Environment) -> tuple[float, ...]:
    spans = [_seconds(trace, r.instants[0][0], r.done_ns) for r in trace.requests if len(r.emissions) > 1]
    return (sum(spans),) if spans else ()


def _row(name: str, unit: str, better: str, read: Reader, *about: str) -> tuple[str, Metric]:
    meaning, source = about
    return name, Metric(name=name, unit=unit, better=better, read=read, meaning=meaning, source=source)


# Sources: vllm/benchmarks/serve.py, sglang/bench_serving.py, MLPerf inference rules (tpot = (e2e - ttft)/(n - 1)),
# AIPerf calls that inter_token_latency; guidellm and llmperf call e2e/n TPOT.
METRICS: Mapping[str, Metric] = dict(
    (
        _row("ttft", "s", "lower", _ttft, "entry of the request to its first new token", "vLLM, MLPerf, AIPerf"),
        _row(
            "tpot",
            "s",
            "lower",
            _tpot,
            "(e2e - ttft)/(n - 1), n tokens of the longest row",
            "vLLM, AIPerf as inter_token_latency",
        ),
        _row("itl", "s", "lower", _itl, "gap between neighbouring emissions", "vLLM, SGLang"),
        _row("itl_per_token", "s", "lower", _itl_per_token, "gap/k, weighted by its k positions", "own"),
        _row("ntpot", "s", "lower", _ntpot, "e2e/n", "guidellm and llmperf, as TPOT"),
        _row("e2e", "s", "lower", _e2e, "entry of the request to its last token or return", "vLLM e2el"),
        _row("total", "s", "lower", _total, "the whole call, pauses of a live view excluded", "IPython %%time"),
        _row("load", "s", "lower", _phase("load"), "from_pretrained inside the call", "own"),
        _row("tokenize", "s", "lower", _phase("tokenize"), "text to ids inside the call", "own"),
        _row("prefill", "s", "lower", _prefill, "sum of ttft over the call's requests", "own"),
        _row("decode", "s", "lower", _decode, "sum of e2e - ttft over the call's requests", "own"),
        _row("detokenize", "s", "lower", _phase("detokenize"), "ids to text inside the call", "own"),
        _row("ttft_own", "s", "lower", _ttft_own, "ttft less the time its threads waited for a core", "own"),
        _row("tpot_own", "s", "lower", _tpot_own, "tpot less the time its threads waited for a core", "own"),
        _row("e2e_own", "s", "lower", _e2e_own, "e2e less the time its threads waited for a core", "own"),
        _row(
            "output_throughput",
            "tok/s",
            "higher",
            _output_throughput,
            "new tokens per second of all rows",
            "vLLM, over a whole run",
        ),
        _row("prefill_throughput", "tok/s", "higher", _prefill_throughput, "prompt tokens/ttft", "llama-bench pp"),
        _row("decode_throughput", "tok/s", "higher", _decode_throughput, "all rows' tokens after the first", "own"),
        _row("decode_throughput_per_sequence", "tok/s", "higher", _decode_throughput_per_sequence, "1/tpot", "AIPerf"),
        _row(
            "input_throughput",
            "tok/s",
            "higher",
            _input_throughput,
            "prompt tokens per second",
            "SGLang, over a whole run",
        ),
        _row("request_throughput", "req/s", "higher", _request_throughput, "rows per second", "vLLM, over a whole run"),
        _row("peak_memory", "B", "lower", _peak_memory, "high-water mark: device allocator, or RSS", "torch"),
        _row("energy", "J", "lower", _energy, "over the same window as the tokens", "MLPerf power"),
        _row("energy_per_token", "J/tok", "lower", _energy_per_token, "energy/new tokens", "own"),
        _row("mfu", "1", "higher", _mfu, "FLOPs of the prefill/(ttft·peak FLOP/s)", "PaLM, of training"),
        _row("mbu", "1", "higher", _mbu, "bytes that a step reads/(tpot·peak bytes/s)", "Databricks"),
    )
)


def metric(name: str) -> Metric:
    """Look a metric up by name; raises UsageError that lists the known ones when there is none."""
    try:
        return METRICS[name]
    except KeyError:
        close = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise UsageError(f"there is no metric {name!r}{hint} Known: {', '.join(METRICS)}") from None
