"""Where one strategy gives way to another: by lines, then by lengths that are measured."""

from __future__ import annotations

import pytest

from llm_latency.adapt.crossing import computed, narrowed


def test_lines_cross_where_their_scores_are_alike() -> None:
    """1 + L against 51 + L/2 at 100; lines that do not cross between say nothing, nor do missing scores."""
    assert 100 == computed((10, 200), (11, 201), (56, 151))
    assert 44 == computed((10, 200), (1, 1), (2, 2))
    assert 44 == computed((10, 200), (), ())


@pytest.mark.parametrize(
    ("at", "true", "asked", "between"),
    [
        (100, 120, [100, 150], (100, 150)),  # a good guess takes two lengths
        (100, 90, [100, 67], (67, 100)),
        (70, 300, [70, 105, 157, 235, 346], (235, 346)),  # a bad one walks on
        (400, 40, [400, 267, 178, 119, 80, 54, 36], (36, 54)),
        (16, 40, [], (16, 512)),  # nothing lies between
    ],
)
def test_lengths_are_narrowed(at: int, true: int, asked: list[int], between: tuple[int, int]) -> None:
    """Until they are within a factor of 1.5."""
    seen = []

    def first_wins(length: int) -> bool:
        seen.append(length)
        return length < true

    assert between == narrowed((16, 512), at, first_wins)
    assert asked == seen


def test_time_that_is_over_leaves_what_is_known() -> None:
    """Here that the first is faster at 70."""
    answers = iter([True, None])
    assert (70, 512) == narrowed((16, 512), 70, lambda length: next(answers))
    assert (16, 512) == narrowed((16, 512), 70, lambda length: None)
