"""Findings about the interpreter, from stand-ins for `sys` and the environment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.gate.doctor import interpreter
from llm_latency.gate.doctor.finding import NOISY, OK, RISK, UNKNOWN


def python(**fields: Any) -> Any:
    """An interpreter in which nothing listens."""
    quiet = {"gettrace": lambda: None, "getprofile": lambda: None, "flags": SimpleNamespace(dev_mode=False)}
    return SimpleNamespace(**quiet | fields)


@pytest.mark.parametrize(
    ("fields", "environ", "tracing", "seen"),
    [
        ({}, {}, False, "none"),
        ({}, {"PYTHONTRACEMALLOC": "", "OTHER": "1"}, False, "none"),
        ({"gettrace": lambda: print}, {}, False, "a tracer (sys.settrace)"),
        ({"getprofile": lambda: print}, {}, False, "a profiler (sys.setprofile)"),
        (
            {"monitoring": SimpleNamespace(get_tool=lambda number: "coverage.py" if number == 1 else None)},
            {},
            False,
            "coverage.py (sys.monitoring)",
        ),
        ({"flags": SimpleNamespace(dev_mode=True)}, {}, False, "development mode (-X dev)"),
        (
            {"flags": SimpleNamespace(dev_mode=True)},
            {"PYTHONDEVMODE": "1"},
            False,
            "PYTHONDEVMODE (development mode checks as it goes)",
        ),
        ({}, {}, True, "tracemalloc"),
        (
            {},
            {"COVERAGE_PROCESS_START": "c", "PYTHONTRACEMALLOC": "1"},
            False,
            "PYTHONTRACEMALLOC (every allocation is traced), COVERAGE_PROCESS_START (coverage starts in every process)",
        ),
    ],
)
def test_whoever_listens_is_named(fields: dict[str, Any], environ: dict[str, str], tracing: bool, seen: str) -> None:
    """Here, or by what the environment does to every process."""
    found = interpreter.tracers(environ=environ, python=python(**fields), tracing=tracing)
    assert (OK if seen == "none" else NOISY, seen) == (found.word, found.seen)


def test_this_interpreter_can_be_asked() -> None:
    """Whatever the answer: under a debugger or coverage it is another one."""
    assert interpreter.tracers(environ={}).word in (OK, NOISY)


def test_a_fixed_hash_seed_is_a_risk() -> None:
    """A gate would see one order of sets only; "random" is Python's own word for none."""
    words = [interpreter.hash_seed(environ).word for environ in ({}, {"PYTHONHASHSEED": "random"})]
    assert ([OK, OK], RISK) == (words, interpreter.hash_seed({"PYTHONHASHSEED": "0"}).word)


@pytest.mark.parametrize(
    ("environ", "threads", "cores", "word", "seen"),
    [
        ({}, 2, 2, RISK, "torch takes 2 on 2 cores, OpenMP's wait policy: default"),
        ({}, 1, 2, OK, "torch takes 1 on 2 cores, OpenMP's wait policy: default"),
        ({}, 1, 1, OK, "torch takes 1 on 1 core, OpenMP's wait policy: default"),
        ({"OMP_WAIT_POLICY": "passive"}, 2, 2, OK, "torch takes 2 on 2 cores, OpenMP's wait policy: passive"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 4, 2, RISK, "torch takes 4 on 2 cores, OpenMP's wait policy: ACTIVE"),
        ({}, None, 2, UNKNOWN, "not reported by this system (torch was not asked)"),
    ],
)
def test_threads_that_fill_the_machine_and_spin_are_a_risk(
    environ: dict[str, str], threads: int | None, cores: int, word: str, seen: str
) -> None:
    """One core less, or threads that sleep while they wait, are none."""
    found = interpreter.threads(environ=environ, torch_threads=threads, cores=cores)
    assert (word, seen) == (found.word, found.seen)
