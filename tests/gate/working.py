"""Jobs for workers that are real processes, and where these find them; no tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.gate.message import Finished, Job, Message, Reported
from llm_latency.gate.process import Worker
from llm_latency.gate.worker import Baton

PATIENCE_S = 60.0


def job(function: Callable[[Job, Baton], str | None], *, scratch: Path | None = None, **arguments: Any) -> Job:
    """A job that runs a function of this file."""
    return Job(
        side="base",
        run=f"working:{function.__name__}",
        arguments=arguments,
        own="/nowhere",
        home="/nowhere",
        trees=(),
        scratch=None if scratch is None else str(scratch),
    )


def changed(asked: Job, **changes: Any) -> Job:
    """A job with some of its fields changed."""
    return msgspec.structs.replace(asked, **changes)


def environment(*folders: Path) -> dict[str, str]:
    """One in which workers find this file."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *map(str, folders)])}


def heard(worker: Worker) -> list[Message]:
    """All that a worker says until it has finished; raises as its channel does."""
    messages: list[Message] = []
    while not messages or not isinstance(messages[-1], Finished):
        message = worker.receive(PATIENCE_S)
        assert message is not None, "it said nothing"
        messages.append(message)
    return messages


def words(worker: Worker) -> list[str]:
    """The texts of what it reports."""
    return [message.text for message in heard(worker) if isinstance(message, Reported)]


def is_there(process: int) -> bool:
    """Whether a process runs, and is not only waited for."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_gone(processes: Sequence[int]) -> None:
    """Wait until processes that were killed are taken down."""
    end = time.monotonic() + PATIENCE_S
    while any(map(is_there, processes)):
        assert time.monotonic() < end, "they still run"
        time.sleep(0.01)


def say(job: Job, baton: Baton) -> None:
    """Report what an expression gives."""
    for expression in job.arguments["expressions"]:
        baton.reported("test", "passed", str(eval(expression)))


def leave(job: Job, baton: Baton) -> None:
    """End at once, by a status or a signal."""
    status = job.arguments["status"]
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def fail(job: Job, baton: Baton) -> str:
    """Say what went wrong, or raise it."""
    if job.arguments["error"] is not None:
        raise {"OSError": OSError, "SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[
            job.arguments["error"]
        ]("no such thing")
    return "it could not"


def have_children(job: Job, baton: Baton) -> None:
    """Start three that live on: one in the own group, one in another, one that keeps the channel; then go or stay."""
    processes = []
    for kind in ("own", "other"):
        process = os.fork()
        if not process:
            if kind == "other":
                os.setpgid(0, 0)
            time.sleep(600)
        processes.append(process)
    baton.reported("test", "passed", " ".join(map(str, processes)))
    if job.arguments["crashes"]:
        os._exit(3)


def hang(job: Job, baton: Baton) -> None:
    """Say a word and then nothing."""
    baton.reported("test", "passed", str(os.getpid()))
    time.sleep(600)


def write(job: Job, baton: Baton) -> None:
    """Write lines, and a file."""
    for number in range(job.arguments["lines"]):
        print(f"line {number}")  # noqa: T201  # into its log
    if job.scratch is not None:
        Path(job.scratch, "file").touch()
    if job.arguments.get("crash"):
        sys.stdout.flush()
        print("Fatal Python error: made up", *range(30), sep="\n", flush=True)  # noqa: T201
