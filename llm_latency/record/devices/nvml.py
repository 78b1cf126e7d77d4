"""NVML's counters of NVIDIA cards, through nvidia-ml-py: energy, clocks, what holds a card back, who else is on it.

Where NVML is missing or refuses there are no counters, and a sentence says why; never an error.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from llm_latency.record.devices.telemetry import Telemetry

# "NVML updates its energy counters at a coarse granularity, approximately every 100 ms on NVIDIA GPUs"
# (https://ml.energy/blog/energy/measurement/thermally-stable-profiling-for-accurate-gpu-energy-measurement).
# NVML's own reference names no period.
ENERGY_STEP_S = 0.1

# nvmlClocksEventReasons of nvml.h, as in nvidia-ml-py 13.615; the older name ThrottleReasons has the same bits. Left
# out: 0x1, a card that is idle, which every card is before a call.
_REASONS = {
    0x002: "clocks set by a user",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "heat (software slowdown)",
    0x040: "heat (hardware slowdown)",
    0x080: "power brake",
    0x100: "display clocks",
}
# nvmlPerfPolicyType_t; violationTime is in nanoseconds
# (https://docs.nvidia.com/deploy/nvml-api/api/structnvmlViolationTime__t.html). Left out: 4, low utilization, which
# the work itself decides, and the totals 10 and 11.
_POLICIES = {0: "power", 1: "heat", 2: "sync boost", 3: "board limit", 5: "reliability"}
_CLOCK_SM = 1  # NVML_CLOCK_SM


class _Card(NamedTuple):
    own: Any  # the card, or the slice of it (MIG) that this process may use
    whole: Any  # the card
    is_slice: bool


class Nvml:
    """The cards with these UUIDs, as torch spells them; one reading covers them all.

    By UUID, because CUDA_VISIBLE_DEVICES gives torch other indices than NVML's. `reason` says in a sentence why
    something cannot be read, None when everything can.
    """

    def __init__(self, uuids: Sequence[str], *, pynvml: Any = None) -> None:
        """Find the cards; `pynvml` is nvidia-ml-py's module, imported when None."""
        self.reason: str | None = None
        self._cards: tuple[_Card, ...] = ()
        try:
            self._nvml = pynvml or importlib.import_module("pynvml")
        except ImportError:
            self.reason = (
                "energy, clocks and throttling are not known: nvidia-ml-py is not installed. pip install nvidia-ml-py"
            )
            return
        try:
            self._nvml.nvmlInit()
            self._cards = tuple(self._find(uuid) for uuid in uuids)
        except self._nvml.NVMLError as error:
            self.reason = f"energy, clocks and throttling are not known: NVML refused with {str(error)!r}"
            return
        if any(card.is_slice for card in self._cards):
            self.reason = "energy is not known: NVML counts it for the whole card, and this is a slice of one (MIG)"

    def facts(self) -> dict[str, object]:
        """Driver, highest clock in MHz and enforced power limit in watts, as Environment names them; of several cards
        the lowest. What NVML does not say is left out.
        """
        if not self._cards:
            return {}
        # The highest clock that the card allows, not the present one: that changes from call to call, and an
        # environment is what stays. Applications clocks are deprecated (nvidia-ml-py 13: gone in CUDA 14).
        clocks = list(self._each("nvmlDeviceGetMaxClockInfo", _CLOCK_SM))
        limits = list(self._each("nvmlDeviceGetEnforcedPowerLimit"))
        driver = self._ask("nvmlSystemGetDriverVersion")
        found = {
            "driver": driver.decode() if isinstance(driver, bytes) else driver,
            "clocks_mhz": None if None in clocks else min(clocks),
            "power_cap_w": None if None in limits else min(limits) / 1e3,  # milliwatts
        }
        return {name: value for name, value in found.items() if value is not None}

    def telemetry(self) -> Telemetry | None:
        """Read the counters; of several cards the sum of energies, times and neighbours, and every reason."""
        if not self._cards:
            return None
        energies = [None if card.is_slice else self._energy_j(card) for card in self._cards]
        neighbours = [self._neighbours(card) for card in self._cards]
        reasons = [reason for card in self._cards for reason in self._reasons(card)]
        known = None not in energies
        return Telemetry(
            energy_j=sum(joules or 0.0 for joules in energies) if known else None,
            energy_step_s=ENERGY_STEP_S if known else None,
            held_back_ns=self._held_back_ns(),
            reasons=tuple(dict.fromkeys(reasons)),
            neighbours=None if None in neighbours else sum(count or 0 for count in neighbours),
        )

    def _find(self, uuid: str) -> _Card:
        """Torch's UUID has no prefix (torch/csrc/cuda/Module.cpp); NVML's has, and another one for a slice of a card
        (MIG), for which CUDA gives the slice's own UUID (CUDA driver API, cuDeviceGetUuid_v2).
        """
        bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
        try:
            handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{bare}")
        except self._nvml.NVMLError:
            handle = self._nvml.nvmlDeviceGetHandleByUUID(f"MIG-{bare}")
            whole = self._nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            return _Card(handle, whole, is_slice=True)
        return _Card(handle, handle, is_slice=False)

    def _ask(self, function: str, *arguments: object) -> Any:
        """What a function of NVML says; None where this card, driver or binding does not have it."""
        call = getattr(self._nvml, function, None)
        try:
            return None if call is None else call(*arguments)
        except self._nvml.NVMLError:
            return None

    def _each(self, function: str, *arguments: object) -> Iterator[Any]:
        return (self._ask(function, card.whole, *arguments) for card in self._cards)

    def _energy_j(self, card: _Card) -> float | None:
        """Joules since the driver was loaded; NVML counts millijoules, from Volta on."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption", card.whole)
        return None if millijoules is None else millijoules / 1e3

    def _reasons(self, card: _Card) -> tuple[str, ...]:
        # A driver before 535 knows the older name only (NVML change log, "ThrottleReasons" renamed).
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            if (bits := self._ask(name, card.whole)) is not None:
                return tuple(words for bit, words in _REASONS.items() if bits & bit)
        return ()

    def _held_back_ns(self) -> dict[str, int]:
        """Nanoseconds by reason, summed over the cards, for those reasons that every card counts."""
        found = {}
        for policy, words in _POLICIES.items():
            statuses = list(self._each("nvmlDeviceGetViolationStatus", policy))
            if None not in statuses:
                found[words] = sum(int(status.violationTime) for status in statuses)
        return found

    def _neighbours(self, card: _Card) -> int | None:
        """Other processes that compute on the card; None where this process cannot find itself among them.

        In a container NVML may list the host's process numbers, or none
        (https://github.com/NVIDIA/nvidia-docker/issues/1483): then nobody can be told apart.
        """
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", card.own)
        if processes is None:
            return None
        numbers = {process.pid for process in processes}
        return len(numbers) - 1 if os.getpid() in numbers else None
