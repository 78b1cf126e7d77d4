"""Real gates among what else a pytest run has: its options, the project's plugins, conftests and fixtures, signals."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.pytest_plugin.gates import Project
from tests.pytest_plugin.noted_gates import CONFTEST, FEW, WORK, gate, noting, require_gated


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with one commit: a package, and how its tests take notes."""
    return noting(tmp_path, monkeypatch)


OPTIONS = """
import pkg

def test_options(llmtime, note, request, tmp_path):
    option = request.config.option
    names = "usepdb trace lf failedfirst stepwise maxfail xmlpath log_file basetemp tbstyle".split()
    cache = request.config.cache.mkdir("x")
    note(**{name: getattr(option, name) for name in names}, tmp=str(tmp_path), cache=str(cache))
    llmtime(pkg.work)

def test_plain(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
"""


def test_what_is_the_outer_runs_is_not_the_workers(project: Project) -> None:
    """No debugger, no selection by an earlier run, no early end; files that were named once are written once."""
    options = ["--trace", "--lf", "--sw", "-x", "--tb=no", "-s", "--durations=3", "--setup-show"]
    out = project.folder / "out"
    out.mkdir()
    files = [f"--junitxml={out}/junit.xml", f"--log-file={out}/log.txt", f"--basetemp={out}/tmp"]
    seen = gate(project, OPTIONS, *options, *files, "--deselect=tests/test_it.py::test_plain")
    require_gated(project, seen, 1)
    for note in seen.notes:
        assert not any(
            note[name] for name in ("usepdb", "trace", "lf", "failedfirst", "stepwise", "maxfail", "xmlpath")
        )
        assert (os.devnull, "short") == (note["log_file"], note["tbstyle"])
        assert not Path(note["tmp"]).exists() and not Path(note["cache"]).exists()
    assert 4 == len({note[name] for note in seen.notes for name in ("tmp", "cache")})
    (suite,) = ElementTree.parse(out / "junit.xml").iter("testsuite")
    assert "1" == suite.get("tests")


def test_files_of_the_outer_run_stay(project: Project) -> None:
    """Its temporary folder and its cache, which workers would have emptied."""
    seen = gate(project, OPTIONS, f"--basetemp={project.folder}/out", "--pdb")
    assert "1 passed, 1 undecided" in seen.text.splitlines()[-1], seen.text
    assert {"kept"} == {path.read_text() for path in project.folder.glob("out/*/mine.txt")}
    assert [False, False] == [note["usepdb"] for note in seen.notes]


STRICT = """
import pkg, pytest

@pytest.mark.latency_budget(total="1 h", max_slowdown="5%")
def test_strict(llmtime, note):
    note()
    llmtime(pkg.work)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["-W", "error", "--strict-markers", "--strict-config"],
        ["-W", "error", "--strict-config", "-p", "no:cacheprovider"],
        ["-p", "no:terminal"],
        ["-p", "no:logging", "-p", "no:capture", "-p", "no:tmpdir", "-p", "no:junitxml", "-p", "no:faulthandler"],
        ["-p", "xdist", "-n", "0"],
    ],
    ids=["strict", "no cache", "no terminal", "without much", "xdist"],
)
def test_a_pytest_with_more_or_less_than_usual(project: Project, arguments: Sequence[str]) -> None:
    """Warnings are errors, options and markers are strict, parts of pytest itself are off."""
    project.write({"pytest.ini": "[pytest]\nfilterwarnings = error\n"})
    seen = gate(project, STRICT, *arguments, *(() if "no:terminal" in arguments else ["-vv"]))
    assert (0, 2) == (seen.code, len(seen.notes)), seen.text
    assert ("no:terminal" in arguments) or "UNDECIDED" in seen.text
    assert [] == project.left()


PLUGINS = {
    "mine.py": """
import pkg, pytest

def pytest_addoption(parser):
    parser.addoption("--mine", default="no")

@pytest.fixture
def mine(request):
    return request.config.getoption("--mine")
""",
    "more.py": """
import pkg, pytest

@pytest.fixture(scope="session")
def more():
    return "more"

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    return (yield)
""",
    "conftest.py": """
import os, random
import pytest

pytest_plugins = ["more"]

def pytest_addoption(parser):
    parser.addoption("--model", default="none")
    parser.addini("models", "some", type="args")

@pytest.fixture(scope="module")
def model(request):
    return [request.config.getoption("--model"), *request.config.getini("models")]

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    random.Random(os.getpid()).shuffle(items)
""",
    "below/tests/test_it.py": CONFTEST
    + """
import pkg, mine as module

@pytest.mark.parametrize("number", range(8))
def test_plugins(llmtime, note, mine, more, model, number):
    note(who=pkg.WHO, mine=mine, more=more, model=model, folder=os.getcwd(), number=number, whose=module.pkg.WHO)
    llmtime(pkg.work)
""",
    "other.ini": "[pytest]\npythonpath = .\ntestpaths = below/tests\nmodels = a b\naddopts = --mine=yes\n",
}


@pytest.mark.parametrize("folder", ["", "below"])
def test_plugins_and_conftests_of_the_project(project: Project, folder: str) -> None:
    """Their options, fixtures and hooks; also where items are shuffled in each process as it likes."""
    project.commit({**PLUGINS, "pkg.py": f"WHO = 'base'\n{WORK}"}, tag="mine").write(
        {"pkg.py": f"WHO = 'head'\n{WORK}"}
    )
    up = os.path.relpath(project.top, project.top / folder)
    arguments = [*FEW, "-c", f"{up}/other.ini", "-p", "mine", "--rootdir", up]
    arguments += [] if folder == "" else ["tests"]
    env = {"PYTEST_ADDOPTS": "--model=big", "GIT_DIR": str(project.top / ".git"), "GIT_INDEX_FILE": "none"}
    seen = project.gate(*arguments, cwd=project.top / folder, path=[project.top], env=env, base="mine")
    require_gated(project, seen, 8)
    told = [(note["mine"], note["more"], note["model"]) for note in seen.notes]
    assert [("yes", "more", ["big", "a", "b"])] * 16 == told
    orders = {who: [note["number"] for note in seen.notes if note["who"] == who] for who in ("base", "head")}
    assert orders["base"] == orders["head"]
    assert all(note["who"] == note["whose"] for note in seen.notes)
    places = {note["who"]: note["folder"] for note in seen.notes}
    assert str(project.top / folder) == places["head"]
    assert places["base"].endswith(f"/base/{folder}".rstrip("/")) and places["base"] != places["head"]


FIXTURES = """
import os, unittest
import pkg, pytest

@pytest.fixture(scope="session")
def weights():
    return [os.getpid()]

@pytest.fixture(scope="module", params=["small", "large"])
def model(request, weights):
    weights.append(request.param)
    return weights

@pytest.fixture
def built(request):
    return request.param * 2

@pytest.mark.parametrize("built", [1, pytest.param(2, id="odd [id]::/é")], indirect=True)
def test_fixtures(llmtime, note, model, built):
    note(model=model, built=built)
    llmtime(pkg.work)

class TestClass:
    def setup_method(self):
        self.ready = "ready"

    def test_method(self, llmtime, note):
        note(ready=self.ready)
        llmtime(pkg.work)
        llmtime(pkg.work, name="again")

class TestOld(unittest.TestCase):
    def setUp(self):
        self.ready = "ready"

    @pytest.fixture(autouse=True)
    def _inject(self, llmtime, note):
        self.llmtime, self.note = llmtime, note

    def test_old(self):
        self.note(ready=self.ready)
        self.llmtime(pkg.work)
"""


def test_fixtures_of_every_kind(project: Project) -> None:
    """Those of a module or session are set up once in a worker, and their order is that of both."""
    seen = gate(project, FIXTURES, "-v")
    require_gated(project, seen, 6)
    loaded = [note["model"] for note in seen.notes if "model" in note]
    assert 2 == len({model[0] for model in loaded})
    assert sorted(2 * [["small"], ["small"], ["small", "large"], ["small", "large"]]) == sorted(m[1:] for m in loaded)
    assert 4 == len([note for note in seen.notes if note.get("ready") == "ready"])
    assert "test_method again" in seen.text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_is_known(project: Project, number: signal.Signals) -> None:
    """Ctrl-C and a job's time limit: a part is shown and written, the exit code is 2, and nothing is left."""
    project.write({"tests/test_it.py": STRICT})
    process = project.start("--latency-report=ignored.json", env={"QUICK_PAIRS": ""})
    assert process.stdout is not None
    before = []
    for line in process.stdout:
        before.append(line)
        if line.startswith("gate: pair 2"):
            break
    process.send_signal(number)
    seen = project.seen(process)
    assert int(pytest.ExitCode.INTERRUPTED) == seen.code, "".join(before) + seen.text
    assert "PARTIAL: interrupted; this is what 1 pair can tell" in seen.text
    found = json.loads((project.top / "ignored.json").read_text())
    assert (False, "interrupted", 1) == (found["complete"], found["stopped_because"], found["pairs"])
    assert [] == project.left()


def test_a_test_that_ends_its_run(project: Project) -> None:
    """In a worker it ends that alone; what it has said is told, and the tests before it keep their times."""
    source = STRICT + '\ndef test_leaves(llmtime):\n    pytest.exit("no licence left")\n'
    seen = gate(project, source, "-v")
    assert 1 == seen.code
    assert "FAILED tests/test_it.py::test_leaves - it fails in the gate's workers: " in seen.text
    assert "the head could not run it: Exit: no licence left" in seen.text
    assert "test_strict UNDECIDED" in seen.text
    assert [] == project.left()


def test_a_debugger_finds_nobody(project: Project) -> None:
    """Whoever left a breakpoint behind is told, and no worker waits for a keyboard."""
    seen = gate(
        project, STRICT + "\ndef test_stops(llmtime):\n    breakpoint()\n    llmtime(pkg.work)\n", "-v", "--pdb"
    )
    assert "test_strict UNDECIDED" in seen.text
    assert "it fails in the gate's workers: " in seen.text and "Quit" in seen.text, seen.text
    assert [] == project.left()


SUBTESTS = """
import unittest
import pkg, pytest

@pytest.mark.parametrize("bad", [3, 1])
def test_subtests(llmtime, subtests, bad):
    for number in (0, 1, 2):
        with subtests.test(number=number):
            llmtime(pkg.work, name=f"number {number}")
            assert number != bad

class TestOld(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _inject(self, llmtime):
        self.llmtime = llmtime

    def test_old(self):
        for number in (0, 1, 2):
            with self.subTest(number=number):
                self.llmtime(pkg.work)
                self.assertNotEqual(number, 1)
"""


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests have come with pytest 9")
def test_a_subtest_that_fails_fails_its_test(project: Project) -> None:
    """As it does without a gate; the other subtests are timed all the same."""
    seen = gate(project, SUBTESTS, "-v")
    lines = [line.partition("::")[2] for line in seen.text.splitlines() if line.endswith("%]")]
    words = [line.split()[:2] for line in lines]
    assert [
        ["test_subtests[3]", "UNDECIDED"],
        ["test_subtests[1]", "FAILED"],
        ["TestOld::test_old", "FAILED"],
    ] == words, seen.text
    assert "it fails in the gate's workers: assert 1 != 1" in seen.text
    assert all(f"test_subtests[1] number {number}" in seen.text for number in (0, 1, 2))


def test_a_project_that_no_worker_can_load(project: Project) -> None:
    """What it says is told, and not that the two sides are the same."""
    conftest = "import sys\nif sys.argv[0] == '-c':\n    raise RuntimeError('only from a shell')\n"
    project.write({"conftest.py": conftest})
    seen = gate(project, STRICT)
    assert int(pytest.ExitCode.USAGE_ERROR) == seen.code
    assert "ERROR: the gate against base did not run: the head could not run its tests: " in seen.text
    assert "RuntimeError: only from a shell" in seen.text
    assert [] == project.left()
