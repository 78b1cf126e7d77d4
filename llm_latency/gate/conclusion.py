"""Conclusion: a gate that has ended, as the result that faces show; not how it was run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from llm_latency.core.doubts import doubts
from llm_latency.core.environment import Environment, differences
from llm_latency.core.measurement import Measurement
from llm_latency.gate.decision import LEVEL
from llm_latency.gate.gate import Counted, Gate
from llm_latency.gate.pair import BASE, HEAD
from llm_latency.gate.result import BROKEN, NEW, SKIPPED, UNDECIDED, Answer, GateResult, Side, Tested, worst_word


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
    answers = tuple(question.answer() for question in gate.questions.values())
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
    own = [answer for answer in answers if answer.test == test]
    measurements = tuple(_measurement(gate, key) for key in gate.names if key[0] == test and gate.traces.get(key))
    if counted.skipped:
        return Tested(test=test, word=SKIPPED, reasons=(counted.skipped,))
    failure = _failure(counted, gate.pairs)
    if failure:
        return Tested(test=test, word=BROKEN, failure=failure, measurements=measurements)
    if own:
        reasons = _failed_at_base(counted) if counted.failed.get(BASE) else ()
        return Tested(test=test, word=worst_word([a.word for a in own]), reasons=reasons, measurements=measurements)
    if counted.failed.get(BASE):
        word = NEW if is_new else UNDECIDED
        return Tested(test=test, word=word, reasons=_failed_at_base(counted))
    reason = "it was never timed on both sides: llmtime() was not called, or did not get to its end"
    return Tested(test=test, word=UNDECIDED, reasons=(reason,))


def _failure(counted: Counted, pairs: int) -> str:
    """What the test's own code raised at the head, where it did so in most pairs; once is not a rule."""
    times = counted.failed.get(HEAD, 0)
    return counted.words.get(HEAD, "") or "it failed" if times and 2 * times > min(pairs, times + counted.timed) else ""


def _failed_at_base(counted: Counted) -> tuple[str, ...]:
    return (f"it fails at the base: {counted.words.get(BASE, 'without a word')}",)


def _measurement(gate: Gate, key: tuple[str, int]) -> Measurement:
    """The head's calls of all pairs as one measurement, which absolute budgets are judged by."""
    traces = tuple(gate.traces[key])
    return Measurement(
        name=gate.names[key],
        workload={},
        environment=gate.environments.get(HEAD, Environment()),
        traces=traces,
        stopped_because=f"{len(traces)} calls in {gate.pairs} pairs of fresh processes",
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
