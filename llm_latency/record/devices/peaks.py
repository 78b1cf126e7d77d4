"""Peaks of this machine: probed once, kept in the user's cache, read with every environment; not what they are for."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.measurement import write_atomically
from llm_latency.core.peaks import Peaks
from llm_latency.errors import UsageError

SCHEMA = 1
CACHE = "LLM_LATENCY_CACHE"
# Each of the three is looked for this long; with what building the operands takes, a probe stays under 10 s.
_SECONDS = 1.5
# Square matrices from 0.1 to 1 GFLOP a product in float32, and more than any cache's worth of memory to read.
_SIDES_CPU, _SIDES_DEVICE = (512, 1024), (4096, 8192)
_READ_BYTES = 1 << 28


class _Kept(msgspec.Struct, kw_only=True):
    """The cache's file: peaks by what they hold for."""

    schema: int = SCHEMA
    peaks: dict[str, Peaks] = {}


def cache_folder() -> Path:
    """Where this user's programs keep what they can find out again; LLM_LATENCY_CACHE names another folder."""
    if named := os.environ.get(CACHE):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "llm-latency"


def key_of(*, device: str, dtype: str, threads: int | None, torch: str | None) -> str:
    """What peaks hold for: the device, numbers of this type, so many threads, this torch on this processor."""
    threads = threads if device == "cpu" else None
    return "|".join(str(part) for part in (platform.node(), platform.machine(), device, dtype, threads, torch))


def known_peaks(*, device: str | None, dtype: str | None, threads: int | None, torch: str | None) -> Peaks | None:
    """What the cache holds for a device and number type; None where nobody has probed or described it."""
    if device is None or dtype is None:
        return None
    return _read().peaks.get(key_of(device=device, dtype=dtype, threads=threads, torch=torch))


def keep_peaks(peaks: Peaks, *, device: str, dtype: str, threads: int | None, torch: str | None) -> Path:
    """Put them in the cache, in place of earlier ones; returns the file. Raises UsageError for impossible numbers."""
    for name, value in (("flops", peaks.flops), ("bandwidth", peaks.bandwidth)):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"a peak's {name} is {value!r}; expected a finite number of more than 0")
    kept = _read()
    kept.peaks[key_of(device=device, dtype=dtype, threads=threads, torch=torch)] = peaks
    file = cache_folder() / "peaks.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, msgspec.json.format(msgspec.json.encode(kept), indent=1))
    return file


def _read() -> _Kept:
    with suppress(OSError, msgspec.MsgspecError):  # a cache that is broken or of another version is an empty one
        kept = msgspec.json.decode((cache_folder() / "peaks.json").read_bytes(), type=_Kept)
        if kept.schema == SCHEMA:
            return kept
    return _Kept()


def probe(*, device: str = "cpu", dtype: str = "float32", seconds: float = _SECONDS) -> Peaks:
    """Time matrix products, a read of much memory and a small operator on a torch device; some 5 s in all.

    Each is the best of many, since a peak is what nothing has disturbed. The threads are torch's as they are set.
    """
    import torch

    place, number = torch.device(device), getattr(torch, dtype)
    wait = _waiter(torch, place)
    flops = 0.0
    for side in _SIDES_CPU if place.type == "cpu" else _SIDES_DEVICE:
        one = torch.full((side, side), 0.01, dtype=number, device=place)
        took = _best(partial(torch.mm, one, one), wait, seconds / 2)
        flops = max(flops, 2.0 * side**3 / took)
    much = torch.ones(_READ_BYTES // 4 // 4096, 4096, device=place)
    row = torch.ones(4096, device=place)
    reads = (lambda: torch.mv(much, row), lambda: torch.sum(much))
    bandwidth = max(_READ_BYTES / _best(read, wait, seconds / 2) for read in reads)
    small = torch.ones(16, device=place)
    # Many in a row, so that on a device the wait behind them is not the operator's.
    launch = _best(lambda: [torch.add(small, 1.0) for _ in range(200)], wait, seconds / 3) / 200
    day = datetime.now(UTC).date().isoformat()
    return Peaks(flops=flops, bandwidth=bandwidth, launch_s=launch, source=f"probed on {day}")


def peaks_here(*, device: str = "cpu", dtype: str = "float32", again: bool = False) -> Peaks:
    """The cache's peaks for torch's threads as they are set; probed and kept where there are none, or `again`."""
    known = None if again else known_peaks(**_here(device, dtype))
    if known is not None:
        return known
    found = probe(device=device, dtype=dtype)
    with suppress(OSError):  # a cache that cannot be written costs a probe each time
        keep_here(found, device=device, dtype=dtype)
    return found


def keep_here(peaks: Peaks, *, device: str = "cpu", dtype: str = "float32") -> Path:
    """Keep peaks for a torch device of this machine, with torch's threads as they are set; returns the file."""
    return keep_peaks(peaks, **_here(device, dtype))


def _here(device: str, dtype: str) -> dict[str, Any]:
    import torch

    threads, version = torch.get_num_threads(), str(torch.__version__)
    return {"device": device_name(device), "dtype": dtype, "threads": threads, "torch": version}


def device_name(device: str) -> str:
    """A torch device by the name that an environment has for it."""
    from llm_latency.record.devices.device import find

    return str(find(device).describe().get("device", "cpu"))


def _best(call: Callable[[], object], wait: Callable[[], None], seconds: float) -> float:
    """The shortest of calls over `seconds`, at least five, after one that warms up."""
    call()
    wait()
    best, calls, end = math.inf, 0, time.perf_counter() + seconds
    while calls < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        wait()
        best, calls = min(best, time.perf_counter() - begin), calls + 1
    return best


def _waiter(torch: Any, place: Any) -> Callable[[], None]:
    if place.type == "cpu":
        return lambda: None
    module = getattr(torch, place.type)
    return lambda: module.synchronize(place) if place.type != "mps" else module.synchronize()
