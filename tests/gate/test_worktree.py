"""The base's checkout in real repositories: made, refused, and always taken away again."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_latency.errors import UsageError
from llm_latency.gate import worktree as module
from llm_latency.gate.worktree import worktree

Git = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits, a branch `old` at the first; temporary folders lie beside it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    top = tmp_path / "project"
    top.mkdir()
    run(top, "init", "-q", "-b", "main")
    (top / "code.py").write_text("speed = 1\n")
    commit(top, "first")
    run(top, "branch", "old")
    (top / "code.py").write_text("speed = 2\n")
    (top / "sub").mkdir()
    (top / "sub" / "new.py").write_text("")
    commit(top, "second")
    return top


def run(top: Path, *arguments: str) -> str:
    """git, as a user of no name."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *identity, *arguments], cwd=top, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(top: Path, words: str) -> None:
    """Commit everything."""
    run(top, "add", "-A")
    run(top, "commit", "-q", "-m", words)


def left(top: Path) -> list[str]:
    """Worktrees beside the user's own, and folders of ours."""
    listed = run(top, "worktree", "list").splitlines()[1:]
    return [*listed, *(path.name for path in (top.parent / "tmp").iterdir())]


@pytest.mark.parametrize("ref", ["old", "main~1", "HEAD^"])
def test_the_base_is_there_and_gone_again(repository: Path, ref: str) -> None:
    """Its files are the base's, the user's tree and branch stay, and nothing is left."""
    with worktree(repository, ref) as base:
        assert ("speed = 1\n", "speed = 2\n") == tuple((at / "code.py").read_text() for at in (base.path, repository))
        assert (run(repository, "rev-parse", "old"), ref, base.path) == (base.commit, base.ref, base.project)
    assert [] == left(repository)
    assert "main" == run(repository, "branch", "--show-current")


def test_changed_files_are_the_heads(repository: Path) -> None:
    """What is not committed is named, and stays as it is."""
    (repository / "code.py").write_text("speed = 3\n")
    with worktree(repository, "old") as base:
        assert ("code.py",) == base.changed
    assert "speed = 3\n" == (repository / "code.py").read_text()


def test_a_project_in_a_folder_of_its_repository(repository: Path) -> None:
    """The same folder of the base; one that the base does not have is refused."""
    with worktree(repository / "sub", "main") as base:
        assert base.path / "sub" == base.project
        assert (base.project / "new.py").exists()
    with pytest.raises(UsageError, match="old has no folder sub"), worktree(repository / "sub", "old"):
        pytest.fail("there is none")
    assert [] == left(repository)


@pytest.mark.parametrize("ref", ["nowhere", "", "--help", "-f", "$(touch pwned)", "; touch pwned", "old:code.py"])
def test_what_is_no_commit_is_refused_and_never_run(repository: Path, ref: str) -> None:
    """A name is a name: no option and no shell."""
    with pytest.raises(UsageError, match="there is no commit"), worktree(repository, ref):
        pytest.fail("there is none")
    assert not (repository / "pwned").exists()
    assert [] == left(repository)


def test_a_shallow_clone_is_told_what_to_fetch(repository: Path) -> None:
    """The base lies beyond its depth."""
    shallow = repository.parent / "shallow"
    run(repository.parent, "clone", "-q", "--depth", "1", repository.as_uri(), str(shallow))
    with pytest.raises(UsageError, match="fetch-depth: 0"), worktree(shallow, "old"):
        pytest.fail("it is not there")


def test_outside_of_a_repository(tmp_path: Path) -> None:
    """There is nothing to compare."""
    with pytest.raises(UsageError, match="in no git repository"), worktree(tmp_path, "main"):
        pytest.fail("there is none")


@pytest.mark.parametrize("shared", [["inner"], ["."], ["sub", "./inner/"]])
def test_submodules_are_refused_with_the_remedy(repository: Path, shared: list[str]) -> None:
    """A second checkout would not have them; where both sides share them, that is no matter."""
    run(repository, "submodule", "--quiet", "add", repository.as_uri(), "inner")
    commit(repository, "with a submodule")
    with pytest.raises(UsageError, match=r"submodules \(inner\).*--latency-share"), worktree(repository, "main"):
        pytest.fail("it is not complete")
    with worktree(repository, "main", shared=shared) as base:
        assert [] == list((base.path / "inner").iterdir())
    with worktree(repository, "old"):  # which has none
        pass
    assert [] == left(repository)


@pytest.mark.parametrize("is_installed", [True, False])
def test_lfs_without_its_program_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    """The checkout would hold pointers, also where git does not know the program that is there."""
    (repository / "sub" / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    commit(repository, "with lfs")
    tools = repository.parent / "bin"
    tools.mkdir()
    (tools / "git-lfs").write_text(f"#!/bin/sh\nexit {0 if is_installed else 1}\n")
    (tools / "git-lfs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    with pytest.raises(UsageError, match="git lfs install"), worktree(repository, "main"):
        pytest.fail("it is not complete")
    run(repository, "config", "filter.lfs.smudge", "cat")
    if is_installed:
        with worktree(repository, "main"):
            pass
    assert [] == left(repository)


def test_an_error_inside_leaves_nothing(repository: Path) -> None:
    """Neither does an interrupt."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), worktree(repository, "old"):
            raise error
    assert [] == left(repository)


def test_what_a_killed_gate_has_left_is_taken_away_by_the_next(repository: Path) -> None:
    """That of a process that is gone, registered with git or not; what a running one uses stays."""
    temporary = repository.parent / "tmp"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        name: f"llm-latency-gate-{process}-{name}" for process, name in ((gone.pid, "dead"), (os.getppid(), "alive"))
    }
    for name in names.values():
        run(repository, "worktree", "add", "-q", "--detach", str(temporary / name / "base"))
    (temporary / f"llm-latency-gate-{gone.pid}-empty").mkdir()
    (temporary / "llm-latency-gate-of-somebody").mkdir()
    with worktree(repository, "old"):
        pass
    assert sorted([names["alive"], "llm-latency-gate-of-somebody"]) == sorted(path.name for path in temporary.iterdir())
    assert 2 == len(run(repository, "worktree", "list").splitlines())


def test_a_lock_tells_more_than_a_process_id(repository: Path) -> None:
    """Which a process in another container has too, or a new one by now."""
    temporary = repository.parent / "tmp"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    held, free = temporary / f"llm-latency-gate-{gone.pid}-held", temporary / f"llm-latency-gate-{os.getppid()}-free"
    for folder in (held, free):
        folder.mkdir()
        (folder / "in-use").touch()
    with (held / "in-use").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with worktree(repository, "old") as base:
            assert {held, base.path.parent} == set(temporary.iterdir())
    with worktree(repository, "old"):
        pass
    assert [] == left(repository)


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), FileNotFoundError(2, "No usable folder")])
def test_no_temporary_folder(repository: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """It is said where one can be named."""

    def refuse(**_: str) -> str:
        raise error

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(UsageError, match=f"{error.strerror}.*set TMPDIR"), worktree(repository, "old"):
        pytest.fail("there is no place for it")


def test_git_that_cannot_be_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or that takes for ever, which ends with all that it has started."""
    started = repository.parent / "started"
    run(repository, "config", "filter.slow.smudge", f"sh -c 'echo $$ >{started}; sleep 600'")
    run(repository, "config", "filter.slow.clean", "cat")
    (repository / ".gitattributes").write_text("code.py filter=slow\n")
    commit(repository, "slow")
    monkeypatch.setattr(module, "_LONGEST_S", 1.0)
    with pytest.raises(UsageError, match=r"git worktree was not done after 1\.0 s"), worktree(repository, "main"):
        pytest.fail("it is not there")
    assert [] == left(repository)
    process = int(started.read_text())
    end = time.monotonic() + 60
    while Path(f"/proc/{process}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{process}").exists()
    with pytest.raises(UsageError, match="could not be run: Argument list too long"):
        module._tried(repository, "x" * (1 << 22))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "no reason was given"),
        ("warning: a\nlast", "last"),
        ("error: b\nfatal: c\nhint: d", "fatal: c"),
        ("hint\nerror: b", "error: b"),
    ],
)
def test_what_git_has_died_of(words: str, reason: str) -> None:
    """Its own mark before the last line, which may be a hint."""
    assert reason == module._reason(subprocess.CompletedProcess([], 1, "", words))


def test_names_of_changed_files(repository: Path) -> None:
    """As they are: with umlauts, blanks and arrows, moved, removed and new; and nothing is written on the way."""
    for name in ("ünder score.py", "a -> b.py"):
        (repository / name).touch()
    run(repository, "mv", "sub/new.py", "sub/moved.py")
    (repository / "code.py").unlink()
    index = (repository / ".git" / "index").read_bytes()
    os.utime(repository / "sub" / "moved.py")
    with worktree(repository, "old") as base:
        expected = {"ünder score.py", "a -> b.py", "sub/new.py", "sub/moved.py", "code.py"}
        assert expected == set(base.changed)
    assert index == (repository / ".git" / "index").read_bytes()


def test_variables_of_a_hook(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name another repository, and git's settings in the environment are kept."""
    with monkeypatch.context() as hook:
        for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):
            hook.setenv(name, "/nowhere")
        hook.setenv("GIT_LFS_SKIP_SMUDGE", "1")
        settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "alias.told", "GIT_CONFIG_VALUE_0": "!env"}
        for name, value in settings.items():
            hook.setenv(name, value)
        told = module._tried(repository, "told").stdout
        assert "GIT_LFS_SKIP_SMUDGE" not in told and "GIT_CONFIG_VALUE_0=!env" in told and "=/nowhere" not in told
        with worktree(repository, "old") as base:
            assert base.head is not None and base.head != base.commit
    assert [] == left(repository)


def test_before_the_first_commit(tmp_path: Path) -> None:
    """There is nothing to compare with."""
    run(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="there is no commit 'HEAD' here"), worktree(tmp_path, "HEAD"):
        pytest.fail("there is none")


def test_a_name_that_is_none(repository: Path) -> None:
    """No program can be given it."""
    with pytest.raises(UsageError, match="no name has such a character"), worktree(repository, "a\0b"):
        pytest.fail("there is none")


def test_what_comes_with_the_checkout(repository: Path) -> None:
    """A folder for what a gate writes, gone with it; it lies behind no link."""
    link = repository.parent / "link"
    link.symlink_to(repository.parent / "tmp")
    tempfile.tempdir = str(link)
    with worktree(repository, "old") as base:
        assert base.scratch.is_dir() and base.path.resolve() == base.path
        (base.scratch / "file").touch()
    assert [] == left(repository)


def test_two_gates_at_once(repository: Path) -> None:
    """Each has a checkout of its own."""
    with worktree(repository, "old") as first, worktree(repository, "old") as second:
        assert first.path != second.path
        assert (second.path / "code.py").exists()
    assert [] == left(repository)


def test_the_users_hooks_are_not_run(repository: Path) -> None:
    """post-checkout belongs to people."""
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository}/hooked\n")
    hook.chmod(0o755)
    with worktree(repository, "old"):
        pass
    assert not (repository / "hooked").exists()
