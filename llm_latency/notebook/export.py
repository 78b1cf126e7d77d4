"""From a timed cell to a pytest file with limits on what was measured; not how the code in it comes about."""

from __future__ import annotations

import math
import os
import re
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from llm_latency.core.budget import Budget, parse_key
from llm_latency.core.measurement import Measurement, write_atomically
from llm_latency.core.units import show, show_exactly
from llm_latency.errors import UsageError
from llm_latency.notebook.promise import unrun_measurement
from llm_latency.notebook.provenance import Provenance, trace
from llm_latency.notebook.pytest_file import Heading, make_file, read_cell
from llm_latency.report.facts import machine


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written: its budgets as text, the names of its fixtures, and those it could not make."""

    path: str
    budgets: tuple[str, ...]
    fixtures: tuple[str, ...]
    unresolved: tuple[str, ...]

    def __str__(self) -> str:
        words = [f"wrote {self.path}: {', '.join(self.budgets)}"]
        words += [f"fixtures {', '.join(self.fixtures)}"] if self.fixtures else []
        words += [f"say in it how {', '.join(self.unresolved)} is made"] if self.unresolved else []
        return "; ".join([*words, f"run it with pytest {self.path}"])


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A budget for a metric, what it was set from in words, and whether that was an interval."""

    budget: Budget
    basis: str
    has_interval: bool

    @property
    def text(self) -> str:
        """The limit as the marker takes it."""
        return show_exactly(self.budget.limit, self.budget.row.unit).replace(",", "")


def write_test(
    path: str | os.PathLike[str],
    *,
    source: str,
    earlier: Sequence[str],
    namespace: Mapping[str, object],
    measurement: Measurement,
    headroom: float = 0.5,
    force: bool = False,
) -> Exported:
    """Write a pytest file with the cell `source`, what it needs of the cells before it, and budgets.

    Sources are those that IPython has transformed, the oldest of `earlier` first. A limit is the upper end of the
    median's interval and `headroom` (a share) more; without an interval, twice as much. Raises UsageError when the
    path, the cell or the measurement does not do.
    """
    target = _checked(Path(path).expanduser(), force=force)
    cell = read_cell(source)
    limits = limits_of(measurement, headroom=headroom)
    found = trace(
        cell.reads,
        perhaps=cell.rebound,
        bound=cell.bound,
        stars=cell.stars,
        earlier=earlier,
        namespace=namespace,
    )
    heading = _heading(measurement, limits, headroom=headroom, folders=_folders(found, target))
    text = make_file(cell, found, heading=heading, namespace=namespace)
    try:
        compile(text, str(target), "exec", dont_inherit=True)
        write_atomically(target, text.encode())
    except SyntaxError as error:
        raise UsageError(f"the cell cannot be written as a function: {error.msg} in {error.text!r}") from error
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from error
    return Exported(
        path=str(path),
        budgets=tuple(str(limit.budget) for limit in limits),
        fixtures=found.given,
        unresolved=found.unresolved,
    )


def _checked(path: Path, *, force: bool) -> Path:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the file, such as --export {path / 'test_cell.py'}")
    if path.suffix != ".py" or not (path.stem.startswith("test_") or path.stem.endswith("_test")):
        stem = re.sub(r"\W+", "_", path.stem).strip("_") or "cell"
        proposed = path.with_name(f"{stem if stem.startswith('test_') else f'test_{stem}'}.py")
        raise UsageError(f"pytest collects test_*.py and *_test.py, not {path.name!r}; write --export {proposed}")
    if "." in path.stem:
        proposed = path.with_name(f"{path.stem.replace('.', '_')}.py")
        raise UsageError(f"{path.name!r} cannot be imported, for its dots; write --export {proposed}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {str(path.parent)!r} to write {path.name} to; make it first")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists and is not overwritten; choose another name, or add --force")
    return path


def limits_of(measurement: Measurement, *, headroom: float) -> tuple[Limit, ...]:
    """Limits on what was measured: ttft and tpot where there were tokens, else e2e of a request, else total.

    Raises UsageError where no call was measured to its end, or where its time says nothing.
    """
    if not 0 <= headroom < math.inf:
        raise UsageError(f"headroom={headroom!r}; expected a share of the measured time, 0 or more, such as 0.5")
    if not measurement.traces or (not measurement.complete and len(measurement.traces) == 1):
        raise UsageError(f"{measurement.name} has no call that ended, so there is nothing to set a limit by; run it")
    if (words := unrun_measurement(measurement)) is not None:
        raise UsageError(f"{measurement.name} has no times to set a limit by, since the value is {words}")
    names = [name for name in ("ttft", "tpot") if measurement.reading(name)]
    requests = [request for trace in measurement.traces for request in trace.requests]
    if not names:
        names = ["e2e" if any(request.kind != "call" for request in requests) else "total"]
    return tuple(_limit(measurement, name, headroom) for name in names)


def _limit(measurement: Measurement, name: str, headroom: float) -> Limit:
    reading = measurement.reading(name)
    unit, high = reading.metric.unit, reading.high
    top = max(reading.values) if high is None else float(high)
    share = 2 * headroom if high is None else headroom
    text = show_exactly(_rounded_up(top * (1 + share)), unit).replace(",", "")
    if high is None:
        calls = "1 call" if len(measurement.traces) == 1 else f"{len(measurement.traces)} calls"
        basis = f"{name} {'' if reading.n == 1 else 'at most '}{show(top, unit)} ({calls}, no interval)"
    else:
        interval = f"95 % interval {reading.low} – {reading.high}, {len(measurement.traces)} calls"
        basis = f"{name} {reading.p50} ({interval})"
    return Limit(budget=parse_key(f"{name}_p50", text), basis=basis, has_interval=high is not None)


def _rounded_up(value: float) -> float:
    """The value with two significant digits, none less than a microsecond."""
    value = max(value, 1e-6)
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / step, 6)) * step:.2g}")


def _folders(found: Provenance, target: Path) -> tuple[str, ...]:
    """Folders, seen from the file's, where the session found modules that are not installed."""
    installed = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    installed |= {os.path.realpath(path) for path in (*site.getsitepackages(), site.getusersitepackages())}
    linked = {line for path in installed for file in Path(path).glob("*.pth") for line in _lines(file)}
    known = {os.path.realpath(path) for path in sys.path} - installed - {os.path.realpath(path) for path in linked}
    folders: dict[str, None] = {}
    for module in [sys.modules.get(name) for name in found.modules]:
        places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
        if places[0] is not None and (folder := os.path.realpath(Path(places[0]).parent)) in known:
            folders[folder] = None
    return tuple(Path(os.path.relpath(folder, target.resolve().parent)).as_posix() for folder in folders)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").split("\n")
    except OSError:
        return []


def _heading(
    measurement: Measurement, limits: tuple[Limit, ...], *, headroom: float, folders: tuple[str, ...]
) -> Heading:
    on = f" on {measurement.recorded_at[:10]}" if measurement.recorded_at else ""
    paragraphs = [
        f"Made by `%llmtime --export` from the cell {measurement.name!r}{on}.",
        f"Measured there: {'; '.join(limit.basis for limit in limits)}.",
    ]
    if where := ", ".join(machine(measurement.environment)):
        paragraphs.append(f"Measured on: {where}.")
    paragraphs.append(
        f"Limits: the upper end of the interval and {headroom * 100:g} % more, rounded up."
        if all(limit.has_interval for limit in limits)
        else f"Limits: without an interval, what was measured and {headroom * 200:g} % more (twice the usual"
        f" {headroom * 100:g} %), rounded up; `%%llmtime -r 6` gives an interval."
    )
    keys = {f"{limit.budget.metric}_{limit.budget.statistic}": limit.text for limit in limits}
    return Heading(paragraphs=tuple(paragraphs), cell=measurement.name, limits=keys, folders=folders)
