"""Worktree: a repository's base version, checked out beside it while a gate runs; not what is run in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from llm_latency.errors import UsageError

# The folder's name says whose it is, so that what a killed gate has left can be told from what another one uses.
_PREFIX = "llm-latency-gate-"
_OURS = re.compile(rf"{_PREFIX}(\d+)-\w+")
_IN_USE = "in-use"
# Neither the user's hooks nor a daemon of git's, which would stay, belongs into a gate.
_QUIETLY = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "advice.detachedHead=false")
# Of git's variables only how it is configured and where it lies: inside of a hook, others name another repository.
_KEPT = ("GIT_CONFIG_", "GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
_LONGEST_S = 600
_SHOWN = 80


class Worktree(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout at `path` of `commit`, which `ref` named; `project` is where in it the project's folder lies.

    `top` is that of the user's own tree, `head` its last commit (None before the first one), and `changed` its files
    that differ from that: they are part of the head. `scratch` is a folder that goes away with the checkout.
    """

    path: Path
    project: Path
    top: Path
    ref: str
    commit: str
    scratch: Path
    head: str | None = None
    changed: tuple[str, ...] = ()


@contextmanager
def worktree(project: Path, ref: str, *, shared: Sequence[str] = ()) -> Iterator[Worktree]:
    """Check out `ref` of the repository that `project` lies in, detached, and take it away again.

    `shared` are paths, relative to the project, that somebody else puts into it. Raises UsageError where there is no
    repository or no such commit, where a checkout would be incomplete (submodules that are not shared, and files that
    Git LFS keeps elsewhere), and where there is no room for it.
    """
    top = _repository(project)
    commit = _commit(top, ref)
    known = [os.path.relpath(os.path.join(project.resolve(), name), top) for name in shared]
    _require_no_submodules(top, commit, ref, known)
    _require_no_pointers(top, commit, ref)
    _sweep(top)
    with _folder() as folder:
        path = folder / "base"
        try:
            _git(top, "worktree", "add", "--detach", str(path), commit)
            inside = path / project.resolve().relative_to(top)
            if not inside.is_dir():
                raise UsageError(
                    f"{ref} has no folder {inside.relative_to(path)}; take a base that has the project already"
                )
            head = _tried(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").stdout.strip()
            yield Worktree(
                path=path,
                project=inside,
                top=top,
                ref=ref,
                commit=commit,
                scratch=folder / "scratch",
                head=head or None,
                changed=_changed(top),
            )
        finally:
            _remove(top, path)


@contextmanager
def _folder() -> Iterator[Path]:
    """A new temporary folder, locked as long as this process lives, and removed."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")).resolve()
    except OSError as error:
        raise UsageError(f"there is no temporary folder for the base's checkout: {error}; set TMPDIR") from error
    in_use: int | None = None
    try:
        with suppress(OSError):  # the process id in its name tells as well, but for containers that share a folder
            in_use = _locked(folder / _IN_USE)
            (folder / "scratch").mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if in_use is not None:
            os.close(in_use)


def _locked(file: Path) -> int | None:
    """An open file that nobody else has locked; None where somebody has."""
    import fcntl

    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _repository(project: Path) -> Path:
    if shutil.which("git") is None:
        raise UsageError("a gate against another version needs git, and there is none on the PATH")
    found = _tried(project, "rev-parse", "--show-toplevel")
    if found.returncode:
        raise UsageError(
            f"{project} is in no git repository ({_reason(found)}); a gate compares two commits of one. Run it from"
            " inside of one. Where this is not the project's folder, write paths behind options with =, such as"
            " --latency-base-python=PATH, since pytest takes one that stands alone for a test, or say --rootdir"
        )
    return Path(found.stdout.removesuffix("\n")).resolve()


def _commit(top: Path, ref: str) -> str:
    shown = repr(ref if len(ref) <= _SHOWN else f"{ref[:_SHOWN]}…")
    if "\0" in ref:
        raise UsageError(f"there is no commit {shown} here; no name has such a character")
    found = _tried(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.strip()
    shallow = _tried(top, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    remedy = (
        "this clone is shallow: fetch the rest with `git fetch --unshallow`, or in a workflow set fetch-depth: 0"
        if shallow
        else "name a branch, tag or commit that `git log` finds; fetch it first if it is another repository's"
    )
    raise UsageError(f"there is no commit {shown} here; {remedy}")


def _require_no_submodules(top: Path, commit: str, ref: str, shared: Sequence[str]) -> None:
    if _tried(top, "cat-file", "-e", f"{commit}:.gitmodules").returncode:
        return
    listed = _git(top, "ls-tree", "-r", "-z", commit).split("\0")
    modules = [entry.partition("\t")[2] for entry in listed if entry.startswith("160000 ")]
    left = [name for name in modules if not any(Path(name).is_relative_to(one) for one in shared)]
    if left:
        raise UsageError(
            f"{ref} has submodules ({', '.join(left[:3])}), which a second checkout does not have. Where both sides may"
            " use those of the working tree, name their folders in --latency-share (ini: latency_share)"
        )


def _require_no_pointers(top: Path, commit: str, ref: str) -> None:
    attributes = _tried(
        top, "grep", "-l", "--all-match", "filter=lfs", commit, "--", ".gitattributes", "**/.gitattributes"
    )
    if attributes.returncode or not attributes.stdout.strip():
        return
    has_lfs = _tried(top, "lfs", "version").returncode == 0
    has_filter = any(_tried(top, "config", "--get", f"filter.lfs.{name}").stdout for name in ("process", "smudge"))
    if not (has_lfs and has_filter):
        raise UsageError(
            f"{ref} keeps files in Git LFS, and git-lfs is not installed: they would be pointers instead of what they"
            " stand for. Install git-lfs and run `git lfs install`"
        )


def _changed(top: Path) -> tuple[str, ...]:
    told = _git(top, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal")
    return tuple(entry[3:] for entry in told.split("\0") if entry)


def _sweep(top: Path) -> None:
    """Take away what gates that were killed have left; what a running one uses stays."""
    listed = [
        Path(line.removeprefix("worktree "))
        for line in _git(top, "worktree", "list", "--porcelain").splitlines()
        if line.startswith("worktree ")
    ]
    for path in listed:
        if _is_left(path.parent):
            _remove(top, path)
    with suppress(OSError):
        for folder in (*{path.parent for path in listed}, *Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether a folder is that of a gate that is no more."""
    match = _OURS.fullmatch(folder.name)
    if match is None:
        return False
    if not (folder / _IN_USE).exists():
        return not _is_running(int(match[1]))
    try:
        descriptor = _locked(folder / _IN_USE)
    except OSError:  # another user's
        return False
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _remove(top: Path, path: Path) -> None:
    """Take a checkout away, also one that git was stopped in the middle of, which it has locked."""
    if _tried(top, "worktree", "remove", "--force", "--force", str(path)).returncode == 0:
        return
    shutil.rmtree(path, ignore_errors=True)
    _tried(top, "worktree", "unlock", str(path))
    _tried(top, "worktree", "prune", "--expire=now")


def _git(top: Path, *arguments: str) -> str:
    done = _tried(top, *arguments)
    if done.returncode:
        raise UsageError(f"git {arguments[0]} failed: {_reason(done)}")
    return done.stdout


def _tried(top: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git without a shell, so that no name is more than a name; raises UsageError where it cannot be run."""
    environment = {n: value for n, value in os.environ.items() if not n.startswith("GIT_") or n.startswith(_KEPT)}
    settings = [part for setting in _QUIETLY for part in ("-c", setting)]
    try:
        process = subprocess.Popen(
            ["git", "-C", str(top), *settings, *arguments],
            # No question for a password, and no writing of the index on the way.
            env=environment | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # As Python spells the names of files.
            encoding=sys.getfilesystemencoding(),
            errors="surrogateescape",
            # Ctrl-C is ours to take, and what git starts has to end with it.
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"git {arguments[0]} could not be run: {error.strerror}") from error
    with process:
        try:
            out, words = process.communicate(timeout=_LONGEST_S)
        except BaseException as error:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise UsageError(f"git {arguments[0]} was not done after {_LONGEST_S} s") from error
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, words)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What git has died of, else its last words."""
    lines = done.stderr.strip().splitlines() or ["no reason was given"]
    marked = sorted((line for line in lines if line.startswith(("fatal: ", "error: "))), reverse=True)
    return (marked or lines[-1:])[0].strip()
