"""Measurements kept under a name: hostile names, broken files, folders that cannot be written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from llm_latency.core.measurement import load
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.notebook import baselines
from llm_latency.notebook.baselines import baseline_path, keep_baseline, read_baseline
from tests.notebook.results import result


@pytest.mark.parametrize("name", ["main", "v1.2", "a-b_c", "9", "Größe", "x" * 100, "a..b", "nul"])
def test_a_name_is_a_file_in_the_folder(tmp_path: Path, name: str) -> None:
    """Nothing but its letters decides where it lies."""
    path = baseline_path(tmp_path, name)
    assert (tmp_path, f"{name}.json") == (path.parent, path.name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "-x", ".hidden", "a b", "a\0b", "a\n", "x" * 101, "~", "C:"],
)
def test_a_name_that_is_no_plain_files_name_is_refused(tmp_path: Path, name: str) -> None:
    """It could lie anywhere; the message shows it."""
    with pytest.raises(UsageError) as error:
        baseline_path(tmp_path, name)
    expected = f"--baseline {name!r}; expected letters, digits, dots, dashes and underscores, such as main"
    assert expected == str(error.value)


def test_a_baseline_that_is_not_there_is_none(tmp_path: Path) -> None:
    """Also where the folder is not."""
    assert read_baseline(tmp_path / "no" / "main.json") is None


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    """The folder is made, and the words say where it lies."""
    path = baseline_path(tmp_path / "a" / "b", "main")
    measurement = result(calls=3)
    assert f"kept as baseline main in {path}" == keep_baseline(measurement, path)
    assert measurement == read_baseline(path) == load(path)
    assert [path] == list(path.parent.iterdir())


def test_keeping_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """Whole: no other file is left."""
    path = baseline_path(tmp_path, "main")
    for name in ("old", "new"):
        keep_baseline(result(name), path)
    kept = read_baseline(path)
    assert kept is not None and ("new", [path]) == (kept.name, list(tmp_path.iterdir()))


def test_what_broke_off_is_not_kept(tmp_path: Path) -> None:
    """A comparison with it would be one with an accident."""
    path = baseline_path(tmp_path / "folder", "main")
    with pytest.raises(UsageError, match=r"'chat' broke off; a baseline is of calls that ended\. Run the cell"):
        keep_baseline(msgspec.structs.replace(result(), complete=False), path)
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said_with_what_to_do(tmp_path: Path) -> None:
    """A file is in its way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as error:
        keep_baseline(result(), tmp_path / "file" / "main.json")
    assert f"the baseline {tmp_path}/file/main.json cannot be written (" in str(error.value)
    assert "name another folder with %config LLMTime.baselines = ..." in str(error.value)


def test_a_disk_that_is_full_leaves_the_old_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why."""
    path = baseline_path(tmp_path, "main")
    keep_baseline(result("old"), path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baselines, "save", full)
    with pytest.raises(UsageError, match=r"cannot be written \(No space left on device\)"):
        keep_baseline(result("new"), path)
    kept = read_baseline(path)
    assert kept is not None and "old" == kept.name


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99999}', "\x00"])
def test_a_broken_baseline_is_an_error(tmp_path: Path, content: str) -> None:
    """Not a missing one, which would be written over."""
    path = tmp_path / "main.json"
    path.write_text(content)
    with pytest.raises(MeasurementFileError):
        read_baseline(path)
