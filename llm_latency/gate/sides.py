"""Sides: base and head as workers to be started, pair after pair; not which tests they run or what these say."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

import msgspec

from llm_latency.gate.imports import Imports
from llm_latency.gate.message import Job, Message
from llm_latency.gate.pair import SIDES, Lost, Pair, Played, Rounds, merged
from llm_latency.gate.pinning import Pinning
from llm_latency.gate.process import Launcher, Worker
from llm_latency.gate.server import Prepared

# How much of the free memory a second model may take.
_ROOM = 0.9
_LEAVING_S, _DYING_S = 10.0, 1.0
# Imported beforehand they would miss what they do at pytest's start, or trace everything.
_NEVER_BEFORE = ("conftest", "coverage", "sitecustomize", "usercustomize")


class Sides:
    """Plays pairs: the first one to see what else can be imported beforehand, and whether both fit into memory."""

    def __init__(
        self,
        job: Callable[[str, Sequence[str], bool], Job],
        *,
        launchers: dict[str, Launcher],
        rounds: Rounds,
        patience_s: float = 300.0,
        modules: Sequence[str] = (),
        pinning: Pinning | None = None,
        seed: int | None = None,
    ) -> None:
        """`job` makes one side's job for some tests, with an inventory or without; `launchers` are by side.

        `modules` are those that workers will probably import, other people's; without any the first pair is spawned.
        """
        self._job, self._launchers = job, launchers
        self._rounds, self._patience_s = rounds, patience_s
        self._chance = random.Random(seed)
        self.is_in_turn = False
        self._has_begun = self._has_forked = False
        self._modules = tuple(modules)
        self._pinning = pinning or Pinning()
        self.notes: list[str] = []

    @property
    def is_forked(self) -> bool:
        """Whether workers are forked by now."""
        return all(launcher.server is not None for launcher in self._launchers.values())

    def play(self, tests: Sequence[str], on_test: Callable[[str], None] = lambda _: None) -> Played:
        """One pair of fresh processes over these tests."""
        if self._modules:
            self._prepare(dict.fromkeys(SIDES, self._modules))
            self._modules = ()
        self._pinning.look()
        was_forked = self.is_forked  # the server may be lost with the pair
        played = self._in_turn(tests, on_test) if self.is_in_turn else self._together(tests, on_test)
        if played is None:
            self.is_in_turn = True
            self.notes.append("memory has no room for both sides at once, so they run one after the other")
            return self.play(tests, on_test)
        is_empty = all(one.problem for one in played.calls)
        has_failed = played.lost is not None or (bool(played.problems) and is_empty)
        if has_failed and was_forked and not self._has_forked:
            self.notes.append("the first forked workers did not come to their end, so they are spawned from now on")
            for launcher in self._launchers.values():
                launcher.spawn_only()
            return self.play(tests, on_test)
        self._has_forked |= was_forked and not has_failed
        self._begun(played)
        return played

    def close(self) -> None:
        """End what runs beside the pairs."""
        for launcher in self._launchers.values():
            launcher.close()

    def _begun(self, played: Played) -> None:
        if self._has_begun or len(played.imported) < 2:
            return
        self._has_begun = True
        self._prepare({side: played.imported[side].modules for side in SIDES})

    def _prepare(self, modules: dict[str, Sequence[str]]) -> None:
        """Have modules imported beforehand, once for each interpreter."""
        for launcher in {id(launcher): launcher for launcher in self._launchers.values()}.values():
            side = next(side for side in SIDES if self._launchers[side] is launcher)
            job = self._job(side, (), False)
            names = self._of_others(_beforehand(modules[side]))
            launcher.prepare(Prepared(path=job.path, modules=names, trees=job.trees))

    def _of_others(self, modules: Sequence[str]) -> tuple[str, ...]:
        """Modules that neither side has in its own tree: one may still have what the other one has installed."""
        both = [Imports(self._job(side, (), False)) for side in SIDES]
        tops = {name.partition(".")[0] for name in modules}
        own = {top for top in tops if any(imports.has_own(top) for imports in both)}
        return tuple(name for name in modules if name.partition(".")[0] not in own)

    def _together(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played | None:
        """Both sides in step; None where the second one would not fit beside the first."""
        workers: list[Worker] = []
        try:
            pair = self._pair([], tests, on_test)
            for side in self._chance.sample(SIDES, 2):
                worker = self._launchers[side].launch(self._job(side, tests, not self._has_begun))
                workers.append(worker)
                pair.add(_Talking(worker))
                if len(workers) == 1 and not self._has_begun:
                    try:
                        ready = pair.first_ready()
                    except Lost:
                        ready = None  # the pair tells what happened, and the other side whether it is alone in that
                    if ready is not None and not _fits(ready.used, ready.free):
                        return None
            return self._told(pair.play(), workers)
        finally:
            _end(workers)

    def _in_turn(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played:
        found: list[Played] = []
        for side in self._chance.sample(SIDES, 2):
            worker = self._launchers[side].launch(self._job(side, tests, not self._has_begun))
            try:
                played = self._pair([_Talking(worker)], tests, on_test).play()
                found.append(self._told(played, [worker]))
            finally:
                _end([worker])
        return merged(*found)

    def _pair(self, talkers: Sequence[_Talking], tests: Sequence[str], on_test: Callable[[str], None]) -> Pair:
        return Pair(
            talkers,
            tests=tests,
            rounds=self._rounds,
            chance=self._chance,
            patience_s=self._patience_s,
            cores=self._pinning.cores_for,
            on_test=on_test,
        )

    def _told(self, played: Played, workers: Sequence[Worker]) -> Played:
        """The exit and the last words of a worker that was lost or could not go on, added to what is known of it."""
        by_side = {worker.side: worker for worker in workers}
        problems = {
            side: text if "\n" in text else _words(text, by_side[side].last_lines())
            for side, text in played.problems.items()
        }
        if played.lost is None:
            for worker in workers:
                worker.wait_ended(seconds=_LEAVING_S)
            return msgspec.structs.replace(played, problems=problems)
        reason = _last_words(by_side[played.lost.side], played.lost.reason)
        return msgspec.structs.replace(played, problems=problems, lost=Lost(played.lost.side, played.lost.test, reason))


class _Talking:
    """A worker's channel as a pair sees it."""

    def __init__(self, worker: Worker) -> None:
        self.side = worker.side
        self.send = worker.channel.send
        self._receive = worker.receive

    def receive(self, timeout_s: float) -> Message | None:
        return self._receive(timeout_s)


def _fits(used: int | None, free: int | None) -> bool:
    return used is None or free is None or used <= _ROOM * free


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.end()
        worker.forget()


def _last_words(worker: Worker, reason: str) -> str:
    """Why a worker was lost, with how it ended, or where it hangs."""
    if worker.wait_ended(seconds=_DYING_S):
        status = worker.end()
        return _words(reason if status is None else f"{reason}, {_exit(status)}", worker.last_lines())
    worker.abort()
    worker.wait_ended(seconds=_DYING_S)
    worker.end()
    return _words(reason, worker.last_lines().replace("Fatal Python error: Aborted", "it stands at"))


def _words(reason: str, log: str) -> str:
    return f"{reason}\n{log}" if log else reason


def _exit(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _beforehand(modules: Sequence[str]) -> tuple[str, ...]:
    """Other people's modules, but for plugins of pytest, which pytest has to load itself."""
    plugins = {entry.value.partition(":")[0].partition(".")[0] for entry in entry_points(group="pytest11")}
    never = plugins.union(_NEVER_BEFORE)
    return tuple(name for name in modules if name.partition(".")[0] not in never)
