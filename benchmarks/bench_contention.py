"""Wall and own time of the same generate beside neighbours that burn a core each, side by side.

The same calls of a small GPT-2 shape, with one torch thread and with as many as cores (OpenMP's threads spin while they
wait), in blocks in random order beside no, one and two processes that do nothing but burn. For each condition: the
median of `e2e` and of `e2e_own`, their spread (p95 ÷ p5), and each median as a ratio to the wall's without a neighbour.

python benchmarks/bench_contention.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import random

from neighbours import burning

from llm_latency.core.stats import quantile

NEIGHBOURS = (0, 1, 2)


def main() -> None:
    """Measure every condition in blocks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="blocks of each condition")
    parser.add_argument("--calls", type=int, default=12, help="calls of a block")
    parser.add_argument("--quick", action="store_true", help="two rounds of four calls")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rounds, calls = (2, 4) if given.quick else (given.rounds, given.calls)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"GPT-2 shape of 4 layers, width 256; 64 + 24 tokens; {cores} cores; {rounds} blocks of {calls} calls\n")
    heads = ("torch threads", "neighbours", "n", "e2e", "÷ quiet", "p95 ÷ p5", "e2e_own", "÷ quiet", "p95 ÷ p5")
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for threads in sorted({1, cores}):
        found = measured(threads, rounds=rounds, calls=calls, order=random.Random(given.seed))
        quiet = quantile([wall for wall, _ in found[0]], 0.5)
        for neighbours in NEIGHBOURS:
            walls, owns = zip(*found[neighbours], strict=True)
            cells = [str(threads), str(neighbours), str(len(walls)), *told(walls, quiet), *told(owns, quiet)]
            print(f"| {' | '.join(cells)} |", flush=True)


def measured(threads: int, *, rounds: int, calls: int, order: random.Random) -> dict[int, list[tuple[float, float]]]:
    """(e2e, e2e_own) of every counted call, by the number of neighbours."""
    import torch
    import transformers

    from llm_latency.record.measure import measure

    torch.set_num_threads(threads)
    config = transformers.GPT2Config(
        n_layer=4, n_embd=256, n_head=4, vocab_size=1000, eos_token_id=None, bos_token_id=1
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.arange(5, 69).reshape(1, 64)
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in NEIGHBOURS}
    for _ in range(rounds):
        for count in order.sample(NEIGHBOURS, len(NEIGHBOURS)):
            with burning(count):
                result = measure(lambda: model.generate(ids, max_new_tokens=24, pad_token_id=0), repeat=calls, warmup=1)
            found[count] += zip(result.e2e.values, result.e2e_own.values, strict=True)
    return found


def told(values: tuple[float, ...], quiet: float) -> tuple[str, str, str]:
    """Median in milliseconds, as a ratio to the quiet wall's, and the spread."""
    center = quantile(values, 0.5)
    return (
        f"{center * 1e3:.1f} ms",
        f"{center / quiet:.2f}",
        f"{quantile(values, 0.95) / max(1e-9, quantile(values, 0.05)):.1f}",
    )


if __name__ == "__main__":
    main()
