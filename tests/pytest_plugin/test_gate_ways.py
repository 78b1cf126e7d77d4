"""Ways in which a gate runs: with other flags and settings of Python, in turn, forked and spawned."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pytest_plugin.gates import FROM_SERVER, PYTEST, TEST, Project, code

RUN = "tests/test_it.py"
FORKED = TEST.replace("note()", f"note(forked={FROM_SERVER}, parent=os.getppid())")
# The same again at half the speed.
SLOW = "WHO = 'head'\n\ndef work():\n    return sum(range(20_000)), sum(range(20_000))\n"

# While it times, no other worker may.
ALONE = """import fcntl
    file = open(os.environ["NOTES"] + ".turn", "w"); fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    llmtime(pkg.work)"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A base and a head that differ in who they are."""
    project = Project(tmp_path, monkeypatch).commit({"pkg/__init__.py": code("base"), RUN: TEST}, tag="base")
    return project.commit({"pkg/__init__.py": code("head"), "conftest.py": ""})


@pytest.mark.parametrize(
    ("flags", "settings", "fact"),
    [
        (["-O", "-P", "-W", "error"], {}, "sys.flags.optimize and sys.flags.safe_path and 'error' in sys.warnoptions"),
        (["-X", "dev"], {"PYTHONWARNINGS": "error"}, "sys.flags.dev_mode and 'error' in sys.warnoptions"),
        ([], {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "7"}, "hash('a') == int(os.environ['HASH'])"),
        ([], {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C"}, "sys.dont_write_bytecode and sys.flags.utf8_mode"),
        ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "sys.getfilesystemencoding() != 'utf-8'"),
    ],
    ids=["flags", "dev mode", "safe path", "no bytecode", "no UTF-8"],
)
def test_flags_and_settings(project: Project, flags: Sequence[str], settings: dict[str, str], fact: str) -> None:
    """Both sides run under those of the outer pytest, in a project whose name has an umlaut."""
    place = project.folder / "pröjekt"
    project.git("clone", "-q", str(project.top), str(place))
    test = f"import sys\n{TEST}".replace("note()", f"note(fact=bool({fact}))")
    (place / RUN).write_text(test)
    if "PYTHONHASHSEED" in settings:
        told = subprocess.run([sys.executable, "-c", "print(hash('a'))"], env=settings, check=True, capture_output=True)
        settings = settings | {"HASH": told.stdout.decode().strip()}
    seen = project.gate(cwd=place, command=(sys.executable, *flags, "-m", "pytest"), env=settings)
    assert ["base", "head"] == seen.who, seen.text
    assert all(note["fact"] for note in seen.notes)
    assert 1 == seen.code and "fewer than 6 pairs" in seen.text, seen.text
    assert [] == project.left()


def test_a_long_way_to_the_temporary_folder(project: Project) -> None:
    """Longer than a socket's name may be."""
    deep = project.temporary.joinpath(*["a" * 200] * 4)
    deep.mkdir(parents=True)
    seen = project.gate(env={"TMPDIR": str(deep)})
    assert ["base", "head"] == seen.who, seen.text
    assert [] == [path.name for path in deep.iterdir() if path.suffix != ".lock"]


def test_a_temporary_folder_inside_of_the_project(project: Project) -> None:
    """One tree lies in the other."""
    inside = project.top / "tmp"
    inside.mkdir()
    (project.top / ".git" / "info" / "exclude").write_text("tmp\n__pycache__\n.pytest_cache\n")
    seen = project.gate("tests", env={"TMPDIR": str(inside)})
    assert ["base", "head"] == seen.who, seen.text
    assert [] == project.left()
    assert [] == [path.name for path in inside.iterdir() if path.suffix != ".lock"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "code_", "word"), [(code("head"), 0, "ok"), (SLOW, 1, "TOO SLOW")], ids=["unchanged", "slower"]
)
def test_forked_workers(project: Project, package: str, code_: int, word: str) -> None:
    """They come from a server, and a whole gate ends with the right word."""
    project.commit({"pkg/__init__.py": package, RUN: f"import sys\n{FORKED}"})
    seen = project.gate("--latency-max-slowdown=30%", env={"QUICK_PAIRS": "60"})
    assert code_ == seen.code, seen.text
    assert word in seen.text
    assert 12 <= len(seen.notes) and all(note["forked"] for note in seen.notes)
    assert 1 == len({note["parent"] for note in seen.notes})
    assert [] == project.left()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "code_", "word"), [(code("head"), 0, "ok"), (SLOW, 1, "TOO SLOW")], ids=["unchanged", "slower"]
)
def test_one_side_after_the_other(project: Project, package: str, code_: int, word: str) -> None:
    """Where memory has no room for both at once, the answers are the same."""
    (project.folder / "small_machine.py").write_text(
        "from llm_latency.gate import sides\nsides._fits = lambda used, free: False\n"
    )
    project.commit({"pkg/__init__.py": package, RUN: TEST.replace("llmtime(pkg.work)", ALONE)})
    arguments = ("-p", "small_machine", "--latency-max-slowdown=50%")
    seen = project.gate(*arguments, path=[project.folder], env={"QUICK_PAIRS": "60"})
    assert code_ == seen.code, seen.text
    assert word in seen.text
    assert "memory has no room for both sides at once, so they run one after the other" in seen.text
    assert [] == project.left()


@pytest.mark.slow
def test_a_fork_server_that_dies(project: Project) -> None:
    """Its workers die with it; the gate goes on with spawned ones."""
    kill = f"""import signal, sys
    mark = os.environ["NOTES"] + ".killed"
    if {FROM_SERVER} and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getppid(), signal.SIGKILL)
    llmtime(pkg.work)"""
    project.commit({RUN: FORKED.replace("llmtime(pkg.work)", kill)})
    seen = project.gate(env={"QUICK_PAIRS": "3"})
    assert 1 == seen.code, seen.text
    assert (project.folder / "notes.killed").exists()
    assert 6 == len(seen.notes) and not any(note["forked"] for note in seen.notes), seen.text
    assert [] == project.left()


def test_a_fork_server_that_does_not_come_up(project: Project) -> None:
    """A library cannot be imported in it: workers are spawned, and all is well."""
    packages = project.folder / "site-packages"
    packages.mkdir()
    (packages / "library.py").write_text(f"import os, sys\nif {FROM_SERVER}: os._exit(1)\n")
    project.commit({RUN: f"import library, sys\n{FORKED}"})
    seen = project.gate(path=[packages], env={"QUICK_PAIRS": "2"})
    assert 1 == seen.code and ["base", "base", "head", "head"] == seen.who, seen.text
    assert not any(note["forked"] for note in seen.notes)
    assert [] == project.left()


def test_plugins_that_libraries_import(project: Project) -> None:
    """pytest warns of modules that are there before it could rewrite them, and warnings may be errors."""
    packages = {
        "like_anyio/__init__.py": "",
        "like_anyio/plugin.py": "",
        "like_anyio-1.dist-info/METADATA": "Name: like-anyio\nVersion: 1\n",
        "like_anyio-1.dist-info/RECORD": "like_anyio/__init__.py,,\nlike_anyio/plugin.py,,\n",
        "like_anyio-1.dist-info/entry_points.txt": "[pytest11]\nlike_anyio = like_anyio.plugin\n",
        "like_httpx.py": "import like_anyio\n",
    }
    place = project.folder / "site-packages"
    for name, text in packages.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    settings = "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    test = f"import sys\nimport like_httpx\n{FORKED}"
    project.commit({RUN: test, "pytest.ini": settings, "conftest.py": "pytest_plugins = ['pytester']\n"})
    seen = project.gate(
        path=[place], env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}, command=(*PYTEST, "-p", "no:randomly")
    )
    assert ["base", "head"] == seen.who, seen.text
    assert all(note["forked"] for note in seen.notes)
    assert [] == project.left()


def test_temporary_folders_of_tests(project: Project) -> None:
    """tmp_path is a worker's own, under one --basetemp too, and goes away with it."""
    test = TEST.replace("def test_it(llmtime):", "def test_it(llmtime, tmp_path):\n    (tmp_path / 'a').touch()")
    project.commit({RUN: test.replace("note()", "note(place=str(tmp_path))")})
    for arguments in ((), (f"--basetemp={project.folder / 'given'}",)):
        seen = project.gate(*arguments)
        assert ["base", "head"] == seen.who, seen.text
        places = {note["place"] for note in seen.notes}
        assert 2 == len(places) and not any(Path(place).exists() for place in places)
        assert [] == project.left()
