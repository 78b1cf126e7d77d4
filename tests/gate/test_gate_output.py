"""Answers of other tokens in a gate: unequal work where the test asks for the same, else nothing."""

from __future__ import annotations

import pytest

from llm_latency.core.trace import Request, Trace
from llm_latency.gate.gate import Gate
from llm_latency.gate.pair import Alternated, Lost, Played
from llm_latency.gate.result import OK, UNDECIDED, Asked


def calls(output: str) -> tuple[Trace, ...]:
    """Twelve calls of 10 ms that all gave the same answer."""
    request = Request(kind="generate", start_ns=0, stop_ns=10_000_000, output=output)
    return (Trace(start_ns=0, stop_ns=10_000_000, requests=(request,)),) * 12


@pytest.mark.parametrize(
    ("asked", "head", "word"), [(True, "bb", UNDECIDED), (True, "aa", OK), (False, "bb", OK), (False, "aa", OK)]
)
def test_other_tokens_count_where_they_are_asked_about(asked: bool, head: str, word: str) -> None:
    """Each side gave one answer, over and over."""
    pair = Alternated(test="t", name="t", index=1, base=calls("aa"), head=calls(head))
    played = Played(calls=(pair,), reports={}, imported={}, problems={})
    question = Asked(test="t", limit=0.05, same_output=asked)
    gate = Gate([question], play=lambda *_: played, time_budget_s=1e9, needs_own_code=False, clock=lambda: 0.0)
    gate.run()
    answers = [question.answer() for question in gate.questions.values()]
    assert [word] == [answer.word for answer in answers]
    assert (("unequal work: the answers hold other tokens",) == answers[0].reasons) == (word == UNDECIDED)


def test_why_it_stopped_is_one_line() -> None:
    """The log of a process that was lost twice is told with its test, not with the gate."""
    played = Played(calls=(), reports={}, imported={}, problems={}, lost=Lost("head", "", "it ended\nlog\nmore log"))
    question = Asked(test="t", limit=0.05)
    gate = Gate([question], play=lambda *_: played, time_budget_s=1e9, needs_own_code=False, clock=lambda: 0.0)
    gate.run()
    assert gate.stopped_because.endswith("the last one so: the head was lost before its first test: it ended")
