"""What the conductor and a worker tell each other, and the channel between them; not when."""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace


class Job(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a worker is to do: `run` ("module:function", called with the job and a Baton) with `arguments`.

    It begins in the folder `start` with `path` as its sys.path (None: its own, with `before` and `after` around it).
    Code of the project comes from the tree `own`, whichever of `trees` it is found in; what lies in `tests` (folders
    relative to a tree) from `home`. `project` is the project's folder in each tree. `scratch` is a folder for what the
    worker writes, gone with the gate. `wants_inventory` asks for what is installed.
    """

    side: str
    run: str
    arguments: dict[str, Any]
    own: str
    home: str
    trees: tuple[str, ...]
    tests: tuple[str, ...] = ()
    project: str = "."
    start: str | None = None
    path: tuple[str, ...] | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    scratch: str | None = None
    wants_inventory: bool = False


class Imported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Where a side's code came from, told before its first call and at its end: the project's files, and versions.

    `foreign` are modules of the other tree and `copies` those installed beside a tree that has them: both say that
    this side does not run its own code. `modules` are other people's, the standard library's and ours, which a fork
    server may import beforehand.
    """

    files: dict[str, str]
    versions: dict[str, str]
    foreign: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    inventory: dict[str, str] = {}


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker waits for the turn of its first call in llmtime() number `index` of a test.

    `threads` are torch's; `used` and `free` bytes of the memory that models of this process lie in, where known.
    """

    test: str
    name: str
    index: int
    threads: int = 1
    used: int | None = None
    free: int | None = None


class Called(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A call has ended, and the next one waits for its turn."""

    trace: Trace


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An llmtime() is over on this side; `problem` says why where it was not the conductor who ended it."""

    test: str
    index: int
    problem: str = ""
    environment: Environment | None = None


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What became of a test in the worker: passed, failed or skipped, with the words."""

    test: str
    outcome: str
    text: str = ""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker has done its job; `problem` says what stopped it otherwise."""

    problem: str = ""


class Go(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The turn for one call, as `stage`, after spinning for `spin_ns` on `cores` (None: wherever the process may)."""

    stage: str
    spin_ns: int = 0
    cores: tuple[int, ...] | None = None


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No more calls of this llmtime(). `is_whole` is false where the other side has none to set against them."""

    is_whole: bool = True


Message = Job | Imported | Ready | Called | Ended | Reported | Finished | Go | Stop


class Channel:
    """One end of a connection between conductor and worker."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open socket."""
        self._connection = Connection(descriptor)
        self._decoder = msgspec.msgpack.Decoder(Message)

    def fileno(self) -> int:
        """The socket, for those who wait for several things."""
        return self._connection.fileno()

    def has_words(self) -> bool:
        """Whether something can be received at once."""
        return self._connection.poll(0)

    def send(self, message: Message) -> None:
        """Send one message; raises OSError where the other end is gone."""
        self._connection.send_bytes(_encoded(message))

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Wait for a message; None after `timeout_s`. Raises EOFError or OSError where the other end is gone."""
        if timeout_s is not None and not self._connection.poll(timeout_s):
            return None
        text = self._connection.recv_bytes()
        try:
            message: Message = _of_json(text) if text[:1] == b"{" else self._decoder.decode(text)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConnectionError(f"it said what this version does not understand: {error}") from error
        return message

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


# What people read is spelled out where it is no valid Unicode; names have to stay what they are.
_WORDS = ("text", "problem")


def _encoded(message: Message) -> bytes:
    try:
        return msgspec.msgpack.encode(message)
    except UnicodeEncodeError:  # file names and outputs with undecodable bytes, which JSON's escapes can hold
        told = msgspec.to_builtins(message)
        spelled = {name: told[name].encode("utf-8", "backslashreplace").decode() for name in _WORDS if name in told}
        return json.dumps(told | spelled).encode("ascii")


def _of_json(text: bytes) -> Message:
    return msgspec.convert(json.loads(text), Message)  # type: ignore[no-any-return]  # a union
