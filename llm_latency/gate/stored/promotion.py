"""Promotion: whether a run becomes a row of a stored baseline, beside its rows or in their place; not the writing.

A run that is shown to be slower never becomes one without a person's reason, which is kept with the numbers. Runs that
only look slower do: leaving out the slow half of the noise would make a baseline that nobody can keep.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llm_latency.core.metrics import METRICS
from llm_latency.core.units import show
from llm_latency.gate.stored.baseline import MOST_ROWS, Acceptance, Baseline, Change
from llm_latency.gate.stored.fingerprint import Machine
from llm_latency.gate.stored.row import Row
from llm_latency.gate.stored.standing import Standing

CREATE, UPDATE = "create", "update"
_FASTER = "shown to be faster"


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row for the baseline of a module on a machine; with an acceptance it takes the place of those before it."""

    module: str
    machine: Machine
    row: Row
    acceptance: Acceptance | None = None

    def applied_to(self, baseline: Baseline) -> Baseline:
        """The baseline with the row."""
        return baseline.with_row(self.row) if self.acceptance is None else baseline.replaced(self.row, self.acceptance)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run does not become a row; `is_regressed` where a person's reason is missing."""

    reason: str
    is_regressed: bool = False


def promote(
    row: Row, standings: Sequence[Standing], *, module: str, machine: Machine, rows: int, mode: str, accept: str | None
) -> Promotion | Refusal:
    """Say what becomes of a run in `mode` CREATE or UPDATE; `rows` is how many the baseline has of the measurement."""
    refused = [standing for standing in standings if standing.is_refused]
    faster = [standing for standing in standings if standing.is_faster]
    if refused and accept is None:
        return Refusal(reason="; ".join(map(_against, refused)), is_regressed=True)
    if mode == CREATE and faster:
        return Refusal(reason="it is faster than its rows; --latency-baseline=update puts it in their place")
    if mode == CREATE and rows >= MOST_ROWS:
        return Refusal(reason=f"it has {MOST_ROWS} rows; --latency-baseline=update adds one and drops the oldest")
    promotion = Promotion(module=module, machine=machine, row=row)
    reason = (accept or "") if refused else _FASTER if faster else ""
    if not reason:
        return promotion
    changes = {
        METRICS[one.metric].definition: Change(old=float(f"{one.base:.6g}"), new=one.head, rows=one.rows)
        for one in standings
        if one.base is not None and one.head is not None
    }
    acceptance = Acceptance(id=row.run, test=row.test, name=row.name, when=row.when, reason=reason, metrics=changes)
    return msgspec.structs.replace(promotion, acceptance=acceptance)


def _against(standing: Standing) -> str:
    if standing.base is None or standing.head is None or standing.slowdown is None:
        return f"{standing.metric}: {'; '.join(standing.reasons)}"
    numbers = f"{show(standing.base, standing.unit)} → {show(standing.head, standing.unit)}"
    return f"{standing.metric} {100 * standing.slowdown:+.1f} % ({numbers}, {standing.rows} rows)"
