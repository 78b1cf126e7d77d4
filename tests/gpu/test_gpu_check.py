"""benchmarks/gpu_check.py, without a GPU: it runs, says what it cannot do, and one fact's end is not another's."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# Found, not loaded: the script loads it in its own process.
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
    reason="the facts are about models",
)

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "gpu_check.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script with this Python, with the checkout on its path as `make gpu-check` puts it there."""
    paths = {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "pytest_plugin")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(
        command, env=os.environ | paths | environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's parts by name."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return lambda name: importlib.import_module(f"gpu.{name}")


@pytest.mark.slow
def test_the_rehearsal_looks_at_every_fact(tmp_path: Path, part: Any) -> None:
    """Each runs to its end on a CPU; the record says that nothing in it is a GPU's."""
    done = run("--device", "cpu", "--out", str(tmp_path))
    assert 0 == done.returncode, done.stdout + done.stderr
    (told,) = tmp_path.glob("*-rehearsal.json")
    (shown,) = tmp_path.glob("*-rehearsal.md")
    record = json.loads(told.read_text(encoding="utf-8"))
    note = "rehearsal: no figure here is a GPU's"
    assert note == record["note"]
    assert f"**{note}**" in shown.read_text(encoding="utf-8")
    assert ["tests", *part("facts").FACTS] == [fact["name"] for fact in record["facts"]]
    assert {"ok", "not judged"} >= {fact["outcome"] for fact in record["facts"]}
    claims = {claim: holds for fact in record["facts"] for claim, holds in fact["claims"].items()}
    assert False not in claims.values()
    assert claims["an emission a token"] is True
    assert claims["as many waits inside generate as without observing"] is None
    assert "cpu" == record["environment"]["device"]


def test_without_a_gpu_it_says_so() -> None:
    """One sentence, and a status of its own."""
    done = run(CUDA_VISIBLE_DEVICES="")
    assert (2, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert "sees no CUDA device here" in line and "--device cpu" in line


def test_a_rehearsal_is_not_kept_among_the_measurements() -> None:
    """Its figures would pass for a GPU's."""
    done = run("--device", "cpu", "--out", str(REPOSITORY / "docs" / "measurements"))
    assert 2 == done.returncode
    assert "name another --out" in done.stderr


def test_an_unknown_fact_is_named_with_the_known_ones() -> None:
    """Before anything runs."""
    done = run("--device", "cpu", "--facts", "device_time,speed")
    assert 2 == done.returncode
    assert "there is no fact 'speed'; known: device_time, " in done.stderr


def test_missing_packages_are_named() -> None:
    """All at once; a Python without anything."""
    script = f"import runpy, sys; sys.argv = ['x']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-ISc", script], capture_output=True, text=True, check=False, timeout=60)
    assert 2 == done.returncode
    assert "lacks torch, transformers, numpy, msgspec, rich, pytest, llm_latency, pytest_llm_latency;" in done.stderr


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os; os.abort()", "the process ended with -6: nothing on stderr"),
        ("raise SystemExit('out of memory')", "the process ended with 1: out of memory"),
        ("import time; time.sleep(60)", "stopped after 1 s, its limit"),
    ],
)
def test_a_fact_that_crashes_or_hangs_is_a_failed_one(part: Any, script: str, words: str) -> None:
    """Its process ends, and this one goes on."""
    fact = part("process").run_fact([sys.executable, "-Ic", script], name="crash", most_s=1)
    assert ("crash", "failed", words) == (fact.name, fact.outcome, fact.words)


def test_a_fact_that_raises_is_a_failed_one(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what and where."""
    facts = part("facts")

    def fail(_: object) -> None:
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(facts, "FACTS", {"fails": facts.Look(fail, 1)})
    fact = facts.look("fails", part("fact").Setting(device="cpu"))
    assert "failed" == fact.outcome
    assert fact.words.startswith("RuntimeError at test_gpu_check.py:")
    assert fact.words.endswith(": CUDA out of memory")


def test_claims_about_a_gpu_stay_open_in_a_rehearsal(part: Any) -> None:
    """Those that hold anywhere do not, and a false one fails."""
    fact, setting = part("fact"), part("fact").Setting
    judged = fact.judged("x", setting(device="cpu"), {"fast": False}, {"n": 1}, anywhere={"counted": True})
    assert ("ok", {"counted": True, "fast": None}) == (judged.outcome, judged.claims)
    judged = fact.judged("x", setting(device="cpu"), {"fast": True}, {}, anywhere={"counted": False})
    assert ("failed", "not so: counted") == (judged.outcome, judged.words)
    judged = fact.judged("x", setting(device="cuda"), {"fast": False, "small": True}, {}, anywhere={"counted": True})
    assert ("failed", "not so: fast") == (judged.outcome, judged.words)
    assert "ok" == fact.judged("x", setting(device="cuda"), {"fast": True}, {}).outcome


def test_a_profile_is_read_off_the_trace(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels 10-14, 12-20 and 30-31 µs: 11 µs busy; of the runtime's calls those that begin inside 5-40."""

    def event(category: str, name: str, start: float, length: float) -> dict[str, object]:
        return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": length}

    events = [
        event("kernel", "late", 30, 1),
        event("kernel", "first", 10, 4),
        event("gpu_memcpy", "copy", 12, 8),
        event("user_annotation", part("profile").INSIDE, 5, 35),
        event("gpu_user_annotation", part("profile").INSIDE, 10, 21),
        event("cuda_runtime", "cudaLaunchKernel", 6, 1),
        event("cuda_driver", "cuLaunchKernelEx", 7, 1),
        event("cuda_runtime", "cudaStreamSynchronize", 38, 9),
        event("cuda_runtime", "cudaDeviceSynchronize", 50, 1),
        {"ph": "i", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 8},
        {"ph": "M", "name": "process_name"},
    ]

    class Profiler:
        def __enter__(self) -> Profiler:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def export_chrome_trace(self, path: str) -> None:
            Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")

    kinds = SimpleNamespace(CPU=0, CUDA=1)
    profiler = SimpleNamespace(ProfilerActivity=kinds, profile=lambda activities: Profiler())
    cuda = SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(profiler=profiler, cuda=cuda))
    profile = part("profile").profiled(lambda: None, part("fact").Setting(device="cuda"))
    assert ["first", "copy", "late"] == [span.name for span in profile.on_device]
    assert 11 == part("profile").busy(profile.on_device)
    assert (1, 2) == (profile.waits, profile.launches)
    assert 1 == profile.count(("cudaDeviceSynchronize",))
