"""The version, as pip knows it."""

from __future__ import annotations

from importlib import metadata

import pytest

from llm_latency.cli.version import version


def test_the_version_of_what_is_installed() -> None:
    """Not one that a file repeats."""
    assert metadata.version("llm-latency") == version()


def test_a_package_that_is_only_on_the_path_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no error to run from a clone."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "unknown" == version()
