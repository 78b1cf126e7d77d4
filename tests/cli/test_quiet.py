"""Libraries keep quiet in this process and only while it lasts."""

from __future__ import annotations

import os

import pytest

from llm_latency.cli.quiet import quiet_libraries

LEVEL, BARS = "TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"


def test_the_environment_is_set_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the measuring fails."""
    monkeypatch.delenv(LEVEL, raising=False)
    monkeypatch.delenv(BARS, raising=False)
    before = dict(os.environ)

    def fail() -> None:
        with quiet_libraries(bars=False):
            assert ("error", "1") == (os.environ[LEVEL], os.environ[BARS])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert before == dict(os.environ)


def test_a_download_may_show_its_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes without a sign of life look like a hang."""
    monkeypatch.delenv(BARS, raising=False)
    with quiet_libraries(bars=True):
        assert BARS not in os.environ


def test_what_the_user_has_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever debugs wants to hear it."""
    monkeypatch.setenv(LEVEL, "debug")
    with quiet_libraries(bars=False):
        assert "debug" == os.environ[LEVEL]
    assert "debug" == os.environ[LEVEL]
