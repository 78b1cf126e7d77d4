"""The live view in a real kernel, seen from its messages: how many, how large, when, and what stays of them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbconvert import HTMLExporter

pytestmark = pytest.mark.slow

SOURCE = """%load_ext llm_latency
import llm_latency, sys, threading, time
def tokens(count, gap=0.01, first=0.05):
    time.sleep(first)
    for index in range(count):
        time.sleep(gap)
        yield f" t{index}"
"""


class Talk:
    """What a kernel said while one cell ran, in its order, and when this was heard, in seconds."""

    def __init__(self, messages: list[tuple[float, dict[str, Any]]]) -> None:
        self.messages = messages

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Contents of the messages of a type."""
        return [message["content"] for _, message in self.messages if message["msg_type"] == kind]

    @property
    def said(self) -> list[dict[str, Any]]:
        """What was sent to the widget."""
        data = [content["data"] for content in self.of("comm_msg")]
        return [one["content"] for one in data if one.get("method") == "custom"]

    @property
    def ticks(self) -> list[dict[str, Any]]:
        """Those of a call that runs."""
        return [message for message in self.said if message["kind"] == "tick"]

    @property
    def streams(self) -> str:
        """What was printed."""
        return "".join(content["text"] for content in self.of("stream"))

    @property
    def final(self) -> dict[str, Any]:
        """The output that is left of the live view."""
        (updated,) = [content for content in self.of("update_display_data") if "text/html" in content["data"]]
        return updated

    @property
    def errors(self) -> list[str]:
        """Names of errors."""
        return [content["ename"] for content in self.of("error")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Talk]]:
    """Run a cell as a page in a browser does, whose requests name no user; gives what the kernel said."""
    folder = tmp_path_factory.mktemp("live")
    environment = os.environ | {"IPYTHONDIR": str(folder / "ipython")}
    manager, client = start_new_kernel(env=environment, cwd=str(folder))
    client.session.username = ""

    def execute(source: str) -> Talk:
        heard: list[tuple[float, dict[str, Any]]] = []
        client.execute_interactive(
            source, store_history=True, timeout=120, output_hook=lambda m: heard.append((time.monotonic(), m))
        )
        return Talk(heard)

    try:
        execute(SOURCE)
        yield execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_updates_are_few_small_and_tell_every_token(run: Callable[[str], Talk]) -> None:
    """At most five a second and 2 kB with their headers; together they hold each emission; the text is the stream's."""
    talk = run("%%llmtime\nlen(list(llm_latency.stream(tokens(150))))")
    ticks = [(at, m) for at, m in talk.messages if m["msg_type"] == "comm_msg" and "tick" in json.dumps(m["content"])]
    # The clock of the call bounds their number, however slow the machine: a fifth of a second lies between two.
    assert 2 <= len(ticks) <= talk.ticks[-1]["t_us"] / 200_000 + 2
    sizes = [
        len(json.dumps({k: m[k] for k in ("header", "parent_header", "metadata", "content")}, default=str))
        for _, m in ticks
    ]
    assert max(sizes) <= 2_048
    known = {index for tick in talk.ticks for index in range(tick["first"], tick["first"] + len(tick["e"]))}
    assert known == set(range(max(known) + 1))
    assert max(known) > 130
    assert " t100" in [text for tick in talk.ticks for text in tick["text"]]
    assert "live view" in talk.final["data"]["text/plain"]
    assert {"text/plain", "text/html"} == set(talk.final["data"])
    assert "llm_latency" in talk.final["metadata"]
    assert ["150"] == [content["data"]["text/plain"] for content in talk.of("execute_result")]
    assert 1 == len([message for message in talk.said if message["kind"] == "end"])


def test_counted_repetitions_are_quiet(run: Callable[[str], Talk]) -> None:
    """A message says that a counted call begins; none comes before its end, and the first calls are shown live."""
    talk = run("%%llmtime -r 4 -w 1\nx = list(llm_latency.stream(tokens(30)))")
    kinds = [(message["kind"], message.get("quiet")) for message in talk.said]
    first = kinds.index(("call", True))
    assert ("tick", None) in kinds[:first]
    assert [("call", True)] * 4 == [kind for kind in kinds[first:] if kind != ("end", None)]


def test_a_cell_that_is_too_short_for_an_update_still_ends_in_a_table(run: Callable[[str], Talk]) -> None:
    """No emission at all: the output is replaced by the result."""
    talk = run("%%llmtime\n1 + 1")
    assert [] == talk.ticks
    assert "total" in talk.final["data"]["text/plain"]


def test_an_exception_before_any_token_leaves_the_partial_table(run: Callable[[str], Talk]) -> None:
    """The table replaces the live view, then the error comes with its line."""
    talk = run("%%llmtime\nx = next(tokens(1, first=0.01))\nraise ValueError('<b>no</b>')")
    assert ["ValueError"] == talk.errors
    assert "PARTIAL" in talk.final["data"]["text/plain"]
    assert "<b>no" not in talk.final["data"]["text/html"]
    kinds = [
        message["msg_type"] for _, message in talk.messages if message["msg_type"] in ("update_display_data", "error")
    ]
    assert ["update_display_data", "error"] == kinds


def test_a_threads_own_tokens_are_told(run: Callable[[str], Talk]) -> None:
    """The thread that emits publishes, and its messages arrive with the cell's."""
    talk = run(
        "%%llmtime\nt = threading.Thread(target=lambda: list(llm_latency.stream(tokens(60))))\nt.start()\nt.join()"
    )
    assert len(talk.ticks) >= 3
    assert "60 new tokens" in talk.final["data"]["text/plain"]


def test_a_long_silence_is_looked_at_from_beside(run: Callable[[str], Talk]) -> None:
    """Where no token comes a thread looks twice a second at most; that is said, and not taken out of the times."""
    talk = run("%%llmtime\nx = list(llm_latency.stream(tokens(3, first=1.8)))")
    before = [tick for tick in talk.ticks if tick["n"] == 0]
    assert 1 <= len(before) <= before[-1]["t_us"] / 500_000 + 1
    assert {"prefill"} == {tick["phase"] for tick in before}
    assert "beside the call, not excluded" in talk.final["data"]["text/plain"]


def test_100_000_tokens_stay_within_bounds(run: Callable[[str], Talk]) -> None:
    """Emissions that come faster than they can be shown are merged, and none is lost from the count."""
    talk = run("%%llmtime\nx = len(list(llm_latency.stream(tokens(100_000, gap=0, first=0))))")
    tick = talk.ticks[-1]
    assert "100,000 new tokens" in talk.final["data"]["text/plain"]
    assert all(len(json.dumps(tick).encode()) <= 2_048 for tick in talk.ticks)
    assert any(isinstance(item, list) and item[1] > 1 for item in tick["e"])
    assert tick["n"] == tick["first"] + sum(item[1] if isinstance(item, list) else 1 for item in tick["e"])


def test_two_live_blocks_in_threads_both_end(run: Callable[[str], Talk]) -> None:
    """Each has its own view and its own result."""
    talk = run(
        """def one(count):
    with llm_latency.timed(f"block of {count}", view=llm_latency.live()) as watched:
        list(llm_latency.stream(tokens(count)))
threads = [threading.Thread(target=one, args=(count,)) for count in (40, 50)]
[thread.start() for thread in threads]; [thread.join() for thread in threads];"""
    )
    shown = [content["data"]["text/plain"] for content in talk.of("update_display_data")]
    assert ["block of 40", "block of 50"] == sorted(re.match(r"block of \d+", text)[0] for text in shown)  # type: ignore[index]


def test_unloading_in_the_middle_lets_the_cell_end(run: Callable[[str], Talk]) -> None:
    """The running cell keeps its view and its table; the magic is gone afterwards and comes back when loaded."""
    talk = run(
        "%%llmtime\nx = list(llm_latency.stream(tokens(20)))\n%unload_ext llm_latency\n"
        "y = list(llm_latency.stream(tokens(20)))"
    )
    assert [] == talk.errors
    assert "40 new tokens" in talk.final["data"]["text/plain"]
    assert "not found" in run("%%llmtime\n1").streams
    assert "LLMTime" not in run("%config").streams
    assert [] == run("%load_ext llm_latency").errors


def test_a_cell_under_autoreload_and_run_twice(run: Callable[[str], Talk]) -> None:
    """`%autoreload 2` looks at modules before each cell; a second run is one more entry of the history."""
    run("%load_ext autoreload\n%autoreload 2")
    for _ in range(2):
        talk = run("%%llmtime --name twice\nx = list(llm_latency.stream(tokens(10)))")
        assert [] == talk.errors
        assert "10 new tokens" in talk.final["data"]["text/plain"]
    run("%autoreload off")
    history = run("%llmtime --history").of("display_data")[-1]["data"]["text/plain"]
    assert 2 == history.count("twice")


def test_magics_shell_lines_and_long_strings_inside(run: Callable[[str], Talk]) -> None:
    """`%magic` and `!shell` lines run as they do without the magic, and a string of many lines keeps its own."""
    code = '%%llmtime\nx = """a\n    b\n  c"""\n%env LLMT=1\nout = !echo $LLMT\nx.splitlines(), list(out)'
    talk = run(code)
    assert ["(['a', '    b', '  c'], ['1'])"] == [one["data"]["text/plain"] for one in talk.of("execute_result")]


def test_captured_and_quiet_cells_show_nothing_live(run: Callable[[str], Talk]) -> None:
    """`%%capture` keeps one output, the result; -q shows none; -o leaves the result to Out."""
    run("%%capture kept\n%%llmtime\nx = list(llm_latency.stream(tokens(20)))")
    assert "1" in run("len(kept.outputs)").of("execute_result")[0]["data"]["text/plain"]
    quiet = run("%%llmtime -q\nx = list(llm_latency.stream(tokens(20)))")
    assert [] == quiet.said + quiet.of("display_data") + quiet.of("update_display_data")
    returned = run("%%llmtime -o\nx = list(llm_latency.stream(tokens(20)))")
    assert "text/html" in returned.of("execute_result")[0]["data"]
    assert [{"text/plain": ""}] == [content["data"] for content in returned.of("update_display_data")]


def test_without_anywidget_there_is_a_line_of_text(run: Callable[[str], Talk]) -> None:
    """The output is text, twice a second at most, and becomes the table; asking for a widget says what is missing."""
    run(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'anywidget' else found(n, *a)"
    )
    try:
        talk = run("%%llmtime\nx = list(llm_latency.stream(tokens(150)))")
        asked = run("%%llmtime --live widget\nx = 1")
    finally:
        run("u.find_spec = found")
    lines = [content["data"]["text/plain"] for content in talk.of("update_display_data")][:-1]
    assert 1 <= len(lines)
    assert "decode" in lines[-1]
    assert "tok/s" in lines[-1]
    assert [] == talk.of("comm_open")
    assert "150 new tokens" in talk.final["data"]["text/plain"]
    assert "pip install anywidget" in str(asked.of("error") or asked.streams)


def test_nothing_heavy_is_loaded_and_anywidget_at_its_first_use(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`%load_ext` imports no widgets, no numpy and no torch."""
    manager, client = start_new_kernel(env=os.environ | {"IPYTHONDIR": str(tmp_path_factory.mktemp("ipython"))})
    client.session.username = ""
    heard: list[str] = []
    names = "('anywidget', 'ipywidgets', 'numpy', 'torch', 'transformers', 'pandas', 'matplotlib', 'rich')"
    look = f"import sys\nprint([n for n in {names} if n in sys.modules])"
    try:
        for code in (look, f"%load_ext llm_latency\n{look}", "%%llmtime\n1 + 1", look):
            client.execute_interactive(
                code,
                timeout=60,
                output_hook=lambda m: heard.append(m["content"].get("text", "")) if m["msg_type"] == "stream" else None,
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    before, loaded, used = [line for line in "".join(heard).splitlines() if line.startswith("[")]
    assert before == loaded
    assert "anywidget" in used
    assert "torch" not in used


@pytest.mark.parametrize("mode", ["auto", "widget", "text", "off"])
def test_executed_notebooks_keep_only_the_result(mode: str) -> None:
    """Under nbclient: one output, the result; nbconvert shows its table with and without widget state."""
    sources = [SOURCE, f"%%llmtime --live {mode}\nx = list(llm_latency.stream(tokens(30)))"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    (output,) = notebook.cells[1].outputs
    assert ("display_data", {"text/plain", "text/html"}) == (output.output_type, set(output.data))
    assert (mode == "widget") == bool(notebook.metadata.get("widgets"))
    for _ in range(2):
        page, _resources = HTMLExporter().from_notebook_node(notebook)
        assert "30 new tokens" in page
        notebook.metadata.pop("widgets", None)
