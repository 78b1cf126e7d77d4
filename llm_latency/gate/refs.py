"""Two refs: a base's worktree and the working tree as the two sides of a gate; not which tests they run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.errors import UsageError
from llm_latency.gate.message import Job
from llm_latency.gate.pair import BASE, HEAD, Rounds
from llm_latency.gate.process import Launcher
from llm_latency.gate.sides import Sides
from llm_latency.gate.worktree import Worktree, worktree

_CHECK = "import sys, llm_latency.gate.worker, pytest_llm_latency; print(sys.version.split()[0])"


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
    """Check the base out, prepare both sides, and take everything down again. Raises UsageError as `worktree` does."""
    with worktree(refs.project, refs.ref) as base:
        top = base.top
        _share(refs, base, top)
        folder = Path(tempfile.mkdtemp(prefix="llm-latency-logs-"))
        sides: Sides | None = None
        try:
            environment = dict(os.environ if refs.environment is None else refs.environment)
            head = Launcher(folder, python=sys.executable, environment=environment)
            pythons = {side: sys.version.split()[0] for side in (BASE, HEAD)}
            other = head
            if refs.base_python is not None:
                python, pythons[BASE] = _interpreter(refs.base_python, environment)
                other = Launcher(folder, python=python, environment=environment)
            sides = Sides(
                _jobs(refs, base, top),
                launchers={BASE: other, HEAD: head},
                rounds=refs.rounds,
                patience_s=refs.patience_s,
                seed=random.SystemRandom().randrange(1 << 30),
            )
            yield Opened(worktree=base, top=top, sides=sides, pythons=pythons)
        finally:
            if sides is not None:
                sides.close()
            shutil.rmtree(folder, ignore_errors=True)


def _jobs(refs: TwoRefs, base: Worktree, top: Path) -> Callable[[str, Sequence[str], bool], Job]:
    trees = (str(top), str(base.path))
    home = base.path if refs.are_tests_of_base else top

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
            project=str(refs.project.resolve().relative_to(top)),
            start=str(_in(home, refs.start, top)),
            path=None if is_other else tuple(str(_in(home, Path(entry), top)) if entry else "" for entry in refs.path),
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


def _share(refs: TwoRefs, base: Worktree, top: Path) -> None:
    for name in refs.shared:
        source = refs.project.resolve() / name
        try:
            inside = Path(os.path.normpath(source)).relative_to(top)
        except ValueError:
            raise UsageError(
                f"latency_share names {name}, which lies outside of the repository; an absolute path to it is the"
                " same on both sides already"
            ) from None
        if not source.exists():
            raise UsageError(f"latency_share names {name}, and there is no {source}")
        target = base.path / inside
        if target.exists():
            continue  # the base has its own
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


def _interpreter(python: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Its path and version; raises UsageError where it cannot run a worker."""
    found = shutil.which(python)
    if found is None:
        raise UsageError(f"there is no interpreter {python!r}; name a file such as ../old/.venv/bin/python")
    try:
        done = subprocess.run(
            [found, "-P", "-c", _CHECK],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{python} does not run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise UsageError(f"{python} cannot run a worker ({last}); install llm-latency[pytest] into its environment too")
    return found, done.stdout.strip()
