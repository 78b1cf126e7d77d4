"""What watching costs: the same generate of a toy model bare and watched, in turns; prints a Markdown table.

CPU time of the thread, which a busy neighbour does not change. Before the bare call an empty block is watched, so that
what a watch does between calls (reading the machine, counting) has left the caches as cold for both.

python benchmarks/bench_observer.py [--pairs 200]
"""

from __future__ import annotations

import argparse
import platform
import random
import time
from statistics import median, quantiles


def main() -> None:
    """Run pairs in random order and print the cost of an emission as the median of paired differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    pairs = parser.parse_args().pairs

    import torch
    import transformers

    from llm_latency.core.stats import order_statistic_bounds
    from llm_latency.record.timed import timed

    torch.set_num_threads(1)
    tokens = 64
    config = transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=64, eos_token_id=None, bos_token_id=1)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.tensor([[5, 6, 7]])

    def call() -> int:
        start = time.thread_time_ns()
        model.generate(ids, max_new_tokens=tokens, pad_token_id=0)
        return time.thread_time_ns() - start

    def generate() -> int:
        with timed("nothing"):
            pass
        return call()

    def watched() -> int:
        with timed("toy"):
            return call()

    for _ in range(10):
        generate(), watched()
    differences, bare = [], []
    for _ in range(pairs):
        first = random.random() < 0.5
        one = generate() if first else watched()
        two = watched() if first else generate()
        plain, seen = (one, two) if first else (two, one)
        bare.append(plain)
        differences.append((seen - plain) / tokens)
    low, high = order_statistic_bounds(differences, 0.5, level=0.975)
    quartiles = quantiles(differences, n=4)
    print(f"GPT-2 shape of 1 layer, {tokens} tokens, {pairs} pairs in random order, 1 thread")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}\n")
    print("| | µs of CPU an emission |\n| --- | --- |")
    print(f"| bare step | {median(bare) / tokens / 1e3:.1f} |")
    added, ends = median(differences) / 1e3, f"[{low / 1e3:.2f}, {high / 1e3:.2f}]"
    print(f"| watching adds (median, 95 % interval) | {added:.2f} {ends} |")
    print(f"| quartiles of the difference | {quartiles[0] / 1e3:.2f} … {quartiles[2] / 1e3:.2f} |")


if __name__ == "__main__":
    main()
