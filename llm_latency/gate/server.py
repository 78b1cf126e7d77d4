"""Fork server: a process that has imported other people's packages and nothing else, and forks workers off itself.

It runs no code of a project, no conftest, no tensor operation and no device call: a process that has done one parallel
torch operation hangs its children, and its number of threads does not tell.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from llm_latency.gate import worker


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is told first: its sys.path (None: its own) and the modules to import beforehand."""

    path: tuple[str, ...] | None
    modules: tuple[str, ...]


def main(descriptor: int) -> None:
    """Serve on an inherited socket until the other end closes: an `f` with two descriptors forks, an `s` asks."""
    worker.die_with_parent()
    server = socket.socket(fileno=descriptor)
    length = int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big")
    prepared = msgspec.json.decode(server.recv(length, socket.MSG_WAITALL), type=Prepared)
    if prepared.path is not None:
        sys.path[:] = prepared.path
    _import(prepared.modules)
    server.sendall(b"r")
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, 5, 2)
        if not message:
            return
        if message[:1] == b"s":
            status = os.waitpid(int.from_bytes(message[1:], "big"), 0)[1]
            server.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
            continue
        channel, log = descriptors
        with warnings.catch_warnings():  # Python warns of forking with threads; what is imported here forks well
            warnings.simplefilter("ignore")
            process = os.fork()
        if process == 0:
            server.close()
            _child(channel, log)
        os.close(channel)
        os.close(log)
        server.sendall(process.to_bytes(4, "big"))


def _child(channel: int, log: int) -> None:
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    worker.main(channel)


def _import(modules: Iterable[str]) -> None:
    for name in modules:
        # Whatever goes wrong in here goes wrong in the worker too, and is told there.
        with suppress(BaseException), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
