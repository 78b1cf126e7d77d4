"""Ratios: the intervals of a contrast laid out on a log axis with its line at 1, and drawn as SVG; not the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from llm_latency.core.contrast import Contrast, Contrasted
from llm_latency.report.escape import html
from llm_latency.report.svg import COLOURS, FONT, LETTER, OTHER_COLOUR, TEXT_COLOUR, WIDTH

# The word beside each line says it too: nobody needs the colours.
RATIO_COLOURS = {"worse": COLOURS["prefill"], "better": COLOURS["decode"], "open": OTHER_COLOUR}
_TITLE = "second/first with its interval, on a log axis"
_MOST_MARKS = 8
_TOP, _LINE, _AXIS, _EDGE, _SPACE = 26, 22, 28, 4, 14
_WIDE = ' stroke-width="2"'


class RatioLine(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: the ratio, its interval where it has one, and a word; `kind` is worse, better or open."""

    label: str
    word: str
    kind: str
    ratio: float
    low: float | None
    high: float | None


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """Lines on an axis from `least` to `most`, ratios above zero, with marks as (ratio, label).

    `words` say all of it to those who do not see the picture.
    """

    lines: tuple[RatioLine, ...]
    least: float
    most: float
    marks: tuple[tuple[float, str], ...]
    words: str

    def share(self, ratio: float) -> float:
        """Where a ratio lies on the axis, 0 to 1."""
        return math.log(ratio / self.least) / math.log(self.most / self.least)


def show_ratio(ratio: float) -> str:
    """Write a ratio with a digit for each tenth of a percent, and three digits where it is far from 1."""
    return f"{ratio:.3f}" if 0.1 <= ratio < 10 else f"{ratio:.3g}"


def show_interval(low: float | None, high: float | None) -> str:
    """Write both ends of a ratio's interval; nothing without one."""
    return "" if low is None or high is None else f"{show_ratio(low)} – {show_ratio(high)}"


def make_ratios(contrast: Contrast) -> Ratios | None:
    """Lay out each metric that has a ratio; None where none has."""
    lines = tuple(line for one in contrast.metrics if (line := _line(one)) is not None)
    if not lines:
        return None
    ends = [end for line in lines for end in (line.ratio, line.low, line.high) if end is not None]
    least, most = min(1.0, *ends), max(1.0, *ends)
    room = max((most / least) ** 0.05, 1.005)  # on either side, so that no end lies on the edge
    least, most = least / room, most * room
    return Ratios(lines=lines, least=least, most=most, marks=_marks(least, most), words=_words(lines))


def _line(one: Contrasted) -> RatioLine | None:
    found = one.comparison
    if found.ratio is None:
        return None
    kind = "open" if one.way is None else "worse" if one.is_worse else "better"
    return RatioLine(
        label=one.metric, word=one.way or one.word, kind=kind, ratio=found.ratio, low=found.low, high=found.high
    )


def _words(lines: tuple[RatioLine, ...]) -> str:
    parts = []
    for line in lines:
        interval = show_interval(line.low, line.high)
        parts.append(f"{line.label} {show_ratio(line.ratio)}{f' ({interval})' if interval else ''} {line.word}")
    return f"Ratios second/first: {'; '.join(parts)}"


def _marks(least: float, most: float) -> tuple[tuple[float, str], ...]:
    """Round ratios, 1 among them: even steps on a short axis, else 1, 2 and 5 times powers of ten or these alone."""
    if most / least < 8:
        rough = (most - least) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
        values = [index * step for index in range(math.ceil(least / step), math.floor(most / step) + 1)]
    else:
        powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
        values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        if len([value for value in values if least <= value <= most]) > _MOST_MARKS:
            every = math.ceil(len(powers) / _MOST_MARKS)
            values = [10.0**power for power in powers if power % every == 0]
    kept = sorted({float(f"{value:.6g}") for value in (1.0, *values) if least <= value <= most})
    return tuple((value, f"{value:g}") for value in kept)


def draw(ratios: Ratios) -> str:
    """Draw a line for each metric, the line at 1 and the axis."""
    left = _EDGE + round(LETTER * max(len(line.label) for line in ratios.lines)) + _SPACE
    right = WIDTH - _EDGE - round(LETTER * max(len(line.word) for line in ratios.lines)) - _SPACE
    bottom = _TOP + _LINE * len(ratios.lines)

    def x(ratio: float) -> float:
        return round(left + ratios.share(ratio) * (right - left), 2)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + _AXIS}"'
        f' viewBox="0 0 {WIDTH} {bottom + _AXIS}" role="img" {FONT}><title>{html(ratios.words)}</title>',
        _text(_EDGE, 14, _TITLE),
        _path(f"M{x(1.0):g} {_TOP}V{bottom}", TEXT_COLOUR, ' stroke-dasharray="4 3"'),
        _path(f"M{left} {bottom}H{right}", TEXT_COLOUR),
    ]
    for value, label in ratios.marks:
        parts += [_path(f"M{x(value):g} {bottom}v5", TEXT_COLOUR), _text(x(value), bottom + 18, label, "middle")]
    for index, line in enumerate(ratios.lines):
        middle = _TOP + index * _LINE + _LINE // 2
        parts += [_text(_EDGE, middle + 4, line.label), _text(right + _SPACE, middle + 4, line.word)]
        parts += _interval(line, middle, x)
    return "".join([*parts, "</svg>"])


def _interval(line: RatioLine, middle: int, x: Callable[[float], float]) -> Iterator[str]:
    """A bar from end to end and a dot at the ratio, hollow where there is no interval."""
    colour = RATIO_COLOURS[line.kind]
    if line.low is not None and line.high is not None:
        low, high = x(line.low), x(line.high)
        yield _path(f"M{low:g} {middle}H{high:g}M{low:g} {middle - 5}v10M{high:g} {middle - 5}v10", colour, _WIDE)
    fill = "none" if line.low is None else colour
    yield f'<circle cx="{x(line.ratio):g}" cy="{middle}" r="4" stroke="{colour}" stroke-width="2" fill="{fill}"/>'


def _path(path: str, colour: str, more: str = "") -> str:
    return f'<path d="{path}" stroke="{colour}"{more} fill="none"/>'


def _text(x: float, y: int, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y}" text-anchor="{anchor}" fill="{TEXT_COLOUR}">{html(text)}</text>'
