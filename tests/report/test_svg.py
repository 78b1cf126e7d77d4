"""The picture: well-formed, readable on light and dark, and inert."""

from __future__ import annotations

import base64
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Phase, Request, Trace
from llm_latency.report.svg import COLOURS, OTHER_COLOUR, TEXT_COLOUR, data_uri, draw
from llm_latency.report.timeline import Lane, Timeline, make_timeline

NAMESPACE = "{http://www.w3.org/2000/svg}"


def timeline(**fields: object) -> Timeline:
    """An empty call of a second."""
    given = {"title": "call, 1.00 s", "lanes": (Lane(bars=(), ticks=()),), "axis": ((0.0, "0 s"),), "legend": ()}
    return Timeline(**given | {"words": "words"} | fields)  # type: ignore[arg-type]  # fields by name


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_colours_are_seen_on_light_and_on_dark(background: str) -> None:
    """3:1 for shapes (WCAG 2.2, 1.4.11); no tone reaches 4.5:1 against both, so text gets 4:1."""
    assert all(contrast(colour, background) >= 3.0 for colour in (*COLOURS.values(), OTHER_COLOUR))
    assert contrast(TEXT_COLOUR, background) >= 4.0


def test_the_image_is_well_formed_and_says_what_it_shows(measured: Callable[..., Measurement]) -> None:
    """An XML parser reads it; two bars, a tick an emission, the axis with its labels."""
    laid_out = make_timeline(measured())
    assert laid_out is not None
    root = ElementTree.fromstring(draw(laid_out))
    assert laid_out.words == root.findtext(f"{NAMESPACE}title")
    labels = [element.text for element in root.iter(f"{NAMESPACE}text")]
    assert ["middle call, 204 ms", "prefill 104 ms", "decode 80.0 ms", "0 s", "50 ms"] == labels[:5]
    ticks = [path.get("d", "").count("M") for path in root.iter(f"{NAMESPACE}path")]
    assert 5 == ticks[0]


def test_words_from_outside_are_escaped() -> None:
    """A kind or label cannot close its element."""
    image = draw(timeline(title="<script>", legend=(("x", '"/><b>&'),), words="</title><script>"))
    assert "<script" not in image
    assert "<b>" not in image
    ElementTree.fromstring(image)


def test_a_long_legend_takes_more_lines() -> None:
    """Each entry ends inside the picture."""
    legend = tuple(("decode", f"phase number {index} 100 ms") for index in range(12))
    root = ElementTree.fromstring(draw(timeline(legend=legend)))
    texts = list(root.iter(f"{NAMESPACE}text"))[1:13]
    assert 1 < len({text.get("y") for text in texts})
    assert all(float(text.get("x", "")) + 6.5 * len(text.text or "") <= 760 for text in texts)


def test_the_address_holds_the_image(measured: Callable[..., Measurement]) -> None:
    """Base64, so that no character of it needs escaping in an attribute."""
    head, _, content = data_uri(timeline()).partition(",")
    assert "data:image/svg+xml;base64" == head
    assert draw(timeline()) == base64.b64decode(content).decode("utf-8")


def test_the_image_stays_small_whatever_the_call(measured: Callable[..., Measurement]) -> None:
    """A notebook keeps it: 20,000 tokens in 500 requests with 5,000 phases stay under 200 kB."""
    requests = tuple(
        Request(
            kind="generate",
            start_ns=base,
            stop_ns=base + 100,
            emissions=tuple((base + 2 * at, 1) for at in range(1, 41)),
        )
        for base in range(0, 50_000, 100)
    )
    phases = tuple(Phase(name="tokenize", start_ns=at, stop_ns=at + 1) for at in range(0, 50_000, 10))
    laid_out = make_timeline(measured(traces=(Trace(start_ns=0, stop_ns=50_000, requests=requests, phases=phases),)))
    assert laid_out is not None
    assert len(data_uri(laid_out)) < 200_000
