"""What `%llmtime` does with results that are there: show, list, compare, keep, and export them; no timing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.measurement import Measurement
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.notebook.baselines import baseline_path, keep_baseline, read_baseline
from llm_latency.notebook.desk import Desk
from llm_latency.notebook.options import Options
from llm_latency.notebook.result import Bundle, bundle, publish, sentence
from llm_latency.predict.profile import Profile
from llm_latency.report.contrast import compare, contrast_html, contrast_table
from llm_latency.report.escape import html as escaped
from llm_latency.report.html import tabulated
from llm_latency.report.listing import filled, listed
from llm_latency.report.text import aligned


def show_last(desk: Desk, options: Options) -> Measurement | None:
    """Show the last result again, or the last of a name."""
    measurement = desk.session.last(options.name).measurement
    desk.store(options, measurement)
    desk.show(bundle(measurement), options)
    return measurement if options.output else None


def show_history(desk: Desk, options: Options) -> list[Measurement] | None:
    """List what has been timed."""
    entries = tuple(desk.session.entries)
    if not entries:
        raise UsageError("nothing has been timed yet; put %%llmtime on the first line of a cell")
    numbers = ["#", *(str(entry.number) for entry in entries)]
    lines = filled([(n, *line) for n, line in zip(numbers, listed(e.measurement for e in entries), strict=True)])
    words = [index for index, head in enumerate(lines[0]) if head in ("name", "verdicts")]
    text = "\n".join(aligned(lines, words=words))
    desk.show(({"text/plain": text, "text/html": tabulated(lines, words=words)}, {}), options)
    return [entry.measurement for entry in entries] if options.output else None


def show_comparison(desk: Desk, options: Options) -> Any:
    """Set one result beside another: the last two, the last and a named one, or two named ones."""
    session, names = desk.session, desk.shell.user_ns
    wanted = options.operands
    if len(wanted) < 2 and len(session.entries) < 2 - len(wanted):
        raise UsageError(
            f"%llmtime --compare needs two results and there are {len(session.entries)}; time another cell"
        )
    found = [_found(desk, text, names) for text in wanted]
    newest = [entry.measurement for entry in session.entries][-2:]
    first, second = found if len(found) == 2 else (found[0], newest[-1]) if found else newest
    if first is second:
        raise UsageError(f"{first.name!r} is the last result itself; name another one, or time another cell")
    return _compared(desk, first, second, options)


def keep_last(desk: Desk, options: Options) -> Any:
    """Keep the last result as a baseline, or compare it with the one that is there."""
    options = msgspec.structs.replace(options, action="--baseline")
    return beside_baseline(desk, desk.session.last(options.name).measurement, options)


def export_last(desk: Desk, options: Options) -> None:
    """Write a test of the last timed cell, or of the last of a name."""
    from llm_latency.notebook.export import write_test

    entry = desk.session.last(options.name)
    exported = write_test(
        Path(options.operands[0]),
        source=entry.source,
        earlier=desk.inputs[1 : entry.inputs],
        namespace=desk.shell.user_ns,
        measurement=entry.measurement,
        headroom=desk.settings.headroom,
        force=options.force,
    )
    desk.show(sentence(str(exported)), options)


def explanation(measurement: Measurement, profile: Profile) -> Bundle:
    """Where the time of what was measured goes, by the call that ran under the profiler."""
    from llm_latency.predict.explain import explained
    from llm_latency.report.explanation import explanation_table

    text = explanation_table(explained(measurement, profile.events, model=profile.model, probe=True))
    return {"text/plain": text, "text/html": f"<pre>{escaped(text)}</pre>"}, {}


ACTIONS: Mapping[str, Callable[[Desk, Options], Any]] = {
    "--last": show_last,
    "--history": show_history,
    "--compare": show_comparison,
    "--baseline": keep_last,
    "--export": export_last,
}


def beside_baseline(desk: Desk, measurement: Measurement, options: Options) -> Any:
    """Keep a result under the name that was asked for; one that is there already is compared with instead."""
    assert options.baseline is not None
    path = baseline_path(desk.baselines, options.baseline)
    kept = None if options.force else _read(path)
    if kept is None:
        desk.show(sentence(keep_baseline(measurement, path)), options)
        return measurement if options.output else None
    named = msgspec.structs.replace(kept, name=f"{kept.name} (baseline {options.baseline})")
    return _compared(desk, named, measurement, options)


def _compared(desk: Desk, first: Measurement, second: Measurement, options: Options) -> Any:
    contrast = compare(first, second)
    shown: Bundle = ({"text/plain": contrast_table(contrast), "text/html": contrast_html(contrast)}, {})
    if not options.quiet and not (options.output and options.action):
        publish(desk.shell, shown)
    return contrast if options.output else None


def _found(desk: Desk, text: str, names: Mapping[str, object]) -> Measurement:
    try:
        return desk.session.find(text, names=names, baselines=desk.baselines)
    except MeasurementFileError as error:
        raise UsageError(str(error)) from error


def _read(path: Path) -> Measurement | None:
    try:
        return read_baseline(path)
    except MeasurementFileError as error:
        raise UsageError(f"{error}; --force keeps this result in its place") from error
