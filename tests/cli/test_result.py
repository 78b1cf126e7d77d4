"""A measurement handed over: table, files, exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_latency.cli.output import Output
from llm_latency.cli.result import exit_code, present, print_safely
from llm_latency.core.measurement import Measurement, to_json
from llm_latency.core.verdict import Verdict
from llm_latency.report.html import page
from llm_latency.report.markdown import markdown
from llm_latency.report.text import table

Make = Callable[..., Measurement]


def verdicts(*outcomes: str) -> tuple[Verdict, ...]:
    """Verdicts with these outcomes."""
    return tuple(Verdict(budget="b", outcome=o, metric="total", observed=1.0, limit=1.0) for o in outcomes)


@pytest.mark.parametrize(
    ("outcomes", "strict", "expected"),
    [
        ((), True, 0),
        (("pass",), True, 0),
        (("pass", "undecided"), False, 0),
        (("pass", "undecided"), True, 3),
        (("undecided", "fail"), True, 1),
        (("fail", "pass"), False, 1),
    ],
)
def test_a_failed_budget_wins_over_an_undecided_one(
    measured: Make, outcomes: tuple[str, ...], strict: bool, expected: int
) -> None:
    """And undecided counts under --strict only."""
    assert expected == exit_code(measured(verdicts=verdicts(*outcomes)), strict=strict)


def test_the_table_is_printed_and_every_file_written(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in its format."""
    options = {"--json": "a.json", "--markdown": "a.md", "--html": "a.html"}
    outputs = tuple(Output(option, str(tmp_path / name)) for option, name in options.items())
    assert present(measured(), outputs, stdout=sys.stdout, quiet=False)
    assert (f"{table(measured())}\n", "") == capsys.readouterr()
    assert to_json(measured()) + b"\n" == (tmp_path / "a.json").read_bytes()
    assert markdown(measured()) == (tmp_path / "a.md").read_text(encoding="utf-8")
    assert page(measured()) == (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_result_on_stdout_has_it_to_itself(measured: Make, capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    """The table goes to stderr, or away."""
    assert present(measured(), (Output("--json", "-"),), stdout=sys.stdout, quiet=quiet)
    out, err = capsys.readouterr()
    assert "chat" == json.loads(out)["name"]
    assert ("" if quiet else f"{table(measured())}\n") == err


def test_a_full_disk_is_reported_and_the_other_files_written(
    measured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is out before, so nothing is lost; no half file stays."""
    real = os.fsync

    def full_once(number: int) -> None:
        monkeypatch.setattr(os, "fsync", real)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_once)
    outputs = (Output("--json", str(tmp_path / "a.json")), Output("--html", str(tmp_path / "a.html")))
    assert not present(measured(), outputs, stdout=sys.stdout, quiet=False)
    out, err = capsys.readouterr()
    assert f"{table(measured())}\n" == out
    assert f"llm-latency: error: --json: {tmp_path}/a.json could not be written (No space left on device)\n" == err
    assert ["a.html"] == os.listdir(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_stdout_that_takes_nothing_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """And does not fail a second time when it is closed."""
    with open("/dev/full", "w", encoding="utf-8") as stream:
        assert not print_safely("text", stream)
    assert "llm-latency: error: the table could not be printed (No space left on device)\n" == capsys.readouterr().err


def test_a_reader_that_has_left_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """`llm-latency time ... | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        assert print_safely("text", stream)
    assert "" == capsys.readouterr().err
