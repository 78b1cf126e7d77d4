"""Processes of workers: started fresh, forked from a clean server or spawned, and ended; not what they are told."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from llm_latency.errors import UsageError
from llm_latency.gate.message import Channel, Job, Message
from llm_latency.gate.server import NOBODY, READY, UNKNOWN, Prepared

# -P: no folder of the user's comes before the standard library. The module is named in the text, not run by -m, so that
# its classes are those that the job's own imports find.
_WORKER = "import sys; from llm_latency.gate.worker import main; main(*map(int, sys.argv[1:]))"
_SERVER = "import sys; from llm_latency.gate.server import main; main(*map(int, sys.argv[1:]))"
# Importing torch and transformers from a cold disk; a server that takes longer is done without.
_SERVER_PATIENCE_S = 180.0
# A killed process that does not end waits for a device or a network disk, and nobody can end it.
_DYING_S = 10.0
_TAIL, _TAIL_BYTES = 12, 1 << 16
_LONGEST_MS = (1 << 31) - 1


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
        self._scratch = job.scratch
        self._has_ended = False
        self._status: int | None = None
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
            self._watched = _Watched(self.channel, self.process)
        finally:
            theirs.close()
            ours.close()
        try:
            with suppress(OSError):  # it is gone already, which the first wait for it will tell
                self.channel.send(job)
        except BaseException:
            self.end()
            raise

    def receive(self, timeout_s: float) -> Message | None:
        """Wait for what it says next; None after `timeout_s`.

        Raises EOFError or OSError once it has ended and all its words were heard, also where a child of it lives on.
        """
        return self.channel.receive() if self._watched.wait(timeout_s) else None

    def end(self) -> int | None:
        """Kill it with all that it has started, and say its exit status; None where that is not known."""
        if self._has_ended:
            return self._status
        self._has_ended = True
        for kill in (os.killpg, os.kill):  # it may not have a group of its own yet
            with suppress(OSError):
                kill(self.process, signal.SIGKILL)
        for process in _session(self.process):
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        self._watched.close()
        with suppress(OSError):
            self.channel.close()
        if self._popen is not None:
            with suppress(subprocess.TimeoutExpired):
                self._status = self._popen.wait(_DYING_S)
        elif self._server is not None:
            self._status = self._server.status_of(self.process)
        return self._status

    def wait_ended(self, *, seconds: float) -> bool:
        """Let it leave by itself, for a while; whether it has."""
        end = time.monotonic() + seconds
        try:
            while self.receive(max(0.0, end - time.monotonic())) is not None:
                pass
        except (EOFError, OSError):
            return self._watched.has_ended(max(0.0, end - time.monotonic()))
        return False

    def forget(self) -> None:
        """Remove what it has written, once it has ended."""
        with suppress(OSError):
            self.log.unlink()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def abort(self) -> None:
        """Let it say where it stands, which pytest's fault handler does on this signal, and die of that."""
        with suppress(OSError, ImportError):
            import resource

            if hasattr(resource, "prlimit"):  # and leave no gigabytes of it on the disk
                resource.prlimit(self.process, resource.RLIMIT_CORE, (0, 0))
            os.kill(self.process, signal.SIGABRT)

    def last_lines(self) -> str:
        """The end of what it has written; of a crash the beginning, where the innermost calls stand."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = stream.read().decode(errors="replace")
        except OSError:
            return ""
        crash = text.rfind("Fatal Python error: ")
        return "\n".join(text.splitlines()[-_TAIL:] if crash < 0 else text[crash:].splitlines()[:_TAIL])


class _Watched:
    """A worker's channel and process, waited for together."""

    def __init__(self, channel: Channel, process: int) -> None:
        """Where a process has no descriptor, its channel's end alone has to tell."""
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._process: int | None = None
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._process = os.pidfd_open(process)
                self._poll.register(self._process, select.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Whether there is something to receive in time; raises EOFError where there never will be."""
        ready = {descriptor for descriptor, _ in self._poll.poll(min(1e3 * timeout_s, _LONGEST_MS))}
        if not ready or self._channel.fileno() in ready:
            return bool(ready)
        if not self._channel.has_words():
            raise EOFError
        return True

    def has_ended(self, timeout_s: float) -> bool:
        """Whether the process itself ends in time; where nothing tells, the end of its channel is taken for it."""
        if self._process is None:
            return True
        alone = select.poll()
        alone.register(self._process, select.POLLIN)
        return bool(alone.poll(1e3 * timeout_s))

    def close(self) -> None:
        """Let go of the process."""
        if self._process is not None:
            os.close(self._process)
            self._process = None


class Server:
    """A fork server's process; see llm_latency.gate.server."""

    def __init__(self, prepared: Prepared, *, log: Path, python: str, environment: Mapping[str, str]) -> None:
        """Start it; `is_up` waits for its imports."""
        ours, theirs = socket.socketpair()
        try:
            with log.open("wb") as stream:
                self._popen = _popen(python, _SERVER, theirs.fileno(), stream.fileno(), environment)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.process = self._popen.pid
        self._socket = ours
        self._socket.settimeout(_SERVER_PATIENCE_S)
        # Folders may have names that are no valid Unicode, which JSON's escapes can hold.
        text = json.dumps(msgspec.to_builtins(prepared)).encode("ascii")
        try:
            with suppress(OSError):
                self._socket.sendall(len(text).to_bytes(4, "big") + text)
        except BaseException:
            self.end()
            raise

    def is_up(self) -> bool:
        """Wait until it has imported what it was told to."""
        try:
            return self._socket.recv(1) == READY
        except OSError:
            return False

    def import_too(self, modules: Sequence[str]) -> bool:
        """Let it import more; whether it is still up then."""
        text = json.dumps(list(modules)).encode("ascii")
        with suppress(OSError):
            self._socket.sendall(b"i" + len(text).to_bytes(4, "big") + text)
        return self.is_up()

    def fork(self, channel: int, log: int) -> int:
        """Fork a worker that takes over both descriptors; its process id. Raises OSError where that does not work."""
        socket.send_fds(self._socket, [b"fork."], [channel, log])
        process = int.from_bytes(self._answer(), "big")
        if process == NOBODY:
            raise ConnectionError("the fork server cannot fork")
        return process

    def status_of(self, process: int) -> int | None:
        """Wait for a worker to end; its exit status, negative for a signal, None where it is not known."""
        try:
            self._socket.sendall(b"s" + process.to_bytes(4, "big"))
            status = int.from_bytes(self._answer(), "big", signed=True)
        except OSError:
            return None
        return None if status == UNKNOWN else status

    def end(self) -> None:
        """Kill it."""
        if self._popen.returncode is None:
            with suppress(OSError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_DYING_S)

    def _answer(self) -> bytes:
        try:
            answer = self._socket.recv(4, socket.MSG_WAITALL)
        except OSError:
            self._socket.close()  # a late answer would be taken for the next one's
            raise
        if len(answer) < 4:
            raise ConnectionError("the fork server is gone")
        return answer


class Launcher:
    """Starts workers of one interpreter: forked once `prepare` has been told what to import, spawned before."""

    def __init__(self, folder: Path, *, python: str, environment: Mapping[str, str]) -> None:
        """`folder` takes the logs; `environment` is that of every worker."""
        if not hasattr(os, "fork"):
            raise UsageError("a gate needs to start processes as POSIX systems do; on this system there is none yet")
        self.folder = folder
        self._python = python
        self.environment = dict(environment)
        self._count = 0
        self.server: Server | None = None
        # Not on macOS, whose frameworks end a process that was forked after they were loaded (CPython's bpo-33725).
        self.may_fork = sys.platform != "darwin"

    def prepare(self, prepared: Prepared) -> None:
        """Fork later workers off a server with these imports, where it comes up; call it again with more of them."""
        if not self.may_fork:
            return
        if self.server is not None:
            if not self.server.import_too(prepared.modules):
                self.spawn_only()
            return
        try:
            log = self.folder / "server.log"
            self.server = Server(prepared, log=log, python=self._python, environment=self.environment)
        except OSError:
            self.may_fork = False
        if self.server is not None and not self.server.is_up():
            self.spawn_only()

    def spawn_only(self) -> None:
        """Fork no more."""
        self.may_fork = False
        self.close()

    def launch(self, job: Job) -> Worker:
        """Start a worker with a job."""
        self._count += 1
        log = self.folder / f"{job.side}-{self._count}.log"
        try:
            return Worker(job, log=log, server=self.server, python=self._python, environment=self.environment)
        except OSError as error:
            if self.server is None:
                raise UsageError(f"a worker could not be started with {self._python}: {error}") from error
        self.spawn_only()
        return Worker(job, log=log, server=None, python=self._python, environment=self.environment)

    def close(self) -> None:
        """End the server."""
        server, self.server = self.server, None
        if server is not None:
            server.end()


def _session(leader: int) -> Iterator[int]:
    """Processes of a worker's session that have groups of their own, by proc(5); none where there is no /proc."""
    with suppress(OSError):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError):
                status = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                if int(status[3]) == leader:
                    yield int(name)


def _popen(
    python: str, program: str, descriptor: int, log: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    # -O, -W, -X and the like are part of what is timed. Private, but what multiprocessing and CPython's tests rely on.
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    return subprocess.Popen(
        [python, *flags, "-P", "-c", program, str(descriptor), str(os.getpid())],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=dict(environment),
        # Ctrl-C is the conductor's to take; it ends the workers.
        start_new_session=True,
    )
