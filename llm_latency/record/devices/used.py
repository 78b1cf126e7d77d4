"""Used: the devices that the calls of a recording run on, told by its models; not how one of them works."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from llm_latency.errors import DeviceError
from llm_latency.record.devices.device import Device, find


class Used:
    """The device that was given, else the CPU and those of the models that were called; kept from call to call."""

    def __init__(self, given: Device | None = None) -> None:
        """Know the given device, or only the CPU."""
        self.given = given
        self._found: dict[tuple[str, ...], Device] = {("cpu",): shared("cpu")} if given is None else {}

    @property
    def all(self) -> tuple[Device, ...]:
        """Every device known so far."""
        return tuple(self._found.values()) if self.given is None else (self.given,)

    def of(self, model: object) -> Device:
        """The device of a model, of no model the last that became known.

        Raises DeviceError for one whose waiting we do not know.
        """
        if model is None or self.given is not None:
            return self.all[-1]
        names = places(model) or ("cpu",)
        if names not in self._found:
            self._found[names] = shared(*names)
        return self._found[names]

    def expect(self, models: Iterable[object]) -> None:
        """Learn of the devices of models that may be called, and of accelerators that this process has used.

        One that cannot be had is no error here: it may not be called.
        """
        names = {places(model) for model in models} - {()}
        names |= {(name,) for name in _in_use()}
        for found in names if self.given is None else ():
            if found not in self._found:
                with suppress(DeviceError):
                    self._found[found] = shared(*found)


@functools.cache
def shared(*names: str) -> Device:
    """The process's one device for these names: its high-water marks are the process's too."""
    return find(*names)


def _in_use() -> Iterator[str]:
    """Accelerators that this process has a context on, whoever made it."""
    torch: Any = sys.modules.get("torch")
    for kind in ("cuda", "xpu"):
        module: Any = getattr(torch, kind, None)
        if not getattr(module, "is_initialized", bool)():
            continue
        # torch/csrc/cuda/Module.cpp; waiting for a card without a context would make one on it.
        has_context = getattr(getattr(torch, "_C", None), f"_{kind}_hasPrimaryContext", None)
        if has_context is None:
            yield f"{kind}:{module.current_device()}"
        else:
            yield from (f"{kind}:{index}" for index in range(module.device_count()) if has_context(index))


def places(model: Any) -> tuple[str, ...]:
    """Names of the devices that a model lies on, such as ("cuda:0", "cuda:1"); empty where it has none."""
    try:
        place = getattr(model, "device", None)
        if place is None and hasattr(model, "parameters"):
            place = getattr(next(iter(model.parameters()), None), "device", None)
        spread = getattr(model, "hf_device_map", None)
    except Exception:  # a property of the user's may raise what it likes: then the model lies nowhere
        return ()
    # accelerate's map: an index, a torch.device or a name; weights on "disk" or "cpu" are moved to the others to run.
    values = spread.values() if isinstance(spread, dict) else ()
    kind = "xpu" if str(place).startswith("xpu") else "cuda"
    chips = {f"{kind}:{at}" if isinstance(at, int) else str(at) for at in values} - {"cpu", "disk"}
    if len(chips) > 1:
        return tuple(sorted(chips))
    return () if place is None else (str(place),)
