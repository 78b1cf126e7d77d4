"""Session: what has been timed since the extension was loaded, each with the code that it came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec

from llm_latency.core.measurement import Measurement, load
from llm_latency.errors import UsageError

# The newest stay: a measurement of a million emissions is large (benchmarks/bench_size.py).
_MOST = 100


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement with its number, its code as IPython transformed it, and how many inputs came before it."""

    number: int
    measurement: Measurement
    source: str
    inputs: int


class Session:
    """The measurements of a session, the newest last."""

    def __init__(self) -> None:
        """Nothing has been timed yet."""
        self.entries: deque[Entry] = deque(maxlen=_MOST)
        self._count = 0

    def add(self, measurement: Measurement, *, source: str, inputs: int) -> Entry:
        """Keep a measurement."""
        self._count += 1
        entry = Entry(number=self._count, measurement=measurement, source=source, inputs=inputs)
        self.entries.append(entry)
        return entry

    def last(self, name: str | None = None) -> Entry:
        """The newest entry, or the newest of that name or number; raises UsageError with what there is."""
        if not self.entries:
            raise UsageError("nothing has been timed yet; put %%llmtime on the first line of a cell")
        if name is None:
            return self.entries[-1]
        found = self._named(name)
        if found is None:
            raise UsageError(f"there is no measurement {name!r}; known: {self._known()}")
        return found

    def find(self, text: str, *, names: Mapping[str, object], baselines: Path) -> Measurement:
        """A measurement by its number, its name, a variable, a baseline, or the path of a file, in that order.

        Raises UsageError with what is known, MeasurementFileError for a file that cannot be read.
        """
        if (entry := self._named(text)) is not None:
            return entry.measurement
        if isinstance(value := names.get(text), Measurement):
            return value
        for path in (baselines / f"{text}.json", Path(text)):
            if path.suffix == ".json" and _is_file(path):
                return load(path)
        raise UsageError(
            f"there is no measurement {text!r}; known by number or name: {self._known()}. A variable with a"
            " measurement, a baseline and the path of a JSON file do as well"
        )

    def _named(self, text: str) -> Entry | None:
        numbered = next((entry for entry in self.entries if text == str(entry.number)), None)
        return numbered or next((entry for entry in reversed(self.entries) if text == entry.measurement.name), None)

    def _known(self) -> str:
        return ", ".join(f"{entry.number} ({entry.measurement.name})" for entry in self.entries) or "none"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text that is too long for a path
        return False
