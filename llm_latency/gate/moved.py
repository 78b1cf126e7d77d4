"""Moved: what each part of the call took on both sides, pair by pair, and how that changed; not whether it matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from llm_latency.core.contention import relieved
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.tolerance import mean_factor
from llm_latency.core.trace import Request, Trace
from llm_latency.gate.pair import Alternated
from llm_latency.gate.ratio import log_ratio, ratio
from llm_latency.gate.result import Moved

HOST, REQUEST = "host", "request"
# In the order of the call. Of requests without tokens it is not told which part moved: they are a part themselves.
PARTS = ("load", "tokenize", "ttft", "tpot", "decode", REQUEST, "detokenize", HOST)
# The metric that says how many seconds of the call a part stands for, where it is not the part's own.
_IN_CALL = {"ttft": "prefill", "tpot": "decode"}
_PHASES = ("load", "tokenize", "detokenize")
# Two-sided 95 %: a part is described, no gate is decided by it.
_LEVEL = 0.975


class _Took(msgspec.Struct, frozen=True, kw_only=True):
    """One part in one pair: log(head/base) of own time, and each side's median."""

    log: float
    base: float
    head: float


class Parts:
    """What the parts of one llmtime() took."""

    def __init__(self) -> None:
        """No pair has been seen."""
        self._shown: dict[str, list[_Took]] = {part: [] for part in PARTS}
        self._in_call: dict[str, list[_Took]] = {part: [] for part in PARTS}

    def add(self, calls: Alternated) -> None:
        """Take a pair; one that a problem has cut short says nothing."""
        if calls.problem:
            return
        own = msgspec.structs.replace(
            calls, base=tuple(map(relieved, calls.base)), head=tuple(map(relieved, calls.head))
        )
        for part in PARTS:
            shown = _took(own, part)
            in_call = _took(own, _IN_CALL[part]) if part in _IN_CALL else shown
            if shown is not None and in_call is not None:
                self._shown[part].append(shown)
                self._in_call[part].append(in_call)

    def moved(self) -> tuple[Moved, ...]:
        """Each part that at least two pairs have a value of, first what adds most seconds to the call."""
        found = [_moved(part, self._shown[part], self._in_call[part]) for part in PARTS if len(self._shown[part]) > 1]
        return tuple(sorted(found, key=lambda moved: -moved.seconds))


def _took(own: Alternated, part: str) -> _Took | None:
    if part not in _READ:
        found = ratio(own, part)
        return None if found is None else _Took(log=found.own, base=found.base, head=found.head)
    sides = [[_READ[part](trace) for trace in traces] for traces in (own.base, own.head)]
    if any(len(values) < 2 or min(values) <= 0 for values in sides):
        return None
    base, head = sides
    return _Took(log=log_ratio(base, head), base=quantile(base, 0.5), head=quantile(head, 0.5))


def _moved(part: str, shown: Sequence[_Took], in_call: Sequence[_Took]) -> Moved:
    logs = [took.log for took in shown]
    center = math.fsum(logs) / len(logs)
    spread = math.sqrt(math.fsum((log - center) ** 2 for log in logs) / (len(logs) - 1))
    reach = mean_factor(len(logs), _LEVEL) * spread
    share = math.expm1(math.fsum(took.log for took in in_call) / len(in_call))
    return Moved(
        metric=part,
        unit=METRICS[part].unit if part in METRICS else "s",
        base=quantile([took.base for took in shown], 0.5),
        head=quantile([took.head for took in shown], 0.5),
        log=center,
        low=center - reach,
        high=center + reach,
        seconds=quantile([took.base for took in in_call], 0.5) * share,
    )


def _request(trace: Trace) -> float:
    """Seconds of the requests of which no token was seen."""
    return sum(trace.elapsed_ns(r.start_ns, r.done_ns) for r in _requests(trace) if not r.emissions) / 1e9


def _host(trace: Trace) -> float:
    """Seconds in which neither a request nor a phase ran; 0 where the call has none of either."""
    spans = [(r.start_ns, r.done_ns) for r in _requests(trace)]
    spans += [(phase.start_ns, phase.stop_ns) for phase in trace.phases if phase.name in _PHASES]
    if not spans:
        return 0.0
    covered = sum(trace.elapsed_ns(start, stop) for start, stop in _merged(spans, trace))
    return (trace.elapsed_ns(trace.start_ns, trace.stop_ns) - covered) / 1e9


def _requests(trace: Trace) -> Iterator[Request]:
    """Without the one that stands for the whole call where no model was seen."""
    return (request for request in trace.requests if request.kind != "call")


def _merged(spans: Iterable[tuple[int, int]], trace: Trace) -> Iterator[tuple[int, int]]:
    """The stretches of the call that spans cover, each once; a request of a thread may outlive its call."""
    covered = trace.start_ns
    for begin, end in sorted(spans):
        start, stop = max(begin, covered), min(end, trace.stop_ns)
        if stop > start:
            yield start, stop
            covered = stop


_READ: dict[str, Callable[[Trace], float]] = {REQUEST: _request, HOST: _host}
