"""Finding: one thing about this machine that can make times unsteady, and what to do about it; not where it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

# Steady; could disturb under other conditions; disturbs now; what a gate needs is not there; nobody says.
OK, RISK, NOISY, MISSING, UNKNOWN = "ok", "risk", "noisy", "missing", "unknown"
WORDS = (NOISY, MISSING, RISK, UNKNOWN, OK)
ALONE = "stop them, wait for them, or give the gate a machine (or a CI step) of its own"
UNREPORTED = "not reported by this system"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen about a topic, its word, a remedy where there is one, and the numbers behind it."""

    topic: str
    word: str
    seen: str
    remedy: str = ""
    facts: Mapping[str, float | int | str] = {}


def unreported(topic: str, why: str = "") -> Finding:
    """A topic about which this system says nothing."""
    return Finding(topic=topic, word=UNKNOWN, seen=f"{UNREPORTED}{f' ({why})' if why else ''}")


def text_of(path: Path) -> str | None:
    """A small file's text without the space around it; None where it is not there or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):
        return None


def number_of(path: Path) -> int | None:
    """A file that holds one whole number; None where it does not."""
    text = text_of(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def numbered(text: str | None) -> dict[str, int]:
    """Lines of a name and a whole number, such as those of cpu.stat and /proc/vmstat; other lines are left out."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.partition(" ")
        if value.strip().lstrip("-").isdigit():
            found[name.rstrip(":")] = int(value)
    return found
