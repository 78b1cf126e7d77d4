"""Small files of /proc and /sys, also those that are not there or hold something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_latency.gate.doctor.finding import UNKNOWN, number_of, numbered, text_of, unreported


@pytest.mark.parametrize(("text", "expected"), [("5\n", 5), (" -1 ", -1), ("max", None), ("", None), ("5 6", None)])
def test_a_number_is_a_whole_file(tmp_path: Path, text: str, expected: int | None) -> None:
    """Else there is none."""
    (tmp_path / "file").write_text(text)
    assert expected == number_of(tmp_path / "file")


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    """A file that is missing, a folder, a name that no file can have; odd bytes are replaced."""
    (tmp_path / "odd").write_bytes(b"\xff1")
    assert [None, None, None] == [text_of(tmp_path / "none"), text_of(tmp_path), text_of(tmp_path / "a\0b")]
    assert (None, "\ufffd1") == (number_of(tmp_path / "none"), text_of(tmp_path / "odd"))


def test_lines_of_names_and_numbers_become_a_table() -> None:
    """With and without a colon; what is no number is left out."""
    assert {"a": 1, "b": -2} == numbered("a 1\nb: -2\nc max\nd\n\n")
    assert {} == numbered(None)


def test_what_is_not_reported_says_so() -> None:
    """With the reason where there is one."""
    assert (UNKNOWN, "not reported by this system (why)") == (unreported("x", "why").word, unreported("x", "why").seen)
    assert ("", "not reported by this system") == (unreported("x").remedy, unreported("x").seen)
