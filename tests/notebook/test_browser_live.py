"""The live view in a real JupyterLab: what a person sees while a cell runs, stops it, saves and comes back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import nbformat
import pytest

from tests.notebook.lab import Lab, Tab

pytestmark = pytest.mark.browser

# A model that keeps to a script in real time, so that what is seen does not depend on the machine's speed.
HOSTILE = "<img src=x id=evil>"
SETUP = f"""%load_ext llm_latency
import time, threading, llm_latency
def tokens(count, gap=0.02):
    time.sleep(0.3)
    for index in range(count):
        time.sleep(0.3 if index == 20 else gap)
        yield {HOSTILE!r} if index % 10 == 5 else f" t{{index}}"
"""
LIVE = "[data-ticks]"


def opened(lab: Lab, tab: Tab, name: str, *cells: str, dark: bool = False) -> None:
    """Open a notebook of its own with the generator above, and run its first cell."""
    lab.write(name, SETUP, *cells)
    tab.open(lab, name, dark=dark)
    tab.run(0)


def wait_for_ticks(tab: Tab, least: int) -> None:
    """Wait until the running cell's view has drawn so many updates."""
    tab.page.wait_for_function(
        f"Math.max(0, ...[...document.querySelectorAll('{LIVE}')].map((one) => one.dataset.ticks)) >= {least}",
        timeout=60_000,
    )


def picture(tab: Tab, tmp_path: Path, name: str) -> None:
    """Keep a picture for people to look at."""
    tab.page.screenshot(path=os.environ.get("LLM_LATENCY_SCREENSHOTS", str(tmp_path)) + f"/{name}.png")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tokens_are_seen_as_they_come_and_the_table_stays(lab: Lab, tab: Tab, tmp_path: Path, dark: bool) -> None:
    """Phase, tokens, facts and budgets while the cell runs; then the table in their place; nothing from elsewhere."""
    name = f"live-{'dark' if dark else 'light'}.ipynb"
    cell = "%%llmtime --budget 'ttft < 1 s' --budget 'e2e < 1 s'\nlen(list(llm_latency.stream(tokens(300))))"
    opened(lab, tab, name, cell, dark=dark)
    tab.start(1)
    wait_for_ticks(tab, 8)
    text = tab.output(1).inner_text()
    for expected in ("decode", "ttft 3", "tok/s", "tokens", "ttft p50 < 1 s", HOSTILE, "Stop"):
        assert expected in text
    assert tab.page.locator("#evil").count() == 0
    picture(tab, tmp_path, f"live-{'dark' if dark else 'light'}")
    slider = tab.output(1).locator("[role=slider]")
    slider.focus()
    for key, expected in (("Home", "token 1 "), ("ArrowRight", "token 2 · gap")):
        tab.page.keyboard.press(key)
        tab.page.wait_for_function(
            "([node, text]) => node.getAttribute('aria-valuetext').startsWith(text)",
            arg=[slider.element_handle(), expected],
            timeout=5_000,
        )
    wait_for_ticks(tab, 11)
    assert slider.evaluate("node => node === node.getRootNode().activeElement"), "an update took the focus away"
    tab.finish()
    tab.page.wait_for_function(f"document.querySelectorAll('{LIVE}').length === 0")
    text = tab.output(1).inner_text()
    for expected in ("ttft", "itl", "300 new tokens", "live view", "excluded", "300"):
        assert expected in text
    assert [] == tab.foreign(lab)


def test_stop_keeps_what_there_is_and_hits_no_other_cell(lab: Lab, tab: Tab, tmp_path: Path) -> None:
    """Stop ends the cell at once with its partial table; the next cell runs to its end, whatever is clicked."""
    opened(lab, tab, "stop.ipynb", "%%llmtime -v m\nx = list(llm_latency.stream(tokens(100_000)))", "sum(range(10))")
    tab.start(1)
    wait_for_ticks(tab, 5)
    button = tab.output(1).get_by_role("button", name="Stop")
    button.dblclick()
    tab.finish(timeout=20)
    text = tab.output(1).inner_text()
    assert "PARTIAL: KeyboardInterrupt in the first call" in text
    assert "KeyboardInterrupt" in text
    picture(tab, tmp_path, "stopped")
    tab.run(2)
    assert "45" in tab.output(2).inner_text()


def test_a_repetition_is_quiet_and_its_interval_closes_in(lab: Lab, tab: Tab, tmp_path: Path) -> None:
    """Between counted calls the view says which comes next; within one it says that it is quiet."""
    opened(lab, tab, "repeat.ipynb", "%%llmtime -r 12 -w 1\nx = list(llm_latency.stream(tokens(20)))")
    tab.start(1)
    tab.page.get_by_text("call 8 of 12").first.wait_for(timeout=60_000)
    text = tab.output(1).inner_text()
    assert "quiet" in text
    assert "±" in text
    picture(tab, tmp_path, "repetition")
    tab.finish()
    assert "12 counted after 1 warm-up call" in tab.output(1).inner_text()


def test_save_and_reopen_shows_the_table_without_a_kernel(lab: Lab, tab: Tab) -> None:
    """The file holds text, HTML and JSON and no widget; reopened, with every kernel gone, the table is there."""
    opened(lab, tab, "again.ipynb", "%%llmtime\nx = list(llm_latency.stream(tokens(10)))")
    tab.run(1)
    tab.command("docmanager:save")
    tab.command("kernelmenu:shutdown")
    notebook = nbformat.read(lab.folder / "again.ipynb", as_version=4)
    (output,) = notebook.cells[1].outputs
    assert ({"text/plain", "text/html"}, True) == (set(output.data), "llm_latency" in output.metadata)
    assert "widgets" not in notebook.metadata or not notebook.metadata["widgets"]
    tab.page.goto(lab.address("again.ipynb"))
    tab.page.locator(".jp-OutputArea-output table").first.wait_for(timeout=60_000)
    assert "10 new tokens" in tab.output(1).inner_text()


def test_a_page_that_comes_back_finds_the_result_with_last(lab: Lab, tab: Tab) -> None:
    """The browser goes away in the middle of a run: the run goes on, and %llmtime --last shows its result again."""
    opened(lab, tab, "away.ipynb", "%%llmtime\nx = list(llm_latency.stream(tokens(60)))", "%llmtime --last")
    tab.command("docmanager:save")
    tab.start(1)
    wait_for_ticks(tab, 3)
    tab.page.goto("about:blank")
    time.sleep(2.5)
    tab.open(lab, "away.ipynb")
    tab.run(2)
    assert "60 new tokens" in tab.output(2).inner_text()


def test_a_thread_of_the_users_own_publishes_too(lab: Lab, tab: Tab) -> None:
    """Tokens that come in another thread are shown by that thread, below the cell that runs."""
    cell = "%%llmtime\nt = threading.Thread(target=lambda: list(llm_latency.stream(tokens(80))))\nt.start(); t.join()"
    opened(lab, tab, "thread.ipynb", cell)
    tab.start(1)
    wait_for_ticks(tab, 5)
    assert "decode" in tab.output(1).inner_text()
    tab.finish()
    assert "80 new tokens" in tab.output(1).inner_text()
