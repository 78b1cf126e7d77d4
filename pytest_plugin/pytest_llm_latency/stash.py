"""The keys under which the plugin keeps its state in pytest's stashes; nothing is kept anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llm_latency.llmtime import LlmTime
    from pytest_llm_latency.lock import DeviceLock
    from pytest_llm_latency.settings import Settings

# Of the config: the settings; the lock that timed calls take; the fixture of the test that is running.
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
LOCK: pytest.StashKey[DeviceLock] = pytest.StashKey()
RUNNING: pytest.StashKey[LlmTime] = pytest.StashKey()
# Of an item: its fixture, with what it has timed.
TIMED: pytest.StashKey[LlmTime] = pytest.StashKey()
