"""Work: in what the work of two lots of calls differs, as sentences; not what that means for their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from llm_latency.core.trace import Trace

UNEQUAL_WORK = "unequal work"


def unequally_asked(first: Sequence[Trace], second: Sequence[Trace]) -> Iterator[str]:
    """Say in what the two were asked for unequal work; every call counts, since those of one may differ."""
    if not first or not second or {t.asked_work() for t in first} == {t.asked_work() for t in second}:
        return
    said = False
    for noun, read in _ASKED.items():
        one, other = _range(map(read, first)), _range(map(read, second))
        if one != other:
            said = True
            yield f"{UNEQUAL_WORK}: {one} and {other}{f' {noun}' if noun else ''}"
    if not said:
        yield f"{UNEQUAL_WORK}: other rows, prompt or cached tokens in some request"


def unequally_done(first: Sequence[Trace], second: Sequence[Trace]) -> Iterator[str]:
    """Say in what the two did unequal work: how long the answers were and why they ended."""
    if not first or not second:
        return
    one, other = (_range(trace.new_tokens for trace in traces) for traces in (first, second))
    if one != other:
        yield f"{UNEQUAL_WORK}: {one} and {other} new tokens; compare tpot and itl, not e2e"
    elif all(len(rows) == 1 for rows in (_rows(first), _rows(second))) and _rows(first) != _rows(second):
        yield f"{UNEQUAL_WORK}: the rows share their new tokens differently"
    ends = [_ends(traces) for traces in (first, second)]
    if ends[0] != ends[1]:
        yield f"{UNEQUAL_WORK}: answers ended by {ends[0]} and by {ends[1]}"


def unequal_output(first: Sequence[Trace], second: Sequence[Trace]) -> Iterator[str]:
    """Say that the answers hold other tokens, where every call of a side gave the same one and the sides differ."""
    one, other = (
        {tuple(request.output for request in trace.requests) for trace in traces} for traces in (first, second)
    )
    if len(one) == len(other) == 1 and one != other and None not in (*one.copy().pop(), *other.copy().pop()):
        yield f"{UNEQUAL_WORK}: the answers hold other tokens"


def _ends(traces: Sequence[Trace]) -> str:
    reasons = {reason for trace in traces for request in trace.requests for reason in request.finish_reasons}
    return ", ".join(sorted(reasons)) or "unknown"


def _rows(traces: Sequence[Trace]) -> set[tuple[tuple[int, ...] | None, ...]]:
    """The lengths of each request's rows, whatever their order."""
    return {tuple(None if r.row_tokens is None else tuple(sorted(r.row_tokens)) for r in t.requests) for t in traces}


def _kinds(trace: Trace) -> str | None:
    return " + ".join(dict.fromkeys(request.kind for request in trace.requests)) or None


def _cached(trace: Trace) -> int:
    return sum(request.cached_tokens or 0 for request in trace.requests)


_ASKED: Mapping[str, Callable[[Trace], int | str | None]] = {
    "": _kinds,
    "requests": lambda trace: len(trace.requests),
    "rows": lambda trace: trace.rows,
    "prompt tokens": lambda trace: trace.prompt_tokens,
    "cached tokens": _cached,
}


def _range(values: Iterable[int | str | None]) -> str:
    """One value of all calls, or the least and the most."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int)]
    if numbers:
        least, most = min(numbers), max(numbers)
        return f"{least:,}" if least == most else f"{least:,}–{most:,}"
    return " or ".join(sorted(set(map(str, known)))) or "unknown"
