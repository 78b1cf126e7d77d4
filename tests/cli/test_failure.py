"""What the timed code raised, without our frames."""

from __future__ import annotations

import pytest

from llm_latency.cli.failure import shortened
from llm_latency.record.measure import measure


def test_only_the_users_frames_are_left() -> None:
    """Those of this package are in the way; what it adds to the exception is for programs, not for readers."""

    def fail() -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good") as caught:
        measure(fail, repeat=1)
    text = shortened(caught.value)
    assert "in fail\n" in text
    assert "measure.py" not in text.replace(__file__, "")
    assert text.endswith("\nValueError: no good")


def test_a_coroutines_frames_are_without_the_loops() -> None:
    """asyncio lies between our runner and the user's lines."""

    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError) as caught:
        measure(fail, repeat=1)
    text = shortened(caught.value)
    assert "in fail\n" in text
    assert "asyncio" not in text


def test_causes_are_shown_and_shortened_too() -> None:
    """A library that wraps errors hides the interesting one in the cause."""

    def fail() -> None:
        try:
            measure(lambda: 1 / 0, repeat=1)
        except ZeroDivisionError as error:
            raise RuntimeError("outer") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    text = shortened(caught.value)
    assert "ZeroDivisionError" in text
    assert "direct cause" in text
    assert "recording" not in text
    assert "llm_latency_measurement" not in text


def test_a_users_note_stays_and_controls_are_visible() -> None:
    """A message may hold what a server answered."""
    error = ValueError("bad \x1b[2J")
    error.add_note("seen \x07 here")
    assert "ValueError: bad \\x1b[2J\nseen \\x07 here" == shortened(error)
