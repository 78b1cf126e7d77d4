"""What being observed costs: a toy model bare, observed by us, and with the stamps that people write themselves.

Two costs are told apart. The cost of an emission is the slope between short and long generate calls: all that a call
pays once (opening the watch, the wrapped `generate`, attribute caches that CPython specialises anew after a class was
patched, which takes some hundred steps) cancels. What is left at length 0 is the cost of a call. Each round runs every
condition once, in random order, as a block of calls: the taps go on before the block and off after it, as in
`measure`, and its first call, a long one, is left out; differences are taken within the round. CPU time of the
thread, which a busy neighbour changes little.

python benchmarks/bench_observer.py [--quick]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from statistics import median
from typing import Any

from stamps import streamer_and_processor

from llm_latency.core.stats import Sample, Summary, summarize

SHORT, LONG = 32, 256
BARE, OURS = "bare", "llm-latency"
GOAL_US = 2.0


def empty() -> Any:
    """A causal model without layers, whose forward hands out the same logits: a step is generate's own work."""
    import torch
    from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutputWithPast

    class Empty(PreTrainedModel, GenerationMixin):
        config_class = PreTrainedConfig
        main_input_name = "input_ids"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.logits = torch.zeros(1, 1, 64)
            self.post_init()

        def forward(self, input_ids: Any = None, attention_mask: Any = None, **_: object) -> Any:
            return CausalLMOutputWithPast(logits=self.logits)

    return Empty(PreTrainedConfig(vocab_size=64))


def one_layer() -> Any:
    """A GPT-2 shape of one layer, whose step leaves the processor's caches as a model does."""
    import transformers

    config = transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=64, eos_token_id=None, bos_token_id=1)
    return transformers.GPT2LMHeadModel(config)


MODELS = {"a model without layers": empty, "a GPT-2 shape of one layer": one_layer}


def own_stamps() -> dict[str, Callable[[], dict[str, Any]]]:
    """Arguments for `generate` that stamp each token with perf_counter, each in its cheapest right form."""
    import torch
    from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

    streamer, processor = streamer_and_processor()
    going_on = torch.zeros(1, dtype=torch.bool)

    class Criteria(StoppingCriteria):
        def __init__(self) -> None:
            self.stamps: list[float] = []

        def __call__(self, input_ids: Any, scores: Any, **_: object) -> Any:
            self.stamps.append(time.perf_counter())
            return going_on

    return {
        "own BaseStreamer": lambda: {"streamer": streamer()},
        "own StoppingCriteria": lambda: {"stopping_criteria": StoppingCriteriaList([Criteria()])},
        "own LogitsProcessor": lambda: {"logits_processor": LogitsProcessorList([processor()])},
    }


class Bench:
    """The conditions over one toy model."""

    def __init__(self, model: Any, seed: int) -> None:
        """Learn the conditions."""
        import torch

        torch.set_num_threads(1)
        self.model, self.ids = model.eval(), torch.tensor([[5, 6, 7]])
        self.arguments = {"max_new_tokens": 1, "pad_token_id": 0, "use_cache": hasattr(model, "transformer")}
        self.stamps = own_stamps()
        self.conditions = [BARE, OURS, *self.stamps]
        self._random = random.Random(seed)

    def round(self, repeats: int) -> dict[str, dict[str, float]]:
        """One block of each condition in random order: its costs in microseconds, as `line` gives them."""
        names = list(self.conditions)
        self._random.shuffle(names)
        return {name: self.block(name, repeats) for name in names}

    def block(self, name: str, repeats: int) -> dict[str, float]:
        """Costs by the least of `repeats` short and long calls in random order, after one that is left out.

        The least, since what a neighbour does to caches and clocks only ever adds CPU time.
        """
        from llm_latency.record.observe.taps import tapped
        from llm_latency.record.recording import Recording
        from llm_latency.record.sampling import make_plan

        lengths = [SHORT, LONG] * repeats
        self._random.shuffle(lengths)
        inside: dict[int, list[float]] = {SHORT: [], LONG: []}
        around: list[float] = []
        recording = Recording("toy", plan=make_plan(repeat=1))
        with tapped() if name == OURS else nullcontext():
            for number, length in enumerate([LONG, *lengths]):
                begin = time.thread_time_ns()
                own = self.stamps[name]() if name in self.stamps else {}
                with recording.watch() if name == OURS else nullcontext():
                    start = time.thread_time_ns()
                    self.model.generate(self.ids, **(self.arguments | own | {"max_new_tokens": length}))
                    stop = time.thread_time_ns()
                if number:
                    inside[length].append((stop - start) / 1e3)
                    around.append((time.thread_time_ns() - begin - (stop - start)) / 1e3)
        return line(min(inside[SHORT]), min(inside[LONG])) | {"around": min(around)}


def line(short: float, long: float) -> dict[str, float]:
    """Cost of an emission, and of a call without any, of the line through two calls' times."""
    slope = (long - short) / (LONG - SHORT)
    return {"emission": slope, "call": short - slope * SHORT}


def more(
    rounds: list[dict[str, dict[str, float]]], name: str, cost: str, digits: int, *, base: str = BARE
) -> tuple[Summary, int]:
    """Median, with its 95 % interval, of what a condition costs more than another in the same round."""
    values = tuple(r[name][cost] - r[base][cost] for r in rounds)
    return summarize(Sample(values=values, calls=tuple(range(len(values))))), digits


def show(cost: tuple[Summary, int]) -> str:
    """A median with its interval."""
    summary, digits = cost
    ends = "–" if summary.low is None else f"{summary.low:.{digits}f}, {summary.high:.{digits}f}"
    return f"{summary.center:.{digits}f} [{ends}]"


def report(name: str, rounds: list[dict[str, dict[str, float]]], repeats: int) -> Iterator[str]:
    """One model's table, line by line, and what it says about the claim."""
    bare = {cost: median(r[BARE][cost] for r in rounds) for cost in ("emission", "call", "around")}
    others = [condition for condition in rounds[0] if condition not in (BARE, OURS)]
    yield f"**{name[0].upper()}{name[1:]}**, 1 thread, {len(rounds)} rounds with every condition once, in random order;"
    yield f"a block is one call left out and {repeats} each of {SHORT} and {LONG} tokens. µs of CPU, median [95 %].\n"
    yield "| | an emission | a call, inside `generate` | a call, around it |\n| --- | --- | --- | --- |"
    yield f"| {BARE} | {bare['emission']:.1f} | {bare['call']:.0f} | {bare['around']:.0f} |"
    for condition in (OURS, *sorted(others)):
        costs = (("emission", 2), ("call", 0), ("around", 0))
        yield f"| {condition} adds | {' | '.join(show(more(rounds, condition, *cost)) for cost in costs)} |"
    yield ""
    for condition in sorted(others):
        extra = show(more(rounds, condition, "emission", 2, base=OURS))
        yield f"- an emission of {condition} costs {extra} more than one of ours"
    ours = more(rounds, OURS, "emission", 2)[0]
    yield f"- goal, ours at most {GOAL_US:g}: {'held' if ours.center <= GOAL_US else 'NOT held'} by the median\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="for the model without layers; a quarter for the other")
    parser.add_argument("--repeats", type=int, default=3, help="calls of each length in a block")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    arguments = parser.parse_args()
    count, repeats = (20, 2) if arguments.quick else (arguments.rounds, arguments.repeats)
    for name, build in MODELS.items():
        bench = Bench(build(), arguments.seed)
        bench.round(1)
        rounds = [bench.round(repeats) for _ in range(count if build is empty else max(8, count // 4))]
        print("\n".join(report(name, rounds, repeats)))


if __name__ == "__main__":
    main()
