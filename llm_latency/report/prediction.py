"""Fits and predictions as plain text; no computing."""

from __future__ import annotations

from collections.abc import Iterator

from llm_latency.core.units import show
from llm_latency.predict.fit import Fit, Group
from llm_latency.predict.phase import TERMS, Phase, in_words
from llm_latency.predict.prediction import Prediction
from llm_latency.report.text import LEAST_WIDTH, aligned, joined, wrapped

_RATES = {
    "linear": ("FLOP/s", 1e9, "GFLOP/s"),
    "mixing": ("FLOP/s", 1e9, "GFLOP/s"),
    "weights": ("B/s", 1e9, "GB/s"),
    "cache": ("B/s", 1e9, "GB/s"),
}


def fit_table(found: Fit, *, width: int = 100) -> str:
    """Write each group's terms and held-out errors, without a final line break."""
    width = max(width, LEAST_WIDTH)
    blocks = [list(_group(group, width)) for group in found.groups]
    blocks.append([line for text in found.left_out for line in wrapped(f"left out: {text}", width)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _group(group: Group, width: int) -> Iterator[str]:
    spans = {name: f"{span.least:,}–{span.most:,}" for name, span in group.spans.items()}
    yield from joined(
        (
            "fit",
            str(group.setting),
            f"{spans['prompt_tokens']} prompt tokens",
            f"batch {spans['batch']}",
            *(model.removeprefix("shape:") for model in group.models),
        ),
        width,
    )
    for name, phase in (("prefill", group.prefill), ("step", group.step)):
        if phase is not None:
            yield from wrapped(f"{name}: {_formula(phase)}", width)
            yield from wrapped(f"  {_errors(phase)}", width)


def _formula(phase: Phase) -> str:
    return " + ".join(_term(name, rate) for name, rate in phase.terms.items()) or "nothing"


def _term(name: str, rate: float) -> str:
    what = TERMS[name][0]
    if name in _RATES:
        _, scale, unit = _RATES[name]
        return f"{what} at {1 / rate / scale:,.3g} {unit}"
    each = {"call": "", "layers": " a layer", "rows": " a row", "loops": " a turn"}[name]
    return f"{show(rate, 's')}{each} ({what})"


def _errors(phase: Phase) -> str:
    held = " and ".join(f"{error:.1%} held out by {part}" for part, error in phase.by.items())
    return f"mean error {held}; worst {phase.worst:.1%}, n = {phase.n}".replace("%", " %")


def prediction_table(found: Prediction, *, width: int = 100) -> str:
    """Write a prediction: its numbers with intervals, where the time goes, and what to beware of."""
    width = max(width, LEAST_WIDTH)
    cell = found.cell
    new = () if cell.new_tokens is None else (f"{cell.new_tokens} new",)
    head = ("predicted", cell.model, f"{cell.prompt_tokens} prompt tokens", *new, f"batch {cell.batch}", found.setting)
    lines = [("metric", "p50", "low", "high")]
    lines += [
        (name, show(value.p50, value.unit), show(value.low, value.unit), show(value.high, value.unit))
        for name, value in found.metrics.items()
    ]
    errors = "; ".join(
        f"{phase} {' and '.join(f'{error:.1%} by {part}' for part, error in by.items())}"
        for phase, by in found.errors.items()
    ).replace("%", " %")
    blocks = [
        list(wrapped(f"{found.sentence}.".replace("%", " %"), width)),
        joined(head, width),
        aligned(lines),
        list(_terms(found)),
        list(wrapped(f"mean error of held-out points: {errors}", width)) if errors else [],
        [line for text in found.beyond for line in wrapped(f"beyond what was fitted: {text}", width)],
        [line for text in found.notes for line in wrapped(f"note: {text}", width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _terms(found: Prediction) -> Iterator[str]:
    rows = [("phase", "time", "goes to")]
    for phase, terms in found.terms.items():
        whole = sum(terms.values())
        shares = in_words(terms).items()
        words = ", ".join(f"{what} {seconds / whole:.0%}" for what, seconds in shares if whole and seconds)
        rows.append((phase, show(whole, "s"), words.replace("%", " %")))
    yield from aligned(rows, words=(0, 2))
