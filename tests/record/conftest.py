"""Lets the tests of this folder import what they share by name, and gives each a scripted bench of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scripted import Bench, Onlooker  # after its folder is known

from llm_latency.record.timed import timed


@pytest.fixture
def bench() -> Bench:
    """A clock at 0 and a model that has not been called."""
    return Bench()


@pytest.fixture
def view(bench: Bench) -> Onlooker:
    """A view that looks at each emission and takes 3 ms for it."""
    return Onlooker(bench.clock)


@pytest.fixture
def block(bench: Bench, view: Onlooker) -> timed:
    """A block on the bench's clock that the view looks at."""
    return timed("block", clock=bench.clock, device=bench.device, view=view)
