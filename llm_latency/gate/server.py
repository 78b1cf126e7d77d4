"""Fork server: a process that has imported other people's packages and nothing else, and forks workers off itself.

It runs no code of a project, no conftest, no tensor operation and no device call: a process that has done one parallel
torch operation hangs its children, and its number of threads does not tell.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from llm_latency.gate import worker
from llm_latency.gate.trees import outside

# What it answers: imported what it was told to; no process; no such child.
READY, NOBODY, UNKNOWN = b"r", 0, 1 << 30
# A process that has opened a GPU cannot be forked: its children have neither the driver's threads nor its memory.
_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel")

# Packages with a plugin of pytest's may be there through others (anyio through httpx). pytest warns that it cannot
# rewrite their asserts any more, which `filterwarnings = error` makes an error, but for modules that say this.
_NOT_REWRITTEN = "PYTEST_DONT_REWRITE"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is told first: its sys.path (None: its own), trees that it must not import from, and modules."""

    path: tuple[str, ...] | None
    modules: tuple[str, ...]
    trees: tuple[str, ...] = ()


def main(descriptor: int, parent: int) -> None:
    """Serve on an inherited socket until the other end closes.

    An `f` with two descriptors forks, an `s` asks for a process's status, an `i` says what else to import.
    """
    worker.die_with_parent(parent)
    server = socket.socket(fileno=descriptor)
    length = int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big")
    prepared = msgspec.convert(json.loads(server.recv(length, socket.MSG_WAITALL)), Prepared)
    sys.path[:] = outside(sys.path if prepared.path is None else prepared.path, prepared.trees)
    _import(prepared.modules)
    if _has_device():
        return
    server.sendall(READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, 5, 2)
        if not message:
            return
        if message[:1] == b"s":
            server.sendall(_status(int.from_bytes(message[1:], "big")).to_bytes(4, "big", signed=True))
            continue
        if message[:1] == b"i":
            _import(json.loads(server.recv(int.from_bytes(message[1:], "big"), socket.MSG_WAITALL)))
            if _has_device():
                return
            server.sendall(READY)
            continue
        channel, log = descriptors
        own = os.getpid()
        process = _fork()
        if process == 0:
            server.close()
            _child(channel, log, parent=own)
        os.close(channel)
        os.close(log)
        server.sendall((NOBODY if process is None else process).to_bytes(4, "big"))


def _fork() -> int | None:
    try:
        with warnings.catch_warnings():  # Python warns of forking with threads; what is imported here forks well
            warnings.simplefilter("ignore")
            return os.fork()
    except OSError:  # no memory, or no more processes
        return None


def _child(channel: int, log: int, *, parent: int) -> None:
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        worker.main(channel, parent)
    finally:
        os._exit(1)  # never back into the server's loop


def _status(process: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    except ChildProcessError:
        return UNKNOWN


def _import(modules: Iterable[str]) -> None:
    for name in modules:
        # Whatever goes wrong in here goes wrong in the worker too, and is told there.
        with suppress(BaseException), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    for module in list(sys.modules.values()):
        with suppress(Exception):
            if _NOT_REWRITTEN not in (module.__doc__ or ""):
                module.__doc__ = f"{module.__doc__ or ''}\n\n{_NOT_REWRITTEN}"


def _has_device() -> bool:
    """Whether an import has opened an accelerator."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        return True
    with suppress(OSError):
        for descriptor in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{descriptor}").startswith(_DEVICES):
                    return True
    return False
