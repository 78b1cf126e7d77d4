"""The documents say what the code does: metrics, shapes, commands and links."""

from __future__ import annotations

import re
from pathlib import Path

from llm_latency.core.metrics import METRICS

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
