"""Our numbers beside those of three other ways of timing, of the very same calls.

A generate call is watched by us while a streamer that stamps each `put` and `end`, as transformers' benchmark_v2 has
one, and a logits processor that stamps its calls, as optimum-benchmark's PerTokenLatencySessionTrackerLogitsProcessor
does, are among its arguments. A decoding loop written by hand with a cache is watched while it takes its own stamps.
What each of them makes of its stamps is written out from its source; each call gives a ratio, and the table has the
median of the ratios with its interval. The stamps lie at different places of a step, so the ratios need not be 1:
optimum-benchmark's are taken before a token is chosen, the streamer's after the stopping criteria.

python benchmarks/bench_agreement.py [--quick]
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median

from rounds import middle
from stamps import streamer_and_processor

from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS
from llm_latency.core.trace import Trace

TOKENS, PROMPT = 32, 64
# (what, ours, whose, theirs) in seconds or tokens per second, one call each.
Row = tuple[str, float, str, float]


def of(trace: Trace, name: str) -> tuple[float, ...]:
    """Our values of one call."""
    return METRICS[name].read(trace, Environment())


class Bench:
    """One model, its prompt, and the watch."""

    def __init__(self) -> None:
        """Build a GPT-2 shape with random weights, of 2 layers so that a step takes a few milliseconds."""
        import torch
        import transformers

        torch.set_num_threads(1)
        tokens = {"eos_token_id": None, "bos_token_id": 1}
        config = transformers.GPT2Config(n_layer=2, n_embd=512, n_head=8, vocab_size=1000, **tokens)
        self.model = transformers.GPT2LMHeadModel(config).eval()
        self.prompt = torch.randint(2, 1000, (1, PROMPT))
        # Its name changed within transformers 5.
        self._cache = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"
        self._parts = streamer_and_processor()
        self.session: list[list[float]] = []

    def watched(self, run: Callable[[], None]) -> Trace:
        """Watch one call as `measure` does."""
        from llm_latency.record.recording import Recording
        from llm_latency.record.sampling import make_plan

        recording = Recording("agreement", plan=make_plan(repeat=1), modules=(self.model,))
        with recording.watch() as watch:
            run()
        return watch.ended()

    def generate(self) -> Iterator[Row]:
        """One generate call, timed by three."""
        from transformers import LogitsProcessorList

        streamer, processor = (part() for part in self._parts)
        edges: list[float] = []

        def run() -> None:
            edges.append(time.perf_counter())
            self.model.generate(
                self.prompt,
                max_new_tokens=TOKENS,
                pad_token_id=0,
                streamer=streamer,
                logits_processor=LogitsProcessorList([processor]),
            )
            edges.append(time.perf_counter())

        trace = self.watched(run)
        start, returned = edges
        puts, logits = streamer.stamps[1:], processor.stamps  # the first put is the prompt
        self.session.append(logits)
        tokens, end = puts[:-1], puts[-1]
        (ttft,), (tpot,), itl = of(trace, "ttft"), of(trace, "tpot"), median(of(trace, "itl"))
        # benchmark_v2/framework/data_classes.py divides the time to `end` by the number of stamps less one.
        yield "ttft", ttft, "transformers benchmark_v2", tokens[0] - start
        yield "tpot", tpot, "transformers benchmark_v2", (end - tokens[0]) / (len(puts) - 1)
        yield "tpot", tpot, "its stamps, last token less first", (tokens[-1] - tokens[0]) / (len(tokens) - 1)
        yield "itl, median", itl, "its stamps", median(b - a for a, b in pairwise(tokens))
        yield "e2e", of(trace, "e2e")[0], "transformers benchmark_v2", returned - start
        # optimum_benchmark/trackers/latency.py; volume by scenarios/inference/scenario.py.
        yield "prefill", of(trace, "prefill")[0], "optimum-benchmark", logits[0] - start
        yield "itl, median", itl, "optimum-benchmark", median(b - a for a, b in pairwise(logits))
        yield "decode", of(trace, "decode")[0], "optimum-benchmark", returned - logits[0]
        theirs = (TOKENS - 1) / (returned - logits[0])
        yield "decode_throughput", of(trace, "decode_throughput")[0], "optimum-benchmark", theirs
        yield "e2e", of(trace, "e2e")[0], "optimum-benchmark", returned - start

    def loop(self) -> Iterator[Row]:
        """One decoding loop by hand, timed by itself and by us."""
        import torch

        stamps: list[float] = []

        def run() -> None:
            with torch.inference_mode():
                stamps.append(time.perf_counter())
                output = self.model(self.prompt, use_cache=True)
                stamps.append(time.perf_counter())
                for _ in range(TOKENS - 1):
                    token = output.logits[:, -1:].argmax(dim=-1)
                    output = self.model(token, **{self._cache: output[self._cache]}, use_cache=True)
                    stamps.append(time.perf_counter())

        trace = self.watched(run)
        start, tokens = stamps[0], stamps[1:]
        gaps = [b - a for a, b in pairwise(tokens)]
        yield "ttft", of(trace, "ttft")[0], "a loop's own stamps", tokens[0] - start
        yield "tpot", of(trace, "tpot")[0], "a loop's own stamps", (tokens[-1] - tokens[0]) / (TOKENS - 1)
        yield "itl, median", median(of(trace, "itl")), "a loop's own stamps", median(gaps)
        yield "e2e", of(trace, "e2e")[0], "a loop's own stamps", tokens[-1] - start

    def session_gaps(self) -> list[float]:
        """optimum-benchmark's per-token latencies of all calls, as written: its list of stamps is never emptied."""
        events: list[float] = []
        gaps: list[float] = []
        for logits in self.session:
            events += logits
            gaps += [b - a for a, b in pairwise(events)]
        return gaps


def report(rows: list[Row], bench: Bench, calls: int) -> Iterator[str]:
    """The table, line by line."""
    yield f"GPT-2 shape of 2 layers, 512 wide, {PROMPT} prompt and {TOKENS} new tokens, 1 thread; {calls} generate"
    yield f"calls and {calls} loops by hand in turns. Medians; the ratio is the median of the calls' ratios [95 %].\n"
    yield "| ours | | theirs | | ours/theirs |\n| --- | --- | --- | --- | --- |"
    for what, whose in dict.fromkeys((row[0], row[2]) for row in rows):
        mine, theirs = ([row[side] for row in rows if (row[0], row[2]) == (what, whose)] for side in (1, 3))
        ratio = middle([a / b for a, b in zip(mine, theirs, strict=True)])
        ends = "–" if ratio.low is None else f"{ratio.low:.4f}, {ratio.high:.4f}"
        shown = [
            f"{median(v):.1f} tok/s" if "throughput" in what else f"{median(v) * 1e3:.3f} ms" for v in (mine, theirs)
        ]
        yield f"| {what} | {shown[0]} | {whose} | {shown[1]} | {ratio.center:.4f} [{ends}] |"
    gaps = bench.session_gaps()
    right = sum(len(logits) - 1 for logits in bench.session)
    yield f"\nOver the whole session optimum-benchmark reports {len(gaps)} per-token latencies where {right} gaps were;"
    yield f"their median is {median(gaps) * 1e3:.3f} ms and their maximum {max(gaps) * 1e3:.3f} ms."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=80)
    parser.add_argument("--quick", action="store_true", help="few calls: a look, not a figure")
    arguments = parser.parse_args()
    calls = 10 if arguments.quick else arguments.calls
    bench = Bench()
    for _ in range(2):
        _warm = [*bench.generate(), *bench.loop()]
    bench.session.clear()
    rows = [row for _ in range(calls) for row in (*bench.generate(), *bench.loop())]
    print("\n".join(report(rows, bench, calls)))


if __name__ == "__main__":
    main()
