"""Conclusion: a gate that has ended, as the result that faces show; not how it was run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from llm_latency.core.doubts import doubts
from llm_latency.core.environment import Environment, differences
from llm_latency.core.measurement import Measurement
from llm_latency.gate.decision import LEVEL
from llm_latency.gate.gate import Counted, Gate
from llm_latency.gate.pair import BASE, HEAD, SIDES
from llm_latency.gate.result import (
    BROKEN,
    FASTER,
    NEW,
    SKIPPED,
    TOO_SLOW,
    UNDECIDED,
    Answer,
    GateResult,
    Side,
    Tested,
    worst_word,
)

# Of these words it is told which part of the call moved.
_TOLD = (TOO_SLOW, UNDECIDED, FASTER)
_NEVER_REACHED = "no pair got as far as this test"
_NEVER_TIMED = "it was never timed on both sides: llmtime() was not called, or did not get to its end"


def conclude(
    gate: Gate,
    *,
    ref: str,
    what: tuple[str, str],
    pythons: dict[str, str],
    is_new: frozenset[str] = frozenset(),
    changed: Sequence[str] = (),
    notes: Sequence[str] = (),
    complete: bool = True,
) -> GateResult:
    """Everything that was asked, answered as far as the pairs go; `what` names base and head, `is_new` new tests."""
    answers = tuple(_answers(gate))
    sides = tuple(_side(gate, side, name, pythons[side]) for side, name in zip((BASE, HEAD), what, strict=True))
    return GateResult(
        ref=ref,
        base=sides[0],
        head=sides[1],
        tests=tuple(_tested(gate, test, answers, is_new=test in is_new) for test in gate.asked),
        answers=answers,
        changed=tuple(changed),
        differences=_differences(gate, pythons),
        notes=tuple(dict.fromkeys((*notes, *gate.notes))),
        pairs=gate.pairs,
        family=gate.family,
        level=LEVEL,
        seconds=gate.seconds,
        stopped_because=gate.stopped_because or "interrupted",
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=complete,
    )


def _answers(gate: Gate) -> Iterator[Answer]:
    """In the order of the tests and of their llmtime() calls; with what moved where not all is well."""
    place = {test: position for position, test in enumerate(gate.asked)}
    for (test, index, _), question in sorted(gate.questions.items(), key=lambda one: (place[one[0][0]], one[0][1])):
        answer, parts = question.answer(), gate.parts.get((test, index))
        moved = parts.moved() if parts is not None and answer.word in _TOLD else ()
        yield msgspec.structs.replace(answer, moved=moved)


def _side(gate: Gate, side: str, what: str, python: str) -> Side:
    imported = gate.imported.get(side)
    return Side(
        what=what,
        python=python,
        files=imported.files if imported else {},
        versions=imported.versions if imported else {},
        environment=gate.environments.get(side),
    )


def _tested(gate: Gate, test: str, answers: Sequence[Answer], *, is_new: bool) -> Tested:
    counted = gate.counted[test]
    words = [answer.word for answer in answers if answer.test == test]
    if counted.is_skipped:
        return Tested(test=test, word=SKIPPED, reasons=(counted.skips[HEAD],))
    measurements = tuple(_measurement(gate, key) for key in gate.names if key[0] == test and gate.traces.get(key))
    if _mostly_fails(counted, HEAD):
        return Tested(test=test, word=BROKEN, failure=counted.words[HEAD], measurements=measurements)
    # An llmtime() that was never whole on both sides has no answer, and is not to be passed over.
    missing = [noted for key, noted in gate.stopped.items() if key[0] == test and not _is_answered(gate, key)]
    reasons = [*_unusual(counted), *map(str, missing)]
    if not words and not reasons:
        reasons = [_NEVER_TIMED if counted.ran else _NEVER_REACHED]
    if not words or missing:
        has_no_base = is_new and (BASE in counted.skips or _mostly_fails(counted, BASE))
        words.append(NEW if has_no_base else UNDECIDED)
    return Tested(test=test, word=worst_word(words), reasons=tuple(reasons), measurements=measurements)


def _is_answered(gate: Gate, key: tuple[str, int]) -> bool:
    own = [question for (test, index, _), question in gate.questions.items() if (test, index) == key]
    return bool(own) and all(question.answer().word != UNDECIDED for question in own)


def _mostly_fails(counted: Counted, side: str) -> bool:
    """Whether the test's own code failed in more than half of its runs; once in many is not a rule."""
    return 2 * counted.failed.get(side, 0) > counted.ran


def _unusual(counted: Counted) -> Iterator[str]:
    """What a side did with the test other than pass it."""
    for side in SIDES:
        if times := counted.failed.get(side, 0):
            often = "" if times == counted.ran else f" in {times} of {counted.ran} pairs"
            yield f"it fails at the {side}{often}: {counted.words[side]}"
        if side in counted.skips:
            yield f"it is skipped at the {side}: {counted.skips[side]}"


def _measurement(gate: Gate, key: tuple[str, int]) -> Measurement:
    """The head's calls of all pairs as one measurement, which absolute budgets are judged by."""
    traces, pairs = tuple(gate.traces[key]), gate.whole[key]
    return Measurement(
        name=gate.names[key],
        workload={},
        environment=gate.environments.get(HEAD, Environment()),
        traces=traces,
        stopped_because=f"{len(traces)} calls in {pairs} pair{'' if pairs == 1 else 's'} of fresh processes",
        warnings=doubts(traces),
    )


def _differences(gate: Gate, pythons: dict[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    if pythons[BASE] != pythons[HEAD]:
        found.append(f"python: {pythons[BASE]} → {pythons[HEAD]}")
    if BASE in gate.environments and HEAD in gate.environments:
        found += differences(gate.environments[BASE], gate.environments[HEAD])
    installed = [gate.imported[side].inventory if side in gate.imported else {} for side in (BASE, HEAD)]
    if all(installed):
        names = sorted({name for one in installed for name in one}, key=str.lower)
        found += [
            f"{name}: {installed[0].get(name, 'none')} → {installed[1].get(name, 'none')}"
            for name in names
            if installed[0].get(name) != installed[1].get(name)
        ]
    return tuple(dict.fromkeys(found))
