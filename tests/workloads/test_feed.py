"""The ring gives every call a prompt of its own."""

from __future__ import annotations

import pytest

from llm_latency.workloads.feed import Feed
from llm_latency.workloads.loaded import LoadedModel
from llm_latency.workloads.prompts import token_ids

torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")


def test_the_first_lap_is_what_prompts_gives(tiny: LoadedModel) -> None:
    """The same ids in every run, of shape (batch, tokens), none of them special, all of them seen."""
    feed = Feed(tiny, tokens=5, batch=2, seed=3)
    for index in range(16):
        expected = token_ids(512, tokens=5, batch=2, index=index, seed=3, avoid=(0, 1, 2, 3))
        assert expected == tuple(map(tuple, feed.take().tolist()))
    assert [[1] * 5] * 2 == feed.mask.tolist()


def test_no_two_calls_share_a_first_token_until_the_vocabulary_is_through(tiny: LoadedModel) -> None:
    """508 ids that are not special: 169 calls of 3 rows, over ten laps of the ring."""
    feed = Feed(tiny, tokens=2, batch=3, seed=0)
    firsts = [one for _ in range(169) for one in feed.take()[:, 0].tolist()]
    assert 507 == len(set(firsts))


def test_more_rows_than_ids_wrap_around(tiny: LoadedModel) -> None:
    """A batch larger than the vocabulary still has every row."""
    assert (600, 1) == tuple(Feed(tiny, tokens=1, batch=600, seed=0).take().shape)


def test_what_a_call_does_to_its_prompt_stays_with_it(tiny: LoadedModel) -> None:
    """The ring's own tensors are never handed out."""
    feed = Feed(tiny, tokens=4, batch=1, seed=0)
    first = feed.take()
    body = first[:, 1:].tolist()
    first.zero_()
    later = [feed.take() for _ in range(16)][-1]
    assert body == later[:, 1:].tolist()
