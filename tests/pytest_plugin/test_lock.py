"""Timed calls take turns: across threads, coroutines and processes, dead ones too."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llm_latency.errors import UsageError
from pytest_llm_latency.lock import DeviceLock

if TYPE_CHECKING:
    from conftest import Suite

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no lock on Windows yet")

HOLDER = """
import sys, time
from pathlib import Path
from pytest_llm_latency.lock import DeviceLock

with DeviceLock(folder=Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""
PATIENCE_S = 60


@pytest.fixture
def lock(tmp_path: Path) -> DeviceLock:
    """A lock in a folder of its own."""
    return DeviceLock(folder=tmp_path)


def is_free(folder: Path) -> bool:
    """Whether somebody else could have the turn now."""
    import fcntl

    with DeviceLock(folder=folder).path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_the_turn_is_given_back_also_after_an_exception(lock: DeviceLock, tmp_path: Path) -> None:
    """Whatever the timed call does."""
    seen: list[bool] = []

    def call() -> None:
        with lock.held():
            seen.append(is_free(tmp_path))
            raise ValueError

    with pytest.raises(ValueError):
        call()
    assert [False] == seen
    assert is_free(tmp_path)
    assert "" == lock.problem


def test_a_timed_call_inside_a_timed_call_does_not_wait_for_itself(lock: DeviceLock, tmp_path: Path) -> None:
    """The outer one has the turn until it ends."""
    with lock.held():
        with lock.held():
            pass
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_another_thread_waits(lock: DeviceLock) -> None:
    """Threads of one test take turns as well."""
    order: list[str] = []

    def other() -> None:
        with lock.held():
            order.append("other")

    with lock.held():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(PATIENCE_S)
    assert ["first", "other"] == order


def test_who_waits_can_say_so(lock: DeviceLock) -> None:
    """Before the wait, and only then: a gate that stands still tells why."""
    said: list[str] = []
    with lock.held(on_wait=lambda: said.append("at once")):
        other = threading.Thread(target=lambda: _hold(lock, said))
        other.start()
        while not said:
            time.sleep(0.001)
        assert ["waiting"] == said
    other.join()
    assert ["waiting", "held"] == said


def _hold(lock: DeviceLock, said: list[str]) -> None:
    with lock.held(on_wait=lambda: said.append("waiting")):
        said.append("held")


def test_coroutines_of_one_loop_take_turns_while_the_loop_goes_on(lock: DeviceLock) -> None:
    """Waiting for the turn does not hold up the loop that lets the other one finish."""
    inside: list[int] = []
    most: list[int] = []

    async def timed() -> None:
        async with lock.held_async():
            inside.append(1)
            most.append(len(inside))
            await asyncio.sleep(0.005)
            inside.pop()

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(timed() for _ in range(4))), PATIENCE_S)

    asyncio.run(all_of_them())
    assert [1, 1, 1, 1] == most


def test_a_synchronous_call_that_could_only_wait_for_ever_is_an_error(lock: DeviceLock, tmp_path: Path) -> None:
    """The coroutine that has the turn cannot go on while this thread waits."""

    async def other() -> None:
        with pytest.raises(UsageError, match="of the same event loop is still running"), lock.held():
            pass

    async def both() -> None:
        task = asyncio.create_task(hold())
        await asyncio.sleep(0)
        await other()
        task.cancel()

    async def hold() -> None:
        async with lock.held_async():
            await asyncio.sleep(PATIENCE_S)

    asyncio.run(both())
    assert is_free(tmp_path)


def test_a_coroutine_cancelled_while_it_waits_leaves_the_lock_free(lock: DeviceLock, tmp_path: Path) -> None:
    """A turn that comes too late is given back."""

    async def wait_and_give_up() -> None:
        async def late() -> None:
            async with lock.held_async():
                raise AssertionError("this turn should not come")

        released = threading.Event()
        holder = threading.Thread(target=hold, args=(released,))
        holder.start()
        while is_free(tmp_path):
            await asyncio.sleep(0.001)
        task = asyncio.create_task(late())
        await asyncio.sleep(0.02)
        task.cancel()
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        holder.join(PATIENCE_S)
        while not is_free(tmp_path):
            await asyncio.sleep(0.001)

    def hold(released: threading.Event) -> None:
        with lock.held():
            released.wait(PATIENCE_S)

    asyncio.run(asyncio.wait_for(wait_and_give_up(), PATIENCE_S))


def test_a_worker_that_dies_gives_its_turn_back(lock: DeviceLock, tmp_path: Path) -> None:
    """The system does it, so a killed worker does not hang the others."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert "held" == holder.stdout.readline().strip()
        assert not is_free(tmp_path)
        holder.send_signal(signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate(timeout=PATIENCE_S)
    with lock.held():
        assert not is_free(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_forked_inside_the_call_does_not_keep_the_turn(lock: DeviceLock, tmp_path: Path) -> None:
    """A data loader's worker may outlive the call that started it."""
    reader, writer = os.pipe()
    with lock.held():
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    assert is_free(tmp_path)
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)


def test_without_a_place_for_the_lock_timing_goes_on_and_says_so(tmp_path: Path) -> None:
    """A folder that is missing costs the turns, not the tests."""
    lock = DeviceLock(folder=tmp_path / "missing")
    with lock.held():
        pass
    assert lock.problem.startswith("timed calls do not take turns: ")
    assert "No such file" in lock.problem


def test_timed_calls_of_two_workers_do_not_overlap(suite: Suite) -> None:
    """The spans of all timed calls, written down by the calls themselves, are disjoint; the summary says so."""
    seen = suite.run(
        """
import os

@pytest.mark.parametrize("n", range(6))
def test_timed(llmtime, n):
    def call():
        begin = time.monotonic_ns()
        time.sleep(0.005)
        with open("spans", "a") as file:
            file.write(f"{begin} {time.monotonic_ns()} {os.getpid()}\\n")
    llmtime(call, repeat=6)
""",
        *("-p", "xdist", "-n", "2"),
    )
    assert {"passed": 6} == seen.counts
    rows = [tuple(map(int, line.split())) for line in (suite.pytester.path / "spans").read_text().splitlines()]
    spans = sorted(rows)
    assert 2 == len({process for _, _, process in spans})
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert seen.having("timed calls take turns across 2 workers; other tests still run beside them: use -n 0")


def test_waiting_for_the_turn_is_not_part_of_the_time_budget(suite: Suite) -> None:
    """A call that waited longer than its budget still samples all of it: more than the one call after the budget."""
    seen = suite.run("""
import threading
import time
from pytest_llm_latency.lock import DeviceLock

def test_waits(llmtime):
    held = threading.Event()
    def hold():
        with DeviceLock().held():
            held.set()
            time.sleep(0.5)
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    m = llmtime(plain, time_budget="200 ms", precision=1e-9)
    thread.join()
    assert len(m.traces) > 5
""")
    assert {"passed": 1} == seen.counts
