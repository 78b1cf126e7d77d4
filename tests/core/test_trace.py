"""Trace: sums over requests, time without pauses, and what makes two calls the same work."""

from __future__ import annotations

import msgspec
import pytest

from llm_latency.core.trace import Request, Trace


def request(**fields: object) -> Request:
    """A request of 10 ns, with the fields that the test is about."""
    return Request(**{"kind": "generate", "start_ns": 0, "stop_ns": 10} | fields)  # type: ignore[arg-type]


def trace(*requests: Request, pauses: tuple[tuple[int, int], ...] = ()) -> Trace:
    """A call of 100 ns."""
    return Trace(start_ns=0, stop_ns=100, requests=requests, pauses=pauses)


@pytest.mark.parametrize(
    ("pauses", "start_ns", "stop_ns", "expected"),
    [
        ((), 0, 0, 0),
        ((), 20, 60, 40),
        (((30, 35),), 20, 60, 35),  # inside
        (((0, 10),), 20, 60, 40),  # before
        (((70, 80),), 20, 60, 40),  # after
        (((10, 25),), 20, 60, 35),  # across the beginning: 20 to 25
        (((55, 90),), 20, 60, 35),  # across the end: 55 to 60
        (((0, 100),), 20, 60, 0),  # all of it
        (((20, 60),), 20, 60, 0),
        (((30, 35), (40, 50)), 20, 60, 25),
        (((30, 30),), 20, 60, 40),
        ((), 60, 20, -40),  # a clock that stepped back shows as it is
    ],
)
def test_pauses_are_taken_out(pauses: tuple[tuple[int, int], ...], start_ns: int, stop_ns: int, expected: int) -> None:
    """Only the part of a pause that lies between the instants counts."""
    assert expected == trace(pauses=pauses).elapsed_ns(start_ns, stop_ns)


def test_elapsed_time_is_exact_for_instants_beyond_a_float() -> None:
    """2⁶⁰ ns has no neighbour in a float64 nearer than 128 ns; integers keep each nanosecond."""
    assert 1 == trace().elapsed_ns(2**60, 2**60 + 1)


def test_a_call_without_requests_knows_no_counts() -> None:
    """None, since zero tokens would be a fact."""
    empty = trace()
    assert (None, None, None) == (empty.new_tokens, empty.prompt_tokens, empty.rows)
    assert ((), ()) == (empty.asked_work(), empty.done_work())


def test_counts_are_sums_over_the_requests_that_know_theirs() -> None:
    """Two of three requests know their counts: 5 + 3 + 2 tokens, 40 + 10 of the prompts, 2 + 1 rows."""
    call = trace(
        request(rows=2, prompt_tokens=40, row_tokens=(5, 3)),
        request(kind="call"),
        request(rows=1, prompt_tokens=10, row_tokens=(2,)),
    )
    assert (10, 50, 3) == (call.new_tokens, call.prompt_tokens, call.rows)


def test_no_tokens_are_not_unknown_tokens() -> None:
    """A row that ended at once has 0; a request that does not know has None."""
    assert [0, 0, None] == [request(row_tokens=tokens).new_tokens for tokens in ((0,), (), None)]


def test_positions_are_summed_over_emissions() -> None:
    """1 + 3 + 2, and none without emissions."""
    assert (6, 0) == (request(emissions=((1, 1), (2, 3), (3, 2))).positions, request().positions)


@pytest.mark.parametrize("other", [{"rows": 2}, {"prompt_tokens": 9}, {"cached_tokens": 4}, {"kind": "forward"}])
def test_other_input_is_other_work(other: dict[str, object]) -> None:
    """Rows, prompt, what a cache already holds, and the kind of request are what a call was asked for."""
    asked = {"rows": 1, "prompt_tokens": 8, "cached_tokens": 0}
    assert trace(request(**asked)).asked_work() != trace(request(**asked | other)).asked_work()


def test_another_number_of_requests_is_other_work() -> None:
    """Two requests are not one."""
    assert trace(request()).asked_work() != trace(request(), request()).asked_work()


def test_other_output_of_the_same_input_is_the_same_work_asked() -> None:
    """Sampling may end a row earlier: that is asked alike and done differently."""
    first, second = trace(request(row_tokens=(5,))), trace(request(row_tokens=(4,), finish_reasons=("eos",)))
    assert first.asked_work() == second.asked_work()
    assert first.done_work() != second.done_work()


def test_times_are_no_part_of_the_work() -> None:
    """The same call later is the same work."""
    first, second = trace(request(row_tokens=(5,))), trace(request(row_tokens=(5,), start_ns=3, stop_ns=9))
    assert (first.asked_work(), first.done_work()) == (second.asked_work(), second.done_work())


def test_memory_for_something_else_is_taken_off() -> None:
    """Of the call and of its requests, never below nothing; what is not known stays so."""
    held = msgspec.structs.replace(trace(request(peak_bytes={"rss": 50}), request()), peak_bytes={"rss": 100})
    apart = held.apart_from(60)
    assert ({"rss": 40}, [{"rss": 0}, None]) == (apart.peak_bytes, [one.peak_bytes for one in apart.requests])
    assert held == held.apart_from(0)


def test_a_trace_cannot_be_changed() -> None:
    """What was recorded stays."""
    with pytest.raises(AttributeError):
        trace().start_ns = 1  # type: ignore[misc]


def test_unknown_fields_of_a_trace_are_refused() -> None:
    """A file that says more than this version knows is not half read."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `speed`"):
        msgspec.convert({"start_ns": 0, "stop_ns": 1, "speed": 3}, Trace)
