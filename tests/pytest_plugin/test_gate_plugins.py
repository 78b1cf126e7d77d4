"""Real gates beside other people's plugins: event loops, reruns, coverage, lots."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.pytest_plugin.gates import PYTEST, SEATS, Project
from tests.pytest_plugin.noted_gates import FEW, gate, noting, require_gated


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with one commit: a package, and how its tests take notes."""
    return noting(tmp_path, monkeypatch)


PLAIN = """
import pkg

def test_plain(llmtime, note):
    note()
    llmtime(pkg.work)
"""


def test_every_installed_plugin_but_xdist(project: Project) -> None:
    """Found by their entry points, as in most projects; one is switched off, and its options with it."""
    ini = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    project.write({"pytest.ini": ini})
    require_gated(project, gate(project, PLAIN, "-p", "no:xdist", PYTEST_DISABLE_PLUGIN_AUTOLOAD=""), 1)


def test_the_plugin_by_its_modules_name(project: Project) -> None:
    """Where entry points are off, in the workers too."""
    project.write({"tests/test_it.py": PLAIN})
    plugins = ["-p", "pytest_llm_latency.plugin", "-p", "quick_gate"]
    notes = project.folder / "notes"
    environment = {**os.environ, "PYTHONPATH": str(SEATS), "QUICK_PAIRS": "2", "NOTES": str(notes)}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(project.temporary)}
    command = [*PYTEST, *plugins, "--latency-base=base", *FEW]
    done = subprocess.run(command, cwd=project.top, env=environment, check=False, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "1 undecided" in done.stdout.splitlines()[-1]
    assert 4 == len(notes.read_text().splitlines())


ASYNC = """
import asyncio
import pkg, pytest, pytest_asyncio

async def stream():
    for token in range(3):
        await asyncio.sleep(0)
        yield pkg.work()

async def chat():
    await asyncio.sleep(0)
    pkg.work()

@pytest_asyncio.fixture
async def client():
    yield chat

{mark}
async def test_chat(llmtime, note, client):
    note()
    await llmtime(client)

{mark}
async def test_stream(llmtime, note):
    await llmtime(stream)
    note()

{mark}
async def test_sync_inside(llmtime, note):
    llmtime(pkg.work)
    note()
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_event_loops_of_pytest_asyncio(project: Project, mode: str) -> None:
    """Coroutines are run in the workers only; here none is left that was never awaited."""
    project.write({"pytest.ini": "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"})
    source = ASYNC.format(mark="@pytest.mark.asyncio" if mode == "strict" else "")
    require_gated(project, gate(project, source, "-p", "asyncio", f"--asyncio-mode={mode}"), 3)


RERUN = """
import pkg

def test_reruns(llmtime, note):
    note()
    llmtime(pkg.work)
    raise ValueError("flaky")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["option", "ini", "marker"])
def test_reruns_are_not_the_workers(project: Project, how: str) -> None:
    """A failure in a worker is one, and the outer run's second try hears of the same gate."""
    pytest.importorskip("pytest_rerunfailures", reason="reruns need it: pip install -e '.[all,dev]'")
    project.write({"pytest.ini": f"[pytest]\n{'reruns = 2' if how == 'ini' else ''}\n"})
    source = (
        RERUN.replace("def test", "import pytest\n@pytest.mark.flaky(reruns=2)\ndef test") if how == "marker" else RERUN
    )
    arguments = ["--reruns=2"] if how == "option" else []
    seen = gate(project, source, "-p", "rerunfailures", *arguments, QUICK_PAIRS="2")
    assert (1, 4) == (seen.code, len(seen.notes)), seen.text
    assert "1 failed, 2 rerun" in seen.text.splitlines()[-1]


SLEEPS = """
import time
import pkg, pytest

@pytest.fixture
def weights():
    time.sleep(0.4)  # twice the limit

@pytest.mark.timeout(0.2)
def test_marked(llmtime, note, weights):
    note()
    llmtime(pkg.work)

def test_global(llmtime, note, weights):
    note()
    llmtime(pkg.work)
"""


def test_alarms_are_not_set_in_workers(project: Project) -> None:
    """Each test there also waits for the other side; how long is --latency-patience's to say."""
    pytest.importorskip("pytest_timeout", reason="alarms need it: pip install -e '.[all,dev]'")
    require_gated(project, gate(project, SLEEPS, "-p", "pytest_timeout", "--timeout=0.2"), 2)


TRACED = """
import sys
import pkg

def test_traced(llmtime, note):
    note(coverage="coverage" in sys.modules, tracer=str(sys.gettrace()))
    llmtime(pkg.work)

def test_plain():
    pkg.work()
"""


def test_coverage_stays_out_of_the_workers(project: Project) -> None:
    """It would slow what is timed; of the outer run it is reported."""
    pytest.importorskip("pytest_cov", reason="coverage needs it: pip install -e '.[all,dev]'")
    project.write({".coveragerc": "[run]\npatch = subprocess\n"})
    seen = gate(project, TRACED, "-p", "pytest_cov", "--cov=pkg", "--cov-report=term")
    assert 0 == seen.code, seen.text
    assert 2 * [(False, "None")] == [(note["coverage"], note["tracer"]) for note in seen.notes]
    assert any(line.split()[:1] == ["pkg.py"] and "100%" in line for line in seen.text.splitlines()), seen.text


SEED = """
import random
import pkg

def test_random(llmtime, note, request):
    note(seed=request.config.getoption("randomly_seed"))
    llmtime(pkg.work)
"""
LOT = """
import random

def pytest_addoption(parser):
    parser.addoption("--randomly-seed", dest="randomly_seed", default=None, type=int)

def pytest_configure(config):
    if config.option.randomly_seed is None:
        config.option.randomly_seed = random.SystemRandom().getrandbits(32)
"""


def test_both_sides_draw_the_same_lots(project: Project) -> None:
    """The seed that pytest-randomly has drawn for this run, or the sides would be asked for different work."""
    project.write({"conftest.py": LOT})
    seen = gate(project, SEED, QUICK_PAIRS="2")
    require_gated(project, seen, 1, workers=4)
    assert 1 == len({note["seed"] for note in seen.notes})
