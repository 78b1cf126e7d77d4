"""The base's checkout in real repositories: made, refused, and always taken away again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_latency.errors import UsageError
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


def test_submodules_are_refused_with_the_remedy(repository: Path) -> None:
    """A second checkout would not have them."""
    run(repository, "submodule", "--quiet", "add", repository.as_uri(), "inner")
    commit(repository, "with a submodule")
    with pytest.raises(UsageError, match="git submodule update --init"), worktree(repository, "main"):
        pytest.fail("it is not complete")
    with worktree(repository, "old"):  # which has none
        pass


def test_lfs_without_its_program_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout would hold pointers."""
    (repository / "sub" / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    commit(repository, "with lfs")
    if subprocess.run(["git", "lfs", "version"], capture_output=True, check=False).returncode == 0:
        pytest.skip("git-lfs is installed here")
    with pytest.raises(UsageError, match="git lfs install"), worktree(repository, "main"):
        pytest.fail("it is not complete")


def test_an_error_inside_leaves_nothing(repository: Path) -> None:
    """Neither does an interrupt."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), worktree(repository, "old"):
            raise error
    assert [] == left(repository)


def test_what_a_killed_gate_has_left_is_taken_away_by_the_next(repository: Path) -> None:
    """That of a process that is gone; what a running one uses stays."""
    temporary = repository.parent / "tmp"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for process, name in ((gone.pid, "dead"), (os.getppid(), "alive")):
        run(repository, "worktree", "add", "-q", "--detach", str(temporary / f"llm-latency-gate-{process}-{name}/base"))
    with worktree(repository, "old"):
        pass
    assert [f"llm-latency-gate-{os.getppid()}-alive"] == [path.name for path in temporary.iterdir()]
    assert 2 == len(run(repository, "worktree", "list").splitlines())


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
