"""Host: limits, memory, power and the layers below this system, and what of it a gate needs; not its cores.

Every reader takes the folder below which /proc and /sys lie. Files are those of the kernel's Documentation/admin-guide
(cgroup-v2, cgroup-v1), Documentation/accounting/psi, Documentation/ABI (sysfs-class-power) and of proc(5).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from llm_latency.gate.doctor.finding import (
    MISSING,
    NOISY,
    OK,
    RISK,
    UNKNOWN,
    Finding,
    number_of,
    numbered,
    text_of,
    unreported,
)

_CGROUP = Path("sys/fs/cgroup")
# Share of ten seconds in which some task waited for memory; less is what reading a file from a cold disk leaves.
_PRESSED = 0.01
# Share of memory that is free, below which the system begins to take pages back.
_SCARCE = 0.1
_GIT_S = 10.0


def groups(root: Path) -> Iterator[Path]:
    """Folders of this process's control group for the CPU and of those around it, innermost first; version 2 or 1."""
    lines = [line.split(":", maxsplit=2) for line in (text_of(root / "proc/self/cgroup") or "").splitlines()]
    rows = [row for row in lines if len(row) == 3]
    first = [(group, "cpu") for _, controllers, group in rows if "cpu" in controllers.split(",")]
    second = [(group, "") for _, controllers, group in rows if not controllers]
    for group, mount in (first or second)[:1]:
        top = root / _CGROUP / mount
        inside = Path(group.lstrip("/"))
        # In a container the group's own path need not exist: what is mounted is its folder.
        for part in (inside, *inside.parents):
            if (top / part).is_dir():
                yield top / part


def quota(root: Path, *, cores: int) -> Finding:
    """How many cores' time the control groups allow."""
    topic = "CPU quota"
    folders = list(groups(root))
    shares = [share for folder in folders if (share := _allowed(folder)) is not None]
    if not folders or not any((folder / name).exists() for folder in folders for name in _QUOTA_FILES):
        return unreported(topic)
    if not shares:
        return Finding(topic=topic, word=OK, seen="none")
    least = min(shares)
    facts = {"cores": least}
    seen = f"{least:g} cores' time of {cores}"
    if least >= cores:
        return Finding(topic=topic, word=OK, seen=seen, facts=facts)
    remedy = (
        "raise the limit (docker --cpus, resources.limits.cpu), or use no more threads than it allows: a call that"
        " uses it up is stopped until the next period"
    )
    return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy, facts=facts)


_QUOTA_FILES = ("cpu.max", "cpu.cfs_quota_us")


def _allowed(folder: Path) -> float | None:
    """Cores' time that one group allows; None without a limit."""
    words = (text_of(folder / "cpu.max") or "").split()
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota_us, period_us = number_of(folder / "cpu.cfs_quota_us"), number_of(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us is not None and quota_us > 0 and period_us else None


def throttles(root: Path) -> int | None:
    """How often this process's group was stopped for its quota since it was made; None where nobody counts."""
    for folder in groups(root):
        if (count := numbered(text_of(folder / "cpu.stat")).get("nr_throttled")) is not None:
            return count
    return None


def throttled(before: int | None, after: int | None) -> Finding:
    """Whether the quota stopped the group between two readings."""
    topic = "throttling"
    if before is None or after is None:
        return unreported(topic)
    facts = {"while looking": after - before, "since start": after}
    if after > before:
        remedy = "raise the CPU quota: what is timed was stopped in the middle of it"
        seen = f"stopped {after - before} times for its quota while this ran"
        return Finding(topic=topic, word=NOISY, seen=seen, remedy=remedy, facts=facts)
    if after:
        remedy = "raise the CPU quota, or use fewer threads"
        return Finding(topic=topic, word=RISK, seen=f"stopped {after} times before", remedy=remedy, facts=facts)
    return Finding(topic=topic, word=OK, seen="never stopped for a quota", facts=facts)


def memory(root: Path) -> Finding:
    """Whether memory is scarce, or tasks wait for it."""
    topic = "memory"
    kinds = numbered((text_of(root / "proc/meminfo") or "").replace(" kB", ""))
    total, free = kinds.get("MemTotal"), kinds.get("MemAvailable")
    pressure = _pressure(root / "proc/pressure/memory")
    if not total or free is None:
        return unreported(topic)
    share = free / total
    facts: dict[str, float | int | str] = {"available": share}
    seen = f"{share:.0%} available".replace("%", " %")
    if pressure is None:
        seen += ", pressure not reported"
    else:
        facts["pressure"] = pressure
        seen += f", some task waited for it {pressure:.1%} of the last 10 s".replace("%", " %")
    remedy = "free some, or use a smaller model: what is timed waits for pages"
    if (pressure or 0.0) >= _PRESSED:
        return Finding(topic=topic, word=NOISY, seen=seen, remedy=remedy, facts=facts)
    if share < _SCARCE:
        return Finding(topic=topic, word=RISK, seen=seen, remedy=remedy, facts=facts)
    return Finding(topic=topic, word=OK, seen=seen, facts=facts)


def _pressure(file: Path) -> float | None:
    """The share of the last ten seconds in which some task waited."""
    for word in (text_of(file) or "").split():
        name, _, value = word.partition("=")
        if name == "avg10":
            return float(value) / 100
    return None


def swapped_pages(root: Path) -> int | None:
    """Pages that went to swap or came back since the start; None where nobody counts."""
    found = numbered(text_of(root / "proc/vmstat"))
    return found["pswpin"] + found["pswpout"] if {"pswpin", "pswpout"} <= set(found) else None


def swapping(before: int | None, after: int | None) -> Finding:
    """Whether pages moved between memory and swap between two readings."""
    topic = "swap"
    if before is None or after is None:
        return unreported(topic)
    facts = {"pages": after - before}
    if after > before:
        remedy = "free memory, or swapoff -a while the gate runs"
        seen = f"{after - before} pages moved while this ran"
        return Finding(topic=topic, word=NOISY, seen=seen, remedy=remedy, facts=facts)
    return Finding(topic=topic, word=OK, seen="nothing moved while this ran", facts=facts)


def power(root: Path) -> Finding:
    """Whether the machine runs on its battery."""
    topic = "power"
    folder = root / "sys/class/power_supply"
    if not folder.is_dir():
        return unreported(topic)
    supplies = [(text_of(one / "type"), one) for one in sorted(folder.iterdir())]
    is_draining = any(kind == "Battery" and text_of(one / "status") == "Discharging" for kind, one in supplies)
    mains = [number_of(one / "online") for kind, one in supplies if kind in ("Mains", "USB")]
    if is_draining and 1 not in mains:
        seen = "on battery: the system saves power and slows down"
        return Finding(topic=topic, word=NOISY, seen=seen, remedy="plug it in")
    if any(kind == "Battery" for kind, _ in supplies):
        return Finding(topic=topic, word=OK, seen="plugged in")
    return Finding(topic=topic, word=OK, seen="no battery")


def is_guest(root: Path) -> bool | None:
    """Whether this is a virtual machine, by the processor's flag; None where /proc does not say."""
    text = text_of(root / "proc/cpuinfo")
    flags = next((line.split() for line in (text or "").splitlines() if line.startswith(("flags", "Features"))), None)
    return None if flags is None else "hypervisor" in flags


def layers(root: Path) -> Finding:
    """Whether this is a virtual machine or a container, where neighbours can be out of sight."""
    topic = "virtualization"
    guest = is_guest(root)
    marks = [root / ".dockerenv", root / "run/.containerenv"]
    groups_of_first = text_of(root / "proc/1/cgroup") or ""
    known = ("docker", "kubepods", "containerd", "lxc", "libpod")
    is_inside = any(mark.exists() for mark in marks) or any(name in groups_of_first for name in known)
    kinds = [*(["a virtual machine"] if guest else []), *(["a container"] if is_inside else [])]
    if not kinds:
        return unreported(topic) if guest is None else Finding(topic=topic, word=OK, seen="none seen")
    remedy = (
        "neighbours on the same host stay out of sight: compare only what ran in the same minutes, as the gate does"
    )
    return Finding(topic=topic, word=RISK, seen=" in ".join(reversed(kinds)), remedy=remedy)


def own_time(root: Path) -> Finding:
    """Whether the system says how long a thread has waited for a core (Documentation/scheduler/sched-stats)."""
    topic = "own time"
    words = (text_of(root / "proc/self/schedstat") or "").split()
    if len(words) == 3 and words[0].isdigit() and int(words[0]) > 0:
        return Finding(topic=topic, word=OK, seen="known: what neighbours take is taken out of the gate's times")
    remedy = (
        "run the gate on Linux (CONFIG_SCHED_INFO); elsewhere a busy neighbour goes into its times, so keep it quiet"
    )
    return Finding(topic=topic, word=RISK, seen="not known: the gate compares wall time", remedy=remedy)


def forking(*, can_fork: bool | None = None) -> Finding:
    """Whether processes can be started as the gate needs it."""
    topic = "processes"
    if hasattr(os, "fork") if can_fork is None else can_fork:
        return Finding(topic=topic, word=OK, seen="can be forked")
    remedy = "run the gate on Linux or macOS; timing and budgets work here"
    return Finding(topic=topic, word=MISSING, seen="cannot be forked, and a gate cannot run", remedy=remedy)


def git(folder: Path, *, program: str = "git") -> Finding:
    """Whether there is a git with the history that a gate against another version needs."""
    topic = "git"
    command = [program, "-C", str(folder), "rev-parse", "--is-inside-work-tree", "--is-shallow-repository"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        seen = f"cannot be run ({type(error).__name__}), and a gate takes its base from it"
        return Finding(topic=topic, word=MISSING, seen=seen, remedy="install git")
    words = done.stdout.split()
    if done.returncode or words[:1] != ["true"]:
        return Finding(topic=topic, word=UNKNOWN, seen="this folder is in no repository")
    if words[1:] == ["true"]:
        remedy = "fetch the base: git fetch --unshallow (fetch-depth: 0 in GitHub's checkout action)"
        return Finding(topic=topic, word=RISK, seen="a shallow clone, which may lack the base", remedy=remedy)
    return Finding(topic=topic, word=OK, seen="a repository with its history")
