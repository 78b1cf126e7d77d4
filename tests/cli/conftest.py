"""A program to time, the command line as a process, and a measurement made by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace

COMMAND = [sys.executable, "-X", "utf8", "-Im", "llm_latency.cli"]

PROGRAM = """
import sys, time
from pathlib import Path

CALLS = Path(__file__).with_name("calls")


def work():
    time.sleep(0.002)


def talk():
    print("said by the program")
    time.sleep(0.002)


def fail():
    count = len(CALLS.read_text()) if CALLS.exists() else 0
    CALLS.write_text("x" * (count + 1))
    time.sleep(0.002)
    if count == 4:
        inner()


def inner():
    raise ValueError("bad \\x1b[31m thing\\nand more")


def count():
    with CALLS.open("a") as stream:
        stream.write("x")
    time.sleep(0.02)


def leave():
    sys.exit("done here")


async def later():
    raise KeyError("k")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A file whose callables take a few milliseconds; `fail` raises in its fifth call."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM, encoding="utf-8")
    return file


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed command line as a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COLUMNS": "100"}
        words = [*COMMAND, *map(str, arguments)]
        return subprocess.run(
            words, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=300, check=False
        )

    return run


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """Six plain calls of 10 ms; fields may be replaced."""

    def make(**fields: object) -> Measurement:
        trace = Trace(start_ns=0, stop_ns=10_000_000)
        given = {"name": "chat", "workload": {}, "environment": Environment(), "traces": (trace,) * 6}
        return Measurement(**given | {"stopped_because": "6 calls, as asked"} | fields)  # type: ignore[arg-type]

    return make
