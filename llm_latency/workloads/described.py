"""A target's architecture from its config alone, without building it; not what it costs."""

from __future__ import annotations

from llm_latency.core.architecture import read_architecture
from llm_latency.core.cost import Architecture
from llm_latency.errors import TargetError, UsageError
from llm_latency.workloads.checkpoint import config_of
from llm_latency.workloads.placement import require_torch
from llm_latency.workloads.program import is_program
from llm_latency.workloads.shapes import configuration


def architecture_of(target: str) -> Architecture:
    """Read the config of `shape:NAME`, a folder or a hub id.

    Raises TargetError where there is none, UsageError for a callable, a mixture of experts and an architecture whose
    costs are not known.
    """
    if is_program(target):
        raise UsageError(f"{target} is a callable and has no config to tell its size; expected shape:NAME or a model")
    require_torch()
    head, separator, name = target.partition(":")
    if separator and head != "shape":
        raise TargetError(f"{target!r} begins with {head!r}; expected shape:NAME, a folder or a hub id")
    config = configuration(name) if separator else config_of(target)
    return read_architecture(config.get_text_config().to_dict())
