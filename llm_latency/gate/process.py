"""Processes of workers: started fresh, forked from a clean server or spawned, and ended; not what they are told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from llm_latency.errors import UsageError
from llm_latency.gate.message import Channel, Job
from llm_latency.gate.server import Prepared

# -P: no folder of the user's comes before the standard library. The module is named in the text, not run by -m, so that
# its classes are those that the job's own imports find.
_WORKER = "import sys; from llm_latency.gate.worker import main; main(int(sys.argv[1]))"
_SERVER = "import sys; from llm_latency.gate.server import main; main(int(sys.argv[1]))"
# Importing torch and transformers from a cold disk; a server that takes longer is done without.
_SERVER_PATIENCE_S = 180.0
_TAIL = 12


class Worker:
    """A worker's process and the conductor's end of its channel."""

    def __init__(
        self, job: Job, *, log: Path, server: Server | None, python: str, environment: Mapping[str, str]
    ) -> None:
        """Start it and give it its job; raises UsageError where it cannot be started."""
        self.side = job.side
        self.log = log
        self.is_forked = server is not None
        self._server = server
        self._popen: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        try:
            with log.open("wb") as stream:
                if server is not None:
                    self.process = server.fork(theirs.fileno(), stream.fileno())
                else:
                    self._popen = _popen(python, _WORKER, theirs.fileno(), stream.fileno(), environment)
                    self.process = self._popen.pid
            self.channel = Channel(ours.detach())
        finally:
            theirs.close()
            ours.close()
        with suppress(OSError):  # it is gone already, which the first wait for it will tell
            self.channel.send(job)

    def end(self) -> int | None:
        """Kill it with all that it has started, and say its exit status; None where that is not known."""
        for kill in (os.killpg, os.kill):  # it may not have a group of its own yet
            with suppress(OSError):
                kill(self.process, signal.SIGKILL)
        with suppress(OSError):
            self.channel.close()
        if self._popen is not None:
            return self._popen.wait()
        return None if self._server is None else self._server.status_of(self.process)

    def wait_ended(self, *, seconds: float) -> None:
        """Let it leave by itself, for a while."""
        end = time.monotonic() + seconds
        with suppress(EOFError, OSError):
            while time.monotonic() < end and self.channel.receive(max(0.0, end - time.monotonic())) is not None:
                pass

    def last_lines(self) -> str:
        """The end of what it has written."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL:])


class Server:
    """A fork server's process; see llm_latency.gate.server."""

    def __init__(self, prepared: Prepared, *, log: Path, python: str, environment: Mapping[str, str]) -> None:
        """Start it; `is_up` waits for its imports."""
        ours, theirs = socket.socketpair()
        try:
            with log.open("wb") as stream:
                self._popen = _popen(python, _SERVER, theirs.fileno(), stream.fileno(), environment)
        finally:
            theirs.close()
        self._socket = ours
        self._socket.settimeout(_SERVER_PATIENCE_S)
        text = msgspec.json.encode(prepared)
        with suppress(OSError):
            self._socket.sendall(len(text).to_bytes(4, "big") + text)

    def is_up(self) -> bool:
        """Wait until it has imported what it was told to."""
        try:
            return self._socket.recv(1) == b"r"
        except OSError:
            return False

    def fork(self, channel: int, log: int) -> int:
        """Fork a worker that takes over both descriptors; its process id. Raises OSError where the server is gone."""
        socket.send_fds(self._socket, [b"fork."], [channel, log])
        return int.from_bytes(self._answer(), "big")

    def status_of(self, process: int) -> int | None:
        """Wait for a worker to end; its exit status, negative for a signal."""
        try:
            self._socket.sendall(b"s" + process.to_bytes(4, "big"))
            return int.from_bytes(self._answer(), "big", signed=True)
        except OSError:
            return None

    def end(self) -> None:
        """Kill it."""
        with suppress(OSError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._socket.close()
        self._popen.wait()

    def _answer(self) -> bytes:
        answer = self._socket.recv(4, socket.MSG_WAITALL)
        if len(answer) < 4:
            raise ConnectionError("the fork server is gone")
        return answer


class Launcher:
    """Starts workers of one interpreter: forked once `prepare` has been told what to import, spawned before."""

    def __init__(self, folder: Path, *, python: str, environment: Mapping[str, str]) -> None:
        """`folder` takes the logs; `environment` is that of every worker."""
        if not hasattr(os, "fork"):
            raise UsageError("a gate needs to start processes as POSIX systems do; on this system there is none yet")
        self._folder = folder
        self._python = python
        self._environment = dict(environment)
        self._count = 0
        self.server: Server | None = None
        self.may_fork = True

    def prepare(self, prepared: Prepared) -> None:
        """Fork later workers off a server with these imports, where it comes up."""
        if not self.may_fork or self.server is not None:
            return
        self.server = Server(
            prepared, log=self._folder / "server.log", python=self._python, environment=self._environment
        )
        if not self.server.is_up():
            self.spawn_only()

    def spawn_only(self) -> None:
        """Fork no more."""
        self.may_fork = False
        self.close()

    def launch(self, job: Job) -> Worker:
        """Start a worker with a job."""
        self._count += 1
        log = self._folder / f"{job.side}-{self._count}.log"
        try:
            return Worker(job, log=log, server=self.server, python=self._python, environment=self._environment)
        except OSError as error:
            if self.server is None:
                raise UsageError(f"a worker could not be started with {self._python}: {error}") from error
        self.spawn_only()
        return Worker(job, log=log, server=None, python=self._python, environment=self._environment)

    def close(self) -> None:
        """End the server."""
        server, self.server = self.server, None
        if server is not None:
            server.end()


def _popen(
    python: str, program: str, descriptor: int, log: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-P", "-c", program, str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=dict(environment),
        # Ctrl-C is the conductor's to take; it ends the workers.
        start_new_session=True,
    )
