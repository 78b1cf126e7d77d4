"""Runs: the raw measurements of the last pytest runs in `.llm-latency/`, which git ignores; not the baselines."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SCRATCH = ".llm-latency"
_KEPT = 20
_TEMPORARY = ".tmp-"


def scratch(root: Path) -> Path:
    """The folder for what is not committed, made where it is missing; git ignores all that is in it."""
    folder = root / SCRATCH
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")
    return folder


def keep_run(root: Path, name: str, measurements: Sequence[tuple[str, bytes]], *, most: int = _KEPT) -> Path:
    """Write a run's measurements, each as (what it is of, JSON), into a folder of its own; the oldest folders go.

    The folder is there whole or not at all. `name` sorts by time. Raises OSError.
    """
    folder = scratch(root) / "runs"
    folder.mkdir(exist_ok=True)
    temporary = folder / f"{_TEMPORARY}{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        for index, (what, content) in enumerate(measurements, start=1):
            (temporary / f"{index:03}-{_plain(what)}.json").write_bytes(content)
        os.replace(temporary, folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    kept = sorted(path for path in folder.iterdir() if not path.name.startswith(_TEMPORARY))
    for old in kept[: max(0, len(kept) - most)]:
        shutil.rmtree(old, ignore_errors=True)
    return folder / name


def _plain(what: str) -> str:
    return re.sub(r"[^\w.-]+", "_", what).strip("._")[-100:] or "measurement"


@contextmanager
def turn_to_write(root: Path) -> Iterator[None]:
    """Wait until no other run of this project writes its baselines. Without an effect on Windows."""
    file = os.open(scratch(root) / "baselines.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)  # which gives the lock back: nothing is forked while it is held
