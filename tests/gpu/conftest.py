"""GPU tests are skipped where there is none, with the reason; torch is loaded only by a test that runs."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def torch() -> Any:
    """Torch, on a machine with a CUDA device."""
    module = pytest.importorskip("torch", reason="needs torch")
    if not module.cuda.is_available():
        pytest.skip(f"needs a CUDA device, and torch {module.__version__} sees none")
    return module
