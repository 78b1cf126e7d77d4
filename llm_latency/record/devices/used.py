"""Used: the devices that the calls of a recording run on, told by its models; not how one of them works."""

from __future__ import annotations

import sys
from typing import Any

from llm_latency.errors import DeviceError
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.device import Device, find


class Used:
    """The device that was given, else the CPU and those of the models that were called; kept from call to call."""

    def __init__(self, given: Device | None = None) -> None:
        """Know the given device, or only the CPU."""
        self.given = given
        self._found: dict[str, Device] = {"cpu": Cpu()} if given is None else {}

    @property
    def all(self) -> tuple[Device, ...]:
        """Every device known so far."""
        return tuple(self._found.values()) if self.given is None else (self.given,)

    def of(self, model: object) -> Device:
        """The device of a model; raises DeviceError for one whose waiting we do not know."""
        if self.given is not None:
            return self.given
        names = places(model)
        key = "+".join(names) or "cpu"
        if key not in self._found:
            self._found[key] = find(*names)
        return self._found[key]

    def expect(self, models: object) -> None:
        """Learn of the devices of models that may be called, and of accelerators that this process has used.

        One that cannot be had is no error here: it may not be called.
        """
        names = {places(model) for model in (models if isinstance(models, tuple) else (models,))}
        torch: Any = sys.modules.get("torch")
        for kind in ("cuda", "xpu"):
            module: Any = getattr(torch, kind, None)
            if getattr(module, "is_initialized", bool)():
                names.add((f"{kind}:{module.current_device()}",))
        for found in names - {()}:
            if self.given is None and "+".join(found) not in self._found:
                try:
                    self._found["+".join(found)] = find(*found)
                except DeviceError:
                    continue


def places(model: Any) -> tuple[str, ...]:
    """Names of the devices that a model lies on, such as ("cuda:0", "cuda:1"); empty where it has none."""
    spread = getattr(model, "hf_device_map", None)
    if isinstance(spread, dict) and spread:
        # Values are an index, a torch.device or a name; weights on "disk" or "cpu" are moved to the others to run.
        found = {f"cuda:{place}" if isinstance(place, int) else str(place) for place in spread.values()}
        chips = {place for place in found if place not in ("cpu", "disk")}
        return tuple(sorted(chips or {"cpu"}))
    place = getattr(model, "device", None)
    if place is None and hasattr(model, "parameters"):
        place = getattr(next(iter(model.parameters()), None), "device", None)
    return () if place is None else (str(place),)
