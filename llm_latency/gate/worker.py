"""Worker: one side's process, from its job to its last word; not what is measured in it, which the job names."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace
from llm_latency.gate.imports import Imports, inventory
from llm_latency.gate.message import Called, Channel, Ended, Finished, Go, Imported, Job, Ready, Reported, Stop
from llm_latency.record.clock import HostClock
from llm_latency.record.machine import memory_room

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


class Released(Exception):
    """This llmtime() has nothing on the other side to be set against, so it ends without a result."""


class Baton:
    """The worker's end of the conversation: turns for calls, and words about tests."""

    def __init__(self, channel: Channel, imported: Callable[[], Imported]) -> None:
        """`imported` tells where this side's code came from, asked before its first call."""
        self._channel = channel
        self._imported: Callable[[], Imported] | None = imported
        self._counts: dict[str, int] = {}

    def turns(self, test: str, name: str) -> Turns:
        """The pace of a test's next llmtime()."""
        index = self._counts[test] = self._counts.get(test, 0) + 1
        return Turns(self, test=test, name=name, index=index)

    def again(self, test: str) -> None:
        """A test begins, perhaps once more: its llmtime() calls are counted anew."""
        self._counts.pop(test, None)

    def reported(self, test: str, outcome: str, text: str = "") -> None:
        """Say what became of a test."""
        self._channel.send(Reported(test=test, outcome=outcome, text=text))

    def introduced(self) -> None:
        """Say where the code came from, once."""
        if self._imported is not None:
            imported, self._imported = self._imported(), None
            self._channel.send(imported)

    def turn(self, message: Ready | Called) -> Go | Stop:
        """Say how far this side is, and wait for what comes next."""
        self._channel.send(message)
        answer = self._channel.receive()
        assert isinstance(answer, Go | Stop)
        return answer

    def ended(self, message: Ended) -> None:
        """Say that an llmtime() is over."""
        self._channel.send(message)


class Turns:
    """The pace of one llmtime(): each call waits for the conductor's go, and spins before it starts.

    A core that has idled runs slower at first, so both sides come from the same short spin.
    """

    def __init__(self, baton: Baton, *, test: str, name: str, index: int) -> None:
        """Nothing is said yet."""
        self.test, self.name, self.index = test, name, index
        self._baton = baton
        self._cores: tuple[int, ...] | None = None
        self._stage: str | None = None

    def next_call(self, last: Trace | None) -> str | None:
        """Wait for the turn; raises Released where the other side has no such call."""
        if last is None and self._stage is not None:  # the first call has to be begun anew, in the same turn
            return self._stage
        answer = self._baton.turn(self._ready() if last is None else Called(trace=last))
        if isinstance(answer, Stop):
            if answer.is_whole:
                return None
            raise Released("the other side has nothing to set this against")
        if answer.cores != self._cores:
            pin(answer.cores)
            self._cores = answer.cores
        self._stage = answer.stage
        spin(answer.spin_ns)
        return answer.stage

    def ended(self, *, problem: str = "", environment: Environment | None = None) -> None:
        """Say that it is over."""
        self._baton.ended(Ended(test=self.test, index=self.index, problem=problem, environment=environment))

    def _ready(self) -> Ready:
        self._baton.introduced()
        torch = sys.modules.get("torch")
        threads = torch.get_num_threads() if torch is not None and hasattr(torch, "get_num_threads") else 1
        used, free = memory_room()
        return Ready(test=self.test, name=self.name, index=self.index, threads=threads, used=used, free=free)


def spin(duration_ns: int) -> None:
    """Keep this thread's core busy."""
    now_ns = HostClock().now_ns  # a test may have frozen `time`
    end_ns = now_ns() + duration_ns
    while now_ns() < end_ns:
        pass


def pin(cores: tuple[int, ...] | None) -> None:
    """Bind every thread of this process to cores; threads that they start later inherit them."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        return
    for thread in os.listdir("/proc/self/task") if Path("/proc/self/task").is_dir() else ("0",):
        try:
            os.sched_setaffinity(int(thread), cores)
        except OSError:  # it has ended, or this machine does not allow it: both sides are alike in that
            continue


def main(descriptor: int, parent: int) -> None:
    """Run the job that comes over an inherited socket, and leave at once, without taking anything down slowly."""
    problem = "it was told nothing"
    try:
        die_with_parent(parent)
        os.set_inheritable(descriptor, False)  # what a test starts has no part in this
        channel = Channel(descriptor)  # its end is that of this process
        problem = _served(channel)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a test may have closed it
                stream.flush()
        os._exit(1 if problem else 0)


def _served(channel: Channel) -> str:
    try:
        job = channel.receive()
        assert isinstance(job, Job)
        problem = _run(job, channel)
        channel.send(Finished(problem=problem))
        return problem
    except BaseException as error:
        with suppress(Exception):  # into the log too: whoever conducted this may be gone; a test may have closed it
            traceback.print_exc()
        with suppress(OSError):
            channel.send(Finished(problem=traceback.format_exc()))
        return repr(error)


def _run(job: Job, channel: Channel) -> str:
    module, _, function = job.run.partition(":")
    # With the path that it has been started with: a project's tokenize.py must not come before the standard library's
    # where the test runner itself needs that.
    run: Callable[[Job, Baton], str | None] = getattr(importlib.import_module(module), function)
    if job.scratch is not None:
        os.makedirs(job.scratch, exist_ok=True)
    if job.start is not None:
        os.chdir(job.start)
    sys.path[:] = (*job.before, *sys.path, *job.after) if job.path is None else job.path
    imports = Imports(job)
    imports.install()
    installed = functools.cache(inventory) if job.wants_inventory else dict

    def imported() -> Imported:
        return msgspec.structs.replace(imports.imported(), inventory=installed())

    problem = run(job, Baton(channel, imported)) or ""
    channel.send(imported())  # once more: a timed call may have imported something
    return problem


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when the one that started it dies, and leave if it has; Linux only."""
    if sys.platform != "linux":
        return
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it is gone, or an interpreter is a script that has started this one
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
