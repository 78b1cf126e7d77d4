"""Device protocol: waiting for a chip, marking instants on it, and its memory; not one kind of chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from llm_latency.errors import DeviceError
from llm_latency.record.devices.cpu import Cpu


class Device(Protocol):
    """What recording needs from a device. Instants that it cannot mark are None, as is memory it cannot see."""

    def synchronize(self) -> None:
        """Wait until the work given to the device is done."""
        ...

    def mark(self) -> object | None:
        """Put a mark behind the work given so far, without waiting."""
        ...

    def elapsed(self, marks: Sequence[object]) -> tuple[int, ...] | None:
        """Nanoseconds on the device from the first mark to each mark; only after `synchronize`."""
        ...

    def reset_peak(self) -> None:
        """Start a new high-water mark of memory."""
        ...

    def peak_bytes(self) -> Mapping[str, int] | None:
        """High-water marks in bytes since `reset_peak`, by what they count."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Facts for the environment: `device`, and what else is known."""
        ...


def find(name: str) -> Device:
    """Device by torch's name for it; raises DeviceError for a kind whose waiting we do not know."""
    if name.split(":", maxsplit=1)[0] == "cpu":
        return Cpu()
    raise DeviceError(
        f"a model on {name!r} was called, and this version knows how to wait for 'cpu' only; a time without"
        " waiting for the device would be wrong. Move the model to the CPU, or wait for the release that adds it"
    )
