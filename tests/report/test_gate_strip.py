"""The strip of an answer's pairs: where they lie, and the picture."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import msgspec
import pytest

from llm_latency.gate.ratio import Ratio
from llm_latency.gate.result import Answer
from llm_latency.report.gate_strip import WIDTH, Strip, draw_strip, make_strip
from tests.report.gate_results import HOSTILE, answered, around


def laid_out(answer: Answer) -> Strip:
    """The strip of an answer that has one."""
    strip = make_strip(answer)
    assert strip is not None
    return strip


def drawn(answer: Answer) -> ElementTree.Element:
    """The picture, parsed."""
    return ElementTree.fromstring(draw_strip(laid_out(answer), key="k"))


def part(root: ElementTree.Element, kind: str) -> str:
    """The path of a class, empty without one."""
    return next((path.get("d", "") for path in root.iter("path") if path.get("class") == kind), "")


SLOW = answered("t::a", around(0.1, 0.01, 6), around(0.08, 0.01, 6))


def test_without_pairs_there_is_no_strip() -> None:
    """Nothing to draw."""
    assert make_strip(answered("t::a")) is None


def test_the_axis_holds_every_pair_the_interval_zero_and_the_limit() -> None:
    """Whichever lies farthest out."""
    strip = laid_out(SLOW)
    assert strip.look is not None
    ends = (*strip.first, *strip.fresh, strip.look.low, strip.look.high, 0.0, math.log1p(0.05))
    assert strip.least < min(ends) and max(ends) < strip.most
    xs = [strip.x(end) for end in ends]
    assert all(0 < x < WIDTH for x in xs)
    quick = laid_out(answered("t::a", around(-0.5, 0.01, 6)))
    assert quick.x(-0.7) < quick.x(0.0) < quick.x(math.log1p(0.05)) < WIDTH


def test_a_loss_lies_on_the_side_of_the_limit() -> None:
    """Fewer tokens a second are worse, to the right."""
    strip = laid_out(answered("t::a", around(0.1, 0.0, 6), metric="output_throughput"))
    assert (pytest.approx(math.log(1.1)),) * 6 == strip.first
    assert strip.title.startswith("output_throughput +10.0 % [+10.0, +10.0] loss, limit 5 %")


def test_the_words_say_what_is_drawn() -> None:
    """For those who do not see it."""
    equal = answered("t::a", around(0.1, 0.0, 6), around(0.08, 0.0, 6))
    strip = laid_out(equal)
    assert "total +8.0 % [+8.0, +8.0], limit 5 %" == strip.title
    assert (
        "6 first pairs from +10.0 % to +10.0 %; 6 fresh pairs from +8.0 % to +8.0 %; interval from +8.0 % to +8.0 %"
        == strip.words
    )
    assert "1 first pair: +10.0 %" == laid_out(answered("t::a", around(0.1, 0.0, 1))).words


def test_pairs_are_dots_and_fresh_ones_diamonds_on_a_line_of_their_own() -> None:
    """Told apart by shape and place, not by colour alone."""
    root = drawn(SLOW)
    assert (6, 6) == (part(root, "first").count("h0"), part(root, "fresh").count("l4 4-4 4-4-4z"))
    assert 3 == len(root.findall("g"))
    assert 3 == len({group.get("transform") for group in root.findall("g")})
    unconfirmed = drawn(answered("t::a", around(0.0, 0.01, 6)))
    assert "" == part(unconfirmed, "fresh")
    assert 1 == len(drawn(answered("t::a", around(0.0, 0.01, 3))).findall("g"))
    assert "" == part(drawn(answered("t::a", around(0.0, 0.01, 3))), "interval")


def test_zero_and_limit_are_lines_with_labels() -> None:
    """The limit dashed; labels away from each other, inside the picture."""
    root = drawn(answered("t::a", around(5.0, 0.0, 6)))
    labels = {text.text: text for text in root.iter("text")}
    assert {"0", "5 %"} == set(labels)
    assert "end" == labels["0"].get("text-anchor")
    assert float(labels["0"].get("x", "")) < float(labels["5 %"].get("x", ""))
    dashed = [path.get("class") for path in root.iter("path") if path.get("stroke-dasharray")]
    assert ["limit"] == dashed
    far = drawn(answered("t::a", around(0.0, 0.0, 6), limit=9.99))
    label = next(text for text in far.iter("text") if text.text == "999 %")
    assert float(label.get("x", "")) + 6.5 * len("999 %") <= WIDTH


def test_a_picture_is_named_by_its_own_title() -> None:
    """The key keeps it from those of other pictures on the page."""
    root = drawn(SLOW)
    assert ("img", "kt kd") == (root.get("role"), root.get("aria-labelledby"))
    assert ["kt", "kd"] == [root[0].get("id"), root[1].get("id")]
    assert (laid_out(SLOW).title, laid_out(SLOW).words) == (root[0].text, root[1].text)


def test_a_name_and_a_ratio_from_outside_do_no_harm() -> None:
    """A file may hold any metric's name, and a ratio beyond what a float's exponential holds."""
    huge = (Ratio(own=800.0, wall=800.0, base=1.0, head=1.0),) * 2
    odd = msgspec.structs.replace(SLOW, metric=HOSTILE, pairs=huge)
    image = draw_strip(laid_out(odd), key="k")
    assert "<script" not in image
    ElementTree.fromstring(image)
