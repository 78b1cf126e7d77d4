"""Worktree: a repository's base version, checked out beside it while a gate runs; not what is run in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from llm_latency.errors import UsageError

# The folder's name says whose it is, so that what a killed gate has left can be told from what another one uses.
_PREFIX = "llm-latency-gate-"
_OURS = re.compile(rf"{_PREFIX}(\d+)-\w+")
# Neither the user's hooks nor a question for a password belongs into a gate.
_QUIETLY = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
_LONGEST_S = 600


class Worktree(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout at `path` of `commit`, which `ref` named; `project` is where in it the project's folder lies.

    `top` is that of the user's own tree, and `changed` its files that differ from its last
    commit: they are part of the head.
    """

    path: Path
    project: Path
    top: Path
    ref: str
    commit: str
    changed: tuple[str, ...] = ()


@contextmanager
def worktree(project: Path, ref: str) -> Iterator[Worktree]:
    """Check out `ref` of the repository that `project` lies in, detached, and take it away again.

    Raises UsageError where there is no repository or no such commit, and where a checkout would be incomplete:
    submodules, and files that Git LFS keeps elsewhere.
    """
    top = _repository(project)
    commit = _commit(top, ref)
    _require_complete(top, commit, ref)
    _sweep(top)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    path = folder / "base"
    try:
        _git(top, "worktree", "add", "--detach", str(path), commit)
        inside = path / project.resolve().relative_to(top)
        if not inside.is_dir():
            raise UsageError(
                f"{ref} has no folder {inside.relative_to(path)}; take a base that has the project already"
            )
        changed = tuple(line[3:] for line in _git(top, "status", "--porcelain").splitlines())
        yield Worktree(path=path, project=inside, top=top, ref=ref, commit=commit, changed=changed)
    finally:
        _remove(top, path)
        shutil.rmtree(folder, ignore_errors=True)


def _repository(project: Path) -> Path:
    if shutil.which("git") is None:
        raise UsageError("a gate against another version needs git, and there is none on the PATH")
    found = _tried(project, "rev-parse", "--show-toplevel")
    if found.returncode:
        raise UsageError(f"{project} is in no git repository ({_last_line(found)}); a gate compares two commits of one")
    return Path(found.stdout.strip()).resolve()


def _commit(top: Path, ref: str) -> str:
    found = _tried(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.strip()
    shallow = _tried(top, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    remedy = (
        "this clone is shallow: fetch the rest with `git fetch --unshallow`, or in a workflow set fetch-depth: 0"
        if shallow
        else "name a branch, tag or commit that `git log` finds; fetch it first if it is another repository's"
    )
    raise UsageError(f"there is no commit {ref!r} here; {remedy}")


def _require_complete(top: Path, commit: str, ref: str) -> None:
    if _tried(top, "cat-file", "-e", f"{commit}:.gitmodules").returncode == 0:
        raise UsageError(
            f"{ref} has submodules, which a second checkout would not have; check out the base yourself, with"
            " `git worktree add` and `git submodule update --init`, and name its folder as the base"
        )
    attributes = _tried(
        top, "grep", "-l", "--all-match", "filter=lfs", commit, "--", ".gitattributes", "**/.gitattributes"
    )
    has_lfs = _tried(top, "lfs", "version").returncode == 0
    if attributes.returncode == 0 and attributes.stdout.strip() and not has_lfs:
        raise UsageError(
            f"{ref} keeps files in Git LFS, and git-lfs is not installed: they would be pointers instead of what they"
            " stand for. Install git-lfs and run `git lfs install`"
        )


def _sweep(top: Path) -> None:
    """Take away what gates that were killed have left; what a running one uses stays."""
    for line in _git(top, "worktree", "list", "--porcelain").splitlines():
        path = Path(line.removeprefix("worktree ")) if line.startswith("worktree ") else None
        match = _OURS.fullmatch(path.parent.name) if path is not None else None
        if path is not None and match is not None and not _is_running(int(match[1])):
            _remove(top, path)
            shutil.rmtree(path.parent, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _remove(top: Path, path: Path) -> None:
    _tried(top, "worktree", "remove", "--force", "--force", str(path))
    shutil.rmtree(path, ignore_errors=True)
    _tried(top, "worktree", "prune")


def _git(top: Path, *arguments: str) -> str:
    done = _tried(top, *arguments)
    if done.returncode:
        raise UsageError(f"git {arguments[0]} failed: {_last_line(done)}")
    return done.stdout


def _tried(top: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git without a shell, so that no name is more than a name."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", str(top), *_QUIETLY, *arguments],
        env=environment | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
