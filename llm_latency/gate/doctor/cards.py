"""Cards: what makes NVIDIA's GPUs unsteady, by NVML and without torch; other makers' are not read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_latency.gate.doctor.finding import NOISY, OK, RISK, UNKNOWN, Finding, unreported
from llm_latency.record.devices.nvml import Nvml

_TOPIC = "GPU"
# Work by others in the last sampling period of the card, in percent (NVML, nvmlDeviceGetUtilizationRates).
_BUSY = 5
_UNCORRECTED, _SINCE_BOOT = 1, 0
# The second one is the older name.
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
_SET_BY_USER = "clocks set by a user"


def cards(root: Path, *, pynvml: Any = None) -> tuple[Finding, ...]:
    """Several findings a card, or one that says why there are none; `pynvml` is nvidia-ml-py's module."""
    if not (root / "proc").is_dir():
        return (unreported(_TOPIC, "only NVIDIA's cards are read, on Linux"),)
    if pynvml is None and not (root / "proc/driver/nvidia/version").exists():
        return (Finding(topic=_TOPIC, word=OK, seen="no NVIDIA driver here; other makers' cards are not read"),)
    try:
        nvml = importlib.import_module("pynvml") if pynvml is None else pynvml
    except ImportError:
        seen = "an NVIDIA driver is here, and nvidia-ml-py is not installed"
        return (Finding(topic=_TOPIC, word=UNKNOWN, seen=seen, remedy="pip install nvidia-ml-py"),)
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        return (Finding(topic=_TOPIC, word=UNKNOWN, seen=f"NVML refused with {str(error)!r}"),)
    if not handles:
        return (Finding(topic=_TOPIC, word=OK, seen="none"),)
    return tuple(finding for index, handle in enumerate(handles) for finding in _Card(nvml, handle, index).findings())


class _Card:
    def __init__(self, nvml: Any, handle: Any, index: int) -> None:
        self._nvml, self._handle = nvml, handle
        self._topic = f"{_TOPIC} {index}"

    def findings(self) -> Iterator[Finding]:
        yield self._model()
        yield self._company()
        yield self._clocks()
        yield self._held_back()
        yield self._persistence()
        yield self._power()
        yield self._errors()

    def _ask(self, function: str, *arguments: object) -> Any:
        """What NVML says of this card; None where it does not."""
        call = getattr(self._nvml, function, None)
        try:
            return None if call is None else call(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None

    def _say(self, aspect: str, word: str, seen: str, remedy: str = "", **facts: float | int | str) -> Finding:
        return Finding(topic=f"{self._topic} {aspect}", word=word, seen=seen, remedy=remedy, facts=facts)

    def _none(self, aspect: str) -> Finding:
        return unreported(f"{self._topic} {aspect}", "NVML does not say")

    def _reasons(self) -> tuple[str, ...] | None:
        """What holds the card back now; None where NVML does not say."""
        uuid = self._ask("nvmlDeviceGetUUID")
        if uuid is None or all(self._ask(name) is None for name in _REASONS):
            return None
        told = Nvml([uuid.decode() if isinstance(uuid, bytes) else uuid], pynvml=self._nvml).telemetry()
        return None if told is None else told.reasons

    def _model(self) -> Finding:
        name = self._ask("nvmlDeviceGetName")
        if name is None:
            return self._none("name")
        return self._say("name", OK, name.decode() if isinstance(name, bytes) else str(name))

    def _company(self) -> Finding:
        processes, rates = self._ask("nvmlDeviceGetComputeRunningProcesses"), self._ask("nvmlDeviceGetUtilizationRates")
        if processes is None and rates is None:
            return self._none("company")
        parts = []
        if processes is not None:
            parts.append(f"{len(processes)} process{'' if len(processes) == 1 else 'es'} on it")
        if rates is not None:
            parts.append(f"busy {rates.gpu} % of the time")
        is_busy = rates is not None and rates.gpu >= _BUSY
        if not is_busy and not processes:
            return self._say("company", OK, ", ".join(parts))
        remedy = "stop them, or give the gate a card of its own (CUDA_VISIBLE_DEVICES)"
        return self._say("company", NOISY if is_busy else RISK, ", ".join(parts), remedy)

    def _clocks(self) -> Finding:
        """NVML tells clocks that a user has set by a reason that holds a card back, and locked ones not at all."""
        reasons = self._reasons()
        now, most = (self._ask(f"nvmlDeviceGet{which}ClockInfo", 1) for which in ("", "Max"))
        seen = f"{now} MHz now, {most} at most" if now is not None and most is not None else "not told"
        if reasons is not None and _SET_BY_USER in reasons:
            return self._say("clocks", OK, f"{seen}, set by a user")
        remedy = "lock them below the boost: nvidia-smi --lock-gpu-clocks=MHZ, and --reset-gpu-clocks afterwards"
        return self._say("clocks", UNKNOWN, f"{seen}; whether they are locked is not told", remedy)

    def _held_back(self) -> Finding:
        reasons = self._reasons()
        if reasons is None:
            return self._none("limits")
        found = [reason for reason in reasons if reason != _SET_BY_USER]
        if not found:
            return self._say("limits", OK, "nothing holds it back now")
        remedy = "cool it, or lower its clocks to what it can keep up (nvidia-smi --lock-gpu-clocks)"
        return self._say("limits", NOISY, f"held back now by {', '.join(found)}", remedy)

    def _persistence(self) -> Finding:
        mode = self._ask("nvmlDeviceGetPersistenceMode")
        if mode is None:
            return self._none("driver")
        if mode:
            return self._say("driver", OK, "persistence mode is on")
        remedy = "nvidia-smi --persistence-mode=1: without it the driver unloads between processes"
        return self._say("driver", RISK, "persistence mode is off", remedy)

    def _power(self) -> Finding:
        cap, usual = (
            self._ask(f"nvmlDeviceGet{name}") for name in ("EnforcedPowerLimit", "PowerManagementDefaultLimit")
        )
        if cap is None:
            return self._none("power")
        facts = {"cap_w": cap / 1e3}  # milliwatts
        if usual is not None and cap < usual:
            seen = f"capped at {cap / 1e3:g} W, {usual / 1e3:g} W is usual"
            return self._say("power", RISK, seen, "nvidia-smi --power-limit, where the cap is not meant", **facts)
        return self._say("power", OK, f"capped at {cap / 1e3:g} W", **facts)

    def _errors(self) -> Finding:
        count = self._ask("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _SINCE_BOOT)
        if count is None:
            return self._none("memory")
        if count:
            remedy = "have it reset or replaced; what it computes may be wrong"
            return self._say("memory", RISK, f"{count} uncorrected errors since the start", remedy, errors=count)
        return self._say("memory", OK, "no uncorrected errors since the start", errors=0)
