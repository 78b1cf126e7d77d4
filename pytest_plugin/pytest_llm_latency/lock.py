"""One timed call at a time on a device, across threads, pytest-xdist's workers and whole pytest runs."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path

from llm_latency.errors import UsageError

# Set inside a timed call, so that one inside of it does not wait for itself.
_HOLDING: ContextVar[bool] = ContextVar("llm_latency_holding", default=False)


class DeviceLock:
    """An exclusive lock on a file of the user's temporary folder, which the system releases when its holder dies.

    `problem` says in words why there is no lock on this system; empty where there is one.
    """

    def __init__(self, device: str = "cpu", *, folder: Path | None = None) -> None:
        """Name the file; nothing is opened before the lock is wanted."""
        user = os.getuid() if hasattr(os, "getuid") else "user"
        self.path = (folder or Path(tempfile.gettempdir())) / f"llm-latency-{user}-{device.replace(':', '-')}.lock"
        self.problem = ""
        self._thread: int | None = None

    @contextmanager
    def held(self, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Wait for the turn and hold it; `on_wait` is called before a wait.

        Raises UsageError where waiting could never end: an asynchronous call of this thread has the turn.
        """
        if _HOLDING.get():
            yield
            return
        file = self._open()
        if file is not None and not _take(file, wait=False):
            if self._thread == threading.get_ident():
                os.close(file)
                raise UsageError(
                    "llmtime() was called while another llmtime() of the same event loop is still running;"
                    " await the first one before the next"
                )
            on_wait()
            _take(file, wait=True)
        with self._holding(file):
            yield

    @asynccontextmanager
    async def held_async(self) -> AsyncIterator[None]:
        """Wait for the turn in a thread, so that the event loop goes on, and hold it."""
        if _HOLDING.get():
            yield
            return
        file = self._open()
        if file is not None and not _take(file, wait=False):
            await _wait(file)
        with self._holding(file):
            yield

    def _open(self) -> int | None:
        if sys.platform == "win32":
            self.problem = "timed calls do not take turns: there is no lock for that on Windows yet"
            return None
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            self.problem = f"timed calls do not take turns: {self.path} cannot be opened ({error.strerror})"
            return None

    @contextmanager
    def _holding(self, file: int | None) -> Iterator[None]:
        mark = _HOLDING.set(True)
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None
            _HOLDING.reset(mark)
            if file is not None:
                _give_back(file)


def _take(file: int, *, wait: bool) -> bool:
    """Lock an open file; whether it is ours now. A file belongs to one opening of it, so threads exclude each other."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except BaseException:
        os.close(file)
        raise
    return True


def _give_back(file: int) -> None:
    import fcntl

    # Not by closing alone: a child forked inside the call shares the opening and would keep the lock.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


async def _wait(file: int) -> None:
    """Block a thread until the file is ours. asyncio's own timers are no use: a test may have frozen them."""
    waiting = asyncio.ensure_future(asyncio.to_thread(_take, file, wait=True))
    try:
        await asyncio.shield(waiting)
    except asyncio.CancelledError:
        waiting.add_done_callback(lambda _: _give_back(file))
        raise
