"""The fork server: what it imports and what it must not, and that nothing ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_latency.gate import server
from llm_latency.gate.message import Finished
from llm_latency.gate.process import Launcher
from llm_latency.gate.server import Prepared
from tests.gate import working
from tests.gate.working import heard, job, words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Packages, and a project with one of its own and an environment in it."""
    for name in ("library/quiet.py", "project/mine.py", "project/.venv/site-packages/inner.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def launcher(folder: Path) -> Iterator[Launcher]:
    """One whose workers find the library; its server is not there yet."""
    (folder / "logs").mkdir()
    made = Launcher(folder / "logs", python=sys.executable, environment=working.environment(folder / "library"))
    yield made
    made.close()


def loaded(launcher: Launcher, *names: str) -> list[str]:
    """Whether modules are there in a forked worker before it has done anything."""
    worker = launcher.launch(job(working.say, expressions=[f"{name!r} in sys.modules" for name in names]))
    try:
        assert worker.is_forked
        return words(worker)
    finally:
        worker.end()


@pytest.mark.parametrize("has_path", [True, False])
def test_it_imports_other_peoples_modules_only(folder: Path, launcher: Launcher, has_path: bool) -> None:
    """With a given sys.path or its own, from which the project's folders are taken away."""
    project = folder / "project"
    path = [str(project), "", str(project / ".venv/site-packages"), str(folder / "library"), *sys.path]
    given: tuple[str, ...] | None = None
    if has_path:
        given = (str(Path(working.__file__).parent), *path)
    else:
        launcher.environment["PYTHONPATH"] += os.pathsep + os.pathsep.join(path[:1] + path[2:3])
    launcher.prepare(Prepared(path=given, modules=("quiet", "mine", "inner", "nobody.knows"), trees=(str(project),)))
    assert ["True", "False", "True", "False"] == loaded(launcher, "quiet", "mine", "inner", "nobody")


def test_what_it_has_imported_is_not_to_be_rewritten(folder: Path, launcher: Launcher) -> None:
    """pytest looks for a word in a module's docstring, whatever else is there."""
    (folder / "library" / "told.py").write_text('"""What it is."""')
    launcher.prepare(Prepared(path=None, modules=("quiet", "told")))
    launcher.prepare(Prepared(path=None, modules=("quiet", "told")))
    worker = launcher.launch(job(working.say, expressions=[f"sys.modules[{n!r}].__doc__" for n in ("quiet", "told")]))
    assert ["\n\nPYTEST_DONT_REWRITE", "What it is.\n\nPYTEST_DONT_REWRITE"] == words(worker)
    worker.end()


@pytest.mark.parametrize("text", ["raise SystemExit", "1 / 0", "def broken(", "raise KeyboardInterrupt"])
def test_an_import_that_fails(folder: Path, launcher: Launcher, text: str) -> None:
    """The worker is told when it imports that itself."""
    (folder / "library" / "broken.py").write_text(text)
    launcher.prepare(Prepared(path=None, modules=("broken", "quiet")))
    assert ["False", "True"] == loaded(launcher, "broken", "quiet")


def test_an_import_that_opens_an_accelerator(folder: Path, launcher: Launcher) -> None:
    """Its children could not use that: workers are spawned."""
    torch = "class cuda:\n    is_initialized = staticmethod(lambda: True)\n"
    (folder / "library" / "torch.py").write_text(torch)
    launcher.prepare(Prepared(path=None, modules=("torch",)))
    assert launcher.server is None
    worker = launcher.launch(job(working.say, expressions=["1"]))
    assert ["1"] == words(worker)
    worker.end()


def test_an_accelerators_file_that_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has opened it; where the system does not list what is open, nothing is known."""
    monkeypatch.setattr(server, "_DEVICES", (str(tmp_path / "nvidia"),))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not server._has_device()
    with (tmp_path / "nvidia0").open("w"):
        assert server._has_device()
        monkeypatch.setattr(os, "listdir", lambda _: Path("/nowhere").stat())
        assert not server._has_device()


def test_processes_that_are_not_its_own(launcher: Launcher) -> None:
    """Asking for one of them does not end it."""
    launcher.prepare(Prepared(path=None, modules=()))
    assert launcher.server is not None
    assert launcher.server.status_of(1) is None
    assert ["False"] == loaded(launcher, "quiet")


@pytest.mark.parametrize("error", [None, "OSError", "SystemExit", "KeyboardInterrupt"])
def test_a_job_that_fails(launcher: Launcher, error: str | None) -> None:
    """Its words arrive, and the next worker comes from the server and not from it."""
    launcher.prepare(Prepared(path=None, modules=("working",)))
    worker = launcher.launch(job(working.fail, error=error))
    finished = heard(worker)[-1]
    assert isinstance(finished, Finished)
    assert ("no such thing" if error else "it could not") in finished.problem and (error or "") in finished.problem
    assert worker.wait_ended(seconds=60) and 1 == worker.end()
    assert ["True"] == loaded(launcher, "working")


def test_no_room_for_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conductor is told, and spawns."""

    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    assert server._fork() is None
