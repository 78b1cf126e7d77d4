"""A strip for each answer of a gate: every pair's change as a dot, with interval, zero and limit, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from llm_latency.gate.decision import Look
from llm_latency.gate.result import Answer
from llm_latency.report.escape import html
from llm_latency.report.gate_rows import change_of, limit, percent

WIDTH = 220
# Room at the ends for the labels of zero and of the limit, and the height of a line of dots.
_LEFT, _RIGHT, _LANE, _TOP, _LABELS = 14, 40, 13, 3, 15
# Dots lie a little above and below each other, so that equal ones can be counted.
_OFFSETS = (0, -2, 2)
_MOST_LOG = 700.0  # exp() of more is beyond a float


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """Log ratios, more being worse: of the first pairs and of the fresh ones, the look's ends, and the limit.

    The axis goes from `least` to `most`. `title` and `words` say it to those who do not see the picture.
    """

    first: tuple[float, ...]
    fresh: tuple[float, ...]
    look: Look | None
    limit: float
    least: float
    most: float
    title: str
    words: str

    def x(self, log: float) -> float:
        """Where a log ratio lies, in pixels."""
        return round(_LEFT + (log - self.least) / (self.most - self.least) * (WIDTH - _LEFT - _RIGHT), 1)


def make_strip(answer: Answer) -> Strip | None:
    """Lay out an answer's pairs; None where there are none."""
    sign = 1.0 if answer.better == "lower" else -1.0
    first, fresh = (tuple(sign * pair.own for pair in pairs) for pairs in (answer.pairs, answer.fresh))
    if not first and not fresh:
        return None
    look = answer.decision.second or answer.decision.first
    worst = math.log1p(answer.limit)
    ends = [0.0, worst, *first, *fresh, *((look.low, look.high) if look else ())]
    room = 0.04 * (max(ends) - min(ends))
    words = [_range(first, "first pair"), _range(fresh, "fresh pair")]
    words += [f"interval from {_percent(look.low)} to {_percent(look.high)}"] if look else []
    return Strip(
        first=first,
        fresh=fresh,
        look=look,
        limit=worst,
        least=min(ends) - room,
        most=max(ends) + room,
        title=f"{answer.metric} {change_of(answer)}, limit {limit(answer.limit)}",
        words="; ".join(filter(None, words)),
    )


def _percent(log: float) -> str:
    return f"{percent(math.expm1(min(log, _MOST_LOG)))} %"


def _range(logs: Sequence[float], noun: str) -> str:
    if not logs:
        return ""
    if len(logs) == 1:
        return f"1 {noun}: {_percent(logs[0])}"
    return f"{len(logs)} {noun}s from {_percent(min(logs))} to {_percent(max(logs))}"


def draw_strip(strip: Strip, *, key: str) -> str:
    """Draw it; `key` tells its title from those of other pictures of the page.

    Dots of the first pairs are full, those of fresh pairs hollow diamonds on a line of their own.
    """
    lanes = [_dots(strip, strip.first)] if strip.first else []
    lanes += [_diamonds(strip, strip.fresh)] if strip.fresh else []
    lanes += [_interval(strip, strip.look)] if strip.look else []
    bottom = _TOP + _LANE * len(lanes)
    height = bottom + _LABELS
    zero, worst = strip.x(0.0), strip.x(strip.limit)
    parts = [
        f'<svg width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-labelledby="{key}t {key}d"><title id="{key}t">{html(strip.title)}</title>'
        f'<desc id="{key}d">{html(strip.words)}</desc>',
        f'<path class="zero" stroke="currentColor" d="M{zero:g} {_TOP}V{bottom + 3}"/>',
        f'<path class="limit" stroke="currentColor" stroke-dasharray="3 2" d="M{worst:g} {_TOP}V{bottom + 3}"/>',
        *(
            f'<g transform="translate(0 {_TOP + _LANE * index + _LANE // 2})">{lane}</g>'
            for index, lane in enumerate(lanes)
        ),
        f'<text x="{zero - 2:g}" y="{height - 3}" text-anchor="end">0</text>',
        f'<text x="{worst + 2:g}" y="{height - 3}">{html(limit(math.expm1(strip.limit)))}</text></svg>',
    ]
    return "".join(parts)


def _dots(strip: Strip, logs: Sequence[float]) -> str:
    """Lines of no length with round ends: a dot is a few characters."""
    path = "".join(f"M{x:g} {y}h0" for x, y in _places(strip, logs))
    return f'<path class="first" fill="none" stroke="currentColor" stroke-width="5" stroke-linecap="round" d="{path}"/>'


def _diamonds(strip: Strip, logs: Sequence[float]) -> str:
    path = "".join(f"M{x:g} {y - 4}l4 4-4 4-4-4z" for x, y in _places(strip, logs))
    return f'<path class="fresh" fill="none" stroke="currentColor" stroke-width="1.4" d="{path}"/>'


def _places(strip: Strip, logs: Sequence[float]) -> Iterator[tuple[float, int]]:
    for index, log in enumerate(logs):
        yield strip.x(log), _OFFSETS[index % len(_OFFSETS)]


def _interval(strip: Strip, look: Look) -> str:
    low, center, high = strip.x(look.low), strip.x(look.center), strip.x(look.high)
    path = f"M{low:g} 0H{high:g}M{low:g}-4v8M{high:g}-4v8M{center:g}-4v8"
    return f'<path class="interval" fill="none" stroke="currentColor" stroke-width="2" d="{path}"/>'
