"""What answering may cost. `llmtime` times the call; the marker says what is too much."""

import answers
import pytest


@pytest.fixture(scope="module")
def model():
    """One model for all tests of this file."""
    return answers.load()


@pytest.mark.latency_budget(ttft_p50="2 s", max_slowdown="5%")
def test_first_token(llmtime, model):
    """The first token comes within 2 s, and no more than 5 % later than at the base."""
    llmtime(lambda: answers.answer(model))


@pytest.mark.latency_budget(max_slowdown="5%", min_change="0.5 ms")
def test_whole_answer(llmtime, model):
    """The whole call takes no more than 5 % longer than at the base; half a millisecond never fails."""
    llmtime(lambda: answers.answer(model))
