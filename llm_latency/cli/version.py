"""The installed version, as pip knows it."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "llm-latency"


def version() -> str:
    """Version of the installed distribution, or `unknown` where the package is only on the path."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
