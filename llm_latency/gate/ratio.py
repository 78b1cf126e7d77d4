"""Ratio: how much longer the head took than the base in one pair, by one metric; not what follows from it.

The machine changes speed in the middle of a pair, for both sides at once; only a ratio taken inside a round of
neighbouring calls cancels that. Time without the delay by other programs, and raw wall time beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from llm_latency.core.contention import relieved
from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.trace import Trace
from llm_latency.gate.pair import Alternated

_TRIM = 0.2
_NOWHERE = Environment()


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in one pair: log(head/base) of own and of wall time, and each side's median of own time.

    In base units; "own" is without the delay by other programs, where that is known.
    """

    own: float
    wall: float
    base: float
    head: float


def ratio(calls: Alternated, metric: str) -> Ratio | None:
    """Set the head's calls against the base's; None where a call has no value of the metric, or none above zero."""
    wall = _values(calls, metric)
    relieved_calls = msgspec.structs.replace(
        calls, base=tuple(map(relieved, calls.base)), head=tuple(map(relieved, calls.head))
    )
    own = _values(relieved_calls, metric)
    if wall is None or own is None:
        return None
    return Ratio(own=log_ratio(*own), wall=log_ratio(*wall), base=quantile(own[0], 0.5), head=quantile(own[1], 0.5))


def log_ratio(base: Sequence[float], head: Sequence[float]) -> float:
    """The 20 % trimmed mean over whole rounds, each two calls a side, of log(head's sum/base's sum).

    At least two values a side, all above zero.
    """
    whole = min(len(base), len(head)) // 2 * 2
    return trimmed_mean([math.log(sum(head[at : at + 2]) / sum(base[at : at + 2])) for at in range(0, whole, 2)])


def trimmed_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and highest fifth, rounded down to whole values; of at least one value."""
    cut = int(_TRIM * len(values))
    kept = sorted(values)[cut : len(values) - cut]
    return math.fsum(kept) / len(kept)


def value_of(trace: Trace, metric: str) -> float | None:
    """One call's value of a metric, the mean where it has several; None without one."""
    values = METRICS[metric].read(trace, _NOWHERE)
    return math.fsum(values) / len(values) if values else None


def _values(calls: Alternated, metric: str) -> tuple[list[float], list[float]] | None:
    if metric == "peak_memory" and len({_memory(trace) for trace in (*calls.base, *calls.head)}) > 1:
        return None
    sides: list[list[float]] = []
    for traces in (calls.base, calls.head):
        values = [v for trace in traces if (v := value_of(trace, metric)) is not None and 0.0 < v < math.inf]
        if len(values) < len(traces) or len(values) < 2:
            return None
        sides.append(values)
    return sides[0], sides[1]


def _memory(trace: Trace) -> bool:
    """Whether it is the device's allocator that was read; resident memory of a process is something else."""
    return "allocated" in (trace.peak_bytes or {})
