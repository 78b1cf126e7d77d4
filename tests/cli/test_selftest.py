"""`llm-latency selftest`: with a result of the test's own for what is decided, as a process for what is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_latency.cli import selftest as command_selftest
from llm_latency.cli.main import main
from llm_latency.errors import TargetError
from llm_latency.gate.selftest.soundness import FAILS, UNKNOWN, WORKS, Kind, Plan, Soundness
from llm_latency.gate.selftest.trial import Standing

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def found(**fields: Any) -> Soundness:
    """What a short self-test might find."""
    nothing: dict[str, Any] = {
        "seen": None,
        "low": None,
        "high": None,
        "spread": None,
        "resampled": None,
        "gate_pairs": (),
    }
    kinds = tuple(
        Kind(name=name, share=share, amount=0, gates={word: 1}, ratios=(), **nothing)
        for name, share, word in (("unchanged", 0.0, "ok"), ("+10 %", 0.1, "TOO SLOW"))
    )
    given: dict[str, Any] = {
        "outcome": WORKS,
        "reasons": (),
        "limit": 0.05,
        "kinds": kinds,
        "pairs": 12,
        "seconds": 60.0,
    }
    unknown = ("pair_s", "call_s", "wall_spread", "supported", "visible")
    return Soundness(**given | dict.fromkeys(unknown) | {"stopped_because": "the end"} | fields)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a hand-made result in the place of the self-test; collects what was asked."""
    seen: dict[str, Any] = {"found": found()}

    def selftest(plan: Plan, **told: Any) -> Soundness:
        seen.update(plan=plan, told=told)
        if isinstance(seen["found"], BaseException):
            raise seen["found"]
        return seen["found"]

    monkeypatch.setattr(command_selftest, "selftest", selftest)
    monkeypatch.setattr(command_selftest, "has_models", lambda: True)
    return seen


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ("", Plan(limit=0.05, time_budget_s=240.0)),
        ("--quick", Plan(limit=0.05, time_budget_s=90.0, is_quick=True)),
        ("--max-slowdown 10% --time-budget 90", Plan(limit=0.1, time_budget_s=90.0)),
        ("--quick --time-budget 2min", Plan(limit=0.05, time_budget_s=120.0, is_quick=True)),
    ],
)
def test_options_arrive(asked: dict[str, Any], words: str, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in the unit in which it is taken."""
    assert 0 == main(["selftest", *words.split()])
    assert plan == asked["plan"]
    out, err = capsys.readouterr()
    assert out.startswith("self-test of the gate · max slowdown 5 %")
    assert "" == err


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 0),
        ({"outcome": FAILS, "reasons": ("r",)}, 1),
        ({"outcome": UNKNOWN, "reasons": ("r",)}, 3),
        ({"complete": False}, 130),
        ({"complete": False, "outcome": FAILS}, 130),
    ],
)
def test_the_exit_code_is_what_was_found(
    asked: dict[str, Any], fields: dict[str, Any], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found before an interrupt is printed all the same."""
    asked["found"] = found(**fields)
    assert code == main(["selftest"])
    assert capsys.readouterr().out.startswith("self-test")


def test_json_on_stdout_is_alone_and_has_everything(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The text goes to stderr."""
    assert 0 == main(["selftest", "--json"])
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (1, "works", ["unchanged", "+10 %"]) == (
        document["schema"],
        document["outcome"],
        [kind["name"] for kind in document["kinds"]],
    )
    assert {"ratios", "gates", "resampled", "share", "amount"} <= set(document["kinds"][0])
    assert document["not_seen"]
    assert err.startswith("self-test of the gate")


def test_progress_is_shown_on_a_terminal_only(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Here there is none; what is told meanwhile is harmless."""
    assert 0 == main(["selftest"])
    asked["told"]["on_stage"]("starting")
    asked["told"]["on_progress"](Standing(pair=1, test="t", seconds=1.0, time_budget_s=2.0))
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-slowdown", "5"], "'5' was given; expected a share from 0.5% to 100%, such as 5%"),
        (["--time-budget", "soon"], "'soon'"),
        (["--quik"], "there is no option --quik; did you mean --quick"),
        (["more"], "'more' was not expected"),
        (["--json", "/nowhere/x.json"], "--json /nowhere/x.json cannot be written"),
    ],
)
def test_misuse_is_one_line_and_nothing_is_run(
    asked: dict[str, Any], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    assert 2 == main(["selftest", *words])
    out, err = capsys.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert message in err
    assert "plan" not in asked


def test_without_torch_it_says_what_to_install(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    monkeypatch.setattr(command_selftest, "has_models", lambda: False)
    assert 2 == main(["selftest"])
    assert "pip install '.[torch]'" in capsys.readouterr().err
    assert "plan" not in asked


def test_what_cannot_run_is_a_line(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback of ours."""
    asked["found"] = TargetError("the base could not run its tests: odd")
    assert 2 == main(["selftest"])
    assert ("", "llm-latency: error: the base could not run its tests: odd\n") == capsys.readouterr()


@pytest.mark.slow
def test_a_short_run_for_real(command: Run, tmp_path: Path) -> None:
    """Whatever the machine: a table, a JSON with the ratios of every pair, an exit code that is documented."""
    pytest.importorskip("transformers")
    run = command("selftest", "--quick", "--time-budget", "20s", "--json", tmp_path / "x.json")
    assert run.returncode in (0, 1, 3), run.stderr
    assert "" == run.stderr
    assert run.stdout.startswith("self-test of the gate · max slowdown 5 %")
    document = json.loads((tmp_path / "x.json").read_bytes())
    assert document["pairs"] >= 1
    for kind in document["kinds"]:
        assert document["pairs"] == len(kind["ratios"])
        assert {"own", "wall", "base", "head"} <= set(kind["ratios"][0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_an_interrupt_leaves_neither_processes_nor_folders(tmp_path: Path) -> None:
    """Ctrl-C while pairs run: what there was is printed, and nothing stays behind."""
    pytest.importorskip("transformers")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    words = [sys.executable, "-X", "utf8", "-Im", "llm_latency.cli", "selftest", "--quick"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("*/head-*.log")) and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (130, "") == (process.returncode, err)
    assert "Interrupted: this is what there was." in out
    assert [] == list(tmp_path.glob("llm-latency-*"))
    assert [] == [name for name in _environments() if f"TMPDIR={tmp_path}" in name]


def _environments() -> list[str]:
    """The environment of each process that may be seen."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append(file.read_text(errors="replace"))
        except OSError:
            continue
    return found
