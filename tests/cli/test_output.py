"""Outputs are tried before anything is measured, and written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llm_latency.cli.output import Output, check_outputs, reserved_stdout, write_bytes
from llm_latency.errors import UsageError


def out(path: Path | str, option: str = "--json") -> Output:
    """An output of --json."""
    return Output(option, str(path))


def test_an_output_in_a_good_folder_passes_and_leaves_nothing(tmp_path: Path) -> None:
    """The trial file is gone, and the one that was there is untouched."""
    (tmp_path / "old.json").write_text("old")
    check_outputs((out(tmp_path / "new.json"), out(tmp_path / "old.json", "--html"), out("-", "--markdown")))
    assert ["old.json"] == os.listdir(tmp_path)
    assert "old" == (tmp_path / "old.json").read_text()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing/x.json", "No such file or directory"),
        ("file/x.json", "Not a directory"),
        ("n" * 250, "File name too long"),  # the name of the file beside it would be
        ("n" * 300, "File name too long"),
        ("", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, path: str, reason: str) -> None:
    """With the option, the path and the system's reason."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=reason) as caught:
        check_outputs((out(f"{tmp_path}/{path}"),))
    assert str(caught.value).startswith(f"--json {tmp_path}/{path}")


@pytest.mark.parametrize("path", [".", "/", ""])
def test_a_folder_that_has_no_name_is_refused(path: str) -> None:
    """A path without a last part cannot have a trial file beside it."""
    with pytest.raises(UsageError, match="is a folder"):
        check_outputs((out(path),))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a folder that not even root can write to")
def test_a_read_only_folder_is_refused() -> None:
    """Permissions alone do not stop root, which CI often is; /proc does."""
    with pytest.raises(UsageError, match="cannot be written"):
        check_outputs((out("/proc/x.json"),))


def test_two_outputs_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Neither on stdout nor in one file spelled in two ways."""
    with pytest.raises(UsageError, match="--json and --html cannot both go to stdout"):
        check_outputs((out("-"), out("-", "--html")))
    with pytest.raises(UsageError, match="--json and --html both name"):
        check_outputs((out(tmp_path / "x"), out(tmp_path / "." / "y" / ".." / "x", "--html")))


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """The old one is replaced."""
    (tmp_path / "x").write_text("old")
    out(tmp_path / "x").write(b"new", stdout=io.StringIO())
    assert b"new" == (tmp_path / "x").read_bytes()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no half one beside it."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        out(tmp_path / "x").write(b"new", stdout=io.StringIO())
    assert ["x"] == os.listdir(tmp_path)
    assert "old" == (tmp_path / "x").read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As root, renaming a file onto /dev/null would replace it for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    check_outputs((out(pipe),))
    out(pipe).write(b"content", stdout=io.StringIO())
    assert b"content" == reader.communicate()[0]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_bytes_reach_a_text_stream_of_any_encoding() -> None:
    """JSON is UTF-8, whatever the terminal is; what was printed before stays before."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    stream.write("before ")
    write_bytes(stream, "µ".encode())
    assert b"before \xc2\xb5" == raw.getvalue()
    text = io.StringIO()
    write_bytes(text, "µ".encode())
    assert "µ" == text.getvalue()


RESERVING = """
import os, subprocess, sys
from llm_latency.cli.output import reserved_stdout, write_bytes
print("before")
with reserved_stdout(reserve=True) as stdout:
    print("python")
    os.write(1, b"from C\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
    write_bytes(stdout, b"result\\n")
print("after")
"""


def test_a_reserved_stdout_holds_the_result_only() -> None:
    """What Python, C or a child prints meanwhile goes to stderr; afterwards all is as before."""
    run = subprocess.run([sys.executable, "-Ic", RESERVING], capture_output=True, text=True, check=True)
    assert "before\nresult\nafter\n" == run.stdout
    assert ["child", "from C", "python"] == sorted(run.stderr.splitlines())


def test_a_stdout_that_nobody_asked_for_is_left_alone() -> None:
    """The program's own prints stay where they were."""
    with reserved_stdout(reserve=False) as stdout:
        assert stdout is sys.stdout


def test_streams_without_a_file_are_reserved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's, or a test's."""
    result, other = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", result)
    monkeypatch.setattr(sys, "stderr", other)
    with reserved_stdout(reserve=True) as stdout:
        sys.stdout.write("program")
        write_bytes(stdout, b"result")
    sys.stdout.write("after")
    assert ("resultafter", "program") == (result.getvalue(), other.getvalue())
