"""Whatever goes wrong in a gate's workers: exit code, words, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pytest_plugin.gates import FROM_SERVER, TEST, Project, code

RUN = "tests/test_it.py"
# As long as a worker takes to start on a busy machine, and some more.
SILENCE = "--latency-patience=5 s"
# The first forked pair is played again where it is lost, so it need not be waited for.
HANG = f"import sys, time; os._exit(1) if {FROM_SERVER} else time.sleep(600)"
STOP = f"import signal, sys; os._exit(1) if {FROM_SERVER} else os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A base and a head that differ in who they are."""
    return Project(tmp_path, monkeypatch).commit({"pkg/__init__.py": code("base"), RUN: TEST}, tag="base")


def head(project: Project, package: str = "", test: str = TEST) -> Project:
    """Commit a head: what its package does beyond being one, and its tests."""
    return project.commit({"pkg/__init__.py": code("head") + package, RUN: test})


def body(text: str, *, then: str = "    note()\n") -> str:
    """The usual test with lines in its timed call's place; `call()` is the timed call."""
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return TEST.replace("    llmtime(pkg.work)\n    note()\n", f"{lines}{then}")


def once(words: str, side: str = "head") -> str:
    """A timed call that does something on one side only."""
    return f"def call():\n    if pkg.WHO == {side!r}:\n        {words}\n    return pkg.work()\nllmtime(call)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (once("os._exit(3)"), "exit status 3"),
        (once("os._exit(0)"), "exit status 0"),
        (once("import ctypes; ctypes.string_at(0)"), "Fatal Python error: Segmentation fault"),
        (once("os.closerange(3, 65536)"), "its process ended without a word"),
        pytest.param(once(HANG), "in call", marks=pytest.mark.slow),
        pytest.param(once(STOP), "it said nothing for 5 s", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_is_lost(project: Project, text: str, words: str) -> None:
    """It crashes, leaves, closes what it talks through, hangs or is stopped in the middle of its first call."""
    head(project, test=body(text))
    seen = project.gate(SILENCE)
    assert 1 == seen.code, seen.text
    assert words in seen.text and "the head was lost" in seen.text, seen.text
    assert [] == project.left()


@pytest.mark.parametrize("pair", [1, 2])
def test_a_worker_that_is_killed_from_outside(project: Project, pair: int) -> None:
    """As the system does when memory runs out; where that is the first one, a pair is played again without forking."""
    text = f"""
import time
runs = os.environ["NOTES"] + ".head"
if pkg.WHO == "head":
    open(runs, "a").write("x")
def call():
    if pkg.WHO == "head" and os.path.getsize(runs) == {pair}:
        note(process=os.getpid())
        time.sleep(600)
    return pkg.work()
llmtime(call)"""
    process = head(project, test=body(text)).start(env={"QUICK_PAIRS": "3"})
    while not (waiting := [note["process"] for note in project.notes() if "process" in note]):
        assert process.poll() is None, project.seen(process).text
        time.sleep(0.05)
    os.kill(waiting[0], signal.SIGKILL)
    seen = project.seen(process)
    assert 1 == seen.code, seen.text
    assert ("killed by SIGKILL" in seen.text) == (pair == 2)
    assert ("so they are spawned from now on" in seen.text) == (pair == 1)
    assert [] == project.left()


def test_a_crash_that_leaves_a_child_behind(project: Project) -> None:
    """The child has the worker's end of the channel, whose silence would be waited for."""
    words = "import signal, time; os.fork() or time.sleep(600); os.kill(os.getpid(), signal.SIGKILL)"
    seen = head(project, test=body(once(words))).gate("--latency-patience=10 min")
    assert 1 == seen.code and "killed by SIGKILL" in seen.text, seen.text
    assert [] == project.left()


@pytest.mark.slow
def test_a_pair_that_never_gets_ready(project: Project) -> None:
    """One side hangs while it imports the project."""
    is_worker = "if 'pytest' not in sys.argv[0]:"
    head(project, package=f"import os, sys\n{is_worker} {HANG}\n")
    seen = project.gate(SILENCE, env={"QUICK_PAIRS": "3"})
    assert 1 == seen.code, seen.text
    assert "2 pairs in a row were lost" in seen.text
    assert "the head was lost before its first test: it said nothing for 5 s" in seen.text
    assert [] == project.left()


@pytest.mark.parametrize(
    ("files", "code_", "words"),
    [
        ({"pkg/__init__.py": "raise ImportError('no library of this name')\n"}, 1, "no library of this name"),
        ({"pkg/__init__.py": "def broken(:\n"}, 1, "SyntaxError"),
        (
            {"conftest.py": "import pkg.setup\n", "pkg/setup.py": "raise OSError('no such device')\n"},
            1,
            "no such device",
        ),
    ],
    ids=["import error", "syntax error", "conftest"],
)
def test_a_base_whose_code_is_broken(project: Project, files: dict[str, str], code_: int, words: str) -> None:
    """The head has mended it; what the base says of itself is told."""
    project.commit(files, tag="broken")
    head(project)
    project.commit({"pkg/setup.py": ""})
    seen = project.gate(base="broken")
    assert code_ == seen.code, seen.text
    assert "the base" in seen.text and words in seen.text
    assert [] == project.left()


CHILDREN = """
import atexit, multiprocessing, subprocess, threading, time
subprocess.Popen(["sleep", "600"])
os.fork() or (os.setpgid(0, 0), time.sleep(600))
multiprocessing.Process(target=time.sleep, args=(600,), daemon=True).start()
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)
"""
STATE = """
import gc, resource, signal, sys, time
os.chdir("/")
sys.path.insert(0, "/nowhere")
os.environ.pop("PATH")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGABRT):
    signal.signal(number, signal.SIG_IGN)
signal.alarm(600)
gc.disable()
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
time.perf_counter_ns = time.monotonic = time.time = lambda: 0
"""


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("import sys; sys.stdin.close(); sys.stdout.close(); sys.stderr.close()", ()),
        ("os.close(0); os.close(1); os.close(2)", ("-s",)),
        ("os.write(1, b'x' * 5_000_000); print('x' * 5_000_000)", ("-s",)),
        (CHILDREN, ()),
        (STATE, ()),
    ],
    ids=["closed streams", "closed descriptors", "megabytes", "children and threads", "state"],
)
def test_whatever_a_test_does_to_its_process(project: Project, text: str, arguments: Sequence[str]) -> None:
    """The pair is played to its end, and the process goes away with all that it has started."""
    head(project, test=body(f"{text}\nllmtime(pkg.work)"))
    seen = project.gate(*arguments)
    assert ["base", "head"] == seen.who, seen.text
    assert 1 == seen.code and "fewer than 6 pairs" in seen.text, seen.text
    assert len(seen.text) < 100_000
    project.wait_ended()
    assert [] == project.left()


HOSTILE = r"""
import pytest
IDS = ["'; touch pwned #", '"$(touch pwned)"', "a\nb\tc\0d", "../../../etc", "ünïcödé ☃", "x" * 10_000, "[a]::b", "\r"]

@pytest.mark.parametrize("value", IDS)
@pytest.mark.parametrize("again", [1], ids=["…"])
def test_it(llmtime, value, again):
    llmtime(pkg.work)
    note()
"""


@pytest.mark.parametrize("ini", ["", "disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true\n"])
def test_hostile_names_of_tests(project: Project, ini: str) -> None:
    """A name is a name, whatever is in it."""
    test = TEST.partition("def test_it")[0] + HOSTILE
    head(project, test=test)
    project.commit({"pytest.ini": f"[pytest]\n{ini}"})
    seen = project.gate()
    assert ["base"] * 8 + ["head"] * 8 == seen.who, seen.text
    assert 1 == seen.code and "8 failed" in seen.text, seen.text
    assert not list(project.folder.rglob("pwned"))
    assert [] == project.left()
