"""Described hardware: by name, several of it, out of a file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.predict.hardware import HARDWARE, find_hardware

GIVEN = {"flops": {"bfloat16": 1e14}, "bandwidth": 1e12, "memory": 8e10}


@pytest.mark.parametrize("name", HARDWARE)
def test_every_card_has_peaks_of_each_number_type(name: str) -> None:
    """With where they come from; 16-bit numbers are faster than 32-bit ones."""
    found = find_hardware(name)
    assert "data sheet" in found.source
    assert found.peaks("bfloat16").flops > found.peaks("float32").flops > 1e12
    assert 1e11 < found.bandwidth < 1e13
    assert found.peaks("float16") == found.peaks("bfloat16")


def test_several_add_up() -> None:
    """Eight of a card have eight times its peaks."""
    one, eight = find_hardware("h100-sxm"), find_hardware("8xh100-sxm")
    assert 8 == eight.count
    assert 8 * one.peaks("bfloat16").flops == eight.peaks("bfloat16").flops
    assert 8 * one.peaks("bfloat16").bandwidth == eight.peaks("bfloat16").bandwidth


def test_a_file_describes_what_has_no_name_here(tmp_path: Path) -> None:
    """In the base units of its fields; several of it too."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(GIVEN | {"source": "my own"}))
    assert 1e14 == find_hardware(str(file)).peaks("bfloat16").flops
    assert "my own" == find_hardware(str(file)).peaks("bfloat16").source


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "describes no hardware"),
        (GIVEN | {"speed": 1}, "describes no hardware"),
        (GIVEN | {"bandwidth": 0}, "bandwidth is 0"),
        (GIVEN | {"memory": -1}, "memory is -1"),
        (GIVEN | {"flops": {"float32": 0}}, "float32 is 0"),
    ],
)
def test_a_file_that_describes_none_is_refused(tmp_path: Path, given: dict[str, object], words: str) -> None:
    """With the field."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(given))
    with pytest.raises((MeasurementFileError, UsageError), match=words):
        find_hardware(str(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As any file is."""
    with pytest.raises(MeasurementFileError, match="cannot be read"):
        find_hardware(str(tmp_path / "none.json"))


_UNKNOWN = [("h100", "Did you mean 'h100-sxm'"), ("0xl4", "Known: "), ("abacus", "Known:")]


@pytest.mark.parametrize(("name", "words"), _UNKNOWN)
def test_an_unknown_name_lists_the_known_ones(name: str, words: str) -> None:
    """With the nearest where there is one."""
    with pytest.raises(UsageError, match=words):
        find_hardware(name)
