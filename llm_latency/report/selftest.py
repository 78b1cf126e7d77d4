"""A self-test as plain text: the table of what was planted and what the gate said, and what follows; no computing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from llm_latency.core.units import show
from llm_latency.gate.result import FASTER, OK, TOO_SLOW
from llm_latency.gate.selftest.rates import Rates, wilson
from llm_latency.gate.selftest.soundness import FAILS, WORKS, Kind, Soundness
from llm_latency.gate.selftest.trial import Standing
from llm_latency.report.text import LEAST_WIDTH, aligned, joined, wrapped

_HEADS = ("planted", "read in its pairs", "spread", "n", "whole gates", "right")


def selftest_table(found: Soundness, *, width: int = 100) -> str:
    """Write it in lines of at most `width` columns (80 hold every row), without a final line break."""
    width = max(width, LEAST_WIDTH)
    head = (
        "self-test of the gate",
        f"max slowdown {percent(found.limit)}",
        f"{found.pairs} pairs of fresh processes",
        show(found.seconds, "s"),
    )
    blocks = [
        joined(head, width),
        aligned((_HEADS, *(_row(kind, found.limit) for kind in found.kinds)), words=(0, 1, 4)),
        list(_facts(found, width)),
        [line for note in found.notes for line in wrapped(f"note: {note}", width)],
        [line for text in found.not_seen for line in wrapped(f"not seen: {text}", width)],
        list(wrapped(closing(found), width, indent=0)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def closing(found: Soundness) -> str:
    """The one sentence to remember."""
    limit = percent(found.limit)
    stopped = "" if found.complete else "Interrupted: this is what there was. "
    if found.outcome == WORKS:
        same, twice = found.kinds[0], found.kinds[-1]
        return (
            f"{stopped}A gate at {limit} works here: {_count(same.whole, 'gate')} of unchanged code passed and"
            f" {_count(twice.whole, 'gate')} of {twice.name} failed, as they should."
        )
    reasons = "; ".join(found.reasons)
    if found.outcome == FAILS:
        return f"{stopped}A gate at {limit} does not work here: {reasons}."
    return f"{stopped}Whether a gate at {limit} works here could not be told: {reasons}. {_remedy(found)}"


def standing_line(standing: Standing) -> str:
    """Where it stands, for the status line."""
    time = f"{show(standing.seconds, 's')} of {show(standing.time_budget_s, 's')}"
    last = ", ".join(f"{test} {percent(math.expm1(log), sign=True)}" for test, log in standing.last.items())
    return " · ".join((f"pair {standing.pair}", standing.test, time, *([f"last {last}"] if last else [])))


def percent(share: float | None, *, sign: bool = False) -> str:
    """A share as `4.8 %`, with two digits that say something."""
    if share is None:
        return "–"
    value = 100 * share
    if abs(value) < 0.005:
        return "0 %"
    digits = 0 if abs(value - round(value)) < 1e-9 or abs(value) >= 99.5 else 1 if abs(value) >= 0.95 else 2
    return f"{value:{'+' if sign else ''}.{digits}f} %".replace("-", "−")


def _row(kind: Kind, limit: float) -> tuple[str, ...]:
    read = percent(kind.seen, sign=True)
    if kind.low is not None and kind.high is not None:
        low, high = (percent(end, sign=True).removesuffix(" %") for end in (kind.low, kind.high))
        read = f"{read} [{low}, {high}]"
    words = ", ".join(f"{count} {word}" for word, count in sorted(kind.gates.items(), key=lambda one: -one[1]))
    spread = percent(None if kind.spread is None else kind.spread.sd)
    return (
        kind.name,
        read,
        spread,
        str(len(kind.ratios)),
        words or f"none in {len(kind.ratios)} pairs",
        _right(kind, limit),
    )


def _right(kind: Kind, limit: float) -> str:
    """How many whole gates were right; near the limit every answer may come, so nothing is said."""
    if not kind.whole or 0 < kind.share < 2 * limit:
        return "–"
    word = TOO_SLOW if kind.share else OK
    return f"{kind.gates.get(word, 0)} of {kind.whole}"


def _facts(found: Soundness, width: int) -> Iterator[str]:
    same, twice = found.kinds[0], found.kinds[-1]
    yield from wrapped(f"false alarms: {_rate(same, TOO_SLOW)}", width)
    if same.gates.get(FASTER):
        yield from wrapped(f"false gains: {_rate(same, FASTER)}", width)
    yield from wrapped(f"detection: {_rate(twice, TOO_SLOW)}", width)
    yield from wrapped(
        "whole gates: what the rule said of the pairs in the order in which they came; no pair is in two gates of its"
        " test. The intervals are Wilson's, 95 %",
        width,
    )
    drawn = [f"{kind.name} {_drawn(kind.resampled)}" for kind in found.kinds if kind.resampled is not None]
    if drawn:
        gates = next(kind.resampled.gates for kind in found.kinds if kind.resampled is not None)
        yield from wrapped(
            f"resampled: {'; '.join(drawn)}. {gates:,} gates each, drawn from the same pairs: they are not independent,"
            " so there is no interval",
            width,
        )
    spread = same.spread
    if spread is not None:
        wall = "" if found.wall_spread is None else f" and {percent(found.wall_spread.sd)} in wall time"
        yield from wrapped(
            f"spread: the standard deviation of a pair's log ratio; of unchanged code {percent(spread.sd)}"
            f" ({percent(spread.low)} to {percent(spread.high)} at 90 % each) in own time{wall}, n = {spread.n}",
            width,
        )
    if found.visible is not None:
        seen = found.visible
        yield from wrapped(
            f"smallest visible change: {_visible(seen.smallest)} ({_visible(seen.low)} to {_visible(seen.high)} with"
            " that spread at its bounds): fails in 95 % of simulated gates, whose pairs scatter as those of unchanged"
            f" code do and with heavy tails, 46 of them and as many to confirm. Smallest supported limit:"
            f" {_limit(found.supported)}",
            width,
        )
    if found.pair_s is not None:
        yield from wrapped(
            f"time: a pair took {show(found.pair_s, 's')} (median) for {len(found.kinds)} kinds of tests of a call of"
            f" {show(found.call_s, 's')}; {found.stopped_because}",
            width,
        )


def _rate(kind: Kind, word: str) -> str:
    name = "unchanged code" if not kind.share else kind.name
    if not kind.whole:
        return f"no whole gate of {name}"
    count = kind.gates.get(word, 0)
    low, high = wilson(count, kind.whole)
    rate = f"{low:.0%} to {high:.0%}".replace("%", " %")
    return f"{count} of {_count(kind.whole, 'whole gate')} of {name} ({rate})"


def _drawn(rates: Rates | None) -> str:
    assert rates is not None
    shares = (("ok", rates.passed), ("too slow", rates.failed), ("undecided", rates.undecided))
    return ", ".join(f"{count / rates.gates:.1%} {word}".replace("%", " %") for word, count in shares if count)


def _limit(limit: float | None) -> str:
    return "none" if limit is None else percent(limit)


def _visible(share: float | None) -> str:
    return "none" if share is None else percent(share, sign=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _remedy(found: Soundness) -> str:
    if found.kinds[0].spread is None:
        return "Give it more time with --time-budget."
    return "More time (--time-budget) or a quieter machine (`llm-latency doctor` says what disturbs it) would tell."
