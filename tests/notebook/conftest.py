"""A fresh IPython shell for each test, in this process, and one kernel for all tests that need a real one."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from traitlets.config import Config

from llm_latency.notebook.extension import load_into, unload_from
from tests.notebook.lab import Lab, Tab, browsing, serving


class Shell:
    """An InteractiveShell with the extension loaded, and what it has shown."""

    def __init__(self) -> None:
        self.ip = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        self.ip.display_pub = CapturingDisplayPublisher()
        load_into(self.ip)

    @property
    def names(self) -> dict[str, Any]:
        """The user's namespace."""
        return self.ip.user_ns

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """What was displayed: dictionaries with data and metadata."""
        return self.ip.display_pub.outputs

    @property
    def tables(self) -> list[str]:
        """What was displayed, as text."""
        return [output["data"]["text/plain"] for output in self.outputs]

    @property
    def hidden(self) -> list[str]:
        """Names of ours in the user's namespace."""
        return [name for name in self.names if "llmtime" in name]

    def run(self, cell: str) -> Any:
        """Run a cell as typed by a user; its result has `result` and the errors."""
        return self.ip.run_cell(cell, store_history=True)

    def value(self, cell: str) -> Any:
        """Run a cell that must succeed; return the value that it shows."""
        result = self.run(cell)
        result.raise_error()
        return result.result


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell that writes nowhere but here."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    hook, modules = sys.displayhook, set(sys.modules)
    made = Shell()
    yield made
    unload_from(made.ip)
    made.ip.restore_sys_module_state()
    made.ip.history_manager.end_session()
    atexit.unregister(made.ip.atexit_operations)  # which would take 0.1 s for each of our shells
    InteractiveShell.clear_instance()
    sys.displayhook = hook
    assert "torch" not in set(sys.modules) - modules, "the notebook room imports torch by itself"


class Kernel:
    """A real ipykernel, driven by nbclient."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self.first: Any = None

    def run(self, source: str) -> Any:
        """Run a cell; return it with its outputs, errors among them."""
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        return self._client.execute_cell(cell, len(self._client.nb.cells) - 1)

    def run_and_interrupt(self, source: str, *, when: Path) -> Any:
        """Run a cell, and interrupt the kernel as soon as the cell has made the file `when`."""

        def interrupt() -> None:
            until = time.monotonic() + 60
            while not when.exists() and time.monotonic() < until:
                time.sleep(0.01)
            asyncio.run(self._client.km.interrupt_kernel())

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            return self.run(source)
        finally:
            thread.join()


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with the extension loaded and nothing heavy imported."""
    folder = tmp_path_factory.mktemp("kernel")
    notebook = nbformat.v4.new_notebook()
    client = NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=120)
    environment = os.environ | {"IPYTHONDIR": str(folder / "ipython"), "HF_HUB_OFFLINE": "1"}
    with client.setup_kernel(env=environment, cwd=str(folder)):
        made = Kernel(client)
        made.run("%load_ext llm_latency")
        yield made


def texts(cell: Any, kind: str = "display_data", mime: str = "text/plain") -> list[str]:
    """A cell's outputs of one type, as text."""
    return [output["data"][mime] for output in cell.outputs if output.output_type == kind]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for all tests in a browser; each writes notebooks of its own."""
    with serving(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def tab() -> Iterator[Tab]:
    """A page of a headless Chromium."""
    with browsing() as made:
        yield made
