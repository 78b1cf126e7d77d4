"""The facts in the order in which they are looked at, each with its seconds; what compiles comes last."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gpu.fact import Fact, Setting
from gpu.graphs import graph_replay, recompiles, static_cache
from gpu.physics import energy, memory
from gpu.timing import cost, device_time, pace, synchronizations


class Look(NamedTuple):
    """How to look at a fact, and for how many seconds at most."""

    at: Callable[[Setting], Fact]
    most_s: float


# Loading torch and transformers takes each process some ten seconds, which the limits contain.
FACTS: Mapping[str, Look] = {
    "device_time": Look(device_time, 60),
    "synchronizations": Look(synchronizations, 60),
    "cost": Look(cost, 75),
    "pace": Look(pace, 60),
    "memory": Look(memory, 60),
    "energy": Look(energy, 45),
    "graph_replay": Look(graph_replay, 45),
    "static_cache": Look(static_cache, 120),
    "recompiles": Look(recompiles, 120),
}


def look(name: str, setting: Setting) -> Fact:
    """Look at one fact here; whatever it raises is a failed one, so that the others are looked at too."""
    try:
        return FACTS[name].at(setting)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        first = (str(error).strip() or "no message").splitlines()[0]
        return Fact(name=name, outcome="failed", words=f"{type(error).__name__} at {where}: {first}")
