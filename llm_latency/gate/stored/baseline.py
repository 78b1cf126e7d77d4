"""Baseline: the rows stored for one test module on one machine, as a JSON file that merges; not where files lie.

A row a line, sorted, each with its comma, since the lists end in null: lines of two branches can stand together, and
git's `merge=union` lets them. A row belongs to the acceptance that it came after: rows from before are superseded,
also where a merge brings them back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from llm_latency.core.metrics import METRICS
from llm_latency.errors import MeasurementFileError
from llm_latency.gate.stored.fingerprint import Machine
from llm_latency.gate.stored.row import Row

SCHEMA = 1
# Rows kept of a measurement, the latest: from 10 to 20 the rates of gate.standing hardly change.
MOST_ROWS = 20
_REMEDY = "restore it (git checkout), or delete it and record anew with --latency-baseline=create"


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A metric before and after: the geometric mean of `rows` rows and the run that replaced them, in base unit."""

    old: float
    new: float
    rows: int


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody's word, or the rule's where it was faster, that a test's rows from before hold no longer."""

    id: str
    test: str
    name: str
    when: str
    reason: str
    metrics: dict[str, Change] = {}


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one module on one machine."""

    module: str
    machine: Machine
    rows: tuple[Row, ...] = ()
    accepted: tuple[Acceptance, ...] = ()

    def rows_of(self, test: str, name: str) -> tuple[Row, ...]:
        """The rows that count, in order of time, the latest of them where there are many."""
        after = self._last_acceptance(test, name)
        # A run that stands there twice is one: what a merge has doubled.
        own = {row.run: row for row in self.rows if (row.test, row.name, row.after) == (test, name, after)}
        return tuple(sorted(own.values(), key=_in_time)[-MOST_ROWS:])

    def tests(self) -> tuple[str, ...]:
        """The tests that have a row, in order."""
        return tuple(sorted({row.test for row in self.rows}))

    def with_row(self, row: Row) -> Baseline:
        """The same with a further row; the oldest goes where there are too many."""
        kept = [other for other in self.rows_of(row.test, row.name) if other.run != row.run]
        return self._with([*kept[1 - MOST_ROWS :], replace(row, after=self._last_acceptance(row.test, row.name))])

    def replaced(self, row: Row, acceptance: Acceptance) -> Baseline:
        """The same with this row in place of all that it has of the measurement."""
        return replace(self._with([replace(row, after=acceptance.id)]), accepted=(*self.accepted, acceptance))

    def _with(self, rows: Sequence[Row]) -> Baseline:
        own = (rows[0].test, rows[0].name)
        return replace(self, rows=(*(row for row in self.rows if (row.test, row.name) != own), *rows))

    def _last_acceptance(self, test: str, name: str) -> str:
        own = [one for one in self.accepted if (one.test, one.name) == (test, name)]
        return max(own, key=lambda one: (_instant(one.when), one.id)).id if own else ""


def _instant(when: str) -> float:
    return datetime.fromisoformat(when).timestamp()


def _in_time(row: Row) -> tuple[float, str]:
    return _instant(row.when), row.run


def to_json(baseline: Baseline) -> bytes:
    """Encode: keys sorted, a row a line, in the order of tests and then of time."""
    accepted = sorted(baseline.accepted, key=lambda one: (one.test, one.name, _instant(one.when), one.id))
    rows = sorted(baseline.rows, key=lambda row: (row.test, row.name, *_in_time(row)))
    encode = msgspec.json.Encoder(order="sorted").encode
    return b"\n".join(
        [
            b"{",
            b'"accepted": [',
            *(encode(one) + b"," for one in accepted),
            b"null],",
            b'"machine": ' + encode(baseline.machine) + b",",
            b'"module": ' + encode(baseline.module) + b",",
            b'"rows": [',
            *(encode(row) + b"," for row in rows),
            b"null],",
            b'"schema": ' + encode(SCHEMA),
            b"}",
            b"",
        ]
    )


def from_json(text: bytes, *, source: str) -> Baseline:
    """Decode and validate.

    Raises MeasurementFileError, naming `source`, the place in it and what to do, when the text is broken, holds
    impossible values or has a newer schema.
    """
    if any(line.startswith((b"<<<<<<< ", b">>>>>>> ")) for line in text.splitlines()):
        raise MeasurementFileError(
            f"{source} has a merge's conflict markers: keep the lines of both sides, each is a row of its own, and"
            " delete the markers"
        )
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
        if schema != SCHEMA:
            raise MeasurementFileError(
                f"{source}: schema is {schema!r} and this version reads {SCHEMA}; use the llm-latency that wrote it,"
                f" or {_REMEDY}"
            )
        read = msgspec.json.decode(text, type=_File)
    except msgspec.ValidationError as error:
        raise MeasurementFileError(f"{source} was edited: {error}; {_REMEDY}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MeasurementFileError(
            f"{source} is not complete JSON ({error}); it was cut off or edited: {_REMEDY}"
        ) from error
    for index, row in enumerate(read.rows):
        if row is not None:
            _check_row(row, f"{source}, $.rows[{index}]")
    for index, one in enumerate(read.accepted):
        if one is not None:
            _check_time(one.when, f"{source}, $.accepted[{index}]")
    return Baseline(
        module=read.module,
        machine=read.machine,
        rows=tuple(row for row in read.rows if row is not None),
        accepted=tuple(one for one in read.accepted if one is not None),
    )


class _Head(msgspec.Struct):
    schema: object = None


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A baseline as it is written: null ends its lists, so that every line above has its comma."""

    accepted: tuple[Acceptance | None, ...]
    machine: Machine
    module: str
    rows: tuple[Row | None, ...]
    schema: int


def _check_row(row: Row, place: str) -> None:
    _check_time(row.when, place)
    known = {metric.definition for metric in METRICS.values()}
    for name, stored in row.metrics.items():
        values = [value for value in (stored.wall, stored.own) if value is not None]
        # A definition that this version does not know is another one's, and in nobody's way.
        if name in known and (stored.n < 1 or any(not math.isfinite(value) or value <= 0 for value in values)):
            raise MeasurementFileError(
                f"{place}.metrics['{name}'] was edited: expected medians above zero of one value or more; {_REMEDY}"
            )


def _check_time(when: str, place: str) -> None:
    try:
        is_known = datetime.fromisoformat(when).tzinfo is not None
    except ValueError:
        is_known = False
    if not is_known:
        raise MeasurementFileError(
            f"{place}.when is {when!r}; expected a time with its zone, such as 2026-11-25T08:30:00+00:00; {_REMEDY}"
        )
