"""Raw runs in a folder that git ignores, and the turn to write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llm_latency.gate.stored.runs import SCRATCH, keep_run, scratch, turn_to_write


def test_the_folder_ignores_itself(tmp_path: Path) -> None:
    """By its own .gitignore, which stays as somebody has changed it."""
    assert tmp_path / SCRATCH == scratch(tmp_path)
    assert "*\n" == (tmp_path / SCRATCH / ".gitignore").read_text()
    (tmp_path / SCRATCH / ".gitignore").write_text("mine\n")
    scratch(tmp_path)
    assert "mine\n" == (tmp_path / SCRATCH / ".gitignore").read_text()


def test_a_run_has_a_folder_with_a_file_for_each_measurement(tmp_path: Path) -> None:
    """Names that are none of a file, and the same name twice, are no trouble."""
    what = ["tests/test_a.py::test_b[x/y]", "tests/test_a.py::test_b[x/y]", "…", "z" * 500]
    folder = keep_run(tmp_path, "20261125T080000Z-1a", [(name, b"{}") for name in what])
    assert [
        "001-tests_test_a.py_test_b_x_y.json",
        "002-tests_test_a.py_test_b_x_y.json",
        "003-measurement.json",
        f"004-{'z' * 100}.json",
    ] == sorted(path.name for path in folder.iterdir())
    assert tmp_path / SCRATCH / "runs" == folder.parent


def test_the_oldest_runs_go(tmp_path: Path) -> None:
    """A bounded number is kept."""
    for index in range(5):
        keep_run(tmp_path, f"run-{index}", [("a", b"{}")], most=3)
    assert ["run-2", "run-3", "run-4"] == sorted(path.name for path in (tmp_path / SCRATCH / "runs").iterdir())


def test_a_run_that_cannot_be_written_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, simulated."""

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        keep_run(tmp_path, "run", [("a", b"{}")])
    assert [] == list((tmp_path / SCRATCH / "runs").iterdir())


HOLDER = """
import sys
from pathlib import Path
from llm_latency.gate.stored.runs import turn_to_write

with turn_to_write(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock on Windows yet")
def test_one_run_writes_at_a_time(tmp_path: Path) -> None:
    """Another process holds the turn; it is ours when that has ended."""
    import fcntl

    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        with (tmp_path / SCRATCH / "baselines.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.stdin.close()
        with turn_to_write(tmp_path):
            assert 0 == holder.wait(timeout=60)
