"""Row: what one process measured of one llmtime(), as a stored baseline keeps it; not how rows are compared.

Its medians, the work that its calls did, and the facts of libraries and settings that may differ between runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from llm_latency.core.contention import relieved
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, sample_of
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.trace import Trace
from llm_latency.gate.stored.fingerprint import Machine

# Facts that a change of the code under test does not change: under others, numbers tell nothing about the code.
CONDITIONS = ("clocks_mhz", "openmp", "power_cap_w")


class Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The median of one metric over a process's calls, in base unit, and the number of values.

    `wall` is what the user saw; `own` is without the delay by other programs, None where that is the same.
    """

    n: int
    wall: float
    own: float | None = None

    @property
    def value(self) -> float:
        """What is compared: the median without the delay by other programs."""
        return self.wall if self.own is None else self.own


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One process's numbers of one llmtime(): `test` within its module, `name` of the measurement, `run` of pytest.

    `metrics` goes by definition, such as `tpot@1`. `after` is the acceptance that the row came after, "" for none.
    """

    test: str
    name: str
    when: str
    run: str
    metrics: dict[str, Stored]
    work: dict[str, str] = {}
    facts: dict[str, str] = {}
    after: str = ""

    @property
    def day(self) -> str:
        """The day on which it was measured."""
        return datetime.fromisoformat(self.when).date().isoformat()


def row_of(measurement: Measurement, *, test: str, name: str, run: str, when: str, metrics: Iterable[str]) -> Row:
    """The row of a whole measurement, with those of `metrics` that have a value.

    `when` is the time for a measurement that does not know its own.
    """
    own = [relieved(trace) for trace in measurement.traces]
    found = {}
    for metric in map(METRICS.__getitem__, metrics):
        wall = sample_of(measurement.traces, metric.name, measurement.environment).values
        if not wall or (median := quantile(wall, 0.5)) <= 0:  # zero has no ratio to anything
            continue
        undisturbed = _rounded(quantile(sample_of(own, metric.name, measurement.environment).values or wall, 0.5))
        found[metric.definition] = Stored(
            n=len(wall),
            wall=_rounded(median),
            own=None if undisturbed == _rounded(median) or undisturbed <= 0 else undisturbed,
        )
    return Row(
        test=test,
        name=name,
        when=measurement.recorded_at or when,
        run=run,
        metrics=found,
        work=work_of(measurement.traces),
        facts=_facts(measurement.environment),
    )


def _rounded(value: float) -> float:
    """Six digits: a thousandth of the least noise between processes, and lines that people can read."""
    return float(f"{value:.6g}")


def _facts(environment: Environment) -> dict[str, str]:
    """What is known of the environment and is not the machine itself; driver and system with their full releases."""
    of_machine = {*Machine.__struct_fields__, "memory_bytes", "peaks", "warnings"} - {"driver", "system"}
    found = {name: getattr(environment, name) for name in Environment.__struct_fields__ if name not in of_machine}
    return {name: str(value) for name, value in found.items() if value is not None}


def work_of(traces: Sequence[Trace]) -> dict[str, str]:
    """What the calls were asked for and did, the least and the most of each count; what is unknown is left out."""
    ends = {reason for trace in traces for request in trace.requests for reason in request.finish_reasons}
    found = {
        "kinds": " ".join(sorted({request.kind for trace in traces for request in trace.requests})),
        "requests": _range(len(trace.requests) for trace in traces),
        "rows": _range(trace.rows for trace in traces),
        "prompt tokens": _range(trace.prompt_tokens for trace in traces),
        "cached tokens": _range(
            sum(request.cached_tokens or 0 for request in trace.requests) or None for trace in traces
        ),
        "new tokens": _range(trace.new_tokens for trace in traces),
        "ended by": " ".join(sorted(ends)),
    }
    return {what: text for what, text in found.items() if text}


def _range(counts: Iterable[int | None]) -> str:
    known = {count for count in counts if count is not None}
    if not known:
        return ""
    return str(min(known)) if len(known) == 1 else f"{min(known)}–{max(known)}"


def mapping_differences(first: dict[str, str], second: dict[str, str]) -> tuple[str, ...]:
    """Name each entry that both know and that differs, as `torch: 2.6.0 → 2.13.0`."""
    return tuple(f"{key}: {first[key]} → {second[key]}" for key in first if key in second and first[key] != second[key])


def unlike(row: Row, run: Row) -> tuple[str, ...]:
    """The conditions of a stored row that are known to be other than a run's."""
    of_row, of_run = ({key: one.facts[key] for key in CONDITIONS if key in one.facts} for one in (row, run))
    return mapping_differences(of_row, of_run)


def is_like(row: Row, run: Row) -> bool:
    """Whether a stored row is of the same work as a run, and under the same conditions as far as they are known."""
    return row.work == run.work and not unlike(row, run)
