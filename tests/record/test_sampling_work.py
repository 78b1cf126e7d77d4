"""Calls that were asked for other work than the first: they end sampling."""

from __future__ import annotations

import pytest

from llm_latency.core.trace import Trace
from llm_latency.record.sampling import make_plan
from tests.record.sampled import MS, call, sample


@pytest.mark.parametrize("stage", [1, 2, 4])
def test_a_prompt_that_grows_ends_sampling_and_the_first_call_stays(stage: int) -> None:
    """`ids = model.generate(ids)`: seen in the warm-up or later; what was kept before is not of the same kind."""
    calls = [call(200, prompt_tokens=8)] * stage + [call(200, prompt_tokens=9)] * 5
    sampling, stages = sample(make_plan(repeat=6), calls)
    assert stage + 1 == len(stages)
    expected = (
        "unequal work: prompt tokens went from 8 to 9 between calls (the call changes its own input);"
        " the first call stays"
    )
    assert expected == sampling.stopped_because
    assert (None, [], [calls[0]]) == (sampling.cold, sampling.warmup, sampling.traces)
    assert sampling.next_stage(0.0) is None


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("cached_tokens", (0, 8), "cached tokens went from 0 to 8"),
        ("rows", (1, 2), "rows went from 1 to 2"),
        ("kind", ("stream", "generate"), "kind of request went from stream to generate"),
        ("prompt_tokens", (None, 8), "prompt tokens went from None to 8"),
    ],
)
def test_unequal_work_says_what_differed(field: str, values: tuple[object, object], words: str) -> None:
    """A cache of the user's own that fills, a batch that grows."""
    sampling, _ = sample(make_plan(repeat=6), [call(200, **{field: value}) for value in values])
    assert sampling.stopped_because is not None
    assert f"unequal work: {words} between calls" in sampling.stopped_because


def test_another_number_of_requests_is_unequal_work() -> None:
    """An agent that asks the model once more."""
    one = call(200)
    two = Trace(start_ns=0, stop_ns=200 * MS, requests=one.requests * 2)
    sampling, _ = sample(make_plan(repeat=6), [one, two])
    expected = "unequal work: 1 requests in the first call and 2 in a later one; the first call stays"
    assert expected == sampling.stopped_because


def test_other_output_is_no_unequal_work() -> None:
    """Sampled tokens may end a row earlier; the calls were asked the same."""
    sampling, stages = sample(make_plan(repeat=2, warmup=0), [call(200, row_tokens=(n,)) for n in (2, 3)])
    assert (2, "2 calls, as asked") == (len(stages), sampling.stopped_because)


# --- where sampling stands ---
