"""A gate that is interrupted, killed, or not alone: exit code, and nothing left behind."""

from __future__ import annotations

import shlex
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from tests.pytest_plugin.gates import PLUGINS, PYTEST, TEST, Project, code

RUN = "tests/test_it.py"
CALL = "def call():\n        note(process=os.getpid()); import time; time.sleep(600)\n    llmtime(call)"
# One side waits, the other one is waited for.
IN_CALL = TEST.replace("llmtime(pkg.work)", CALL)
# Before its first call, while it imports the project, in a process that is not the outer pytest.
STARTING = """
import os, sys, time
if "pytest" not in sys.argv[0]:
    with open(os.environ["NOTES"], "a") as file:
        file.write("{}\\n")
    time.sleep(600)
"""
STARTS = {"pkg/late.py": STARTING, RUN: f"import pkg.late\n{TEST}"}
CALLS = {RUN: IN_CALL}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A base and a head that differ in who they are."""
    project = Project(tmp_path, monkeypatch).commit({"pkg/__init__.py": code("base"), RUN: TEST}, tag="base")
    return project.commit({"pkg/__init__.py": code("head")})


def require_interrupted(project: Project, process: object) -> None:
    """pytest's code for that, and nothing is left."""
    seen = project.seen(process)  # type: ignore[arg-type]  # as `start` gives it
    assert 2 == seen.code, seen.text
    assert "KeyboardInterrupt" in seen.text
    project.wait_ended()
    assert [] == project.left()


@pytest.mark.parametrize(
    ("files", "number"),
    [(STARTS, signal.SIGINT), (CALLS, signal.SIGINT), (CALLS, signal.SIGTERM), (CALLS, signal.SIGHUP)],
)
def test_a_signal_during_the_first_pair(project: Project, files: dict[str, str], number: signal.Signals) -> None:
    """While a worker starts, and while one is in a call and the other one waits for its turn."""
    process = project.commit(files).start()
    project.wait_for("notes")
    process.send_signal(number)
    require_interrupted(project, process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_checkout(project: Project, number: signal.Signals) -> None:
    """git is in the middle of it, has locked what it has begun, and waits for a filter of the user's."""
    started = project.folder / "started"
    project.git("config", "filter.slow.smudge", f"sh -c 'echo x >{started}; sleep 600'")
    project.git("config", "filter.slow.clean", "cat")
    project.commit({".gitattributes": "*.slow filter=slow\n", "a.txt": "", "z.slow": "text\n"}, tag="slow")
    process = project.start(base="slow")
    project.wait_for("started")
    process.send_signal(number)
    require_interrupted(project, process)


def test_a_second_signal_while_all_is_taken_down(project: Project) -> None:
    """A job that is cancelled is asked more than once."""
    process = project.commit({RUN: IN_CALL}).start()
    project.wait_for("notes")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    require_interrupted(project, process)


def test_a_signal_that_the_user_ignores_stays_ignored(project: Project) -> None:
    """As nohup has it."""
    ignoring = ("import signal, sys, pytest", "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    end = "import os; os.kill(os.getppid(), signal.SIGHUP)"
    test = TEST.replace("llmtime(pkg.work)", f"import signal; {end}\n    llmtime(pkg.work)")
    project.commit({RUN: test, "conftest.py": "\n".join(ignoring) + "\n"})
    seen = project.gate()
    assert 1 == seen.code and ["base", "head"] == seen.who, seen.text


@pytest.mark.slow
@pytest.mark.parametrize("files", [STARTS, CALLS], ids=["starting", "in a call"])
def test_a_killed_gate_and_the_next_one(project: Project, files: dict[str, str]) -> None:
    """Its processes end with it, and the next gate takes away what it could not."""
    process = project.commit(files).start()
    project.wait_for("notes")
    process.kill()
    assert -signal.SIGKILL == project.seen(process).code
    project.wait_ended()
    assert project.left()
    seen = project.commit({RUN: TEST}).gate()
    assert 1 == seen.code and ["base", "head"] == seen.who, seen.text
    assert [] == project.left()


@pytest.mark.slow
def test_two_gates_at_once(project: Project) -> None:
    """They take turns pair by pair, each with a checkout of its own, and both end right."""
    times = "import time; begin = time.monotonic(); llmtime(pkg.work); end = time.monotonic()"
    project.commit({RUN: TEST.replace("llmtime(pkg.work)", times).replace("note()", "note(begin=begin, end=end)")})
    names = ("first", "second")
    processes = [project.start(env={"NOTES": str(project.folder / name), "QUICK_PAIRS": "2"}) for name in names]
    pairs = []
    for process, name in zip(processes, names, strict=True):
        seen = project.seen(process, notes=name)
        assert 1 == seen.code and ["base", "base", "head", "head"] == seen.who, seen.text
        pairs += [seen.notes[:2], seen.notes[2:]]
    spans = sorted((min(n["begin"] for n in pair), max(n["end"] for n in pair)) for pair in pairs)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert [] == project.left()


def test_a_gate_in_a_hook(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """git tells its hooks where its index is, also while it is locked, which is not that of the base's checkout."""
    hook = project.top / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    command = shlex.join([*PYTEST, *PLUGINS, "--latency-base=base"])
    hook.write_text(f"#!/bin/sh\nenv | grep ^GIT_ >{project.folder}/told\n{command}; echo $? >{project.folder}/code\n")
    hook.chmod(0o755)
    for name, value in project.environment().items():
        monkeypatch.setenv(name, value)
    project.write({"pkg/__init__.py": code("head") + "\n"})
    project.git("commit", "-q", "-a", "-m", "a change with a gate before it")
    assert "GIT_INDEX_FILE" in project.wait_for("told")
    assert "1\n" == project.wait_for("code")
    assert ["base", "head"] == sorted(note["who"] for note in project.notes())
    assert [] == project.left()


def test_hooks_are_not_run(project: Project) -> None:
    """post-checkout is for people's own checkouts."""
    hook = project.top / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho x >{project.folder}/hooked\n")
    hook.chmod(0o755)
    seen = project.gate()
    assert 1 == seen.code and ["base", "head"] == seen.who, seen.text
    assert not (project.folder / "hooked").exists()
