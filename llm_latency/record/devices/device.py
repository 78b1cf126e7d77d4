"""Device protocol: waiting for a chip, marking instants on it, and its memory; not one kind of chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from llm_latency.errors import DeviceError
from llm_latency.record.devices.cpu import Cpu


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """A device's own counters at an instant; None or empty where it does not report them.

    `energy_j` and `held_back_ns` count from some fixed instant: joules, and by reason the nanoseconds for which
    the device did not run at its full clock. `reasons` name what holds it back now, `neighbours` is the number of
    other processes on it. `energy_step_s` is how often the energy counter moves, in seconds.
    """

    energy_j: float | None = None
    energy_step_s: float | None = None
    held_back_ns: dict[str, int] = {}
    reasons: tuple[str, ...] = ()
    neighbours: int | None = None


class Device(Protocol):
    """What recording needs from a device. Instants that it cannot mark are None, as is memory it cannot see."""

    def synchronize(self) -> None:
        """Wait until the work given to the device is done."""
        ...

    def mark(self) -> object | None:
        """Put a mark behind the work given so far, without waiting; one that cannot waits and returns None."""
        ...

    def elapsed(self, marks: Sequence[object]) -> tuple[int, ...] | None:
        """Nanoseconds on the device from the first mark to each mark; only after `synchronize`, and once."""
        ...

    def reset_peak(self) -> None:
        """Start a new high-water mark of memory."""
        ...

    def peak_bytes(self) -> Mapping[str, int] | None:
        """High-water marks in bytes since `reset_peak`, by what they count."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Facts for the environment: `device`, and what else is known, `warnings` among it."""
        ...

    def telemetry(self) -> Telemetry | None:
        """The device's counters now, or None where it has none; asked before and after a call, never inside."""
        ...


def find(name: str) -> Device:
    """Device by torch's name for it; raises DeviceError for a kind whose waiting we do not know."""
    if name.split(":", maxsplit=1)[0] == "cpu":
        return Cpu()
    raise DeviceError(
        f"a model on {name!r} was called, and this version knows how to wait for 'cpu' only; a time without"
        " waiting for the device would be wrong. Move the model to the CPU, or wait for the release that adds it"
    )
