"""Answers of other tokens: when that is said, and when nothing can be."""

from __future__ import annotations

import pytest

from llm_latency.core.trace import Request, Trace
from llm_latency.core.work import unequal_output


def call(*outputs: str | None) -> Trace:
    """A call whose requests have generated what these hashes stand for."""
    requests = tuple(Request(kind="generate", start_ns=0, stop_ns=1, output=output) for output in outputs)
    return Trace(start_ns=0, stop_ns=1, requests=requests)


@pytest.mark.parametrize(
    ("first", "second", "is_told"),
    [
        ([call("aa"), call("aa")], [call("bb"), call("bb")], True),
        ([call("aa")], [call("aa")], False),
        ([call("aa", "bb")], [call("bb", "aa")], True),
        ([call("aa"), call("bb")], [call("cc")], False),  # the answers of one side differ by themselves: sampling
        ([call(None)], [call("bb")], False),
        ([call("aa", None)], [call("aa", "bb")], False),
        ([call()], [call()], False),
        ([], [call("aa")], False),
        ([], [], False),
    ],
)
def test_other_tokens_are_told_where_each_side_always_gave_the_same(
    first: list[Trace], second: list[Trace], is_told: bool
) -> None:
    """A side that varies by itself, and one whose tokens were not seen, tell nothing."""
    expected = ["unequal work: the answers hold other tokens"] if is_told else []
    assert expected == list(unequal_output(first, second))
