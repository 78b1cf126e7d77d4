"""Peaks: the most that a device computes and reads in a second; not how they are found out."""

from __future__ import annotations

import msgspec


class Peaks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """FLOP/s of matrix products, bytes/s of reading memory, and seconds that one small operator takes at least.

    `launch_s` is None where nobody has said. `source` tells where they come from: a probe with its day, a data sheet.
    """

    flops: float
    bandwidth: float
    launch_s: float | None = None
    source: str = "described"

    def __str__(self) -> str:
        launch = "" if self.launch_s is None else f", {self.launch_s * 1e6:.3g} µs an operator"
        return f"{self.flops / 1e9:,.1f} GFLOP/s, {self.bandwidth / 1e9:,.1f} GB/s{launch} ({self.source})"
