"""Measurement: calls and the machine they ran on, as versioned JSON; not how either was obtained."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from llm_latency.core.budget import Budget
from llm_latency.core.contention import relieved
from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS
from llm_latency.core.reading import Reading
from llm_latency.core.stats import Sample
from llm_latency.core.trace import PHASE_NAMES, REQUEST_KINDS, Trace
from llm_latency.core.verdict import FAIL, LEVEL, Verdict, excused, judge
from llm_latency.errors import MeasurementFileError, UsageError

SCHEMA = 1
# Where a notebook keeps a measurement in the metadata of an output: the magic writes it, `extract` reads it.
METADATA_KEY = "llm_latency"


class Derived(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One metric as the JSON shows it: base units, the median with its interval of `confidence`; None where unknown."""

    unit: str
    better: str
    definition: str
    n: int
    p50: float | None
    low: float | None
    high: float | None
    confidence: float | None
    max: float | None
    warnings: tuple[str, ...] = ()


class Presenter(Protocol):
    """How a measurement is shown; the report puts one in, since the core knows no format, frame or plot."""

    def html(self, measurement: Measurement) -> str:
        """Write it as an HTML fragment."""
        ...

    def frame(self, measurement: Measurement, rows: str) -> Any:
        """Make a pandas DataFrame of it."""
        ...

    def plot(self, measurement: Measurement, kind: str, *, other: Measurement | None, ax: Any) -> Any:
        """Draw it with matplotlib."""
        ...


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured: counted calls in `traces`, the first call apart in `cold`, warm-up calls in `warmup`.

    `m.ttft.p50` and so on read it. `observer_ns` is what one observed emission cost, in nanoseconds.
    """

    presenter: ClassVar[Presenter | None] = None

    name: str
    workload: dict[str, Any]
    environment: Environment
    traces: tuple[Trace, ...]
    stopped_because: str
    cold: Trace | None = None
    warmup: tuple[Trace, ...] = ()
    warnings: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    observer_ns: int | None = None
    recorded_at: str | None = None
    complete: bool = True

    def __getattr__(self, name: str) -> Reading:
        if name not in METRICS:
            raise AttributeError(f"a measurement has no {name!r}; metrics: {', '.join(METRICS)}")
        return self.reading(name)

    def __repr__(self) -> str:
        shown = [repr(reading) for name in ("ttft", "tpot", "total") if (reading := self.reading(name))]
        return f"<Measurement {self.name!r}: {'; '.join(shown) or 'no call'}>"

    def reading(self, name: str) -> Reading:
        """One metric over the counted calls."""
        return Reading(METRICS[name], self.sample(name))

    def sample(self, name: str) -> Sample:
        """Values of one metric with the call that each came from."""
        return sample_of(self.traces, name, self.environment)

    def derived(self) -> dict[str, Derived]:
        """Every metric as the JSON shows it."""
        return {name: _derive(self.reading(name)) for name in METRICS}

    def _repr_html_(self) -> str | None:
        return None if self.presenter is None else self.presenter.html(self)

    def to_frame(self, rows: str = "calls") -> Any:
        """Make a pandas DataFrame with a row for each of the counted "calls", their "emissions", or the "metrics".

        Values are in base units, which `frame.attrs["units"]` names. Raises UsageError for other rows and without
        pandas.
        """
        return self._presenter("to_frame()").frame(self, rows)

    def plot(self, kind: str = "timeline", *, other: Measurement | None = None, ax: Any = None) -> Any:
        """Draw with matplotlib and return the Axes: "timeline" of a middle call, "ecdf" of itl, or "comparison".

        `other` is a second measurement: drawn beside this one in "ecdf", set against it in "comparison". With `ax` it
        is drawn there and pyplot is left alone. Raises UsageError for another kind and without matplotlib.
        """
        return self._presenter("plot()").plot(self, kind, other=other, ax=ax)

    def _presenter(self, asked: str) -> Presenter:
        if self.presenter is None:
            raise UsageError(
                f"{asked} needs the report, which is not loaded; `from llm_latency import Measurement` loads it"
            )
        return self.presenter


def sample_of(traces: Sequence[Trace], name: str, environment: Environment) -> Sample:
    """Read one metric out of calls."""
    read = METRICS[name].read
    values: list[float] = []
    calls: list[int] = []
    for index, trace in enumerate(traces):
        found = read(trace, environment)
        values += found
        calls += [index] * len(found)
    return Sample(values=tuple(values), calls=tuple(calls))


def verdict_on(budget: Budget, traces: Sequence[Trace], environment: Environment, *, level: float = LEVEL) -> Verdict:
    """Judge a budget by calls; a failure must stand without the delay by other programs too."""
    verdict = judge(budget, sample_of(traces, budget.metric, environment), level=level)
    if verdict.outcome != FAIL:
        return verdict
    # Gaps are many in a call: which of them had the delay is not told, and a limit on their quantile asks.
    limit_ns = round(budget.limit * 1e9) if budget.metric in ("itl", "itl_per_token") else None
    own = sample_of([relieved(trace, limit_ns=limit_ns) for trace in traces], budget.metric, environment)
    return excused(verdict, judge(budget, own, level=level))


def _derive(reading: Reading) -> Derived:
    row, summary = reading.metric, reading.summary
    return Derived(
        unit=row.unit,
        better=row.better,
        definition=row.definition,
        n=reading.n,
        p50=summary.center if summary else None,
        low=summary.low if summary else None,
        high=summary.high if summary else None,
        confidence=summary.confidence if summary and summary.low is not None else None,
        max=max(reading.values, default=None),
        warnings=summary.warnings if summary else ("no value",),
    )


def to_json(measurement: Measurement, *, indent: int = 0) -> bytes:
    """Encode with `schema` first, the metrics derived and the raw traces; `indent` spaces, 0 for one line."""
    fields = {name: getattr(measurement, name) for name in Measurement.__struct_fields__}
    head = {"schema": SCHEMA, "name": fields.pop("name"), "workload": fields.pop("workload")}
    head |= {"environment": fields.pop("environment"), "metrics": measurement.derived()}
    encoded = msgspec.json.encode(head | fields)
    return msgspec.json.format(encoded, indent=indent) if indent else encoded


def from_json(text: bytes | str, *, source: str = "this measurement") -> Measurement:
    """Decode and validate; metrics are recomputed from the traces when read.

    Raises MeasurementFileError, naming `source` and the place in the JSON, when the text is broken, holds
    impossible values or has a schema newer than this version knows.
    """
    # Three passes, of which only the last makes objects: a million emissions are read in 0.2 s instead of 0.6.
    try:
        whole = msgspec.json.decode(text if isinstance(text, str) else str(text, "utf-8"), type=msgspec.Raw)
        schema = _schema(whole)
        if schema is None:
            raise MeasurementFileError(f"{source} has no integer 'schema'; it is not a measurement of llm-latency")
        if schema > SCHEMA or schema < 1:
            raise MeasurementFileError(
                f"{source} has schema {schema} and this version reads up to {SCHEMA};"
                " read it with the llm-latency that wrote it, or a newer one"
            )
        read = msgspec.json.decode(whole, type=_File)
    except msgspec.ValidationError as error:
        raise MeasurementFileError(f"{source} is no valid measurement: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MeasurementFileError(
            f"{source} is not complete JSON ({error}); it was cut off or edited. Measure again, or restore the file"
        ) from error
    measurement = Measurement(**{name: getattr(read, name) for name in Measurement.__struct_fields__})
    for part, traces in (
        ("traces", measurement.traces),
        ("warmup", measurement.warmup),
        ("cold", (measurement.cold,) if measurement.cold else ()),
    ):
        for index, trace in enumerate(traces):
            _check(trace, f"{source}, {part}" if part == "cold" else f"{source}, {part}[{index}]")
    return measurement


class _Head(msgspec.Struct):
    """What is read of a file first, whatever else it holds."""

    schema: object = None


class _File(Measurement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measurement as it is written; the metrics are not read back, since the traces have them."""

    schema: int
    metrics: msgspec.Raw = msgspec.Raw(b"{}")


def _schema(text: msgspec.Raw) -> int | None:
    """The integer `schema` of a JSON object, or None for whatever else the text is."""
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
    except msgspec.ValidationError:
        return None
    return schema if type(schema) is int else None


def _check(trace: Trace, place: str) -> None:
    if trace.stop_ns < trace.start_ns:
        raise MeasurementFileError(f"{place}: stop_ns {trace.stop_ns} lies before start_ns {trace.start_ns}")
    pauses = [instant for pause in trace.pauses for instant in pause]
    readings = trace.contention.readings if trace.contention else ()
    if any(a > b for a, b in pairwise(pauses)):
        raise MeasurementFileError(f"{place}: pauses overlap or do not ascend")
    if any(a > c or b > d for (a, b), (c, d) in pairwise(readings)):
        raise MeasurementFileError(f"{place}: readings of delay do not ascend")
    for phase in trace.phases:
        if phase.name not in PHASE_NAMES or phase.stop_ns < phase.start_ns:
            raise MeasurementFileError(f"{place}: phase {phase.name!r} is unknown or ends before it starts")
    for request in trace.requests:
        if request.kind not in REQUEST_KINDS:
            raise MeasurementFileError(f"{place}: request kind {request.kind!r}; known: {', '.join(REQUEST_KINDS)}")
        instants = [request.start_ns, *(instant for instant, _ in request.emissions)]
        if request.stop_ns < request.start_ns or any(a > b for a, b in pairwise(instants)):
            raise MeasurementFileError(f"{place}: the instants of a request do not ascend")
        device_ns = request.device_ns
        if device_ns is not None and (
            len(device_ns) != len(request.emissions) + 1 or any(a > b for a, b in pairwise(device_ns))
        ):
            raise MeasurementFileError(
                f"{place}: device_ns holds {len(device_ns)} instants; expected one an emission and one for the end,"
                " ascending"
            )
        counts = (*(request.row_tokens or ()), request.rows or 0, request.prompt_tokens or 0)
        if any(count < 0 for count in counts) or any(k < 1 for _, k in request.emissions):
            raise MeasurementFileError(f"{place}: a request counts fewer than no tokens")


def save(measurement: Measurement, path: str | os.PathLike[str]) -> None:
    """Write JSON atomically; the old file or the new one exists at every moment."""
    write_atomically(path, to_json(measurement, indent=1))


def load(path: str | os.PathLike[str]) -> Measurement:
    """Read a measurement file; raises MeasurementFileError when it is missing, broken or newer."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise MeasurementFileError(f"{path} cannot be read: {error.strerror or error}") from error
    return from_json(text, source=str(path))


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes to a file beside `path` and rename it; raises OSError, with nothing left behind.

    A link stays a link. A device or pipe is written to: renaming a file onto /dev/null would replace it.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
