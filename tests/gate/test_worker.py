"""A worker's side of the conversation: turns, words, where it runs, and how it leaves."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace
from llm_latency.gate import worker
from llm_latency.gate.message import Called, Ended, Finished, Go, Imported, Message, Ready, Reported, Stop
from llm_latency.gate.process import Launcher
from llm_latency.gate.worker import Baton, Released, die_with_parent, pin, spin
from tests.gate import working
from tests.gate.working import heard, job

IMPORTED = Imported(files={"pkg": "pkg/__init__.py"}, versions={})
TRACE = Trace(start_ns=1, stop_ns=2)


class Conductor:
    """The other end of the channel: what it answers, and what it has heard."""

    def __init__(self, *answers: Go | Stop) -> None:
        self.heard: list[Message] = []
        self._answers = iter(answers)

    def send(self, message: Message) -> None:
        """Hear it."""
        self.heard.append(message)

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Answer."""
        return next(self._answers)


def baton(*answers: Go | Stop) -> tuple[Baton, Conductor]:
    """One, and who is at its other end."""
    conductor = Conductor(*answers)
    return Baton(conductor, lambda: IMPORTED), conductor  # type: ignore[arg-type]  # by what it can


@pytest.fixture(autouse=True)
def nowhere_pinned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """No test binds this process; the cores that it would have had, once for each of its threads."""
    cores: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, wanted: cores.append(wanted), raising=False)
    return cores


def test_turns_of_one_llmtime(nowhere_pinned: list[tuple[int, ...]]) -> None:
    """Where the code came from is said once, then how far it is; cores are taken when they change."""
    ends, conductor = baton(Go(stage="cold", cores=(3,)), Go(stage="counted", cores=(3,)), Stop())
    turns = ends.turns("test", "name")
    assert ["cold", "counted", None] == [turns.next_call(last) for last in (None, TRACE, TRACE)]
    turns.ended(environment=Environment(device="cpu"))
    imported, ready, *others = conductor.heard
    assert imported is IMPORTED
    assert isinstance(ready, Ready) and ("test", "name", 1) == (ready.test, ready.name, ready.index)
    assert [Called(trace=TRACE)] * 2 == others[:2]
    assert [Ended(test="test", index=1, environment=Environment(device="cpu"))] == others[2:]
    assert {(3,)} == set(nowhere_pinned)


def test_a_first_call_that_is_begun_anew() -> None:
    """In the same turn, without a word: what did not look asynchronous, and was."""
    ends, conductor = baton(Go(stage="cold"))
    turns = ends.turns("test", "name")
    assert ["cold", "cold"] == [turns.next_call(None), turns.next_call(None)]
    assert 2 == len(conductor.heard)


def test_nothing_to_be_set_against() -> None:
    """The other side has no such call, or none any more."""
    ends, _ = baton(Stop(is_whole=False))
    with pytest.raises(Released):
        ends.turns("test", "name").next_call(None)


def test_calls_are_counted_in_each_test() -> None:
    """Anew when a test begins again."""
    ends, conductor = baton(*[Go(stage="cold")] * 4)
    for test, again in (("a", False), ("a", False), ("b", False), ("a", True)):
        if again:
            ends.again(test)
        ends.turns(test, "name").next_call(None)
    ready = [message for message in conductor.heard if isinstance(message, Ready)]
    assert [("a", 1), ("a", 2), ("b", 1), ("a", 1)] == [(message.test, message.index) for message in ready]


def test_words_about_tests() -> None:
    """Also before anything was timed."""
    ends, conductor = baton()
    ends.reported("test", "skipped", "no GPU")
    assert [Reported(test="test", outcome="skipped", text="no GPU")] == conductor.heard


def test_what_is_used_and_free_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the memory that models lie in, and how many threads torch has."""

    class Torch:
        get_num_threads = staticmethod(lambda: 7)

    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.setattr(worker, "memory_room", lambda: (10, None))
    ends, conductor = baton(Stop())
    assert ends.turns("test", "name").next_call(None) is None
    ready = conductor.heard[-1]
    assert isinstance(ready, Ready) and (7, 10, None) == (ready.threads, ready.used, ready.free)


def test_a_spin_lasts_its_time_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly to the clock's first instant at which it is over."""
    instants = itertools.count(0, 10)
    seen: list[int] = []

    class Clock:
        def now_ns(self) -> int:
            seen.append(next(instants))
            return seen[-1]

    monkeypatch.setattr(worker, "HostClock", Clock)
    spin(25)
    assert [0, 10, 20, 30] == seen
    spin(0)
    assert 2 == len(seen) - 4


def test_a_spin_under_a_frozen_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that has frozen `time`, or turned it back, does not hang its worker."""
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 0)
    monkeypatch.setattr(time, "monotonic_ns", itertools.count(0, -1).__next__)
    spin(1_000)


def test_pinning(monkeypatch: pytest.MonkeyPatch, nowhere_pinned: list[tuple[int, ...]]) -> None:
    """Every thread where the system lists them, this one where it does not, none where that is not possible."""
    pin(None)
    assert [] == nowhere_pinned
    pin((0,))
    assert len(os.listdir("/proc/self/task")) == len(nowhere_pinned)
    monkeypatch.setattr(Path, "is_dir", lambda _: False)
    pin((1,))
    assert (1,) == nowhere_pinned[-1] and 1 == nowhere_pinned.count((1,))

    def refuse(_: int, __: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    pin((2,))
    monkeypatch.delattr(os, "sched_setaffinity")
    pin((3,))


def test_it_does_not_outlive_who_has_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is gone already when it begins; on other systems its channel tells."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    program = "from llm_latency.gate.worker import die_with_parent as d; d({}); print('on')"
    # The last one is there and has not started it: a script in the place of an interpreter has.
    for parent, expected in ((gone.pid, ""), (os.getpid(), "on\n"), (os.getppid(), "on\n")):
        done = subprocess.run(
            [sys.executable, "-c", program.format(parent)], capture_output=True, text=True, check=False
        )
        assert expected == done.stdout, done.stderr
    monkeypatch.setattr(sys, "platform", "darwin")
    die_with_parent(gone.pid)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """One that spawns."""
    made = Launcher(tmp_path, python=sys.executable, environment=working.environment())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("around", "expression", "expected"),
    [
        ({"path": None}, "'/front' in sys.path", "False"),
        (
            {"path": None, "before": ("/front",), "after": ("/back",)},
            "sys.path[0], sys.path[-1], len(sys.path) > 3",
            "('/front', '/back', True)",
        ),
        ({"path": ("", "/whole"), "before": ("/front",), "after": ("/back",)}, "sys.path", "['', '/whole']"),
    ],
)
def test_where_it_runs(
    launcher: Launcher, tmp_path: Path, around: dict[str, tuple[str, ...]], expression: str, expected: str
) -> None:
    """In its folder, with its sys.path; what it is to run is found before that, so that nothing comes in between."""
    asked = job(working.say, expressions=[expression, "os.getcwd()"], scratch=tmp_path / "a" / "b")
    process = launcher.launch(working.changed(asked, start=str(tmp_path), **around))
    messages = heard(process)
    process.end()
    assert [expected, str(tmp_path)] == [message.text for message in messages if isinstance(message, Reported)]
    assert (tmp_path / "a" / "b").is_dir()
    assert [Imported, Finished] == [type(message) for message in messages[-2:]]


@pytest.mark.parametrize("wants", [True, False])
def test_what_is_installed_is_told_where_it_was_asked_for(launcher: Launcher, wants: bool) -> None:
    """It takes a while to find out."""
    process = launcher.launch(working.changed(job(working.say, expressions=[]), wants_inventory=wants))
    imported = heard(process)[-2]
    process.end()
    assert isinstance(imported, Imported) and wants == ("pytest" in imported.inventory)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": "/nowhere"}, "FileNotFoundError"),
        ({"scratch": "/proc/nowhere"}, "Error"),
        ({"run": "working:nothing"}, "AttributeError"),
        ({"run": "nothing:at_all"}, "No module named 'nothing'"),
    ],
)
def test_a_job_that_cannot_be_begun(launcher: Launcher, change: dict[str, str], words: str) -> None:
    """It says why, and leaves."""
    process = launcher.launch(working.changed(job(working.say, expressions=[]), **change))
    finished = heard(process)[-1]
    assert isinstance(finished, Finished) and words in finished.problem
    assert process.wait_ended(seconds=60) and 1 == process.end()
    assert words in process.last_lines()
