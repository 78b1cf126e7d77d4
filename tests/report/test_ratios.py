"""Ratios on a log axis: where they lie, the marks, and the picture."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from llm_latency.core.comparison import Comparison
from llm_latency.core.contrast import Contrast, Contrasted
from llm_latency.report.ratios import RATIO_COLOURS, Ratios, draw, make_ratios, show_interval, show_ratio

NAMESPACE = "{http://www.w3.org/2000/svg}"


def line(
    metric: str, ratio: float | None, low: float | None, high: float | None, *, word: str = "different", way: str | None
) -> Contrasted:
    """A metric with a ratio and its interval."""
    found = Comparison(ratio=ratio, low=low, high=high, confidence=0.95, n=(6, 6), assumption="")
    return Contrasted(metric=metric, unit="s", medians=(1.0, 1.0), comparison=found, word=word, way=way)


def laid_out(*lines: Contrasted) -> Ratios:
    """The layout of these."""
    found = make_ratios(Contrast(names=("a", "b"), metrics=lines))
    assert found is not None
    return found


SOME = (
    line("ttft", 2.0, 1.6, 2.5, way="slower"),
    line("output_throughput", 1.25, 1.1, 1.5, way="faster"),
    line("tpot", 1.0, 0.8, 1.25, word="not distinguishable", way=None),
    line("load", 1.5, None, None, word="no interval", way=None),
    line("energy", None, None, None, word="no interval", way=None),
)


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.0, "1.000"), (0.9876, "0.988"), (9.9994, "9.999"), (12.34, "12.3"), (0.0123, "0.0123")]
)
def test_a_ratio_near_one_shows_tenths_of_a_percent(ratio: float, text: str) -> None:
    """And three digits far from it."""
    assert text == show_ratio(ratio)


def test_an_interval_has_both_ends_or_none() -> None:
    """Nothing, not a dash."""
    assert ("0.950 – 1.050", "", "") == (show_interval(0.95, 1.05), show_interval(None, 1.05), show_interval(1.0, None))


def test_lines_are_worse_better_or_open() -> None:
    """A metric without a ratio is left out; the words say all of it."""
    ratios = laid_out(*SOME)
    assert ["worse", "better", "open", "open"] == [one.kind for one in ratios.lines]
    assert ratios.words == (
        "Ratios second/first: ttft 2.000 (1.600 – 2.500) slower; output_throughput 1.250 (1.100 – 1.500) faster;"
        " tpot 1.000 (0.800 – 1.250) not distinguishable; load 1.500 no interval"
    )


def test_the_axis_is_logarithmic_and_holds_every_end_and_one() -> None:
    """From 0.8 to 2.5 with a twentieth of that on either side."""
    ratios = laid_out(*SOME)
    room = (2.5 / 0.8) ** 0.05
    assert (pytest.approx(0.8 / room), pytest.approx(2.5 * room)) == (ratios.least, ratios.most)
    assert (pytest.approx(0.0), pytest.approx(1.0)) == (ratios.share(ratios.least), ratios.share(ratios.most))
    middle = math.sqrt(ratios.least * ratios.most)
    assert pytest.approx(0.5) == ratios.share(middle)
    far = laid_out(line("ttft", 5.0, 4.0, 6.0, way="slower"))
    assert far.least < 1.0
    assert far.most > 6.0


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.8, 2.5, ["1", "1.5", "2", "2.5"]),
        (0.99, 1.01, ["0.99", "1", "1.01"]),
        (1.0, 1.0, ["0.996", "0.998", "1", "1.002", "1.004"]),
        (0.9, 40.0, ["1", "2", "5", "10", "20"]),
        (1e-6, 1e6, ["1e-06", "0.0001", "0.01", "1", "100", "10000", "1e+06"]),
    ],
)
def test_marks_are_round_and_hold_one(low: float, high: float, labels: list[str]) -> None:
    """As many as can be read."""
    ratios = laid_out(line("ttft", math.sqrt(low * high), low, high, way=None))
    assert labels == [label for _, label in ratios.marks]
    assert all(ratios.least <= value <= ratios.most for value, _ in ratios.marks)


def test_any_axis_has_few_marks_in_order() -> None:
    """From a narrow one to one of eighty decades."""
    for exponent in range(1, 400):
        width = 10.0 ** (exponent / 10 - 3) if exponent < 300 else 10.0 ** ((exponent - 300) / 2.5)
        ratios = laid_out(line("ttft", 1.0, math.exp(-min(width, 90.0)), math.exp(min(width, 90.0)), way=None))
        values = [value for value, _ in ratios.marks]
        assert 1.0 in values
        assert len(values) <= 10
        assert all(a < b for a, b in pairwise(values))


def test_nothing_with_a_ratio_is_no_picture() -> None:
    """Rather than an empty one."""
    assert make_ratios(Contrast(names=("a", "b"), metrics=SOME[-1:])) is None


def test_the_picture_shows_each_line_with_its_word() -> None:
    """A bar and a dot in the colour of its kind, hollow without an interval; labels end inside."""
    ratios = laid_out(*SOME)
    root = ElementTree.fromstring(draw(ratios))
    assert ratios.words == root.findtext(f"{NAMESPACE}title")
    texts = [
        (text.text or "", float(text.get("x", "")), text.get("text-anchor")) for text in root.iter(f"{NAMESPACE}text")
    ]
    written = [text for text, _, _ in texts]
    assert all(one.label in written and one.word in written for one in ratios.lines)
    assert all(x + 6.5 * len(text) <= 760 for text, x, anchor in texts if anchor == "start")
    dots = list(root.iter(f"{NAMESPACE}circle"))
    assert [RATIO_COLOURS[kind] for kind in ("worse", "better", "open", "open")] == [dot.get("stroke") for dot in dots]
    assert ["none"] == [dot.get("fill") for dot in dots][3:]
    xs = [float(dot.get("cx", "")) for dot in dots]
    assert xs[2] < xs[1] < xs[3] < xs[0]
    # Log: from 1 to 1.25 is as far as from 1.6 to 2.
    bars = [path.get("d", "") for path in root.iter(f"{NAMESPACE}path") if path.get("stroke-width") == "2"]
    assert 3 == len(bars)
    assert xs[1] - xs[2] == pytest.approx(xs[0] - float(bars[0].split()[0].removeprefix("M")), abs=0.02)


def test_words_from_outside_are_escaped() -> None:
    """A newer version's metric may have any name."""
    image = draw(laid_out(line("</text><script>", 2.0, None, None, word="no interval", way=None)))
    assert "<script" not in image
    ElementTree.fromstring(image)
