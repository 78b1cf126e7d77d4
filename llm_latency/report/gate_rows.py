"""The rows of a gate's table: a word and its numbers for each answer, as raw text; not why, and not the layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from llm_latency.core.units import show
from llm_latency.gate.result import (
    BROKEN,
    FASTER,
    NEW,
    OK,
    SKIPPED,
    TOO_SLOW,
    UNDECIDED,
    WORDS,
    Answer,
    GateResult,
    Tested,
    worst_word,
)

NONE = "–"
TOO_MUCH, LESS = "TOO MUCH", "LESS"
# Bytes and joules are not taken slowly.
_AMOUNTS = {"B", "J", "J/tok"}
_OF_AMOUNTS = {TOO_SLOW: TOO_MUCH, FASTER: LESS}
# From what weighs most to what weighs least.
SHOWN_WORDS = (BROKEN, TOO_SLOW, TOO_MUCH, UNDECIDED, NEW, FASTER, LESS, OK, SKIPPED)


class GateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one llmtime() as text; of a test that has none only its word. `answer` is what it was made of."""

    test: str
    metric: str = NONE
    base: str = ""
    head: str = ""
    change: str = ""
    limit: str = ""
    pairs: str = ""
    word: str
    answer: Answer | None = None


HEADS = GateRow(
    test="test",
    metric="metric",
    base="base",
    head="head",
    change="change",
    limit="limit",
    pairs="pairs",
    word="verdict",
)


def word_of(answer: Answer) -> str:
    """The word for an answer: of bytes and joules there is too much, not too slow."""
    return _OF_AMOUNTS.get(answer.word, answer.word) if answer.unit in _AMOUNTS else answer.word


def word_of_test(tested: Tested, answers: Sequence[Answer]) -> str:
    """The word for a test whose own `answers` these are."""
    return _spoken(tested.word, answers)


def word_of_gate(result: GateResult) -> str:
    """The word for the whole gate."""
    return _spoken(worst_word([tested.word for tested in result.tests if tested.word in WORDS]), result.answers)


def _spoken(word: str, answers: Sequence[Answer]) -> str:
    """The word as its answers say it, where all of them that have it agree."""
    said = {word_of(answer) for answer in answers if answer.word == word}
    return said.pop() if len(said) == 1 else word


def thing_of(answer: Answer) -> str:
    """What a change for the worse is called: a slowdown, a loss of what should be high, a rise of bytes and joules."""
    if answer.better == "higher":
        return "loss"
    return "rise" if answer.unit in _AMOUNTS else "slowdown"


def percent(share: float | None) -> str:
    """A share as a signed percentage with one digit behind its point, without the sign of percent: `+1.2`, `−0.4`."""
    if share is None:
        return NONE
    text = f"{100 * share:+,.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def change(share: float | None, low: float | None = None, high: float | None = None) -> str:
    """A change with its interval, where it has one: `+1.2 % [−0.4, +2.8]`."""
    if share is None:
        return NONE
    interval = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return f"{percent(share)} %{interval}"


def change_of(answer: Answer) -> str:
    """An answer's change; of a metric of which more is better it is a loss, and says so."""
    text = change(answer.slowdown, answer.low, answer.high)
    return f"{text} loss" if answer.better == "higher" and answer.slowdown is not None else text


def limit(share: float) -> str:
    """What is allowed: `5 %`, `12.3 %`, `0.04 %`."""
    value = 100 * share
    return f"{f'{value:,.1f}'.removesuffix('.0') if value >= 1 else f'{value:.2g}'} %"


def full_name(answer: Answer) -> str:
    """The test, with the name of the llmtime() where that is not the test's own."""
    if not answer.name or answer.test == answer.name or answer.test.endswith(f"::{answer.name}"):
        return answer.test
    own = answer.test.rpartition("::")[2]
    return f"{answer.test} {answer.name.removeprefix(own).strip() or answer.name}"


def make_gate_rows(result: GateResult) -> tuple[GateRow, ...]:
    """A row for each answer, by test, and one for each test whose word none of its answers has."""
    return tuple(_rows(result))


def by_test(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """Each test's answers, in their order."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.test, []).append(answer)
    return found


def _rows(result: GateResult) -> Iterator[GateRow]:
    answers = by_test(result.answers)
    for tested in result.tests:
        own = answers.pop(tested.test, [])
        if tested.word not in {answer.word for answer in own}:
            yield GateRow(test=tested.test, word=tested.word)
        yield from map(_row, own)
    for left in answers.values():  # a file may name fewer tests than it has answers of
        yield from map(_row, left)


def _row(answer: Answer) -> GateRow:
    fresh = f" + {len(answer.fresh)} fresh" if answer.fresh else ""
    return GateRow(
        test=full_name(answer),
        metric=answer.metric,
        base=show(answer.base, answer.unit),
        head=show(answer.head, answer.unit),
        change=change_of(answer),
        limit=limit(answer.limit),
        pairs=f"{len(answer.pairs)}{fresh}",
        word=word_of(answer),
        answer=answer,
    )


def counted(rows: Sequence[GateRow]) -> str:
    """How many rows have which word, what weighs most first: `1 TOO SLOW, 4 ok`."""
    words = [row.word for row in rows]
    order = [*SHOWN_WORDS, *sorted(set(words) - set(SHOWN_WORDS))]
    return ", ".join(f"{words.count(word):,} {word}" for word in order if word in words)
