"""Why a gate's answer is what it is, in sentences: the looks, what moved, what would decide it; not the table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from llm_latency.core.units import show
from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate.decision import LOOKS, Look
from llm_latency.gate.moved import HOST, REQUEST
from llm_latency.gate.result import (
    NEW,
    OK,
    SKIPPED,
    TOO_SLOW,
    UNDECIDED,
    Answer,
    GateResult,
    Moved,
    Tested,
)
from llm_latency.report.gate_rows import by_test, change, full_name, limit, percent, thing_of, word_of, word_of_test

# What adds less than this share of what adds most is not why.
_LEAST_SHARE = 0.25
# Half of the last digit that a percentage shows.
_UNSEEN = 0.0005
# The parts that a metric is made of; only of the whole call are they the summands.
_PARTS = {"total": ("load", "tokenize", "ttft", "tpot", "decode", REQUEST, "detokenize", HOST)} | dict.fromkeys(
    ("e2e", "e2e_own", "ntpot", "output_throughput", "input_throughput", "request_throughput"),
    ("ttft", "tpot", "decode", REQUEST),
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One answer or test about which there is something to tell; `failure` is what does not fit a sentence."""

    test: str
    metric: str
    word: str
    sentences: tuple[str, ...]
    failure: str = ""


def make_findings(result: GateResult) -> tuple[Finding, ...]:
    """All that is not plainly ok, by test."""
    return tuple(_findings(result))


def _findings(result: GateResult) -> Iterator[Finding]:
    answers = by_test(result.answers)
    pair_s = result.seconds / result.pairs if result.pairs else None
    for tested in result.tests:
        own = answers.pop(tested.test, [])
        yield from _of_test(tested, own)
        yield from _of_answers(own, pair_s)
    for left in answers.values():
        yield from _of_answers(left, pair_s)


def _of_test(tested: Tested, own: Sequence[Answer]) -> Iterator[Finding]:
    """What is to be told about the test itself, without its answers' reasons; several lines stand below as they are."""
    told = {reason for answer in own for reason in answer.reasons}
    reasons = [reason for reason in tested.reasons if reason not in told]
    long = [text for text in (*reasons, tested.failure) if len(text.splitlines()) > 1]
    sentences = [_one_line(text) for text in (*reasons, tested.failure) if text]
    if sentences or tested.word not in {OK, NEW, SKIPPED, *(answer.word for answer in own)}:
        yield Finding(
            test=tested.test,
            metric="",
            word=word_of_test(tested, own),
            sentences=tuple(sentences),
            failure="\n".join(long),
        )


def _one_line(text: str) -> str:
    """The first line and the last of several: what is told, and what an exception ends with."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " … ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else ""


def _of_answers(answers: Sequence[Answer], pair_s: float | None) -> Iterator[Finding]:
    for answer in answers:
        if sentences := why(answer, pair_s=pair_s):
            yield Finding(
                test=full_name(answer), metric=answer.metric, word=word_of(answer), sentences=tuple(sentences)
            )


def why(answer: Answer, *, pair_s: float | None = None) -> list[str]:
    """Say what decided an answer or kept it from that, what moved and what would help; nothing about a plain ok.

    `pair_s` is how many seconds a pair took.
    """
    if answer.word == OK:
        return [_said(reason, answer) for reason in answer.reasons]
    return [
        *(_said(reason, answer) for reason in answer.reasons),
        *_looks(answer),
        *explained(answer),
        *_wall(answer),
        *_more(answer, pair_s),
    ]


def _said(reason: str, answer: Answer) -> str:
    """The decision's own reason, which speaks of slowness, in words that fit the metric."""
    thing = thing_of(answer)
    if thing == "slowdown" or reason != answer.decision.reason:
        return reason
    return reason.replace("slowdown", thing).replace("too slow", "too much")


def _looks(answer: Answer) -> Iterator[str]:
    first, second = answer.decision.first, answer.decision.second
    if first is None or (second is None and answer.word != TOO_SLOW):  # the row says it all
        return
    looks = f"first {_pairs(first)} {_look(first)}"
    if second is not None:
        looks += f"; {_pairs(second, 'fresh ')} {_look(second)}"
    if answer.word == TOO_SLOW:
        above = f": the whole interval lies above {limit(shown)}" if (shown := answer.shown) is not None else ""
        half = ", half of the limit" if shown is not None and math.isclose(shown, answer.limit / 2) else ""
        looks += above + half + (", both times" if above and second is not None else "")
    yield looks


def _pairs(look: Look, kind: str = "") -> str:
    return f"{look.pairs} {kind}pairs"


def _look(look: Look) -> str:
    return change(*map(math.expm1, (look.center, look.low, look.high)))


def explained(answer: Answer) -> tuple[str, ...]:
    """Which parts of the call moved as the answer did: `ttft moved: +6.1 % [+5.0, +7.2], +1.20 ms of +1.30 ms`.

    Nothing for a metric that has no parts, or where the calls had fewer than two.
    """
    names = [moved.metric for moved in answer.moved]
    asked = [name for name in _PARTS.get(answer.metric, ()) if name != "decode" or "tpot" not in names]
    parts = [moved for moved in answer.moved if moved.metric in asked]
    if answer.slowdown is None or len(parts) < 2:
        return ()
    sign = -1.0 if answer.slowdown < 0 else 1.0
    beyond = [part for part in parts if min(sign * part.low, sign * part.high) > 0 and sign * part.seconds > 0]
    most = max((sign * part.seconds for part in parts), default=0.0)
    found = [part for part in beyond if sign * part.seconds >= _LEAST_SHARE * most]
    if not found:
        return ("no single part of the call moved beyond its noise",)
    return tuple(_moved(part, answer) for part in sorted(found, key=lambda part: -sign * part.seconds))


def _moved(part: Moved, answer: Answer) -> str:
    share = change(*map(math.expm1, (part.log, part.low, part.high)))
    whole = ""
    if answer.metric == "total" and answer.base is not None and answer.slowdown is not None:
        whole = f" of {_signed(answer.base * answer.slowdown)}"
    return f"{part.metric} moved: {share}, {_signed(part.seconds)}{whole or ' a call'}"


def _signed(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{show(abs(seconds), 's')}"


def _wall(answer: Answer) -> Iterator[str]:
    """Wall time, where it says something else than own time."""
    wall, low, high = answer.wall, answer.low, answer.high
    if wall is None or low is None or high is None or low - _UNSEEN <= wall <= high + _UNSEEN:
        return
    yield f"wall time: {percent(wall)} %, outside of the interval of own time; other programs delayed one side more"


def _more(answer: Answer, pair_s: float | None) -> Iterator[str]:
    """What would decide an answer that is open for want of pairs."""
    decision = answer.decision
    if answer.word != UNDECIDED or decision.reason not in answer.reasons or not decision.reason:
        return
    first, second = decision.first, decision.second
    if decision.more is None:
        if second is None or second.outcome != PASS:  # fresh pairs that pass have the last word
            yield "no number of pairs would probably decide this; a quieter machine, or another limit, might"
        return
    if decision.more > LOOKS[-1]:
        many = f"about {decision.more} pairs would probably decide it, and a gate looks at {LOOKS[-1]} at most"
        yield f"{many}; a quieter machine would need fewer"
        return
    is_seen = first is not None and first.outcome == FAIL
    missing = max(1, decision.more - len(answer.fresh if is_seen else answer.pairs))
    time = "" if pair_s is None else f", about {duration(missing * pair_s)}"
    yield f"about {missing} more pair{'' if missing == 1 else 's'} would probably decide it{time}"


def duration(seconds: float) -> str:
    """A length of time as one waits for it: `41 s`, `12 min`, `3.5 h`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
