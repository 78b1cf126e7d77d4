"""Record: all facts of one run with the machine, as JSON and as Markdown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gpu.fact import Fact, Figure, Setting

REHEARSAL = "rehearsal: no figure here is a GPU's"
SCHEMA = 1
_SIGNS = {True: "yes", False: "**no**", None: "not judged"}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `environment` are the facts of machine, device and libraries."""

    schema: int = SCHEMA
    note: str | None
    recorded_at: str
    environment: dict[str, object]
    facts: tuple[Fact, ...]

    @property
    def failed(self) -> tuple[Fact, ...]:
        """The facts that did not hold."""
        return tuple(fact for fact in self.facts if fact.outcome == "failed")


def record(facts: tuple[Fact, ...], setting: Setting) -> Record:
    """Put the facts beside what this machine is."""
    import torch
    import transformers  # noqa: F401 - its version is read where it is loaded

    from llm_latency.record.devices.device import find
    from llm_latency.record.machine import read_environment

    environment = msgspec.to_builtins(read_environment(device=find(setting.device).describe()))
    known = {name: value for name, value in environment.items() if value not in (None, [])}
    return Record(
        note=REHEARSAL if setting.is_rehearsal else None,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=known | {"cuda": torch.version.cuda},
        facts=facts,
    )


def markdown(record: Record) -> str:
    """The record for people."""
    day = record.recorded_at[:10]
    lines = [f"# Measured on {day}, {record.environment.get('device', 'no device')}", ""]
    lines += [f"**{record.note}**", ""] if record.note else []
    lines += ["`make gpu-check`; what each fact is and how it is looked at stands in benchmarks/gpu.", ""]
    lines += ["| machine | |", "| --- | --- |"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in record.environment.items()]
    lines += ["", "| fact | outcome | |", "| --- | --- | --- |"]
    lines += [f"| {fact.name} | {fact.outcome} | {_cell(fact.words)} |" for fact in record.facts]
    for fact in record.facts:
        if fact.claims or fact.figures:
            lines += ["", f"## {fact.name}", "", "| | |", "| --- | --- |"]
            lines += [f"| {claim} | {_SIGNS[holds]} |" for claim, holds in fact.claims.items()]
            lines += [f"| {name} | {_figure(value)} |" for name, value in fact.figures.items()]
    return "\n".join(lines) + "\n"


def write(record: Record, folder: Path) -> tuple[Path, Path]:
    """Write DATE-gpu.json and DATE-gpu.md, each whole or not at all."""
    from llm_latency.core.measurement import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{record.recorded_at[:10]}-{'rehearsal' if record.note else 'gpu'}"
    paths = folder / f"{stem}.json", folder / f"{stem}.md"
    write_atomically(paths[0], msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    write_atomically(paths[1], markdown(record).encode())
    return paths


def _cell(value: object) -> str:
    words = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return words.replace("|", "∕").replace("\n", " ")


def _figure(value: Figure) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else _cell(value)
