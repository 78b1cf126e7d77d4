"""Lets the tests of this folder import what they share by name, and gives each a scripted bench of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scripted import Bench  # after its folder is known


@pytest.fixture
def bench() -> Bench:
    """A clock at 0 and a model that has not been called."""
    return Bench()
