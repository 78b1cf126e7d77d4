"""How the delay by other programs is defined and read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llm_latency.record import contention
from llm_latency.record.contention import RunQueue, displaced_ns, involuntary_switches

MS = 1_000_000
needs_schedstat = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this system does not report run-queue delay"
)


@pytest.mark.parametrize(
    ("threads", "cores", "expected"),
    [
        ([], 2, 0),
        ([(100, 0)], 2, 0),
        ([(60, 40)], 2, 40),  # one thread: what it waited
        ([(60, 40), (0, 1)], 2, 40),  # a heartbeat's millisecond is not the call's
        # Two threads on two cores beside one busy neighbour: each waits a third, never both at once.
        ([(67, 33), (67, 33)], 2, 66),
        # Beside two: each waits half, and half of that together: 1 - 0.5 · 0.5.
        ([(50, 50), (50, 50)], 2, 75),
        ([(10, 90), (0, 0)], 1, 90),
        ([(0, 300)], 2, 100),  # never more than the span
        ([(50, 50)] * 4, 2, 0),  # four threads of ours on two cores, which nobody else had
        ([(67, 33), (67, 33), (10, 0)], 2, 56),  # never more than what this process left of the cores
    ],
)
def test_delay_is_the_time_in_which_a_working_thread_waited(
    threads: list[tuple[int, int]], cores: int, expected: int
) -> None:
    """Exact for one thread; the sum where waits exclude each other, their union where they are independent."""
    found = displaced_ns([(ran * MS, waited * MS) for ran, waited in threads], wall_ns=100 * MS, cores=cores)
    assert expected * MS == pytest.approx(found, abs=0.02 * 100 * MS)


def test_a_span_of_no_time_has_no_delay() -> None:
    """Two readings may fall on one instant."""
    assert 0 == displaced_ns([(0, 5)], wall_ns=0, cores=2)


class FakeTasks:
    """A /proc/self/task with the schedstat of each thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def set(self, thread: int, ran_ms: int, waited_ms: int) -> None:
        """Write a thread's times; a file that is open is seen to change."""
        (self.folder / str(thread)).mkdir(exist_ok=True)
        (self.folder / str(thread) / "schedstat").write_text(f"{ran_ms * MS} {waited_ms * MS} 7\n")


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTasks:
    """Threads that are told how long they ran and waited."""
    monkeypatch.setattr(contention, "_TASKS", tmp_path)
    return FakeTasks(tmp_path)


def test_readings_count_from_the_beginning(tasks: FakeTasks) -> None:
    """Delay from before the call is not its own, and each stretch adds to the one before."""
    tasks.set(1, 1000, 500)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    tasks.set(1, 1060, 540)
    queue.read(100 * MS)
    tasks.set(1, 1150, 550)
    queue.read(200 * MS)
    queue.close()
    assert [(0, 0), (100 * MS, 40 * MS), (200 * MS, 50 * MS)] == queue.readings


def test_a_thread_that_is_born_in_the_call_counts_whole(tasks: FakeTasks) -> None:
    """Notebooks start generate in a new thread for every call; the main one sleeps meanwhile."""
    tasks.set(1, 10, 0)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    tasks.set(2, 70, 30)
    queue.read(100 * MS, is_end=True)
    queue.close()
    assert (100 * MS, 30 * MS) == queue.readings[-1]


def test_a_thread_that_ended_is_forgotten(tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file can still be open and refuses to be read."""
    tasks.set(1, 10, 0)
    tasks.set(2, 10, 0)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    tasks.set(1, 90, 20)
    real, gone = os.pread, queue._files["2"]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if descriptor == gone:
            raise ProcessLookupError
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    (tasks.folder / "2" / "schedstat").unlink()
    queue.read(100 * MS)
    queue.close()
    assert (100 * MS, 20 * MS) == queue.readings[-1]


def test_an_instant_before_the_last_reading_adds_none(tasks: FakeTasks) -> None:
    """Two threads of a call may read in another order than they took their instants."""
    tasks.set(1, 0, 0)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    queue.read(100 * MS)
    queue.read(99 * MS)
    queue.close()
    assert [0, 100 * MS] == [at for at, _ in queue.readings]


def test_where_the_system_does_not_report_it_there_are_no_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS, Windows, a container without /proc."""
    monkeypatch.setattr(contention, "_TASKS", tmp_path / "missing")
    queue = RunQueue(cores=None)
    queue.begin()
    queue.start(0)
    queue.read(5)
    queue.close()
    assert [] == queue.readings


def test_a_reading_inside_a_reading_is_left_out(tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector may end an abandoned stream in the middle of one, which asks again in the same thread."""
    tasks.set(1, 0, 0)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        queue.read(50 * MS)
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    queue.read(100 * MS)
    monkeypatch.undo()
    queue.close()
    assert [0, 100 * MS] == [at for at, _ in queue.readings]


def test_a_reading_after_the_end_opens_nothing(tasks: FakeTasks) -> None:
    """A request may outlive its watch."""
    tasks.set(1, 0, 0)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    queue.close()
    queue.read(100 * MS)
    assert ({}, [(0, 0)]) == (queue._files, queue.readings)


def test_a_glance_is_of_the_asking_thread_and_adds_no_reading(tasks: FakeTasks) -> None:
    """What it has waited since the beginning; one that was born since then, all that it waited."""
    own = threading.get_native_id()
    tasks.set(own, 5, 3)
    queue = RunQueue(cores=2)
    queue.begin()
    assert queue.waited_ns() is None  # nothing has begun
    queue.start(0)
    tasks.set(own, 50, 12)
    assert (9 * MS, 9 * MS) == (queue.waited_ns(), queue.waited_ns())
    found: list[int | None] = []

    def ask() -> None:
        tasks.set(threading.get_native_id(), 1, 7)
        found.append(queue.waited_ns())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    queue.close()
    assert ([7 * MS], [(0, 0)]) == (found, queue.readings)
    assert (None, {}) == (queue.waited_ns(), queue._files)


def test_a_glance_inside_a_reading_is_left_out(tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reading inside a reading is: it would wait for itself."""
    own = threading.get_native_id()
    tasks.set(own, 0, 0)
    queue = RunQueue(cores=2)
    queue.begin()
    queue.start(0)
    real, found = os.pread, list[int | None]()

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        found.append(queue.waited_ns())
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    queue.read(100 * MS)
    assert 0 == queue.waited_ns()
    monkeypatch.undo()
    queue.close()
    assert [None, None] == found


def test_threads_that_read_while_another_closes_raise_nothing() -> None:
    """Three threads read as fast as they can while watches open and close."""
    queues = [RunQueue(cores=2) for _ in range(60)]
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            while not done.is_set():
                for queue in queues:
                    queue.read(time.perf_counter_ns())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for queue in queues:
        queue.begin()
        queue.start(time.perf_counter_ns())
        queue.read(time.perf_counter_ns(), is_end=True)
        queue.close()
    done.set()
    for thread in threads:
        thread.join()
    assert [] == errors
    assert [{}] * 60 == [queue._files for queue in queues]


def test_every_file_is_closed_again(tasks: FakeTasks) -> None:
    """Also when closed twice."""
    for thread in range(5):
        tasks.set(thread, 1, 1)
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    queue = RunQueue(cores=2)
    queue.begin()
    queue.close()
    queue.close()
    after = set(os.listdir("/proc/self/fd")) if before else set()
    assert before == after


def test_involuntary_switches_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that never falls; None where Python has no getrusage."""
    first = involuntary_switches()
    second = involuntary_switches()
    assert (first is None and second is None) or (first is not None and second is not None and first <= second)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert involuntary_switches() is None


@needs_schedstat
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a thread bound to a core")
def test_a_neighbour_on_the_same_core_is_seen() -> None:
    """A thread bound to the core of a process that burns it loses some of its time, and hears of it."""
    core = min(os.sched_getaffinity(0))
    burn = f"import os; os.sched_setaffinity(0, [{core}]); print(flush=True)\nwhile True: pass"
    found: list[tuple[int, int]] = []

    def work() -> None:
        os.sched_setaffinity(threading.get_native_id(), [core])
        queue = RunQueue(cores=1)
        queue.begin()
        start = time.perf_counter_ns()
        queue.start(start)
        while time.perf_counter_ns() < start + 300 * MS:
            pass
        queue.read(time.perf_counter_ns())
        queue.close()
        found.extend(queue.readings)

    with subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) as neighbour:
        assert neighbour.stdout is not None
        neighbour.stdout.readline()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        neighbour.kill()
    wall, delay = found[-1][0] - found[0][0], found[-1][1]
    assert 0 < delay < wall
