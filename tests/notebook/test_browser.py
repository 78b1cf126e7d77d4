"""The saved result in a real JupyterLab: untrusted, reopened without a kernel, asking nothing of the network."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SOURCE = """import time
def words():
    for word in "the quick brown fox".split():
        time.sleep(0.002)
        yield word"""
CELL = '%%llmtime --name "<img src=x onerror=window.attacked=1>" -r 7\nlist(llm_latency.stream(words()))'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own settings, serving an executed notebook that it has never trusted."""
    pytest.importorskip("jupyterlab")
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    cells = ["import llm_latency\n%load_ext llm_latency", SOURCE, CELL]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    nbformat.write(notebook, folder / "saved.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "default_setting_overrides.json").write_text(json.dumps(quiet))
    names = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "run",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(home / place) for name, place in names.items()} | {"HOME": str(home)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, home / "log")
            yield f"http://127.0.0.1:{port}/lab/workspaces/auto-t/tree/saved.ipynb?token={token}&reset", folder
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not answer:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a headless Chromium that remembers every address it asked for."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1100, "height": 1400})
        tab.asked = []
        tab.on("request", lambda request: tab.asked.append(request.url))
        yield tab
        browser.close()


def test_an_untrusted_saved_notebook_shows_the_table(lab: tuple[str, Path], page: Any, tmp_path: Path) -> None:
    """Reopened and never trusted: the table, its numbers and the picture are there, and nothing from outside ran."""
    address, _ = lab
    page.goto(address)
    table = page.locator(".jp-OutputArea-output table").first
    table.wait_for(timeout=60_000)
    text = page.locator(".jp-OutputArea").last.inner_text()
    for expected in ("ttft", "itl", "total", "<img src=x onerror=window.attacked=1>"):
        assert expected in text
    picture = page.locator(".jp-OutputArea-output img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100")
    assert picture.get_attribute("alt")
    assert page.evaluate("window.attacked") is None
    here = address.split("/lab")[0]
    assert [] == [url for url in page.asked if not url.startswith((here, "data:", "blob:", here.replace("http", "ws")))]
    page.screenshot(path=os.environ.get("LLM_LATENCY_SCREENSHOTS", str(tmp_path)) + "/untrusted.png")


def test_the_exported_page_asks_nothing_of_the_network(lab: tuple[str, Path], page: Any, tmp_path: Path) -> None:
    """The command line's page opens from a file with its table and picture, and asks for no other address."""
    (tmp_path / "work.py").write_text(SOURCE + "\n")
    target = tmp_path / "result.html"
    command = [sys.executable, "-m", "llm_latency.cli", "time", "work.py:words", "--repeat", "7", "--html", str(target)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    page.goto(target.as_uri())
    assert "ttft" in page.locator("table").first.inner_text()
    assert [] == [url for url in page.asked if not url.startswith(("file:", "data:"))]
