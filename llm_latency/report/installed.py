"""Libraries that a result can be handed to where they are installed; nothing else of this package needs them."""

from __future__ import annotations

import importlib
from typing import Any

from llm_latency.errors import UsageError


def library(module: str, *, asked: str) -> Any:
    """Import a module of pandas or matplotlib when it is used; raises UsageError that says what to do without it."""
    name = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{asked} needs {name}, which cannot be imported here ({error}): pip install {name}. The calls are in"
            " `.traces` and llm_latency.save() keeps them without it"
        ) from error
