"""Contrast: two measurements beside each other, metric by metric, and what made them unequal; not what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from llm_latency.core.comparison import Comparison, compare
from llm_latency.core.environment import differences
from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS, metric
from llm_latency.core.reading import Reading
from llm_latency.core.stats import CONFIDENCE
from llm_latency.core.trace import Trace
from llm_latency.core.work import UNEQUAL_WORK, unequally_asked, unequally_done

DIFFERENT, NOT_DISTINGUISHABLE = "different", "not distinguishable"
NO_INTERVAL = "no interval"
# Bytes are read as they are; times, rates and joules grow with the work and say nothing about the code.
_WITHOUT_WORK = ("B",)
# Bytes and joules are not slow: (above 1, below 1).
_WAYS = {"B": ("more", "less"), "J": ("more", "less"), "J/tok": ("more", "less")}
_ON_ITS_OWN = (
    f"each interval is at {CONFIDENCE * 100:.0f} % on its own: of twenty comparisons of equal code about one differs,"
    " and more where the machine changed between the two measurements"
)


class Contrasted(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both: the medians in base unit `unit`, the ratio second/first, and a word for it.

    `word` is "different", "not distinguishable", "no interval" (`reason` says why) or "unequal work". `way` says how
    the second differs: "slower" or "faster", of bytes and joules "more" or "less"; None with every other word.
    """

    metric: str
    unit: str
    medians: tuple[float, float]
    comparison: Comparison
    word: str
    way: str | None = None
    reason: str | None = None

    @property
    def is_worse(self) -> bool:
        """Whether the second differs for the worse."""
        ratio = self.comparison.ratio
        return self.way is not None and ratio is not None and (ratio > 1.0) == _lower_is_better(self.metric)


class ContrastPresenter(Protocol):
    """How a contrast is shown; the report puts one in, since the core knows no format."""

    def text(self, contrast: Contrast) -> str:
        """Write it as plain text."""
        ...

    def html(self, contrast: Contrast) -> str:
        """Write it as an HTML fragment."""
        ...


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """Two measurements, `names` first and second, metric by metric.

    `unequal` says in what their work differs, `environment` which facts differ, `notes` how far the words go;
    `warnings` are the measurements' own, each with whose it is: "first: …", "second: …" or "both: …".
    """

    presenter: ClassVar[ContrastPresenter | None] = None

    names: tuple[str, str]
    metrics: tuple[Contrasted, ...]
    unequal: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        found = "; ".join(f"{one.metric} {_ratio(one)}{one.way or one.word}" for one in self.metrics)
        return f"<Contrast of {self.names[0]!r} and {self.names[1]!r}: {found or 'no metric of both'}>"

    def __str__(self) -> str:
        return repr(self) if self.presenter is None else self.presenter.text(self)

    def _repr_html_(self) -> str | None:
        return None if self.presenter is None else self.presenter.html(self)

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))  # IPython's text, which a terminal shows and a saved notebook falls back on


def contrast(first: Measurement, second: Measurement, metrics: Iterable[str]) -> Contrast:
    """Set the second measurement against the first, in each metric that both have a value for, by counted calls.

    Where the two were asked for unequal work (requests, rows, prompt or cached tokens), times, rates and joules keep
    their ratio and lose their word. Raises UsageError for an unknown metric.
    """
    names = tuple(dict.fromkeys(metric(name).name for name in metrics))
    asked = tuple(unequally_asked(first.traces, second.traces))
    done = tuple(unequally_done(first.traces, second.traces))
    pairs = {name: (first.reading(name), second.reading(name)) for name in names}
    memory = (_memory(first.traces), _memory(second.traces))
    found = tuple(
        _contrasted(*pair, memory=memory, withheld=bool(asked)) for pair in pairs.values() if pair[0] and pair[1]
    )
    notes = [*_labelled(_state(first), _state(second))]
    for which, index in (("first", 0), ("second", 1)):
        if only := [name for name, pair in pairs.items() if pair[index] and not pair[1 - index]]:
            notes.append(f"only the {which} has {', '.join(only)}")
    if any(one.comparison.low is not None for one in found):
        notes.append(_ON_ITS_OWN)
    return Contrast(
        names=(first.name, second.name),
        metrics=found,
        unequal=(*asked, *done),
        environment=differences(first.environment, second.environment),
        notes=tuple(notes),
        warnings=_labelled(first.warnings, second.warnings),
    )


def _contrasted(first: Reading, second: Reading, *, memory: tuple[str, str], withheld: bool) -> Contrasted:
    before, after = first.summary, second.summary
    assert before is not None
    assert after is not None
    name, unit = first.metric.name, first.metric.unit
    comparison = compare(first.sample, second.sample)
    if name == "peak_memory" and memory[0] != memory[1]:
        comparison = _without_ratio(comparison, f"{memory[0]} and {memory[1]} bytes are not the same thing")
    ratio, low, high = comparison.ratio, comparison.low, comparison.high
    word, way, reason = NOT_DISTINGUISHABLE, None, None
    if withheld and unit not in _WITHOUT_WORK:
        word = UNEQUAL_WORK
    elif ratio is None or low is None or high is None:
        word, reason = NO_INTERVAL, "; ".join(comparison.warnings)
    elif not low <= 1.0 <= high:
        word, way = DIFFERENT, _way(name, ratio)
    return Contrasted(
        metric=name,
        unit=unit,
        medians=(before.center, after.center),
        comparison=comparison,
        word=word,
        way=way,
        reason=reason,
    )


def _ratio(one: Contrasted) -> str:
    return "" if one.comparison.ratio is None else f"×{one.comparison.ratio:.3f} "


def _without_ratio(compared: Comparison, reason: str) -> Comparison:
    return msgspec.structs.replace(compared, ratio=None, low=None, high=None, assumption="none", warnings=(reason,))


def _memory(traces: Sequence[Trace]) -> str:
    """Which memory was counted: what the device's allocator gave out, or the process's resident memory."""
    kinds = {"allocated" if "allocated" in trace.peak_bytes else "rss" for trace in traces if trace.peak_bytes}
    return " or ".join(sorted(kinds))


def _lower_is_better(name: str) -> bool:
    return METRICS[name].better == "lower"


def _way(name: str, ratio: float) -> str:
    above, below = _WAYS.get(
        METRICS[name].unit, ("slower", "faster") if _lower_is_better(name) else ("faster", "slower")
    )
    return above if ratio > 1.0 else below


def _state(measurement: Measurement) -> Iterator[str]:
    """What of the calls themselves limits any word about them."""
    if not measurement.complete:
        yield f"partial, {measurement.stopped_because}"
    if len(measurement.traces) < 2:
        yield "one call, which has no interval" if measurement.traces else "no counted call"
    if len({trace.asked_work() for trace in measurement.traces}) > 1:
        yield "its own calls were asked for unequal work"


def _labelled(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """Sentences with whose they are; what is said of both is said once."""
    sides = (dict.fromkeys(first), dict.fromkeys(second))
    both = [f"both: {text}" for text in sides[0] if text in sides[1]]
    return (
        *both,
        *(f"first: {text}" for text in sides[0] if text not in sides[1]),
        *(f"second: {text}" for text in sides[1] if text not in sides[0]),
    )
