"""Two refs: a base's worktree and the working tree as the two sides of a gate; not which tests they run."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.errors import UsageError
from llm_latency.gate.imports import Imports
from llm_latency.gate.message import Job
from llm_latency.gate.pair import BASE, HEAD, Rounds
from llm_latency.gate.process import Launcher
from llm_latency.gate.sides import Sides
from llm_latency.gate.trees import outside
from llm_latency.gate.worktree import Worktree, worktree

# Imports what a worker needs, also of pytest, and says which versions it has found.
_CHECK = (
    "import sys, llm_latency, llm_latency.gate.worker, pytest_llm_latency.worker;"
    " print(sys.version.split()[0], llm_latency.__version__)"
)
# As much as an import of pytest from a cold network disk may take.
_ASKING_S = 120.0


class TwoRefs(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared and how it is started: the folder of a project, the base's ref, and what its workers run.

    `run` is "module:function" with `arguments`; it starts in `start` with `path` as sys.path. `tests` are folders and
    files, relative to the top of the repository, that both sides take from the head, or with `are_tests_of_base` from
    the base. `shared` are paths, relative to the project, that git does not know and the base needs too.
    """

    project: Path
    ref: str
    run: str
    arguments: Mapping[str, Any]
    start: Path
    path: tuple[str, ...]
    tests: tuple[Path, ...] = ()
    are_tests_of_base: bool = False
    shared: tuple[str, ...] = ()
    base_python: str | None = None
    environment: Mapping[str, str] | None = None
    rounds: Rounds = Rounds()
    patience_s: float = 300.0


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, ready to be played: the base's checkout, the top of the head's tree, the interpreters' versions."""

    worktree: Worktree
    top: Path
    sides: Sides
    pythons: dict[str, str]


@contextmanager
def opened(refs: TwoRefs) -> Iterator[Opened]:
    """Check the base out, prepare both sides, and take everything down again, also on SIGTERM or a closed terminal.

    Raises UsageError as `worktree` does.
    """
    with _ended_by_signals() as be_quiet, worktree(refs.project, refs.ref, shared=refs.shared) as base:
        sides: Sides | None = None
        try:
            _share(refs, base)
            environment = dict(os.environ if refs.environment is None else refs.environment)
            head = Launcher(base.scratch, python=sys.executable, environment=environment)
            pythons = {side: sys.version.split()[0] for side in (BASE, HEAD)}
            other = head
            if refs.base_python is not None:
                python, pythons[BASE] = _interpreter(refs.base_python, environment)
                other = Launcher(base.scratch, python=python, environment=environment)
            jobs = _jobs(refs, base)
            sides = Sides(
                jobs,
                launchers={BASE: other, HEAD: head},
                rounds=refs.rounds,
                patience_s=refs.patience_s,
                # What collecting the tests has imported here, their workers will import too.
                modules=Imports(jobs(HEAD, (), False)).imported().modules,
                seed=random.SystemRandom().randrange(1 << 30),
            )
            yield Opened(worktree=base, top=base.top, sides=sides, pythons=pythons)
        finally:
            be_quiet()
            if sides is not None:
                sides.close()


@contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let what would end this process at once raise KeyboardInterrupt, as Ctrl-C does, but not after the given call.

    One that comes later, while all is taken down, ends the process after that.
    """
    is_quiet, is_over, late = False, False, 0

    def be_quiet() -> None:
        nonlocal is_quiet
        is_quiet = True

    def interrupt(number: int, _: object) -> None:
        nonlocal is_over, late
        if is_quiet:
            late = number
        elif not is_over:
            is_over = True
            raise KeyboardInterrupt(signal.Signals(number).name)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) is signal.SIG_DFL:
                before[one] = signal.signal(one, interrupt)
    try:
        yield be_quiet
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if late and not is_over:
            os.kill(os.getpid(), late)


def _jobs(refs: TwoRefs, base: Worktree) -> Callable[[str, Sequence[str], bool], Job]:
    top = base.top
    trees = (str(top), str(base.path))
    home = base.path if refs.are_tests_of_base else top
    project = refs.project.resolve().relative_to(top)
    # Python passes over what is no text, such as somebody's Path objects.
    entries = (entry for entry in refs.path if isinstance(entry, str))
    path = tuple(str(_in(home, Path(entry), top)) if entry else "" for entry in entries)
    # Another interpreter has its own packages; of the head's path it needs what lies in the project, and where the
    # project is only installed there, its root, after all else.
    of_project = tuple(entry for entry in path if not outside([entry], trees))
    root = home / project / "src" if (home / project / "src").is_dir() else home / project
    count = itertools.count(1)

    def job(side: str, tests: Sequence[str], wants_inventory: bool) -> Job:
        is_other = side == BASE and refs.base_python is not None
        return Job(
            side=side,
            run=refs.run,
            arguments={**refs.arguments, "tests": list(tests)},
            own=str(base.path if side == BASE else top),
            home=str(home),
            trees=trees,
            tests=tuple(map(str, refs.tests)),
            project=str(project),
            start=str(_in(home, refs.start, top)),
            path=None if is_other else path,
            before=of_project if is_other else (),
            after=(str(root),) if is_other else (),
            scratch=str(base.scratch / f"{side}-{next(count)}"),
            wants_inventory=wants_inventory,
        )

    return job


def _in(home: Path, place: Path, top: Path) -> Path:
    """A place of the head's tree in another one, where it exists there; what lies outside stays."""
    with suppress(ValueError):
        there = home / place.resolve().relative_to(top)
        if there.exists():
            return there
    return place


def _share(refs: TwoRefs, base: Worktree) -> None:
    for name in refs.shared:
        source = refs.project.resolve() / name
        try:
            inside = Path(os.path.normpath(source)).relative_to(base.top)
        except ValueError:
            raise UsageError(
                f"latency_share names {name}, which lies outside of the repository; an absolute path to it is the"
                " same on both sides already"
            ) from None
        if not source.exists():
            raise UsageError(f"latency_share names {name}, and there is no {source}")
        try:
            (base.path / inside).parent.mkdir(parents=True, exist_ok=True)
            _link(source, base.path / inside)
        except OSError as error:
            raise UsageError(f"latency_share names {name}, which the base cannot take: {error}") from error


def _link(source: Path, target: Path) -> None:
    """Let the base have what it does not have; of folders that it has, what is not in them."""
    if not os.path.lexists(target):
        target.symlink_to(source)
    elif source.is_dir() and target.is_dir() and not target.is_symlink():
        for entry in source.iterdir():
            if entry.name != ".git":  # of a submodule: the checkout is not one
                _link(entry, target / entry.name)


def _interpreter(python: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Its path and version; raises UsageError where it cannot run a worker."""
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        raise UsageError(f"there is no interpreter {python!r}; name a file such as ../old/.venv/bin/python")
    found = os.path.abspath(found)
    told = [_asked(executable, environment) for executable in (found, sys.executable)]
    if not told[0] or told[0][1:] != told[1][1:]:
        raise UsageError(
            f"{python} has llm-latency {' '.join(told[0][1:]) or 'of no version'}, and this one"
            f" {' '.join(told[1][1:])}; both sides need the same"
        )
    return found, told[0][0]


def _asked(python: str, environment: Mapping[str, str]) -> list[str]:
    """Its version and that of this package in it."""
    try:
        done = subprocess.run(
            [python, "-P", "-c", _CHECK],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_ASKING_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{python} does not run: {error}") from error
    words = done.stderr.strip().splitlines() or ["no reason was given"]
    if done.returncode and "-P" in words[0]:
        raise UsageError(f"{python} is older than Python 3.11, which llm-latency needs")
    if done.returncode:
        raise UsageError(
            f"{python} cannot run a worker ({words[-1]}); install llm-latency[pytest] into its environment too"
        )
    return done.stdout.split()
