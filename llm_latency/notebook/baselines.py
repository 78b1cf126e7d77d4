"""Baselines: measurements that are kept under a name in a folder, for later cells and sessions to compare with."""

from __future__ import annotations

import re
from pathlib import Path

from llm_latency.core.measurement import Measurement, load, save
from llm_latency.errors import UsageError

_NAME = re.compile(r"\w[\w.-]{0,99}")


def baseline_path(folder: Path, name: str) -> Path:
    """Where a baseline lies; raises UsageError for a name that is no plain file's name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--baseline {name!r}; expected letters, digits, dots, dashes and underscores, such as main")
    return folder / f"{name}.json"


def read_baseline(path: Path) -> Measurement | None:
    """The baseline, or None where there is none yet; raises MeasurementFileError for one that cannot be read."""
    return load(path) if path.exists() else None


def keep_baseline(measurement: Measurement, path: Path) -> str:
    """Write a baseline, whole or not at all; returns words on where it lies. Raises UsageError where it cannot be."""
    if not measurement.complete:
        raise UsageError(f"{measurement.name!r} broke off; a baseline is of calls that ended. Run the cell again")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(measurement, path)
    except OSError as error:
        raise UsageError(
            f"the baseline {path} cannot be written ({error.strerror or error}); name another folder with"
            " %config LLMTime.baselines = ..."
        ) from error
    return f"kept as baseline {path.stem} in {path}"
