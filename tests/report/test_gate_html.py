"""A gate's HTML page: what is in it, what is not, and how a browser shows it."""

from __future__ import annotations

import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.gate.result import Side
from llm_latency.report.gate_html import gate_html
from llm_latency.report.gate_style import DARK, LIGHT
from tests.report.gate_results import HOSTILE, REALISTIC, a_test, answered, around, gate

FINE = answered("tests/test_chat.py::test_a", around(0.01, 0.0, 6))
SLOW = answered("tests/test_chat.py::test_b[x-1]", around(0.1, 0.0, 9), around(0.1, 0.0, 6), metric="ttft", base=0.1)
VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """Text by element, the tags that were opened, and whether each was closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The last one that is open ends."""
        assert tag == self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Text of the element that is open."""
        self.texts.append((self.open[-1] if self.open else "", data))

    def count(self, tag: str) -> int:
        """How often an element is opened."""
        return sum(name == tag for name, _ in self.tags)

    def of(self, tag: str) -> list[str]:
        """Texts right inside of an element."""
        return [text for name, text in self.texts if name == tag]


def test_the_page_says_what_the_table_says() -> None:
    """A row for each answer with its word, numbers and picture; a test without an answer has a word only."""
    page = Page(gate_html(gate(FINE, SLOW, tests=(a_test("tests/test_chat.py::test_c", "NEW"),))))
    assert [] == page.open
    assert ["200 ms", "202 ms", "+1.0 % [+1.0, +1.0]", "5 %", "6"] == page.of("td")[:5]
    assert ["100 ms", "110 ms", "+10.0 % [+10.0, +10.0]", "5 %", "9 + 6 fresh"] == page.of("td")[5:10]
    assert ["total", "ttft"] == [text for text in page.of("b") if text in ("total", "ttft")]
    pictures = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert ["s0t s0d", "s1t s1d"] == [attributes["aria-labelledby"] for attributes in pictures]
    assert "TOO SLOW" == page.of("span")[0]
    assert ["Latency gate: TOO SLOW"] == [text for text in page.of("title") if "gate" in text]


def test_every_column_and_row_has_a_head() -> None:
    """A screen reader tells where it is; the table can be scrolled without a mouse."""
    page = Page(gate_html(gate(FINE, SLOW)))
    heads = [attributes for tag, attributes in page.tags if tag == "th"]
    assert {"col", "row"} == {attributes["scope"] for attributes in heads}
    assert ["verdict", "test, metric", "base", "head", "change", "limit", "pairs", "every pair"] == page.of("th")[:8]
    wide = next(attributes for tag, attributes in page.tags if attributes.get("class") == "wide")
    assert ("region", "Answers", "0") == (wide["role"], wide["aria-label"], wide["tabindex"])


def test_a_long_name_is_broken_where_its_parts_end() -> None:
    """The text itself stays what it is."""
    page = gate_html(gate(SLOW))
    assert "tests/<wbr>test_chat.py::<wbr>test_b[<wbr>x-<wbr>1]" in page


def test_pictures_are_well_formed() -> None:
    """Each by itself."""
    pictures = re.findall(r"<svg.*?</svg>", gate_html(REALISTIC))
    assert len(REALISTIC.answers) + 5 == len(pictures)  # and the legend's
    for picture in pictures:
        ElementTree.fromstring(picture)


def test_both_sides_stand_beside_each_other() -> None:
    """What only one of them has is a dash at the other."""
    base = Side(what="a" * 40, python="3.11", files={"chat": "/b/chat"}, versions={"chat": "1"})
    head = Side(what="working tree", python="3.12", environment=Environment(torch="2.13.0", memory_bytes=2**33))
    text = gate_html(gate(FINE, base=base, head=head))
    for row in (
        '<th scope="row">code</th><td>aaaaaaaaaaaa</td><td>working tree</td>',
        '<th scope="row">python</th><td>3.11</td><td>3.12</td>',
        '<th scope="row">file of chat</th><td>/b/chat</td><td>–</td>',
        '<th scope="row">version of chat</th><td>1</td><td>–</td>',
        '<th scope="row">torch</th><td>–</td><td>2.13.0</td>',
        '<th scope="row">memory</th><td>–</td><td>8.00 GiB</td>',
    ):
        assert row in text


def test_a_failure_keeps_its_lines() -> None:
    """As they are, but for what cannot be seen."""
    text = gate_html(gate(tests=(a_test("t::a", "BROKEN", failure="E  one\n\x1b[31m<two>"),)))
    assert "<pre>E  one\n\\x1b[31m&lt;two&gt;</pre>" in text


def test_a_gate_that_was_not_finished_says_so_on_top() -> None:
    """Before everything else, and only then."""
    text = gate_html(gate(FINE, complete=False, stopped_because="interrupted"))
    assert '<p class="partial"><b>PARTIAL: interrupted; this is what 15 pairs can tell</b></p>' in text
    assert 'class="partial"' not in gate_html(gate(FINE))


def test_nothing_at_all_is_said_in_words() -> None:
    """No empty table."""
    page = Page(gate_html(gate(pairs=0, level=0.0)))
    assert "no test was gated" in page.of("p")
    assert page.count("table") == 2  # both sides, and what the words mean


def test_nothing_from_outside_becomes_markup() -> None:
    """Wherever it comes from; no element and no attribute is its own."""
    bad = answered(f"t::{HOSTILE}", around(0.1, 0.0, 6), withheld=(HOSTILE,), name=HOSTILE)
    side = Side(
        what=HOSTILE,
        python=HOSTILE,
        files={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        environment=Environment(torch=HOSTILE),
    )
    text = gate_html(
        gate(
            msgspec.structs.replace(bad, metric=HOSTILE),
            tests=(a_test(HOSTILE, HOSTILE, reasons=(HOSTILE,), failure=HOSTILE),),
            ref=HOSTILE,
            base=side,
            head=side,
            changed=(HOSTILE,),
            differences=(HOSTILE,),
            notes=(HOSTILE,),
            stopped_because=HOSTILE,
            recorded_at=HOSTILE,
        )
    )
    page = Page(text)
    assert [] == page.open
    assert {"script", "a", "img", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert not {"\x1b", "\u202e"} & set(text)
    names = {name for _, attributes in page.tags for name in attributes}
    assert not any(name.startswith("on") or name in ("src", "href", "style") for name in names)


def test_a_page_asks_for_nothing() -> None:
    """No address is in it that a browser would follow, and a policy forbids the rest."""
    text = gate_html(REALISTIC)
    assert "default-src 'none'" in text
    assert not re.search(r"src=|href=|url\(|@import|https?://", text)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Their contrast, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_can_be_read_on_its_ground(theme: dict[str, str]) -> None:
    """4.5:1 against the page and against what is set off from it; both themes set the same variables."""
    assert pytest.approx(21.0) == contrast("#000000", "#ffffff")
    assert LIGHT.keys() == theme.keys()
    for name in theme.keys() - {"paper", "panel", "rule"}:
        assert contrast(theme[name], theme["paper"]) >= 4.5
        assert contrast(theme[name], theme["panel"]) >= 4.5


def test_a_thousand_answers_are_quick() -> None:
    """A tenth of a second as measured; two would be an accident of growth."""
    many = [msgspec.structs.replace(SLOW, test=f"tests/test_chat.py::test_{index}") for index in range(1000)]
    begin = time.process_time()
    text = gate_html(gate(*many))
    assert time.process_time() - begin < 2.0
    assert len(text) < 4_000_000


@pytest.mark.browser
def test_a_browser_shows_it_light_and_dark_and_asks_for_nothing(tmp_path: Path) -> None:
    """The system's theme, then the page's own; nothing but the file, no error, and the page never scrolls sideways."""
    lab = pytest.importorskip("tests.notebook.lab", reason="it knows where Chromium is, and needs nbformat")
    file = tmp_path / "gate.html"
    file.write_text(gate_html(REALISTIC), encoding="utf-8")
    said: list[str] = []
    with lab.browsing() as tab:
        tab.page.on("console", lambda message: said.append(message.text))
        for scheme, own, other in (("light", LIGHT, DARK), ("dark", DARK, LIGHT)):
            tab.page.emulate_media(color_scheme=scheme)
            tab.page.goto(file.as_uri())
            ground = "getComputedStyle(document.body).backgroundColor"
            assert rgb(own["paper"]) == tab.page.evaluate(ground)
            opposite = "dark" if scheme == "light" else "light"
            tab.page.evaluate(f"document.documentElement.dataset.theme = '{opposite}'")
            assert rgb(other["paper"]) == tab.page.evaluate(ground)
            for width in (400, 1280):
                tab.page.set_viewport_size({"width": width, "height": 900})
                assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
            # At 1280 pixels neither does the table.
            assert tab.page.evaluate("(wide => wide.scrollWidth <= wide.clientWidth)(document.querySelector('.wide'))")
            tab.page.screenshot(path=os.environ.get("LLM_LATENCY_SCREENSHOTS", str(tmp_path)) + f"/gate-{scheme}.png")
        assert {file.as_uri()} == set(tab.asked)
    assert [] == said


def rgb(colour: str) -> str:
    """#rrggbb as a browser computes it."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
