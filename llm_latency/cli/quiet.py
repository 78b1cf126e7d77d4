"""Keeping the libraries' own log lines and bars off the terminal, in this process only; not our own messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Read by transformers and huggingface_hub when they are imported, which happens later. Errors stay visible.
_LOGS = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
_BARS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@contextmanager
def quiet_libraries(*, bars: bool) -> Iterator[None]:
    """Set what the user has not set in the environment; `bars` leaves progress bars, for a download."""
    added = {name: value for name, value in (_LOGS | ({} if bars else _BARS)).items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
