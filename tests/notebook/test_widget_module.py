"""The live view's module as a file: small, self-contained, and right in its own tests; not how it looks."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llm_latency.report.svg import COLOURS

REPOSITORY = Path(__file__).parents[2]
MODULE = REPOSITORY / "llm_latency/notebook/static/widget.js"
TESTS = Path(__file__).with_name("widget.test.mjs")
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
MOST_BYTES = 25_000  # it travels once for each widget (design/notebook.md)
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def source() -> str:
    """The module's text."""
    return MODULE.read_text(encoding="utf-8")


def test_the_module_is_small() -> None:
    """It is sent through the kernel's connection each time that a cell is timed."""
    assert MODULE.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("word", ["import", "require", "fetch", "XMLHttpRequest", "WebSocket", "eval", "Function"])
def test_the_module_loads_nothing(source: str, word: str) -> None:
    """Neither other modules nor anything from the network, nor code that is made from text."""
    assert [] == re.findall(rf"\b{word}\b", source)


def test_the_module_names_no_address(source: str) -> None:
    """The namespace of SVG is a name, which no browser asks for; a style sheet asks by url() and @import."""
    assert 1 == source.count(SVG_NAMESPACE)
    rest = source.replace(SVG_NAMESPACE, "")
    assert [] == re.findall(r"https?:|[\"'`(]//|\burl\(|@font-face|data:", rest)


def test_text_from_outside_never_becomes_markup(source: str) -> None:
    """The page is built of nodes alone."""
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML"
    assert [] == re.findall(markup, source)


def test_phases_have_the_colours_of_the_results_picture(source: str) -> None:
    """What was orange while it ran stays orange in what is kept."""
    (literal,) = re.findall(r"^const COLOURS = \{(.*)\};$", source, re.MULTILINE)
    assert COLOURS == dict(re.findall(r'(\w+): "(#\w{6})"', literal))


def test_the_module_has_one_default_export(source: str) -> None:
    """A named export called `render` would make anywidget warn about its deprecated form."""
    assert 1 == source.count("export default { initialize, render };")
    assert [] == re.findall(r"export (?:async )?(?:function|const) (?:render|initialize)\b", source)


@pytest.mark.skipif(NODE is None, reason="needs node, which runs the module's own tests")
def test_the_modules_own_tests_pass() -> None:
    """Merging, thinning, axes, words and Stop, tested where they run."""
    command = [str(NODE), "--test", "--test-reporter=tap", str(TESTS)]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert re.search(r"^# pass [1-9]", run.stdout, re.MULTILINE), "no test at all would succeed too"
