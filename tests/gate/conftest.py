"""Workers of these tests find their jobs by PYTHONPATH, also where this pytest runs isolated (-I)."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(autouse=True)
def never_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take the flags of the interpreter that starts them, and -I would hide PYTHONPATH from them."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    kept = [flag for flag in flags if flag not in ("-I", "-E", "-s")]
    monkeypatch.setattr(subprocess, "_args_from_interpreter_flags", lambda: kept)
