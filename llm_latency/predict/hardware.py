"""Hardware that is described rather than measured: its peaks by number type, and its memory; not times on it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from llm_latency.core.peaks import Peaks
from llm_latency.errors import MeasurementFileError, UsageError


class Hardware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device, or `count` of them that share every layer: dense FLOP/s by number type, bytes/s and bytes of each.

    `launch_s` are seconds that launching a layer's operators takes at least; 0 where that is hidden behind the work.
    """

    flops: dict[str, float]
    bandwidth: float
    memory: float
    launch_s: float = 0.0
    source: str = "described"
    count: int = 1

    def peaks(self, dtype: str) -> Peaks:
        """Of all devices together, for numbers of this type; raises UsageError where the type has none."""
        if dtype not in self.flops:
            raise UsageError(
                f"no peak is described for {dtype}; described: {', '.join(self.flops)}. Name one of them with --dtype"
            )
        return Peaks(
            flops=self.count * self.flops[dtype],
            bandwidth=self.count * self.bandwidth,
            launch_s=self.launch_s,
            source=self.source,
        )


def _card(tensor: float, single: float, bandwidth: float, memory: float, source: str) -> Hardware:
    """A card's data sheet: dense TFLOP/s of 16-bit tensor cores and of float32, GB/s and GB."""
    return Hardware(
        flops={"bfloat16": tensor * 1e12, "float16": tensor * 1e12, "float32": single * 1e12},
        bandwidth=bandwidth * 1e9,
        memory=memory * 1e9,
        source=source,
    )


# NVIDIA's data sheets; dense figures, half of those with sparsity.
HARDWARE: Mapping[str, Hardware] = MappingProxyType(
    {
        "h200-sxm": _card(989.4, 66.9, 4800, 141, "NVIDIA H200 data sheet"),
        "h100-sxm": _card(989.4, 66.9, 3350, 80, "NVIDIA H100 data sheet"),
        "a100-80gb-sxm": _card(312, 19.5, 2039, 80, "NVIDIA A100 data sheet"),
        "l40s": _card(362, 91.6, 864, 48, "NVIDIA L40S data sheet"),
        "l4": _card(121, 30.3, 300, 24, "NVIDIA L4 data sheet"),
    }
)
_SEVERAL = re.compile(r"([1-9][0-9]*)x(.+)")


def find_hardware(name: str) -> Hardware:
    """By name, `8xNAME` for several that share every layer, or a JSON file with the fields of Hardware.

    Raises UsageError with the known names, MeasurementFileError for a file that describes none.
    """
    several = _SEVERAL.fullmatch(name)
    count, bare = (int(several[1]), several[2]) if several else (1, name)
    if bare in HARDWARE:
        return msgspec.structs.replace(HARDWARE[bare], count=count)
    if bare.endswith(".json"):
        try:
            found = msgspec.json.decode(Path(bare).read_bytes(), type=Hardware)
        except OSError as error:
            raise MeasurementFileError(f"{bare} cannot be read: {error.strerror or error}") from error
        except msgspec.MsgspecError as error:
            raise MeasurementFileError(
                f'{bare} describes no hardware: {error}. Expected {{"flops": {{"bfloat16": 1e14}}, "bandwidth": 1e12,'
                ' "memory": 8e10}'
            ) from error
        _check(bare, found)
        return msgspec.structs.replace(found, count=count * found.count)
    near = difflib.get_close_matches(bare, HARDWARE, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"no hardware {bare!r} is described here.{hint} Known: {', '.join(HARDWARE)}; 8xNAME for several, or a JSON"
        " file"
    )


def _check(name: str, found: Hardware) -> None:
    numbers = {"bandwidth": found.bandwidth, "memory": found.memory} | found.flops
    for field, value in numbers.items():
        if not 0 < value < float("inf"):
            raise UsageError(f"{name}: {field} is {value!r}; expected a finite number of more than 0")
