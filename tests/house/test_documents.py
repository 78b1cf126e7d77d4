"""The documents say what the code does: metrics, shapes, commands and links."""

from __future__ import annotations

import re
from pathlib import Path

from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS
from llm_latency.core.trace import Request, Trace

ROOT = Path(__file__).parents[2]


def _metrics_table() -> str:
    rows = [
        f"| `{m.name}` | {m.unit} | {m.better} | {m.meaning} | `{m.definition}` | {m.source} |"
        for m in METRICS.values()
    ]
    head = "| metric | unit | better | definition | id | defined so by |\n| --- | --- | --- | --- | --- | --- |"
    return "\n".join([head, *rows])


def test_the_page_of_metrics_is_the_table_of_metrics() -> None:
    """docs/metrics.md holds every metric with its unit, definition and id, as the code has them."""
    assert _metrics_table() in (ROOT / "docs" / "metrics.md").read_text(), f"expected in it:\n{_metrics_table()}"


def test_the_page_for_readers_explains_every_metric() -> None:
    """docs/reading.md gives each metric a paragraph that begins with, or lists, its name in bold."""
    page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    assert [] == [name for name in METRICS if f"**`{name}`**" not in page]


def test_the_picture_for_readers_shows_the_numbers_that_it_names() -> None:
    """The call drawn in docs/reading.md, measured: a prompt of 50 ms, then gaps of 10, 10, 15 and 5 ms."""
    start, stamps, end = 10, (60, 70, 80, 95, 100), 120
    request = Request(
        kind="generate",
        start_ns=start * 10**6,
        stop_ns=105 * 10**6,
        emissions=tuple((stamp * 10**6, 1) for stamp in stamps),
        row_tokens=(5,),
    )
    call = Trace(start_ns=0, stop_ns=end * 10**6, requests=(request,))
    drawn = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8").split("```")[1]
    shown = {line.split()[0]: line for line in drawn.splitlines() if line.split() and line.split()[0] in METRICS}
    assert {"total", "ttft", "itl", "tpot", "e2e"} == set(shown)
    for name, line in shown.items():
        values = METRICS[name].read(call, Environment())
        assert f"{', '.join(f'{value * 1e3:g}' for value in values)} ms" in line, name


def test_links_between_documents_lead_somewhere() -> None:
    """Each relative link and picture in a document names a file that is there."""
    for document in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_readme_names_every_shape() -> None:
    """A shape that is added is named."""
    from llm_latency.workloads.shapes import SHAPES

    readme = (ROOT / "README.md").read_text()
    assert [] == [name for name in SHAPES if f"`{name}`" not in readme]
