"""Reports of a gate as files, as a step summary and as JUnit's properties."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from llm_latency.errors import UsageError
from llm_latency.gate.result import from_json
from llm_latency.report.gate import append_step_summary, form_of, properties, report, write_reports
from llm_latency.report.gate_html import gate_html
from llm_latency.report.gate_markdown import gate_markdown
from tests.report.gate_results import REALISTIC, answered, around, gate

SLOW = answered("t::a", around(0.1, 0.0, 9), around(0.1, 0.0, 6))
FINE = answered("t::a", around(0.0, 0.0, 6), metric="peak_memory", base=1e9, limit=0.02)


def test_each_format_is_what_its_name_says() -> None:
    """JSON that is read back, and text in UTF-8."""
    assert gate_markdown(REALISTIC) == report(REALISTIC, "md").decode()
    assert gate_html(REALISTIC) == report(REALISTIC, "html").decode()
    assert REALISTIC == from_json(report(REALISTIC, "json"))
    with pytest.raises(UsageError, match="no report in the format 'xml'; known: json, md, html"):
        report(REALISTIC, "xml")


@pytest.mark.parametrize(
    ("name", "form"), [("a.json", "json"), ("b/c.MD", "md"), ("d.html", "html"), ("e.htm", "html"), ("f.x.md", "md")]
)
def test_a_files_name_says_its_format(name: str, form: str) -> None:
    """By its ending, in any case."""
    assert form == form_of(name) == form_of(Path(name))


@pytest.mark.parametrize("name", ["a.xml", "a", ".json", "a.md.gz", ""])
def test_a_name_that_says_no_format_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    """The known endings are listed, and the report before it is not written either."""
    with pytest.raises(UsageError, match=r"end it in \.json, \.md, \.html, \.htm"):
        write_reports(REALISTIC, [tmp_path / "first.json", name])
    assert [] == list(tmp_path.iterdir())


def test_reports_are_written_to_their_files(tmp_path: Path) -> None:
    """An old one is replaced, and nothing is left beside them."""
    names = ("a.json", "b.md", "c.html", "d.htm")
    (tmp_path / "b.md").write_text("old", encoding="utf-8")
    write_reports(REALISTIC, [tmp_path / name for name in names])
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert "BROKEN" == json.loads((tmp_path / "a.json").read_bytes())["word"]
    assert gate_markdown(REALISTIC) == (tmp_path / "b.md").read_text(encoding="utf-8")
    assert (tmp_path / "c.html").read_bytes() == (tmp_path / "d.htm").read_bytes()


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    """Who asked for the file is told."""
    with pytest.raises(OSError, match="No such file"):
        write_reports(REALISTIC, [tmp_path / "none" / "a.json"])


def test_a_step_summary_is_appended(tmp_path: Path) -> None:
    """What other tools have written stays, and a second gate comes after the first."""
    file = tmp_path / "summary.md"
    file.write_text("before\n", encoding="utf-8")
    environ = {"GITHUB_STEP_SUMMARY": str(file)}
    assert ["", ""] == [append_step_summary(REALISTIC, environ), append_step_summary(gate(SLOW), environ)]
    expected = f"before\n{gate_markdown(REALISTIC)}\n{gate_markdown(gate(SLOW))}\n"
    assert expected == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("environ", [{}, {"GITHUB_STEP_SUMMARY": ""}])
def test_without_a_summary_file_nothing_is_written(environ: dict[str, str]) -> None:
    """Most machines have none."""
    assert "" == append_step_summary(REALISTIC, environ)


def test_a_summary_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """A gate's verdict is not lost by it."""
    said = append_step_summary(REALISTIC, {"GITHUB_STEP_SUMMARY": str(tmp_path / "none" / "a")})
    assert f"the step summary was not written: {tmp_path}/none/a: No such file or directory" == said
    assert "Is a directory" in append_step_summary(REALISTIC, {"GITHUB_STEP_SUMMARY": str(tmp_path)})


def test_a_summary_does_not_grow_beyond_what_is_shown(tmp_path: Path) -> None:
    """GitHub drops all of one that is larger than 1 MiB: then what others wrote is kept."""
    file = tmp_path / "summary.md"
    size = len(f"{gate_markdown(REALISTIC)}\n".encode())
    file.write_bytes(b"x" * (2**20 - size))
    environ = {"GITHUB_STEP_SUMMARY": str(file)}
    assert "" == append_step_summary(REALISTIC, environ)
    assert 2**20 == file.stat().st_size
    assert "would be larger than 1 MiB" in append_step_summary(REALISTIC, environ)
    assert 2**20 == file.stat().st_size


def test_properties_are_shares_by_metric() -> None:
    """Base units without a unit: a share is one; what there is none of is left out."""
    assert [
        ("latency.gate.total.word", "TOO SLOW"),
        ("latency.gate.total.slowdown", "0.1"),
        ("latency.gate.total.low", "0.1"),
        ("latency.gate.total.high", "0.1"),
        ("latency.gate.total.limit", "0.05"),
        ("latency.gate.total.pairs", "9"),
        ("latency.gate.total.fresh", "6"),
        ("latency.gate.peak_memory.word", "ok"),
        ("latency.gate.peak_memory.slowdown", "0"),
        ("latency.gate.peak_memory.low", "0"),
        ("latency.gate.peak_memory.high", "0"),
        ("latency.gate.peak_memory.limit", "0.02"),
        ("latency.gate.peak_memory.pairs", "6"),
    ] == properties([SLOW, FINE])
    assert [
        ("latency.gate.total.word", "UNDECIDED"),
        ("latency.gate.total.limit", "0.05"),
        ("latency.gate.total.pairs", "0"),
    ] == properties([answered("t::a")])
    assert [] == properties([])


def test_properties_of_several_calls_are_counted() -> None:
    """As those of budgets are."""
    names = [name for name, _ in properties([SLOW, msgspec.structs.replace(SLOW, name="warm")]) if "word" in name]
    assert ["latency.gate.1.total.word", "latency.gate.2.total.word"] == names
