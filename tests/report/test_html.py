"""The report as HTML: what untrusted notebooks keep, inert, and seen in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Phase, Request, Trace
from llm_latency.core.verdict import Verdict
from llm_latency.report.html import html, page

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\" ' \x1b[31m\n"
TAGS = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "img", "details", "summary"}


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.found.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Tags close in the order in which they were opened."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.text += f"{data}\n"


def read(text: str) -> Reader:
    """Parse a fragment; its tags balance."""
    reader = Reader()
    reader.feed(text)
    assert [] == reader.open
    return reader


@pytest.fixture
def hostile(measured: Callable[..., Measurement]) -> Measurement:
    """Outside text wherever a measurement holds some."""
    emissions = ((50, 1), (90, 1))
    request = Request(kind="generate", start_ns=0, stop_ns=90, emissions=emissions, row_tokens=(2,), model=HOSTILE)
    trace = Trace(start_ns=0, stop_ns=100, requests=(request,), phases=(Phase(name="load", start_ns=0, stop_ns=9),))
    return measured(
        name=HOSTILE,
        workload={HOSTILE: {HOSTILE: [HOSTILE]}, "notes": [HOSTILE]},
        traces=(trace,) * 6,
        stopped_because=HOSTILE,
        warnings=(HOSTILE,),
        verdicts=(
            Verdict(budget=HOSTILE, outcome="undecided", metric="ttft", observed=1.0, limit=1.0, reasons=(HOSTILE,)),
        ),
    )


def test_only_what_an_untrusted_notebook_keeps(hostile: Measurement) -> None:
    """No style sheet, script, inline svg or variable; the picture is an image with words; nothing is fetched."""
    fragment = html(hostile)
    tags = read(fragment).found
    assert {tag for tag, _ in tags} <= TAGS
    assert {name for _, attributes in tags for name in attributes} == {"style", "src", "alt"}
    assert "var(" not in fragment
    (image,) = [attributes for tag, attributes in tags if tag == "img"]
    assert (image["src"] or "").startswith("data:image/svg+xml;base64,")
    assert (image["alt"] or "").startswith("Timeline of the middle call")


def test_outside_text_is_shown_and_not_run(hostile: Measurement) -> None:
    """Wherever it stands it is text, with its controls visible."""
    text = read(html(hostile)).text
    visible = HOSTILE.replace("\x1b", r"\x1b").replace("\n", r"\n")
    assert 9 <= text.count(visible)
    assert "\x1b" not in text


def test_the_fragment_says_what_the_table_says(measured: Callable[..., Measurement]) -> None:
    """Cells in reading order, then the notes."""
    lines = read(html(measured())).text.splitlines()
    start = lines.index("metric")
    assert ["metric", "median", "95 % interval", "tail", "n", "ttft", "104 ms", "101 – 107 ms"] == lines[start:][:8]
    assert "calls: 9 counted after 1 warm-up call; stopped: 9 calls, as asked" in lines


def test_details_hold_all_metrics_definitions_environment_and_workload(measured: Callable[..., Measurement]) -> None:
    """What the default table leaves out is one click away; an empty workload has no section."""
    text = read(html(measured(workload={"a": {"b": [1, 2]}}))).text.splitlines()
    assert text.index("All metrics") < text.index("ntpot") < text.index("Definitions") < text.index("tpot@1")
    assert ["a.b", "1, 2"] == text[text.index("Workload") + 1 :]
    assert "8.00 GiB" in text[text.index("Environment") :]
    assert "Workload" not in read(html(measured())).text


def test_without_a_call_there_is_neither_table_nor_image(measured: Callable[..., Measurement]) -> None:
    """Only words."""
    tags = {tag for tag, _ in read(html(measured(traces=(), cold=None))).found}
    assert "img" not in tags
    assert {"div", "strong"} <= tags


def test_the_page_is_a_document_of_its_own(hostile: Measurement) -> None:
    """It names its encoding, follows a dark screen, and its title is escaped."""
    text = page(hostile)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
    assert "color-scheme" in text
    assert "<script" not in text


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_and_runs_nothing(hostile: Measurement, tmp_path: Path, scheme: str) -> None:
    """The image has loaded, the table is seen, no request left the file, no script ran."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[all,dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium on PATH")
    file = tmp_path / "page.html"
    file.write_text(page(hostile), encoding="utf-8")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            tab = browser.new_page(color_scheme=scheme, viewport={"width": 900, "height": 900})
            requested: list[str] = []
            tab.on("request", lambda request: requested.append(request.url))
            tab.goto(file.as_uri())
            assert [file.as_uri()] == [url for url in requested if not url.startswith("data:")]
            assert 760 == tab.evaluate("document.querySelector('img').naturalWidth")
            assert tab.title().startswith("<script>")
            assert tab.get_by_role("cell", name="ttft", exact=True).first.is_visible()
            assert not tab.get_by_text("All metrics").locator("..").get_by_text("ntpot").is_visible()
            tab.get_by_text("All metrics").click()
            assert tab.get_by_text("All metrics").locator("..").get_by_text("ntpot").is_visible()
        finally:
            browser.close()
