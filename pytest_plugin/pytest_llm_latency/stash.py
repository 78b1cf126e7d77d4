"""The keys under which the plugin keeps its state in pytest's stashes; nothing is kept anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from llm_latency.gate.result import GateResult
    from llm_latency.gate.worker import Baton
    from pytest_llm_latency.found import Found
    from pytest_llm_latency.gated import Gated
    from pytest_llm_latency.llmtime import LlmTime
    from pytest_llm_latency.lock import DeviceLock
    from pytest_llm_latency.settings import Settings

# Of the config: the settings; the lock that timed calls take; the fixture of the test that is running; the turns of a
# gate's worker; what the gate of this run has found; sys.path as it was before pytest put anything in
# front; the name of this process in the rows that it leaves.
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
LOCK: pytest.StashKey[DeviceLock] = pytest.StashKey()
RUNNING: pytest.StashKey[LlmTime] = pytest.StashKey()
BATON: pytest.StashKey[Baton] = pytest.StashKey()
RESULT: pytest.StashKey[GateResult] = pytest.StashKey()
PROBLEMS: pytest.StashKey[list[str]] = pytest.StashKey()
PATH: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
RUN: pytest.StashKey[str] = pytest.StashKey()
# Of an item: its fixture, with what it has timed; what the gate, and what stored baselines, have to say about it.
TIMED: pytest.StashKey[LlmTime] = pytest.StashKey()
GATED: pytest.StashKey[Gated] = pytest.StashKey()
STORED: pytest.StashKey[Found] = pytest.StashKey()
