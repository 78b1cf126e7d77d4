"""A policy as plain text: what is used for which input, what each strategy gains, and why others are out."""

from __future__ import annotations

from collections.abc import Iterator

from llm_latency.adapt.policy import Entry, Gain, Policy
from llm_latency.adapt.strategy import BASELINE
from llm_latency.core.units import show
from llm_latency.report.text import LEAST_WIDTH, aligned, joined, wrapped

_UNITS = (("ttft", "s"), ("tpot", "s"), ("e2e", "s"), ("output_throughput", "tok/s"), ("peak_memory", "B"))


def policy_table(found: Policy, *, width: int = 100, gains: bool = False) -> str:
    """Write it in lines of at most `width` columns; with `gains` each strategy's numbers too. No final line break."""
    width = max(width, LEAST_WIDTH)
    calls = f"searched for {show(found.search_s, 's')}"
    blocks = [
        list(wrapped(f"{verdict(found)}.", width, indent=0)),
        joined(("policy", found.model, found.scenario, f"objective {found.objective}", calls), width),
        list(_entries(found)),
        list(_gains(found)) if gains else [],
        list(wrapped(batching(found), width)) if batching(found) else [],
        [line for name, why in found.excluded.items() for line in wrapped(f"left out: {name}: {why}", width)],
        list(_answers(found, width)),
        [line for text in found.notes for line in wrapped(f"note: {text}", width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def verdict(found: Policy) -> str:
    """The one sentence to remember."""
    used = [name for name in dict.fromkeys(entry.strategy for entry in found.entries) if name != BASELINE]
    stopped = "" if found.complete else "Interrupted: "
    if not used:
        return f"{stopped}nothing was measured to be better than the model as it is"
    best = [gain for gain in found.gains if gain.strategy in used and gain.high is not None and gain.high < 1]
    least = min(best, key=lambda gain: gain.ratio, default=None)
    far = "" if least is None else f", up to {1 / least.ratio:.2f} times as fast ({_where(least)})"
    return f"{stopped}{' and '.join(used)} {'is' if len(used) == 1 else 'are'} measured to be better{far}"


def _where(gain: Gain) -> str:
    return f"{gain.prompt_tokens} prompt tokens, batch {gain.batch}"


def _entries(found: Policy) -> Iterator[str]:
    rows = [("batch", "prompt tokens", "strategy")]
    before: tuple[int | None, int] = (0, 0)
    for entry in found.entries:
        least = before[1] + 1 if before[0] == entry.batch else 1
        rows.append((_batch(entry), _span(least, entry.prompt_tokens), entry.strategy))
        before = (entry.batch, entry.prompt_tokens or 0)
    yield from aligned(rows, words=(2,))


def _batch(entry: Entry) -> str:
    return "any" if entry.batch is None else f"≤ {entry.batch}"


def _span(least: int, most: int | None) -> str:
    return f"{least:,} and more" if most is None else f"{least:,}–{most:,}"


def _gains(found: Policy) -> Iterator[str]:
    """A line a strategy and input: speed against the model as it is, with its interval, and what else it measured."""
    heads = ("strategy", "prompt", "batch", "speed", "interval", "n", *(name.replace("_", " ") for name, _ in _UNITS))
    rows = [(*heads, "answers", "set-up")]
    for gain in sorted(found.gains, key=lambda one: (one.batch, one.prompt_tokens, one.ratio)):
        interval = "" if gain.low is None or gain.high is None else f"{1 / gain.high:.2f}–{1 / gain.low:.2f}"
        values = [show(gain.metrics.get(name), unit) for name, unit in _UNITS]
        agreed = found.agreements.get(gain.strategy)
        answers = "same" if agreed is None or agreed.is_same else f"{agreed.top1:.1%}".replace("%", " %")
        setup = found.setup_s.get(gain.strategy)
        rows.append(
            (
                gain.strategy,
                f"{gain.prompt_tokens:,}",
                str(gain.batch),
                f"{1 / gain.ratio:.2f}×",
                interval,
                str(gain.n),
                *values,
                answers,
                "" if setup is None else show(setup, "s"),
            )
        )
    yield from aligned(rows)


def batching(found: Policy) -> str:
    """What larger batches give and cost, as the model runs its own way; empty where one was measured only."""
    own = [gain for gain in found.gains if gain.strategy == BASELINE]
    length = min((gain.prompt_tokens for gain in own), default=0)
    by_batch = sorted((gain for gain in own if gain.prompt_tokens == length), key=lambda gain: gain.batch)
    if len(by_batch) < 2:
        return ""
    first, last = by_batch[0], by_batch[-1]
    rate, wait = (last.metrics[name] / first.metrics[name] for name in ("output_throughput", "e2e"))
    return (
        f"batching: {last.batch} rows give {rate:.1f} times the tokens a second of {first.batch}, and each waits"
        f" {wait:.1f} times as long ({length} prompt tokens)"
    )


def _answers(found: Policy, width: int) -> Iterator[str]:
    """How far answers of strategies that are in use or in the running are the model's own."""
    for name, agreed in found.agreements.items():
        if name not in found.excluded and not agreed.is_same:
            yield from wrapped(f"answers of {name}: {agreed.words}", width)
