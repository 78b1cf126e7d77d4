"""Measurements on disk: found again, never half written, and nothing else overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from measured import EMPTY, FULL

from llm_latency.core.measurement import (
    load,
    save,
    to_json,
    write_atomically,
)
from llm_latency.errors import MeasurementFileError

# --- files ---


def test_a_saved_measurement_is_loaded(tmp_path: Path) -> None:
    """With line breaks, for people and for diffs; nothing else is left in the folder."""
    path = tmp_path / "mesure – 日本.json"
    save(FULL, path)
    assert FULL == load(path) == load(str(path))
    assert path.read_text(encoding="utf-8").startswith('{\n "schema": 1,\n')
    assert [path] == list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As is a folder."""
    with pytest.raises(MeasurementFileError, match=r"missing\.json cannot be read: No such file"):
        load(tmp_path / "missing.json")
    with pytest.raises(MeasurementFileError, match="cannot be read"):
        load(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """By its path."""
    path = tmp_path / "broken.json"
    path.write_bytes(to_json(FULL)[:-1])
    with pytest.raises(MeasurementFileError, match=r"broken\.json is not complete JSON"):
        load(path)


@pytest.mark.parametrize("ending", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_is_cut_leaves_the_old_file(
    step: str, ending: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, with no temporary file beside it, and what cut it goes on."""

    def cut(*_: object) -> None:
        raise ending

    path = tmp_path / "base.json"
    save(EMPTY, path)
    monkeypatch.setattr(*((os, "fsync", cut) if step == "fsync" else (Path, "replace", cut)))
    with pytest.raises(type(ending)):
        save(FULL, path)
    monkeypatch.undo()
    assert EMPTY == load(path)
    assert [path] == list(tmp_path.iterdir())


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync comes before the rename, and the old name keeps the old bytes until then."""
    path = tmp_path / "base.json"
    path.write_bytes(b"old")
    seen: list[bytes] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        sync(descriptor)
        seen.append(path.read_bytes())
        seen.append(next(other for other in tmp_path.iterdir() if other != path).read_bytes())

    monkeypatch.setattr(os, "fsync", watch)
    write_atomically(path, b"new")
    assert [b"old", b"new", b"new"] == [*seen, path.read_bytes()]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it leads to is written, whether it is there yet or not."""
    target, link = tmp_path / "shared" / "base.json", tmp_path / "base.json"
    target.parent.mkdir()
    link.symlink_to(target)
    for measurement in (EMPTY, FULL):
        save(measurement, link)
        assert measurement == load(target) == load(link)
    assert link.is_symlink()
    assert [target] == list(target.parent.iterdir())


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As is /dev/null, which a rename would replace by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # first, so that writing does not wait for it
    try:
        write_atomically(pipe, b"new")
        assert b"new" == os.read(reader, 10)
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [pipe] == list(tmp_path.iterdir())


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    """It stays, and the error is the system's."""
    with pytest.raises(IsADirectoryError):
        save(FULL, tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    """Writing makes no folders."""
    with pytest.raises(FileNotFoundError):
        save(FULL, tmp_path / "no" / "where.json")
    assert [] == list(tmp_path.iterdir())
