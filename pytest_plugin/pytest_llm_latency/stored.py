"""What stored baselines say of a test that has ended, and the rows that it leaves for them; not the writing.

Runs where the test ran, in a worker of pytest-xdist too: what it finds goes with the report to the process that writes.
"""

from __future__ import annotations

import difflib
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from llm_latency.core.contention import delay_share
from llm_latency.core.measurement import Measurement, to_json
from llm_latency.core.metrics import METRICS
from llm_latency.core.stats import quantile
from llm_latency.core.units import show
from llm_latency.core.verdict import FAIL, PASS
from llm_latency.errors import MeasurementFileError
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED
from llm_latency.gate.stored.baseline import MOST_ROWS, Baseline
from llm_latency.gate.stored.fingerprint import Machine, machine_of
from llm_latency.gate.stored.promotion import Promotion, promote
from llm_latency.gate.stored.row import Row, row_of
from llm_latency.gate.stored.standing import LEAST_ROWS, Standing, stand
from llm_latency.gate.stored.store import Store
from llm_latency.report.rows import default_metrics
from pytest_llm_latency.found import ACCEPTED, NOT_GATED, NOT_STORED, WORDS, Found, Said
from pytest_llm_latency.keeper import CHECK, OFF, mode_of
from pytest_llm_latency.limits import MARKER, Limits, read_limits
from pytest_llm_latency.llmtime import LlmTime
from pytest_llm_latency.outcome import BudgetFailure
from pytest_llm_latency.settings import Settings
from pytest_llm_latency.stash import RUN, SETTINGS, STORED


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a test asks of the store: its place in it, its limits, and what the run was asked for."""

    item: Any
    store: Store
    module: str
    test: str
    limits: Limits
    settings: Settings
    mode: str

    @property
    def limit(self) -> float:
        """The share that a slowdown may have."""
        return self.settings.max_slowdown if self.limits.max_slowdown is None else self.limits.max_slowdown


def require_baseline_kept(item: pytest.Item, timed: LlmTime) -> None:
    """Compare what a test has measured with what is stored; raise BudgetFailure where that fails it."""
    config = item.config
    settings = config.stash[SETTINGS]
    if settings.base is not None:
        return
    module, _, test = item.nodeid.partition("::")
    asked = _Asked(
        item=item,
        store=Store(config.rootpath),
        module=module,
        test=test,
        limits=read_limits(item.iter_markers(MARKER)),
        settings=settings,
        mode=mode_of(settings, config.rootpath),
    )
    found = item.stash[STORED] = Found()
    for name, measurement in _named(timed.measurements):
        said = _not_asked(name, asked) if asked.mode == OFF else _say(name, measurement, asked)
        said.measurement = measurement
        found.said.append(said)
    failed = [said for said in found.said if said.failure]
    if failed:
        word = min((said.word for said in failed), key=WORDS.index)
        measurements = [said.measurement for said in failed if said.measurement is not None]
        raise BudgetFailure("\n".join(said.failure for said in failed), word=word, measurements=measurements)


def add_baseline(report: pytest.TestReport, item: pytest.Item, timed: LlmTime) -> None:
    """Put it on a test's report; a mistake in here is told in the summary, and costs nobody the run."""
    carried: dict[str, Any] = report.__dict__.setdefault("llm_latency", {"word": "", "rows": [], "problem": ""})
    found = item.stash.get(STORED, None) or Found()
    try:
        carried["baseline"] = _facts(found, timed, mode_of(item.config.stash[SETTINGS], item.config.rootpath))
        if report.passed and not carried["word"]:
            carried["word"] = found.word
    except Exception as mistake:
        carried["problem"] = f"{report.nodeid}: the stored baseline could not be reported: {mistake!r}"


def _facts(found: Found, timed: LlmTime, mode: str) -> dict[str, Any]:
    """Text, lists and dicts, which survive pytest-xdist."""
    measurements = [] if mode == OFF else [m for m in timed.measurements if m.traces]
    said = found.said
    return {
        "timed": len(timed.measurements),
        "said": [[one.name, one.word, one.text] for one in said],
        "reasons": [reason for one in said for reason in one.reasons],
        "notes": [note for one in said for note in one.notes],
        "promotions": [msgspec.json.encode(one.promotion).decode() for one in said if one.promotion is not None],
        "raw": [[m.name, to_json(m).decode()] for m in measurements],
    }


def _named(measurements: Sequence[Measurement]) -> Iterator[tuple[str, Measurement]]:
    """Each whole measurement under a name of its own."""
    counts: dict[str, int] = {}
    for measurement in measurements:
        if measurement.complete and measurement.traces:
            count = counts[measurement.name] = counts.get(measurement.name, 0) + 1
            yield measurement.name if count == 1 else f"{measurement.name} ({count})", measurement


def _not_asked(name: str, asked: _Asked) -> Said:
    if asked.limits.max_slowdown is None:
        return Said(name, "", "")
    note = (
        "max_slowdown is not gated in this run: it has neither a base (--latency-base REF) nor a stored baseline"
        " (--latency-baseline=create makes one)"
    )
    return Said(name, "", "", notes=(note,))


def _say(name: str, measurement: Measurement, asked: _Asked) -> Said:
    run = asked.item.config.stash.setdefault(RUN, secrets.token_hex(4))
    when = datetime.now(UTC).isoformat(timespec="seconds")
    # Own times stand beside each metric's wall time, and are metrics of their own only where a limit names them.
    shown = [metric for metric in default_metrics(measurement) if not metric.endswith("_own")]
    metrics = dict.fromkeys((*shown, *asked.limits.metrics))
    row = row_of(measurement, test=asked.test, name=name, run=run, when=when, metrics=metrics)
    machine = machine_of(measurement.environment)
    try:
        baseline = asked.store.read(asked.module, machine)
    except MeasurementFileError as error:
        return _doubted(name, UNDECIDED, "its baseline cannot be read", str(error), asked, fails=asked.mode != CHECK)
    rows = baseline.rows_of(asked.test, name) if baseline is not None else ()
    standings = [
        stand(METRICS[metric], row, rows, limit=asked.limit, min_change=asked.limits.min_change)
        for metric in asked.limits.metrics
    ]
    is_guarded = bool(rows) or asked.limits.max_slowdown is not None
    tracer = active_tracer() if is_guarded or asked.mode != CHECK or asked.settings.require_baseline else ""
    if tracer:
        word = UNDECIDED if asked.mode == CHECK else NOT_STORED
        return _doubted(name, word, "nothing was compared or stored", f"{tracer} {_TRACED}", asked)
    if asked.mode == CHECK:
        return _checked(name, standings, rows, asked) if rows else _missing(name, machine, baseline, asked)
    delay = quantile([delay_share(trace) or 0.0 for trace in measurement.traces], 0.5)
    if delay > _MATERIAL:
        text = f"other programs had its cores for {delay:.0%} of the middle call"
        return _doubted(name, NOT_STORED, text, "a row is of a quiet machine: run it again when that is idle", asked)
    return _promoted(row, standings, machine, rows, asked)


# What core.doubts calls material of one call, here of the middle one: its own time is an estimate then.
_MATERIAL = 0.05
_TRACED = "is active, and Python code runs slower under it: leave it out of this run (--no-cov, no debugger)"


def _doubted(name: str, word: str, text: str, reason: str, asked: _Asked, *, fails: bool = False) -> Said:
    """Nothing could be told, which fails a test that needs a baseline."""
    failure = f"{text}: {reason}" if fails or asked.settings.require_baseline else ""
    return Said(name, word, text, (reason,), failure=failure)


def active_tracer() -> str:
    """What traces or profiles every line of Python in this process; nothing where that is nobody."""
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return "a tracer, profiler or debugger"
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on; it has six tools (PEP 669)
    tools = [] if monitoring is None else [monitoring.get_tool(index) for index in range(6)]
    return next((f"a tracer ({tool})" for tool in tools if tool is not None), "")


def _checked(name: str, standings: Sequence[Standing], rows: Sequence[Row], asked: _Asked) -> Said:
    word = min(map(_word, standings), key=WORDS.index)
    text = "; ".join(map(sentence, standings))
    reasons = tuple(dict.fromkeys(reason for standing in standings for reason in standing.reasons))
    notes = _notes(standings, rows, asked)
    failure = ""
    if word == TOO_SLOW:
        broken = [standing for standing in standings if standing.outcome == FAIL]
        failure = "\n".join([*(f"{sentence(one)}, {_numbers(one)}" for one in broken), *notes, _HOW_TO_ACCEPT])
    elif word == UNDECIDED and asked.settings.undecided_gate == "fail":
        failure = "\n".join([text, *reasons, *notes])
    return Said(name, word, text, reasons, failure=failure, notes=notes)


_HOW_TO_ACCEPT = (
    "Where the slowdown is wanted: pytest --latency-baseline=update --latency-accept 'why' stores it, with the reason"
)


def _word(standing: Standing) -> str:
    if standing.outcome == PASS:
        return FASTER if standing.is_faster else OK
    return TOO_SLOW if standing.outcome == FAIL else UNDECIDED


def sentence(standing: Standing) -> str:
    """One metric against its rows, on a line."""
    parts = [standing.metric]
    if standing.slowdown is not None:
        parts[0] += f" {_percent(standing.slowdown)} %"
    if standing.low is not None and standing.high is not None:
        parts[0] += f" [{_percent(standing.low)}, {_percent(standing.high)}]"
    if standing.rows:
        parts += [f"limit {100 * standing.limit:.3g} %", f"{standing.rows} row{'s' if standing.rows > 1 else ''}"]
    return ", ".join(parts)


def _percent(share: float) -> str:
    # A minus as the gate writes it; adding 0.0 takes it off nothing at all.
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", "−")


def _numbers(standing: Standing) -> str:
    return f"{show(standing.base, standing.unit)} → {show(standing.head, standing.unit)}"


def _notes(standings: Sequence[Standing], rows: Sequence[Row], asked: _Asked) -> tuple[str, ...]:
    """What is true of the whole file, and said once."""
    notes = [f"{asked.module} differs from its latest rows in {one}" for s in standings for one in s.differences]
    days = {row.day for row in rows}
    if len(rows) >= LEAST_ROWS and len(days) == 1:
        notes.append(
            f"rows of {asked.module} are all of {next(iter(days))}: what changes from day to day is not in their noise;"
            " add rows on other days (--latency-baseline=create)"
        )
    return tuple(dict.fromkeys(notes))


def _missing(name: str, machine: Machine, baseline: Baseline | None, asked: _Asked) -> Said:
    """No row of this machine: another machine's, another test's, or nobody's."""
    nearest = asked.store.nearest(asked.module, machine) if baseline is None else None
    if nearest is not None:
        reason = (
            f"{machine.fingerprint} has no file; {nearest.fingerprint} differs in {', '.join(nearest.differences)}."
            " Record it here with --latency-baseline=create"
        )
        fails = asked.settings.undecided_gate == "fail"
        return _doubted(name, UNDECIDED, "nothing is stored for this machine", reason, asked, fails=fails)
    is_wanted = asked.limits.max_slowdown is not None or asked.settings.require_baseline
    text = f"no row is stored for it{_hint(asked, baseline)}"
    return _doubted(name, NOT_GATED if is_wanted else "", text, "--latency-baseline=create records a row", asked)


def _hint(asked: _Asked, baseline: Baseline | None) -> str:
    """Which stored test it may have been: one that is here no longer."""
    if baseline is None:
        return ""
    here = {item.nodeid.partition("::")[2] for item in asked.item.session.items}
    gone = [test for test in baseline.tests() if test not in here and not _is_left_out(test, asked.item)]
    close = difflib.get_close_matches(asked.test, gone, n=1, cutoff=0.3) or gone[:1]
    return f" (was it {close[0]!r}, which is stored and no longer here? Rename it in the file)" if close else ""


def _is_left_out(test: str, item: Any) -> bool:
    """Whether a test is still in the module, and only not selected; of parameters that is not known."""
    found = getattr(item, "module", None)
    for part in re.sub(r"\[.*", "", test).split("::"):
        found = getattr(found, part, None)
    return found is not None and "[" not in test


def _promoted(row: Row, standings: Sequence[Standing], machine: Machine, rows: Sequence[Row], asked: _Asked) -> Said:
    promotion = promote(
        row,
        standings,
        module=asked.module,
        machine=machine,
        rows=len(rows),
        mode=asked.mode,
        accept=asked.settings.accept,
    )
    word = min(map(_word, standings), key=WORDS.index) if rows else OK
    text = "; ".join(map(sentence, standings)) if rows else "no row yet"
    if isinstance(promotion, Promotion):
        if promotion.acceptance is not None:
            told = f"{text}; in place of its rows: {promotion.acceptance.reason}"
            return Said(row.name, FASTER if word == FASTER else ACCEPTED, told, promotion=promotion)
        missing = f" of the {LEAST_ROWS} that a comparison needs" if len(rows) + 1 < LEAST_ROWS else ""
        # What is undecided as yet is why rows are being added.
        told = f"{text}; " if rows else ""
        return Said(row.name, OK, f"{told}row {min(len(rows), MOST_ROWS - 1) + 1}{missing}", promotion=promotion)
    if not promotion.is_regressed:
        return Said(row.name, word, f"{text}; not stored: {promotion.reason}")
    failure = f"not stored: {promotion.reason}. {_HOW_TO_ACCEPT}"
    return Said(row.name, TOO_SLOW if word == TOO_SLOW else NOT_STORED, f"{text}; not stored", failure=failure)
