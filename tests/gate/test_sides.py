"""Pairs as they are started: together or in turn, spawned or forked; whatever happens, all is taken down again."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.gate import sides as module
from llm_latency.gate.imports import Imports
from llm_latency.gate.message import Imported, Job, Message, Ready
from llm_latency.gate.pair import BASE, HEAD, Rounds
from llm_latency.gate.pinning import Pinning
from llm_latency.gate.server import Prepared
from llm_latency.gate.sides import Sides
from llm_latency.testing import ManualClock
from tests.gate.scripted_sides import Body, Dead, Scripted, timed

GIB = 1 << 30
IMPORTED = Imported(
    files={"pkg": "pkg.py"},
    versions={},
    modules=("json", "library.deep", "library"),
)


class Desk:
    """Starts scripted workers and keeps account of them."""

    def __init__(self, **bodies: Body) -> None:
        """Of each side a test that it runs; by default both time one call."""
        self.bodies = {BASE: timed(), HEAD: timed()} | bodies
        self.clock = ManualClock()
        self.launched: list[tuple[str, bool, bool]] = []
        self.running: list[str] = []
        self.most = 0
        self.forgotten = 0
        self.prepared: list[Prepared] = []
        self.server: object | None = None
        self.can_fork = True
        self.is_closed = False
        self.memory: tuple[int | None, int | None] = (1 * GIB, 10 * GIB)
        self.problems: dict[str, str] = {}
        self.imported = IMPORTED
        self.leaves, self.status, self.log = True, 0, ""

    def launch(self, job: Job) -> Acting:
        """Start one."""
        self.launched.append((job.side, job.wants_inventory, self.server is not None))
        self.running.append(job.side)
        self.most = max(self.most, len(self.running))
        return Acting(self, job)

    def prepare(self, prepared: Prepared) -> None:
        """Fork from now on."""
        self.prepared.append(prepared)
        self.server = self if self.can_fork else None

    def spawn_only(self) -> None:
        """Fork no more."""
        self.server, self.can_fork = None, False

    def close(self) -> None:
        """End."""
        self.is_closed = True

    def sides(self, **others: Any) -> Sides:
        """Both sides at this desk."""

        def job(side: str, tests: Sequence[str], wants_inventory: bool) -> Job:
            return Job(
                side=side,
                run="",
                arguments={"tests": list(tests)},
                own="/own",
                home="/home",
                trees=("/own", "/home"),
                path=("/own", "/library"),
                wants_inventory=wants_inventory,
            )

        launchers = dict.fromkeys((BASE, HEAD), self)
        pinning = others.pop("pinning", None) or Pinning(stat=Path("/nowhere"))
        return Sides(job, launchers=launchers, rounds=Rounds(seconds=0.0), pinning=pinning, seed=1, **others)  # type: ignore[arg-type]


class Acting:
    """A worker that keeps to a script."""

    def __init__(self, desk: Desk, job: Job) -> None:
        self.side, self._desk = job.side, desk
        tests = [(test, desk.bodies[job.side]) for test in job.arguments["tests"]]
        problem = desk.problems.get(job.side, "")
        self._script = Scripted(job.side, tests, clock=desk.clock, imported=desk.imported, problem=problem)
        self.channel = self._script
        self.aborted = False

    def receive(self, timeout_s: float) -> Message | None:
        """Say what comes next, with what it uses of the memory."""
        message = self._script.receive(timeout_s)
        used, free = self._desk.memory
        if isinstance(message, Ready):
            message = Ready(test=message.test, name=message.name, index=message.index, used=used, free=free)
        return message

    def wait_ended(self, *, seconds: float) -> bool:
        """Leave, or not."""
        return self._desk.leaves or self.aborted

    def abort(self) -> None:
        """Say where it stands."""
        self.aborted = True
        self._desk.log = "Fatal Python error: Aborted\nin call"

    def last_lines(self) -> str:
        """What it has written."""
        return self._desk.log

    def end(self) -> int | None:
        """Be ended, once or twice."""
        if self.side in self._desk.running:
            self._desk.running.remove(self.side)
        return self._desk.status

    def forget(self) -> None:
        """Leave no files."""
        assert self.side not in self._desk.running
        self._desk.forgotten += 1


def require_taken_down(desk: Desk) -> None:
    """Every worker that was started has been ended, and its files are gone."""
    assert ([], len(desk.launched)) == (desk.running, desk.forgotten)


def test_the_first_pair_prepares_the_others() -> None:
    """It is spawned and asked what is installed; what it has imported of others is imported beforehand."""
    desk = Desk()
    sides = desk.sides()
    assert not sides.is_forked
    for _ in range(3):
        played = sides.play(["a"])
        assert played.lost is None and 12 == len(played.calls[0].base) == len(played.calls[0].head)
    assert [(True, False)] * 2 + [(False, True)] * 4 == [launch[1:] for launch in desk.launched]
    assert sides.is_forked and 1 == len(desk.prepared)
    assert ("/own", "/library") == desk.prepared[0].path and ("/own", "/home") == desk.prepared[0].trees
    assert IMPORTED.modules == desk.prepared[0].modules
    assert 2 == desk.most
    require_taken_down(desk)
    sides.close()
    assert desk.is_closed


def test_either_side_may_be_started_first() -> None:
    """By lot: what is started second finds a warmer machine."""
    desk = Desk()
    sides = desk.sides()
    for _ in range(20):
        sides.play(["a"])
    assert {BASE, HEAD} == {side for side, *_ in desk.launched[::2]}


@pytest.mark.parametrize(
    ("used", "free", "is_in_turn"),
    [
        (8 * GIB, 9 * GIB, False),
        (9 * GIB, 10 * GIB, False),
        (9 * GIB + 1, 10 * GIB, True),
        (10 * GIB, 9 * GIB, True),
        (None, 1, False),
        (10, None, False),
        (1, 0, True),
    ],
)
def test_whether_both_fit_into_memory(used: int | None, free: int | None, is_in_turn: bool) -> None:
    """The second one is started only where nine tenths of what is free would hold it; it is looked at once."""
    desk = Desk()
    desk.memory = (used, free)
    sides = desk.sides()
    for _ in range(2):
        played = sides.play(["a", "b"])
        assert played.lost is None and {BASE, HEAD} == set(played.imported)
        assert [("a", 12, 12), ("b", 12, 12)] == [(c.test, len(c.base), len(c.head)) for c in played.calls]
    assert is_in_turn == sides.is_in_turn
    assert (1 if is_in_turn else 2) == desk.most
    assert (["memory has no room for both sides at once, so they run one after the other"] * is_in_turn) == sides.notes
    assert (5 if is_in_turn else 4) == len(desk.launched)
    assert sides.is_forked
    require_taken_down(desk)


def test_calls_of_sides_in_turn_are_their_own() -> None:
    """The base's are the base's, whichever came first."""
    desk = Desk(base=timed(takes=[10.0]), head=timed(takes=[20.0]))
    desk.memory = (2, 1)
    sides = desk.sides()
    for _ in range(6):
        calls = sides.play(["a"]).calls[0]
        times = [{(t.stop_ns - t.start_ns) // 1_000_000 for t in traces} for traces in (calls.base, calls.head)]
        assert [{10}, {20}] == times


@pytest.mark.parametrize("in_turn", [True, False])
def test_a_worker_that_is_lost(in_turn: bool) -> None:
    """How it has ended and its last words are told with it; the other one is ended too."""
    desk = Desk(head=timed(dies_at=3))
    desk.memory = (2, 1) if in_turn else (1, 2)
    desk.status, desk.log = -11, "Fatal Python error: Segmentation fault\nin call"
    lost = desk.sides().play(["a"]).lost
    assert lost is not None and (HEAD, "a") == (lost.side, lost.test)
    assert f"its process ended without a word, killed by SIGSEGV\n{desk.log}" == lost.reason
    require_taken_down(desk)


@pytest.mark.parametrize(("status", "words"), [(3, ", exit status 3"), (-99, ", killed by signal 99"), (None, "")])
def test_how_it_has_ended_in_words(status: int | None, words: str) -> None:
    """A status, a signal that has no name, and nothing where nobody knows."""
    desk = Desk(base=timed(dies_at=1))
    desk.status = status  # type: ignore[assignment]  # None too
    lost = desk.sides().play(["a"]).lost
    assert lost is not None and f"its process ended without a word{words}" == lost.reason


def test_a_worker_that_hangs() -> None:
    """It is asked where it stands; what its killing gives is not told as its own end."""
    desk = Desk(base=timed(silent_at=2))
    desk.leaves, desk.status = False, -9
    lost = desk.sides(patience_s=60.0).play(["a"]).lost
    assert lost is not None and "it said nothing for 60 s\nit stands at\nin call" == lost.reason
    require_taken_down(desk)


def test_forked_workers_that_do_not_start_well() -> None:
    """A library that does not survive a fork: they are spawned from then on, and the pair is played again."""
    desk = Desk()
    sides = desk.sides()
    sides.play(["a"])  # spawned
    desk.bodies[HEAD] = lambda worker, test: worker.llmtime(test, dies_at=0) if desk.server is None else _dead()
    played = sides.play(["a"])
    assert played.lost is None and 1 == len(played.calls)
    assert ["the first forked workers did not come to their end, so they are spawned from now on"] == sides.notes
    assert not sides.is_forked
    require_taken_down(desk)


def test_forked_workers_that_cannot_run_their_tests() -> None:
    """What was imported beforehand may be in the way; spawned ones tell whether it was."""
    desk = Desk()
    sides = desk.sides(modules=("json",))
    desk.problems, desk.bodies[HEAD] = {HEAD: "exit code 4"}, lambda worker, test: iter(())  # type: ignore[assignment]
    assert {HEAD: "exit code 4"} == sides.play(["a"]).problems
    assert 4 == len(desk.launched) and not sides.is_forked
    require_taken_down(desk)


def _dead() -> Any:
    raise Dead


def test_forked_workers_that_are_lost_in_a_test() -> None:
    """Once forked ones have come to their end it is the test's doing, and the next ones are forked as well."""
    desk = Desk()
    sides = desk.sides()
    sides.play(["a"])  # spawned
    sides.play(["a"])
    desk.bodies[HEAD] = timed(dies_at=2)
    assert sides.play(["a"]).lost is not None
    assert sides.is_forked and [] == sides.notes


def test_modules_that_are_known_are_imported_before_the_first_pair() -> None:
    """So that it is forked too; what the first pair has imported besides is imported then."""
    desk = Desk()
    desk.imported = Imported(files={"own": "own.py"}, versions={}, modules=("json", "torch", "late"))
    sides = desk.sides(modules=("json", "torch"))
    sides.play(["a"])
    assert sides.is_forked
    assert [("json", "torch"), ("json", "torch", "late")] == [prepared.modules for prepared in desk.prepared]


def test_what_a_side_has_in_its_own_tree_is_not_imported_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one may have it installed by now."""
    desk = Desk()
    monkeypatch.setattr(Imports, "has_own", lambda self, name: self._side == BASE and name == "vendored")
    desk.sides(modules=("json", "vendored.deep", "vendored_too")).play(["a"])
    assert ("json", "vendored_too") == desk.prepared[0].modules


def test_a_side_that_could_not_run_its_tests() -> None:
    """What it has written tells why, unless it has told so itself."""
    for problem, expected in (("exit code 4", "exit code 4\nImportError: no"), ("all\nof it", "all\nof it")):
        desk = Desk()
        desk.problems, desk.log = {BASE: problem}, "ImportError: no"
        assert {BASE: expected} == desk.sides().play(["a"]).problems


@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError])
@pytest.mark.parametrize("in_turn", [True, False])
def test_an_error_in_the_middle(error: type[BaseException], in_turn: bool) -> None:
    """Ctrl-C, or a side that runs the other's code: both are ended."""
    desk = Desk()
    desk.memory = (2, 1) if in_turn else (1, 2)
    if error is UsageError:
        desk.imported = Imported(files={}, versions={}, foreign=("a is b",))

    def on_test(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(error):
        desk.sides().play(["a"], on_test)
    require_taken_down(desk)


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is ended."""
    desk = Desk()
    launch = desk.launch

    def second_fails(job: Job) -> Acting:
        if desk.launched:
            raise UsageError("no room")
        return launch(job)

    monkeypatch.setattr(desk, "launch", second_fails)
    with pytest.raises(UsageError, match="no room"):
        desk.sides().play(["a"])
    require_taken_down(desk)


def test_plugins_are_left_to_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which rewrites them, and says so where they are there already; and so is what traces everything."""
    entry = EntryPoint(name="made-up", value="made_up.plugin:hooks", group="pytest11")
    monkeypatch.setattr(module, "entry_points", lambda group: [entry] if group == "pytest11" else [])
    names = ("json", "made_up.deep", "made_up", "made_up_too", "coverage.data", "sitecustomize", "conftest", "library")
    assert ("json", "made_up_too", "library") == module._beforehand(names)


class Watched(Pinning):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def look(self) -> None:
        """Note it."""
        self.asked.append("look")

    def cores_for(self, threads: int) -> tuple[int, ...] | None:
        """Note it."""
        self.asked.append(threads)
        return None


def test_each_pair_looks_for_its_cores_before_it_runs() -> None:
    """And asks for as many as its worker has threads, once for each llmtime()."""
    pinning = Watched()
    sides = Desk().sides(pinning=pinning)
    for _ in range(2):
        sides.play(["a", "b"])
    assert ["look", 1, 1] * 2 == pinning.asked
