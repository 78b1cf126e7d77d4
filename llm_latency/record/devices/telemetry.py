"""Telemetry: what a device's own counters say at an instant; not how they are read."""

from __future__ import annotations

import msgspec


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
