"""Device protocol: waiting for a chip, marking instants on it, and its memory; not one kind of chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from llm_latency.errors import DeviceError
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.telemetry import Telemetry

__all__ = ["Device", "Telemetry", "find"]


_KINDS = ("cpu", "cuda", "mps", "xpu")


class Device(Protocol):
    """What recording needs from a device. Instants that it cannot mark are None, as is memory it cannot see."""

    def synchronize(self) -> None:
        """Wait until the work given to the device is done."""
        ...

    def mark(self) -> object | None:
        """Put a mark behind the work given so far, without waiting; one that cannot waits and returns None."""
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
        """Facts for the environment: `device`, and what else is known, `warnings` among it."""
        ...

    def telemetry(self) -> Telemetry | None:
        """The device's counters now, or None where it has none; asked before and after a call, never inside."""
        ...


def find(*names: str) -> Device:
    """Device by torch's names for where the models of a call are, such as "cuda:0"; several of one kind are one device.

    A CPU beside another kind needs no waiting. Raises DeviceError for a kind whose waiting we do not know, for kinds
    that cannot be timed together, and for a device that is not there.
    """
    indices: dict[str, list[int | None]] = {}
    for name in names:
        kind, _, index = name.partition(":")
        if kind not in _KINDS or (index and not index.isdecimal()):
            raise DeviceError(
                f"a model on {name!r} was called, and this version knows how to wait for {', '.join(_KINDS)} only; a"
                " time without waiting for the device would be wrong. Move the model to the CPU or to one of these"
            )
        indices.setdefault(kind, []).append(int(index) if index else None)
    indices.pop("cpu", None)
    if len(indices) > 1:
        raise DeviceError(
            f"models on {' and '.join(sorted(indices))} were called in one call, and there is no clock for both;"
            " expected one kind of device beside the CPU. Measure them apart"
        )
    for kind, found in indices.items():
        if kind == "cuda":
            from llm_latency.record.devices.cuda import Cuda

            return Cuda(tuple(found))
        from llm_latency.record.devices.accelerator import Accelerator

        return Accelerator(kind, tuple(found))
    return Cpu()
