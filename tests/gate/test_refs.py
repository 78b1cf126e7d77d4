"""Two refs made ready to be played: jobs, shared files, interpreters, signals; without a worker being run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_latency.errors import UsageError
from llm_latency.gate import refs as module
from llm_latency.gate.message import Job
from llm_latency.gate.pair import BASE, HEAD
from llm_latency.gate.refs import Opened, TwoRefs, opened
from llm_latency.gate.sides import Sides


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a project in a folder, and the tag `base`; temporary folders lie beside it, and are gone."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    top = tmp_path / "top"
    write(top, "service/pkg/a.py", "service/tests/test_a.py", "service/data/tracked.txt", "lib/b.py", "script.py")
    (top / ".gitignore").write_text("*.bin\n")
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -q -m first", "tag base"):
        subprocess.run(["git", *command.split()], cwd=top, check=True)
    yield top
    assert [] == list(temporary.iterdir())


def write(top: Path, *names: str) -> None:
    """Files with their own names in them."""
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)


def refs(top: Path, **others: Any) -> TwoRefs:
    """Those of the service; Python passes over what is no text."""
    given = {
        "start": top / "service",
        "path": ("", str(top / "lib"), top, b"/bytes", "/elsewhere"),
        "arguments": {"argv": ["-q"]},
    }
    return TwoRefs(project=top / "service", ref="base", run="working:say", **{**given, **others})


def jobs(both: Opened) -> dict[str, Job]:
    """What each side's worker would be told."""
    return {side: both.sides._job(side, ("t",), True) for side in (BASE, HEAD)}


def test_jobs_of_both_sides(top: Path) -> None:
    """Alike but for whose code they run, and where they write."""
    with opened(refs(top, tests=(Path("service/tests"),))) as both:
        base, head = jobs(both).values()
        assert (str(both.worktree.path), str(top), str(top)) == (base.own, head.own, base.home)
        assert ("service", str(top / "service"), ("service/tests",)) == (base.project, base.start, base.tests)
        assert ("", str(top / "lib"), "/elsewhere") == base.path
        assert {"argv": ["-q"], "tests": ["t"]} == base.arguments
        assert base.scratch != head.scratch and Path(str(base.scratch)).is_relative_to(both.worktree.scratch)
        same = {"side": "", "own": "", "scratch": None}
        assert msgspec.structs.replace(base, **same) == msgspec.structs.replace(head, **same)  # type: ignore[arg-type]
        assert {BASE: sys.version.split()[0], HEAD: sys.version.split()[0]} == both.pythons


def test_the_bases_tests(top: Path) -> None:
    """Then both sides begin in its checkout; what is not there stays where it is."""
    write(top, "new/c.py")
    with opened(refs(top, are_tests_of_base=True, path=(str(top / "lib"), str(top / "new")))) as both:
        home = both.worktree.path
        for job in jobs(both).values():
            assert (str(home), str(home / "service")) == (job.home, job.start)
            assert (str(home / "lib"), str(top / "new")) == job.path


@pytest.mark.parametrize("has_src", [True, False])
def test_the_path_of_another_interpreter(top: Path, has_src: bool) -> None:
    """Its own, the project's part of the head's before it, and after all else where the project's code may be."""
    if has_src:
        write(top, "service/src/pkg/a.py")
    packages = top / "service" / ".venv" / "lib" / "site-packages"
    path = ("", str(top / "lib"), str(packages), "/elsewhere")
    with opened(refs(top, base_python=sys.executable, path=path)) as both:
        base, head = jobs(both).values()
        assert (None, path) == (base.path, head.path)
        assert (("", str(top / "lib")), ()) == (base.before, head.before)
        assert ((str(top / "service" / ("src" if has_src else "")),), ()) == (base.after, head.after)


def test_shared_files(top: Path) -> None:
    """What the base does not have; its own files stay its own, in folders too; the head keeps everything."""
    write(top, "service/model.bin", "service/data/a.bin", "service/data/deep/b.bin", "lib/c.bin")
    (top / "service/data/tracked.txt").write_text("changed")
    shared = ("model.bin", "data", "../lib/c.bin", "pkg/a.py", str(top / "service" / "model.bin"))
    with opened(refs(top, shared=shared)) as both:
        base = both.worktree.path
        for name in ("service/model.bin", "service/data/a.bin", "service/data/deep/b.bin", "lib/c.bin"):
            assert name == (base / name).read_text() and (top / name) == (base / name).resolve()
        assert "service/data/tracked.txt" == (base / "service/data/tracked.txt").read_text()
        assert not (base / "service/pkg/a.py").is_symlink()
    assert "service/model.bin" == (top / "service/model.bin").read_text()
    assert "service/data/deep/b.bin" == (top / "service/data/deep/b.bin").read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "there is no .*nothing"),
        ("../../tmp", "lies outside of the repository"),
        ("/tmp", "lies outside of the repository"),
        ("new/x.bin", "which the base cannot take: .*exists"),
    ],
)
def test_what_cannot_be_shared(top: Path, name: str, words: str) -> None:
    """It is named with its remedy."""
    write(top, "service/new")
    subprocess.run(["git", "add", "service/new"], cwd=top, check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "new"]
    subprocess.run(commit, cwd=top, check=True)
    subprocess.run(["git", "tag", "-f", "base"], cwd=top, check=True, capture_output=True)
    (top / "service/new").unlink()
    write(top, "service/new/x.bin")
    with pytest.raises(UsageError, match=words), opened(refs(top, shared=(name,))):
        pytest.fail("it cannot")


def test_a_link_that_leads_nowhere(top: Path) -> None:
    """The base has it in its own way."""
    link = top / "service" / "link"
    link.symlink_to("/nowhere/at/all")
    for command in ("add -A", "-c user.name=a -c user.email=a@b commit -q -m link", "tag -f base"):
        subprocess.run(["git", *command.split()], cwd=top, check=True, capture_output=True)
    link.unlink()
    link.write_text("here")
    with opened(refs(top, shared=("link",))) as both:
        assert "/nowhere/at/all" == os.readlink(both.worktree.project / "link")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal(top: Path, number: signal.Signals) -> None:
    """It comes as Ctrl-C does, once; while all is taken down none is heard; then they are what they were."""

    def close(self: Sides) -> None:
        os.kill(os.getpid(), number)

    # Under nohup, as a terminal that may be closed, SIGHUP is ignored, and a gate leaves it so.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Sides, "close", close)
            with pytest.raises(KeyboardInterrupt, match=number.name), opened(refs(top)):
                os.kill(os.getpid(), number)
                pytest.fail("it was not heard")
        assert signal.SIG_DFL is signal.getsignal(number)
    finally:
        signal.signal(number, before)


def test_a_signal_that_comes_late(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All has been measured and is taken down: the process ends after that."""
    killed: list[tuple[int, int]] = []
    kill = os.kill
    monkeypatch.setattr(Sides, "close", lambda _: kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(os, "kill", lambda process, number: killed.append((process, number)))
    with opened(refs(top)):
        assert [] == killed
    assert [(os.getpid(), signal.SIGTERM)] == killed


def test_signals_of_others(top: Path) -> None:
    """Whoever has a handler keeps it, and in a thread there are none to be had."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with opened(refs(top)):
            os.kill(os.getpid(), signal.SIGTERM)
        assert [signal.SIGTERM] == heard
        done: list[str] = []

        def elsewhere() -> None:
            with opened(refs(top)) as both:
                done.append(both.worktree.ref)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert ["base"] == done
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, UsageError])
def test_an_error_inside(top: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Both sides are closed, and the fixture finds nothing left."""
    closed: list[bool] = []
    monkeypatch.setattr(Sides, "close", lambda _: closed.append(True))
    with pytest.raises(error), opened(refs(top)):
        raise error("no")
    assert [True] == closed


def program(folder: Path, text: str) -> str:
    """A file that can be run."""
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, also from here or home, or by a name on the PATH; its links are its own, since they are its venv."""
    version = sys.version.split()[0]
    link = tmp_path / "python-of-mine"
    link.symlink_to(sys.executable)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in (str(link), "./python-of-mine", "~/python-of-mine", "python-of-mine"):
        assert (str(link), version) == module._interpreter(name, environment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not run: "),
        ("#!/bin/sh\nexit 3", r"cannot run a worker \(no reason was given\)"),
        ("#!/bin/sh\necho a >&2; echo b >&2; exit 1", r"cannot run a worker \(b\); install llm-latency\[pytest\]"),
        ("#!/bin/sh\necho 'unknown option -P' >&2; echo usage >&2; exit 2", "is older than Python 3.11"),
        ("#!/bin/sh\nexit 0", "has llm-latency of no version"),
        ("#!/bin/sh\necho 3.12.0 99.0", r"has llm-latency 99\.0, and this one"),
    ],
)
def test_an_interpreter_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    """Before anything is checked out for it."""
    with pytest.raises(UsageError, match=words):
        module._interpreter(program(tmp_path, text), dict(os.environ))


def test_an_interpreter_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for without end."""
    monkeypatch.setattr(module, "_ASKING_S", 0.1)
    with pytest.raises(UsageError, match=r"does not run: .*timed out"):
        module._interpreter(program(tmp_path, "#!/bin/sh\nexec sleep 600"), dict(os.environ))


def test_an_interpreter_that_is_not_there() -> None:
    """It is named."""
    with pytest.raises(UsageError, match=r"there is no interpreter '\.\./old/python'"):
        module._interpreter("../old/python", {})
