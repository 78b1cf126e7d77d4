"""Fingerprint: which machine a stored number belongs to, short and readable; not what else can change a number.

What differs between machines is in it: processor, cores, memory, device, the driver's first number, the system's name.
What differs between runs on one machine is not: releases of Python, torch and the kernel are compared and listed.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from llm_latency.core.environment import Environment

_GIB = 2**30
# Words of a processor's name that tell nothing, and its nominal clock, which is in the name of some kernels only.
_FILLERS = re.compile(r"\((?:r|tm)\)|\b(?:cpu|processor|with|\d+-core)\b|@.*", re.IGNORECASE)


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes numbers of two machines incomparable; None where unknown. `driver` is its first number."""

    cores: int | None = None
    device: str | None = None
    driver: str | None = None
    memory_gib: int | None = None
    processor: str | None = None
    system: str | None = None

    @property
    def fingerprint(self) -> str:
        """A file's name such as `amd-epyc-7763-2c-24g-5d0f12ab`: for the eye, and a hash of all fields."""
        name = self.device if self.device not in (None, "cpu") else self.processor
        cores = "" if self.cores is None else f"-{self.cores}c"
        memory = "" if self.memory_gib is None else f"-{self.memory_gib}g"
        digest = hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:8]
        return f"{_slug(name or 'machine')}{cores}{memory}-{digest}"


def machine_of(environment: Environment) -> Machine:
    """What of an environment is the machine."""
    driver, system, memory = environment.driver, environment.system, environment.memory_bytes
    return Machine(
        cores=environment.cores,
        device=environment.device,
        driver=None if driver is None else driver.partition(".")[0],
        memory_gib=None if memory is None else _nominal_gib(memory),
        processor=environment.processor,
        system=None if system is None else system.partition(" ")[0],
    )


def machine_differences(first: Machine, second: Machine) -> tuple[str, ...]:
    """Name each fact that differs, as `cores: 2 → 4`."""
    return tuple(
        f"{field}: {before} → {after}"
        for field in Machine.__struct_fields__
        if (before := getattr(first, field)) != (after := getattr(second, field))
    )


def _nominal_gib(memory_bytes: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16 … GiB that holds it.

    What a system reports is what was bought less what firmware and kernel keep, which changes with their releases;
    rounding up to the sizes that are sold does not.
    """
    power = 1
    while memory_bytes > power * _GIB:
        if power > 1 and memory_bytes <= power * 3 * _GIB // 2:
            return power * 3 // 2
        power *= 2
    return power


def _slug(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", _FILLERS.sub(" ", name).lower()).strip("-")
    return words[:28].rstrip("-") or "machine"
