"""Cores: who else runs on them, what is taken away from this machine, and at which speed they run; Linux's own words.

Every reader takes the folder below which /proc and /sys lie. Files and fields are those of proc(5) and of the kernel's
Documentation/ABI (sysfs-devices-system-cpu) and Documentation/admin-guide (pm/cpufreq, pm/intel_pstate).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from llm_latency.gate.doctor.finding import ALONE, NOISY, OK, RISK, UNKNOWN, Finding, number_of, text_of, unreported

_TICK_S = 1.0 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
# Choices, not measurements: a quarter of a core is more than a desktop's own rest, a twentieth is what idle ones show.
_BUSY, _STIRRING = 0.25, 0.05
# The same for stolen time, of which a quiet guest has none.
_STOLEN = 0.01
_CPU = Path("sys/devices/system/cpu")


class Ticks(msgspec.Struct, frozen=True, kw_only=True):
    """Core-seconds since the start of the machine on the cores of this process: busy, stolen and all there were."""

    busy: float
    stolen: float
    total: float


def ticks(root: Path, cores: Sequence[int]) -> Ticks | None:
    """Read /proc/stat's lines of these cores; None where there are none, or they stand still at zero."""
    text = text_of(root / "proc/stat")
    rows = [line.split() for line in (text or "").splitlines() if line.startswith("cpu") and line[3:4].isdigit()]
    wanted = [[int(field) for field in row[1:]] for row in rows if int(row[0][3:]) in cores and len(row) > 7]
    if not wanted or not any(map(sum, wanted)):
        return None
    # user nice system idle iowait irq softirq steal guest guest_nice; guests are in user and nice already.
    return Ticks(
        busy=_TICK_S * sum(row[0] + row[1] + row[2] + row[5] + row[6] for row in wanted),
        stolen=_TICK_S * sum(row[7] for row in wanted if len(row) > 7),
        total=_TICK_S * sum(sum(row[:8]) for row in wanted),
    )


def processes(root: Path) -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of each process that can be seen."""
    found = {}
    for folder in (root / "proc").glob("[0-9]*"):
        name, _, rest = (text_of(folder / "stat") or "").rpartition(")")
        fields = rest.split()
        if len(fields) > 12:
            found[int(folder.name)] = (name.partition("(")[2], _TICK_S * (int(fields[11]) + int(fields[12])))
    return found


def neighbours(
    before: Ticks | None,
    after: Ticks | None,
    *,
    cores: int,
    own_s: float = 0.0,
    seen: Sequence[Mapping[int, tuple[str, float]]] = ({}, {}),
    own: int = -1,
) -> Finding:
    """Who used the cores between two readings, but for this process with its `own_s` CPU seconds."""
    topic = "neighbours"
    span = 0.0 if before is None or after is None else (after.total - before.total) / cores
    if before is None or after is None or span <= 0:
        return unreported(topic)
    others = max(0.0, after.busy - before.busy - own_s) / span
    text = f"others used {others:.2f} of {cores} core{'' if cores == 1 else 's'} for {span:.1f} s"
    used = {
        f"{name} ({number})": (spent - seen[0].get(number, ("", 0.0))[1]) / span
        for number, (name, spent) in seen[1].items()
        if number != own
    }
    busiest = [who for who in sorted(used, key=lambda who: -used[who])[:3] if used[who] >= _STIRRING]
    if busiest:
        text += ": " + ", ".join(f"{who} {used[who]:.2f}" for who in busiest)
    elif others >= _BUSY and seen[1]:
        text += ", none of them visible from here"
    word = NOISY if others >= _BUSY else RISK if others >= _STIRRING else OK
    remedy = "" if word == OK else ALONE
    return Finding(topic=topic, word=word, seen=text, remedy=remedy, facts={"cores": others, "of": cores})


def stolen(before: Ticks | None, after: Ticks | None, *, is_guest: bool | None) -> Finding:
    """Time that the machine below took from this one between two readings."""
    topic = "steal"
    if before is None or after is None or after.total <= before.total:
        return unreported(topic)
    share = (after.stolen - before.stolen) / (after.total - before.total)
    text = f"{share:.1%} of the cores' time was given to other guests".replace("%", " %")
    facts = {"share": share}
    if share >= _STOLEN:
        remedy = "take a machine with cores of its own (dedicated, not burstable), or run at another hour"
        return Finding(topic=topic, word=NOISY, seen=text, remedy=remedy, facts=facts)
    if is_guest and not after.stolen:
        return Finding(
            topic=topic, word=UNKNOWN, seen="none since the start, and a host need not report it", facts=facts
        )
    return Finding(topic=topic, word=OK, seen=text, facts=facts)


def siblings(root: Path, cores: Sequence[int]) -> Finding:
    """Whether two of the machine's cores are one core's threads (SMT)."""
    topic = "SMT"
    lists = [text_of(root / _CPU / f"cpu{core}/topology/thread_siblings_list") for core in cores]
    active = number_of(root / _CPU / "smt/active")
    if active is None and not any(lists):
        return unreported(topic)
    shared = sorted({one for one in lists if one and not one.isdigit()})
    if active == 0 or (active is None and not shared):
        return Finding(topic=topic, word=OK, seen="off: no core shares its units with another")
    where = f": {', '.join(shared[:4])}{' …' if len(shared) > 4 else ''}" if shared else ""
    file = "/sys/devices/system/cpu/smt/control"
    remedy = f"leave one thread of each core idle (taskset -c), or switch it off: echo off > {file}"
    return Finding(topic=topic, word=RISK, seen=f"on, threads share a core{where}", remedy=remedy)


def governor(root: Path, cores: Sequence[int]) -> Finding:
    """Who decides on the frequency of these cores."""
    topic = "frequency"
    found = {text_of(root / _CPU / f"cpu{core}/cpufreq/scaling_governor") for core in cores} - {None}
    if not found:
        return unreported(topic, "in a virtual machine the host decides")
    names = ", ".join(sorted(filter(None, found)))
    if found == {"performance"}:
        return Finding(topic=topic, word=OK, seen="governor performance", facts={"governor": names})
    remedy = "cpupower frequency-set -g performance, while the gate runs"
    seen = f"governor {names}: cores speed up while they work"
    return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy, facts={"governor": names})


def turbo(root: Path) -> Finding:
    """Whether cores may run above their nominal frequency, which heat and neighbours then take away."""
    topic = "turbo"
    off, boost = number_of(root / _CPU / "intel_pstate/no_turbo"), number_of(root / _CPU / "cpufreq/boost")
    if off is None and boost is None:
        return unreported(topic)
    if off == 1 or (off is None and boost == 0):
        return Finding(topic=topic, word=OK, seen="off")
    file = "intel_pstate/no_turbo" if off is not None else "cpufreq/boost"
    remedy = f"echo {1 if off is not None else 0} > /sys/devices/system/cpu/{file}, while the gate runs"
    seen = "on: speed depends on heat and on how many cores are busy"
    return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy)


def heat(before: int | None, after: int | None) -> Finding:
    """Whether cores were slowed down for heat between two readings of how often that happened."""
    topic = "heat"
    if before is None or after is None:
        return unreported(topic)
    facts = {"while looking": after - before, "since start": after}
    if after > before:
        remedy = "let it cool, clean its fans, or lower the frequency's upper limit"
        seen = f"cores were slowed down {after - before} times while this ran"
        return Finding(topic=topic, word=NOISY, seen=seen, remedy=remedy, facts=facts)
    if after:
        remedy = "watch it during a long gate; lower the frequency's upper limit where it grows"
        return Finding(
            topic=topic, word=RISK, seen=f"slowed down {after} times since the start", remedy=remedy, facts=facts
        )
    return Finding(topic=topic, word=OK, seen="never slowed down for it", facts=facts)


def heat_events(root: Path, cores: Sequence[int]) -> int | None:
    """How often these cores and their packages were slowed down for heat since the start; None where nobody counts."""
    counts = [
        count
        for core in cores
        for kind in ("core", "package")
        if (count := number_of(root / _CPU / f"cpu{core}/thermal_throttle/{kind}_throttle_count")) is not None
    ]
    return sum(counts) if counts else None


def nodes(root: Path) -> Finding:
    """How many memory nodes there are (NUMA)."""
    topic = "NUMA"
    found = [folder.name for folder in (root / "sys/devices/system/node").glob("node[0-9]*")]
    if not found:
        return unreported(topic)
    if len(found) == 1:
        return Finding(topic=topic, word=OK, seen="one node", facts={"nodes": 1})
    remedy = "keep the gate on one of them: numactl --cpunodebind=0 --membind=0 pytest ..."
    seen = f"{len(found)} nodes: memory of another one is slower, and which one is used is chance"
    return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy, facts={"nodes": len(found)})


def clock(root: Path) -> Finding:
    """What the kernel reads time from."""
    topic = "clock"
    name = text_of(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    if name is None:
        return unreported(topic)
    if name in ("hpet", "acpi_pm", "jiffies", "refined-jiffies"):
        remedy = "boot with clocksource=tsc where the processor's is stable"
        return Finding(topic=topic, word=RISK, seen=f"{name}, which is slow to read", remedy=remedy)
    return Finding(topic=topic, word=OK, seen=name)


def count(cores: Sequence[int], total: int | None) -> Finding:
    """How many cores this process may use."""
    topic = "cores"
    of = f" of {total}" if total is not None and total != len(cores) else ""
    seen = f"{len(cores)}{of}"
    if len(cores) == 1:
        remedy = (
            "give the gate two cores or more: its conductor and what the system does share the one with what is timed"
        )
        return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy, facts={"cores": 1})
    return Finding(topic=topic, word=OK, seen=seen, facts={"cores": len(cores)})
