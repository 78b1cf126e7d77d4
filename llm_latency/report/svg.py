"""A timeline as a hand-written SVG image that needs no style sheet; not what is on it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec

from llm_latency.report.escape import html
from llm_latency.report.timeline import Lane, Timeline

# Middle tones: at least 3:1 against both white and JupyterLab's dark #111111, text 4.2:1 (WCAG 2.2, 1.4.11); hues
# from Okabe and Ito's palette for colour-blind readers, darkened or lightened to that tone.
COLOURS = {
    "prefill": "#c0651a",
    "decode": "#2b7cb5",
    "load": "#a2609b",
    "tokenize": "#3f8560",
    "detokenize": "#8a7a1f",
}
OTHER_COLOUR = "#7a7a7a"
TEXT_COLOUR = "#7a7a7a"

WIDTH, _MARGIN = 760, 4
_LINE, _LANE, _GAP, _AXIS = 20, 30, 6, 28
# Pixels of an average letter of 12 px DejaVu Sans, the widest of the common sans-serifs (measured in Chromium).
LETTER = 6.5
FONT = 'font-family="system-ui, sans-serif" font-size="12"'


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    x: float
    line: int
    kind: str | None
    label: str


def data_uri(timeline: Timeline) -> str:
    """The timeline as an address for `<img src>`."""
    return encoded(draw(timeline))


def encoded(image: str) -> str:
    """An image as an address for `<img src>`: the one way in which untrusted notebooks keep a picture."""
    return f"data:image/svg+xml;base64,{base64.b64encode(image.encode('utf-8')).decode('ascii')}"


def draw(timeline: Timeline) -> str:
    """Draw title and legend, lanes and axis."""
    legend = list(_legend(timeline))
    top = _LINE * (1 + max((entry.line for entry in legend), default=0)) + 4
    bottom = top + len(timeline.lanes) * (_LANE + _GAP)
    height = bottom + _AXIS
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' role="img" {FONT}><title>{html(timeline.words)}</title>',
        *(part for entry in legend for part in _entry(entry)),
        *(part for index, lane in enumerate(timeline.lanes) for part in _lane(lane, top + index * (_LANE + _GAP))),
        *_axis(timeline, bottom),
        "</svg>",
    ]
    return "".join(parts)


def _x(share: float) -> float:
    return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 2)


def _colour(kind: str) -> str:
    return COLOURS.get(kind, OTHER_COLOUR)


def _legend(timeline: Timeline) -> Iterator[_Entry]:
    """The title and a sample of each colour, on as many lines as they need."""
    x, line = float(_MARGIN), 0
    for kind, label in ((None, timeline.title), *timeline.legend):
        width = (0 if kind is None else 17) + LETTER * len(label) + 14
        if x > _MARGIN and x + width > WIDTH:
            x, line = float(_MARGIN), line + 1
        yield _Entry(x=x, line=line, kind=kind, label=label)
        x += width


def _entry(entry: _Entry) -> Iterator[str]:
    y, x = entry.line * _LINE, entry.x
    if entry.kind is not None:
        yield f'<rect x="{x:g}" y="{y + 4}" width="12" height="12" rx="2" fill="{_colour(entry.kind)}"/>'
        x += 17
    yield f'<text x="{x:g}" y="{y + 14}" fill="{TEXT_COLOUR}">{html(entry.label)}</text>'


def _lane(lane: Lane, top: int) -> Iterator[str]:
    """Bars are pale where emissions are drawn over them, so that each emission and each stall stays visible."""
    for bar in lane.bars:
        opacity = ' fill-opacity="0.3"' if bar.kind == "decode" else ""
        width = max(1.0, round(_x(bar.stop) - _x(bar.start), 2))
        yield (
            f'<rect x="{_x(bar.start):g}" y="{top}" width="{width:g}" height="{_LANE}" rx="2"'
            f' fill="{_colour(bar.kind)}"{opacity}/>'
        )
    if lane.ticks:
        path = "".join(f"M{_x(share):g} {top}v{_LANE}" for share in lane.ticks)
        yield f'<path d="{path}" stroke="{COLOURS["decode"]}" stroke-width="1" fill="none"/>'


def _axis(timeline: Timeline, top: int) -> Iterator[str]:
    yield f'<path d="M{_x(0.0):g} {top}H{_x(1.0):g}" stroke="{TEXT_COLOUR}" fill="none"/>'
    for share, label in timeline.axis:
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        x = _x(share)
        yield f'<path d="M{x:g} {top}v5" stroke="{TEXT_COLOUR}" fill="none"/>'
        yield f'<text x="{x:g}" y="{top + 18}" text-anchor="{anchor}" fill="{TEXT_COLOUR}">{html(label)}</text>'
