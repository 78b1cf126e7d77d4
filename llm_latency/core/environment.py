"""Environment: what can change a number, and the differences between two; not how it is read off a machine."""

from __future__ import annotations

import msgspec

from llm_latency.core.peaks import Peaks


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts of machine, libraries and model that change numbers; None where unknown.

    Clocks in MHz, power cap in watts, memory in bytes. `peaks` are those of the device for this number type, where
    somebody has probed or described them.
    """

    device: str | None = None
    driver: str | None = None
    clocks_mhz: int | None = None
    power_cap_w: float | None = None
    processor: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    system: str | None = None
    threads: int | None = None
    openmp: str | None = None
    python: str | None = None
    torch: str | None = None
    transformers: str | None = None
    attention: str | None = None
    kernels: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    cache: str | None = None
    compile: str | None = None
    peaks: Peaks | None = None
    warnings: tuple[str, ...] = ()


def differences(first: Environment, second: Environment) -> tuple[str, ...]:
    """Name each fact that differs, as `torch: 2.6.0 → 2.13.0`.

    Warnings are about a run and do not count, nor do peaks, which are looked up by what is compared here.
    """
    return tuple(
        f"{field}: {before} → {after}"
        for field in Environment.__struct_fields__
        if field not in ("peaks", "warnings") and (before := getattr(first, field)) != (after := getattr(second, field))
    )
