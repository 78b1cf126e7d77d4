"""Workers as real processes: started, heard, ended with all that they have started; and what the system lacks."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_latency.errors import UsageError
from llm_latency.gate import process
from llm_latency.gate.message import Channel, Finished, Reported
from llm_latency.gate.process import Launcher
from llm_latency.gate.server import Prepared
from tests.gate import working
from tests.gate.working import heard, is_there, job, wait_gone, words


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """One that spawns."""
    logs = tmp_path / "logs"
    logs.mkdir()
    made = Launcher(logs, python=sys.executable, environment=working.environment())
    yield made
    made.close()


@pytest.fixture(params=["spawned", "forked"])
def either(launcher: Launcher, request: pytest.FixtureRequest) -> Launcher:
    """One that spawns, and one that forks."""
    if request.param == "forked":
        launcher.prepare(Prepared(path=None, modules=("working",)))
        assert launcher.server is not None
    return launcher


def test_a_worker_says_its_words_and_leaves(either: Launcher) -> None:
    """In a session of its own, without the user's standard input."""
    expressions = ["os.getpid() == os.getsid(0)", "os.path.realpath('/proc/self/fd/0')", "sys.argv[0]"]
    worker = either.launch(job(working.say, expressions=expressions))
    assert ["True", "/dev/null", "-c"] == words(worker)
    assert worker.wait_ended(seconds=60)
    assert 0 == worker.end()
    assert worker.is_forked == (either.server is not None)


@pytest.mark.parametrize("status", [0, 3, -signal.SIGKILL, -signal.SIGSEGV])
def test_how_it_has_ended(either: Launcher, status: int) -> None:
    """Asked as often as anybody likes; the next one starts as well as the first."""
    for _ in range(2):
        worker = either.launch(job(working.leave, status=status))
        with pytest.raises(EOFError):
            heard(worker)
        assert [status] * 3 == [worker.end() for _ in range(3)]


def test_silence(either: Launcher) -> None:
    """None after a time; a kill ends it, and is its status."""
    worker = either.launch(job(working.hang))
    assert isinstance(worker.receive(60.0), Reported)
    assert worker.receive(0.01) is None and not worker.wait_ended(seconds=0.0)
    assert -signal.SIGKILL == worker.end()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="what ends is told by its channel alone here")
@pytest.mark.parametrize("crashes", [True, False])
def test_children_end_with_it(either: Launcher, crashes: bool) -> None:
    """Those of other process groups too; they hold the channel, and its end is noticed all the same."""
    worker = either.launch(job(working.have_children, crashes=crashes))
    told = worker.receive(60.0)
    assert isinstance(told, Reported)
    children = [int(text) for text in told.text.split()]
    assert all(map(is_there, children))
    assert worker.wait_ended(seconds=60)
    assert (3 if crashes else 0) == worker.end()
    wait_gone(children)


def test_many_of_them_leave_nothing_open(either: Launcher) -> None:
    """Thirty pairs: no descriptor, no zombie, no file."""
    open_before = len(os.listdir("/proc/self/fd"))
    for _ in range(30 if either.server is not None else 3):
        workers = [either.launch(job(working.say, expressions=["1"])) for _ in range(2)]
        for worker in workers:
            assert isinstance(heard(worker)[-1], Finished)
            worker.end()
            worker.forget()
    assert open_before == len(os.listdir("/proc/self/fd"))
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    server = either.server
    assert [] == [child for child in children if not is_there(int(child))]
    if server is not None:
        theirs = f"/proc/{server.process}"
        assert "" == Path(f"{theirs}/task/{server.process}/children").read_text()
        assert 4 >= len(os.listdir(f"{theirs}/fd"))
    assert [] == [path.name for path in (either.folder).iterdir() if path.name != "server.log"]


def test_its_last_lines(either: Launcher, tmp_path: Path) -> None:
    """A dozen of however many; of a crash the first ones; gone with what it has written once it is forgotten."""
    worker = either.launch(job(working.write, lines=100_000, scratch=tmp_path / "scratch"))
    heard(worker)
    worker.end()
    assert "\n".join(f"line {number}" for number in range(99_988, 100_000)) == worker.last_lines()
    assert (tmp_path / "scratch" / "file").exists()
    worker.forget()
    assert "" == worker.last_lines() and not (tmp_path / "scratch").exists()
    worker = either.launch(job(working.write, lines=3, crash=True))
    heard(worker)
    worker.end()
    assert ["Fatal Python error: made up", *map(str, range(11))] == worker.last_lines().splitlines()


def test_it_says_where_it_stands(launcher: Launcher) -> None:
    """Without leaving a core behind, where nobody catches the signal."""
    worker = launcher.launch(job(working.hang))
    worker.receive(60.0)
    worker.abort()
    assert worker.wait_ended(seconds=60)
    assert -signal.SIGABRT == worker.end()


def test_an_interrupt_while_it_starts(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of telling it its job: it is ended."""
    ended: list[int] = []
    end = process.Worker.end
    monkeypatch.setattr(process.Worker, "end", lambda self: (ended.append(self.process), end(self)))

    def send(self: Channel, message: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Channel, "send", send)
    with pytest.raises(KeyboardInterrupt):
        launcher.launch(job(working.hang))
    assert 1 == len(ended) and not is_there(ended[0])


def test_a_server_that_is_gone(launcher: Launcher) -> None:
    """Workers are spawned from then on, and statuses of its own are not known."""
    launcher.prepare(Prepared(path=None, modules=()))
    assert launcher.server is not None
    worker = launcher.launch(job(working.hang))
    worker.receive(60.0)
    os.kill(launcher.server.process, signal.SIGKILL)
    with pytest.raises(EOFError):  # it dies with its parent
        worker.receive(60.0)
    assert worker.end() is None
    second = launcher.launch(job(working.say, expressions=["1"]))
    assert ["1"] == words(second)
    assert not second.is_forked and not launcher.may_fork
    second.end()


@pytest.mark.parametrize("program", ["import time; time.sleep(600)", "raise SystemExit", "print(1 / 0)"])
def test_a_server_that_does_not_come_up(launcher: Launcher, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """It hangs in an import, or leaves: it is done without, and ended."""
    monkeypatch.setattr(process, "_SERVER", program)
    monkeypatch.setattr(process, "_SERVER_PATIENCE_S", 0.2 if "sleep" in program else 60.0)
    launcher.prepare(Prepared(path=None, modules=("a",) * 100_000))
    assert launcher.server is None and not launcher.may_fork
    assert "" == Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_a_server_that_cannot_fork(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no room for another process in it."""
    no_fork = "import os; os.fork = lambda: (_ for _ in ()).throw(BlockingIOError(11, 'no room'))\n"
    monkeypatch.setattr(process, "_SERVER", no_fork + process._SERVER)
    launcher.prepare(Prepared(path=None, modules=()))
    assert launcher.server is not None
    worker = launcher.launch(job(working.say, expressions=["1"]))
    assert ["1"] == words(worker) and not worker.is_forked
    worker.end()


def test_a_late_answer_is_not_taken_for_another_one(launcher: Launcher) -> None:
    """A server that was given up once is not asked again."""
    launcher.prepare(Prepared(path=None, modules=()))
    server = launcher.server
    assert server is not None
    os.kill(server.process, signal.SIGSTOP)
    server._socket.settimeout(0.05)
    assert server.status_of(1) is None
    os.kill(server.process, signal.SIGCONT)
    time.sleep(0.05)
    with pytest.raises(OSError):
        server.fork(0, 1)


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    launcher = Launcher(tmp_path, python="/nowhere/python", environment={})
    with pytest.raises(UsageError, match="could not be started with /nowhere/python"):
        launcher.launch(job(working.hang))
    launcher.prepare(Prepared(path=None, modules=()))
    assert not launcher.may_fork


def test_other_systems(launcher: Launcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without descriptors of processes and without /proc; without forking; and without processes as POSIX has them."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": real(path if path != "/proc" else "/nowhere"))
    worker = launcher.launch(job(working.leave, status=3))
    with pytest.raises(EOFError):
        heard(worker)
    assert 3 == worker.end()
    monkeypatch.setattr(sys, "platform", "darwin")
    mac = Launcher(tmp_path, python=sys.executable, environment={})
    mac.prepare(Prepared(path=None, modules=()))
    assert mac.server is None
    monkeypatch.delattr(os, "fork")
    with pytest.raises(UsageError, match="as POSIX systems do"):
        Launcher(tmp_path, python=sys.executable, environment={})


def test_a_server_that_is_told_more_imports_it_too(launcher: Launcher) -> None:
    """What the first pair has shown is there for the second; a server that has gone is done without."""
    launcher.prepare(Prepared(path=None, modules=("working",)))
    launcher.prepare(Prepared(path=None, modules=("wave",)))
    assert ["True"] == words(launcher.launch(job(working.say, expressions=["'wave' in sys.modules"])))
    assert launcher.server is not None
    os.kill(launcher.server.process, signal.SIGKILL)
    launcher.prepare(Prepared(path=None, modules=("wave",)))
    assert (None, False) == (launcher.server, launcher.may_fork)
