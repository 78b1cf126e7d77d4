"""`llm-latency doctor`: with findings of the test's own for what is decided, as a process for what is seen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_latency.cli import doctor as command_doctor
from llm_latency.cli.main import main
from llm_latency.gate.doctor.doctor import FINE, UNFIT, UNTOLD, Checkup
from llm_latency.gate.doctor.finding import NOISY, OK, Finding

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def found(**fields: Any) -> Checkup:
    """A checkup without a probe."""
    findings = (
        Finding(topic="cores", word=OK, seen="2", facts={"cores": 2}),
        Finding(topic="heat", word=NOISY, seen="hot", remedy="cool it"),
    )
    given: dict[str, Any] = {"outcome": FINE, "reasons": (), "max_slowdown": 0.05, "findings": findings, "seconds": 9.0}
    return Checkup(**given | dict.fromkeys(("steadiness", "probe", "supported")) | fields)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a hand-made checkup in the place of the doctor's; collects what was asked."""
    seen: dict[str, Any] = {"found": found()}

    def checkup(**options: Any) -> Checkup:
        seen["options"] = options
        return seen["found"]

    monkeypatch.setattr(command_doctor, "checkup", checkup)
    return seen


@pytest.mark.parametrize(
    ("words", "limit", "seconds"),
    [("", 0.05, 20.0), ("--max-slowdown 3% --time-budget 30s", 0.03, 30.0), ("--time-budget 5", 0.05, 5.0)],
)
def test_options_arrive(
    asked: dict[str, Any], words: str, limit: float, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in the unit in which it is taken."""
    assert 0 == main(["doctor", *words.split()])
    options = asked["options"]
    assert (limit, seconds) == (options["max_slowdown"], options["time_budget_s"])
    out, err = capsys.readouterr()
    assert (True, "") == (out.startswith("doctor · max slowdown 5 %"), err)


def test_it_looks_where_it_is_called(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In that folder, with the environment of the call, before libraries are kept quiet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    assert 0 == main(["doctor"])
    assert tmp_path == asked["options"]["folder"]
    assert "TRANSFORMERS_VERBOSITY" not in asked["options"]["environ"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 0),
        ({"outcome": UNFIT, "reasons": ("r",)}, 1),
        ({"outcome": UNTOLD, "reasons": ("r",)}, 3),
        ({"complete": False}, 130),
    ],
)
def test_the_exit_code_is_what_was_found(
    asked: dict[str, Any], fields: dict[str, Any], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found before an interrupt is printed all the same."""
    asked["found"] = found(**fields)
    assert code == main(["doctor"])
    assert "noisy  heat" in capsys.readouterr().out


def test_json_has_each_finding_with_its_numbers(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file beside the text."""
    assert 0 == main(["doctor", "--json", str(tmp_path / "x.json")])
    document = json.loads((tmp_path / "x.json").read_bytes())
    first = {"topic": "cores", "word": "ok", "seen": "2", "remedy": "", "facts": {"cores": 2}}
    assert (1, "fine", first) == (document["schema"], document["outcome"], document["findings"][0])
    assert capsys.readouterr().out.startswith("doctor")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--time-budget", "31s"], "'31s' was given; expected at most 30s"),
        (["--max-slowdown", "0%"], "expected a share"),
        (["--fix"], "there is no option --fix"),
    ],
)
def test_misuse_is_one_line_and_nothing_is_looked_at(
    asked: dict[str, Any], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    assert 2 == main(["doctor", *words])
    out, err = capsys.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert message in err
    assert "options" not in asked


@pytest.mark.slow
def test_a_real_look_at_this_machine(command: Run) -> None:
    """Whatever it finds: JSON alone on stdout, the table on stderr, an exit code that is documented."""
    run = command("doctor", "--time-budget", "6s", "--json")
    assert run.returncode in (0, 1, 3), run.stderr
    document = json.loads(run.stdout)
    assert {"ok", "risk", "noisy", "missing", "unknown"} >= {finding["word"] for finding in document["findings"]}
    assert run.stderr.startswith("doctor · max slowdown 5 %")
