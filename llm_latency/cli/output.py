"""Output: where a result is written, and whether that is possible before anything is measured; not what it says."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from llm_latency.core.measurement import write_atomically
from llm_latency.errors import UsageError

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Output:
    """A file that an option names, or stdout for `-`."""

    option: str
    path: str

    @property
    def is_stdout(self) -> bool:
        """Whether it goes to stdout."""
        return self.path == STDOUT

    def check(self) -> None:
        """Raise UsageError when the file cannot be written, by trying with another file beside it."""
        target = Path(self.path)
        if self.is_stdout or _is_special(target):
            return
        if os.path.isdir(target):
            raise UsageError(f"{self.option} {self.path} is a folder; expected the name of a file")
        probe = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            probe.open("xb").close()
        except OSError as error:
            raise UsageError(
                f"{self.option} {self.path} cannot be written ({error.strerror or error}); nothing was measured."
                " Name a file in a folder that exists and can be written to"
            ) from error
        finally:
            with suppress(OSError):
                probe.unlink()

    def write(self, content: bytes, *, stdout: TextIO) -> None:
        """Write it whole or not at all; raises OSError."""
        if self.is_stdout:
            write_bytes(stdout, content)
        else:
            write_atomically(self.path, content)


def check_outputs(outputs: tuple[Output, ...]) -> None:
    """Raise UsageError when one cannot be written or two would overwrite each other."""
    for index, output in enumerate(outputs):
        for earlier in outputs[:index]:
            if output.is_stdout and earlier.is_stdout:
                raise UsageError(f"{earlier.option} and {output.option} cannot both go to stdout; give one a file")
            if not output.is_stdout and os.path.realpath(output.path) == os.path.realpath(earlier.path):
                raise UsageError(f"{earlier.option} and {output.option} both name {output.path}; give each its own")
        output.check()


def _is_special(path: Path) -> bool:
    # os.path's, which say no where a Path raises because the name is too long.
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def write_bytes(stream: TextIO, content: bytes) -> None:
    """Write UTF-8 to a text stream whatever its own encoding is, and flush, so that a full disk is noticed here."""
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(content.decode("utf-8"))
    else:
        buffer.write(content)
    stream.flush()


@contextmanager
def reserved_stdout(*, reserve: bool) -> Iterator[TextIO]:
    """Yield stdout for the result. With `reserve` all else that is printed meanwhile goes to stderr.

    That covers what the timed code prints, also from C or a child process, where both streams are real files.
    """
    stdout, stderr = sys.stdout, sys.stderr
    if not reserve:
        yield stdout
        return
    with redirect_stdout(stderr):
        try:
            number, other = stdout.fileno(), stderr.fileno()
        except (OSError, ValueError, AttributeError):  # streams of a test or a notebook
            yield stdout
            return
        stdout.flush()
        saved = os.dup(number)
        os.dup2(other, number)
        try:
            with os.fdopen(saved, "w", encoding="utf-8", closefd=False) as kept:
                yield kept
        finally:
            stdout.flush()
            os.dup2(saved, number)
            os.close(saved)
