"""The saved result in a real JupyterLab: untrusted, reopened without a kernel, asking nothing of the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.notebook.lab import Lab, Tab

pytestmark = pytest.mark.browser

SOURCE = """import time
def words():
    for word in "the quick brown fox".split():
        time.sleep(0.002)
        yield word"""
CELL = '%%llmtime --name "<img src=x onerror=window.attacked=1>" -r 7\nlist(llm_latency.stream(words()))'


def test_an_untrusted_saved_notebook_shows_the_table(lab: Lab, tab: Tab, tmp_path: Path) -> None:
    """Reopened and never trusted: the table, its numbers and the picture are there, and nothing from outside ran."""
    path = lab.write("saved.ipynb", "import llm_latency\n%load_ext llm_latency", SOURCE, CELL)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    nbformat.write(notebook, path)
    tab.page.goto(lab.address("saved.ipynb"))
    table = tab.page.locator(".jp-OutputArea-output table").first
    table.wait_for(timeout=60_000)
    text = tab.page.locator(".jp-OutputArea").last.inner_text()
    for expected in ("ttft", "itl", "total", "<img src=x onerror=window.attacked=1>"):
        assert expected in text
    picture = tab.page.locator(".jp-OutputArea-output img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100")
    assert picture.get_attribute("alt")
    assert tab.page.evaluate("window.attacked") is None
    assert [] == tab.foreign(lab)
    tab.page.screenshot(path=os.environ.get("LLM_LATENCY_SCREENSHOTS", str(tmp_path)) + "/untrusted.png")


def test_the_exported_page_asks_nothing_of_the_network(lab: Lab, tab: Tab, tmp_path: Path) -> None:
    """The command line's page opens from a file with its table and picture, and asks for no other address."""
    (tmp_path / "work.py").write_text(SOURCE + "\n")
    target = tmp_path / "result.html"
    command = [sys.executable, "-m", "llm_latency.cli", "time", "work.py:words", "--repeat", "7", "--html", str(target)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    tab.page.goto(target.as_uri())
    assert "ttft" in tab.page.locator("table").first.inner_text()
    assert [] == [url for url in tab.asked if not url.startswith(("file:", "data:"))]
