"""A JupyterLab of its own settings and a headless Chromium that remembers what it asked for; no tests."""

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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

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


class Lab:
    """A running JupyterLab that serves the notebooks of a folder."""

    def __init__(self, port: int, token: str, folder: Path) -> None:
        self.here = f"127.0.0.1:{port}"
        self.folder = folder
        self._token = token

    def address(self, notebook: str) -> str:
        """Where a notebook is opened, in a workspace without memory."""
        return f"http://{self.here}/lab/workspaces/auto-t/tree/{notebook}?token={self._token}&reset"

    def write(self, notebook: str, *sources: str) -> Path:
        """Write a notebook of code cells that has not been run."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), self.folder / notebook)
        return self.folder / notebook


@contextmanager
def serving(home: Path) -> Iterator[Lab]:
    """Serve `home/notebooks` until the block ends."""
    pytest.importorskip("jupyterlab")
    folder = home / "notebooks"
    folder.mkdir()
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
    command += ["--LabApp.expose_app_in_browser=True"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, home / "log")
            yield Lab(port, token, folder)
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


class Tab:
    """A page of Chromium on one notebook; `asked` are the addresses that it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))

    def open(self, lab: Lab, notebook: str, *, dark: bool = False) -> None:
        """Open a notebook and wait until its kernel is ready."""
        self.page.goto(lab.address(notebook))
        self.page.wait_for_function(
            """() => { const app = window.jupyterapp;
                const panel = app && app.shell.currentWidget;
                const session = panel && panel.sessionContext;
                return session && session.isReady && session.session && session.session.kernel
                    && session.session.kernel.status === 'idle'; }""",
            timeout=90_000,
        )
        if dark:
            self.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
            self.page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Run one of JupyterLab's commands and wait for its promise."""
        self.page.evaluate(
            "([name, given]) => window.jupyterapp.commands.execute(name, given)", [name, arguments or {}]
        )

    def start(self, cell: int) -> None:
        """Run a cell, and do not wait for its end; `finish` does."""
        self.page.evaluate(
            """(index) => { const app = window.jupyterapp;
                const notebook = app.shell.currentWidget.content;
                notebook.activeCellIndex = index;
                window.ended = false;
                app.commands.execute('notebook:run-cell').then(() => { window.ended = true; }); }""",
            cell,
        )

    def finish(self, *, timeout: float = 120.0) -> None:
        """Wait for the end of the cell that was started."""
        self.page.wait_for_function("window.ended === true", timeout=timeout * 1000)

    def run(self, cell: int) -> None:
        """Run a cell to its end."""
        self.start(cell)
        self.finish()

    def output(self, cell: int) -> Any:
        """The outputs of a cell."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-Cell-outputArea")

    def foreign(self, lab: Lab) -> list[str]:
        """Addresses outside of the server."""
        own = (f"http://{lab.here}", f"ws://{lab.here}", "data:", "blob:", "file:")
        return [url for url in self.asked if not url.startswith(own)]


@contextmanager
def browsing() -> Iterator[Tab]:
    """A page of a headless Chromium; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Tab(browser.new_page(viewport={"width": 1100, "height": 1400}))
        browser.close()
