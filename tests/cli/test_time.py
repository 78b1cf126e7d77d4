"""`llm-latency time`: with a workload of the test's own for what is decided, as a process for what is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_latency.cli import time as command_time
from llm_latency.cli.main import main
from llm_latency.core.measurement import Measurement, load
from llm_latency.errors import ObservationError, TargetError, UsageError
from llm_latency.workloads.target import Settings, Workload

Make = Callable[..., Measurement]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, measured: Make) -> dict[str, Any]:
    """Put a hand-made measurement in the place of loading and measuring; collects what was asked of either."""
    seen: dict[str, Any] = {"checks": 0}

    def check() -> None:
        seen["checks"] += 1

    def load_workload(target: str, *, settings: Settings) -> Workload:
        seen["target"], seen["settings"] = target, settings
        return Workload(name="workload", call=dict, facts={"fact": 1}, check=check)

    def measure(call: Callable[[], object], **options: Any) -> Measurement:
        seen["call"], seen["options"] = call, options
        return measured(name=options["name"], workload=options["workload"])

    monkeypatch.setattr(command_time, "load", load_workload)
    monkeypatch.setattr(command_time, "measure", measure)
    return seen


def test_without_options_the_defaults_of_each_room_hold(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line has no second set of them."""
    assert 0 == main(["time", "shape:x"])
    assert capsys.readouterr().out.startswith("workload")
    assert ("shape:x", Settings()) == (asked["target"], asked["settings"])
    options = {name: value for name, value in asked["options"].items() if name != "on_progress"}
    assert {
        "name": "workload",
        "repeat": None,
        "warmup": None,
        "budget": (),
        "time_budget": None,
        "precision": 0.03,
        "workload": {"fact": 1},
    } == options


def test_every_option_arrives(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Each in the unit in which its room takes it."""
    arguments = "--prompt-tokens 8 --new-tokens 4 --batch 2 --dtype bfloat16 --device cpu --attention eager --threads 1"
    calls = ["--repeat", "7", "--warmup", "0", "--time-budget", "2 min", "--name", "n", "--budget", "ttft < 1 s"]
    assert 0 == main(["time", "x", *arguments.split(), *calls, "--budget", "total max < 2 s"])
    assert asked["settings"] == Settings(
        prompt_tokens=8, new_tokens=4, batch=2, dtype="bfloat16", device="cpu", attention="eager", threads=1
    )
    options = asked["options"]
    assert ("n", 7, 0, 120.0) == tuple(options[name] for name in ("name", "repeat", "warmup", "time_budget"))
    assert ["ttft p50 < 1 s", "total max < 2 s"] == list(map(str, options["budget"]))


def test_the_workload_is_checked_once_and_behind_the_first_call(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A check before it would warm what is timed cold; where only one call is made, it comes behind that."""
    assert 0 == main(["time", "x"])
    assert 1 == asked["checks"]


def test_a_check_between_calls_is_not_repeated(
    asked: dict[str, Any], measured: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured for real: a first call, a warm-up, two counted calls."""
    monkeypatch.undo()
    checks: list[int] = []
    calls: list[int] = []

    def load_workload(target: str, *, settings: Settings) -> Workload:
        return Workload(name="w", call=lambda: calls.append(1), facts={}, check=lambda: checks.append(len(calls)))

    monkeypatch.setattr(command_time, "load", load_workload)
    assert 0 == main(["time", "x", "--repeat", "2", "--warmup", "1"])
    assert ([1], 4) == (checks, len(calls))


def test_a_failed_check_shows_no_numbers(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """NaN is fast and means nothing."""
    monkeypatch.undo()

    def check() -> None:
        raise TargetError("w produced NaN logits")

    def load_workload(target: str, *, settings: Settings) -> Workload:
        return Workload(name="w", call=dict, facts={}, check=check)

    monkeypatch.setattr(command_time, "load", load_workload)
    assert 2 == main(["time", "x", "--json", str(tmp_path / "x.json")])
    assert ("", "llm-latency: error: w produced NaN logits\n") == capsys.readouterr()
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--budget", "ttft < 250"],
        ["--budget", "nonsense"],
        ["--repeat", "0"],
        ["--threads", "0"],
        ["--json", "/nowhere/at/all.json"],
        ["--json", "-", "--html", "-"],
    ],
)
def test_misuse_ends_before_a_model_is_built(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """A minute of loading must not come before a typing mistake is reported."""
    assert 2 == main(["time", "shape:x", *arguments])
    assert "target" not in asked
    out, err = capsys.readouterr()
    assert "" == out
    assert (1, True) == (err.count("\n"), err.startswith("llm-latency: error: "))


def failing_with(error: BaseException, partial: Measurement | None) -> Callable[..., Measurement]:
    """A `measure` that stops with an error, and what was measured before."""

    def measure(*_: object, **__: object) -> Measurement:
        if partial is not None:
            error.llm_latency_measurement = partial  # type: ignore[attr-defined]  # as `measure` documents
        raise error

    return measure


def test_an_interrupt_before_the_first_call_has_nothing_to_show(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No table, no file, exit code 130."""
    monkeypatch.setattr(command_time, "measure", failing_with(KeyboardInterrupt(), None))
    assert 130 == main(["time", "x", "--json", str(tmp_path / "x.json")])
    expected = "llm-latency: interrupted during building x; nothing had been measured\n"
    assert ("", expected) == capsys.readouterr()
    assert [] == os.listdir(tmp_path)


def test_an_interrupt_keeps_what_was_measured(
    asked: dict[str, Any],
    measured: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Table and file, marked as partial."""
    partial = measured(complete=False, stopped_because="KeyboardInterrupt after 6 counted calls")
    monkeypatch.setattr(command_time, "measure", failing_with(KeyboardInterrupt(), partial))
    assert 130 == main(["time", "x", "--json", str(tmp_path / "x.json")])
    assert "PARTIAL: KeyboardInterrupt after 6 counted calls" in capsys.readouterr().out
    assert partial == load(tmp_path / "x.json")


def test_a_doubt_of_the_recorder_shows_what_came_before_it(
    asked: dict[str, Any], measured: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, no traceback, and the calls so far."""
    error = ObservationError("two watches are open")
    monkeypatch.setattr(command_time, "measure", failing_with(error, measured(complete=False)))
    assert 2 == main(["time", "x"])
    out, err = capsys.readouterr()
    assert "PARTIAL" in out
    assert "llm-latency: error: two watches are open\n" == err


def test_an_error_of_the_recorder_without_calls_is_one_line(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its control characters visible."""
    monkeypatch.setattr(command_time, "measure", failing_with(UsageError("no \x1b[31m good\nat all"), None))
    assert 2 == main(["time", "x"])
    assert ("", "llm-latency: error: no \\x1b[31m good\\nat all\n") == capsys.readouterr()


def test_a_file_that_cannot_be_written_at_the_end_is_exit_code_2(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The folder was there at the start; the table is out."""
    folder = tmp_path / "folder"
    folder.mkdir()
    measure = command_time.measure

    def measure_and_remove(call: Callable[[], object], **options: Any) -> Measurement:
        folder.rmdir()
        return measure(call, **options)

    monkeypatch.setattr(command_time, "measure", measure_and_remove)
    assert 2 == main(["time", "x", "--json", str(folder / "x.json")])
    out, err = capsys.readouterr()
    assert out.startswith("workload")
    assert f"llm-latency: error: --json: {folder}/x.json could not be written (No such file or directory)\n" == err


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--budget", "total < 1 h"], 0, "PASS"),
        (["--budget", "total < 1 us"], 1, "TOO SLOW"),
        (["--budget", "total < 1 us", "--budget", "ttft < 1 s", "--strict"], 1, "UNDECIDED"),
        (["--budget", "ttft < 1 s", "--strict"], 3, "UNDECIDED"),
        (["--budget", "ttft < 1 s"], 0, "UNDECIDED"),
    ],
)
def test_exit_codes_of_a_program(command: Run, program: Path, arguments: list[str], code: int, word: str) -> None:
    """A function that sleeps 2 ms and makes no tokens: an hour is enough, a microsecond is not, ttft is unknown."""
    run = command("time", f"{program}:work", "--repeat", "6", "--warmup", "0", *arguments)
    assert (code, "") == (run.returncode, run.stderr)
    assert word in run.stdout
    assert run.stdout.startswith("program.py:work · call\n")


def test_json_on_stdout_is_one_object_and_nothing_else(command: Run, program: Path) -> None:
    """What the program prints goes to stderr, with the table."""
    run = command("time", f"{program}:talk", "--repeat", "3", "--warmup", "0", "--json", "-")
    assert (0, 1) == (run.returncode, run.stdout.count("\n"))
    document = json.loads(run.stdout)
    assert (1, 3, True) == (document["schema"], len(document["traces"]), document["complete"])
    assert 3 == run.stderr.count("said by the program")
    assert "stopped: 3 calls, as asked" in run.stderr


@pytest.mark.slow
def test_json_of_a_model_holds_its_calls(command: Run) -> None:
    """A real model of a small shape: every call has its 4 tokens, and no library wrote to the terminal."""
    pytest.importorskip("transformers", reason="models need it: pip install -e '.[all,dev]'")
    tokens = ("--prompt-tokens", 8, "--new-tokens", 4)
    run = command("time", "shape:gpt2-tiny", *tokens, "--threads", 1, "--repeat", 2, "--json", "-", "--quiet")
    assert (0, "") == (run.returncode, run.stderr)
    document = json.loads(run.stdout)
    assert "shape:gpt2-tiny" == document["name"]
    assert (1, "gpt2") == (document["environment"]["threads"], document["workload"]["architecture"])
    requests = [request for trace in document["traces"] for request in trace["requests"]]
    assert [(8, [4], 4)] * 2 == [(r["prompt_tokens"], r["row_tokens"], len(r["emissions"])) for r in requests]


def test_an_exception_of_the_program_is_shown_with_its_own_lines(command: Run, program: Path, tmp_path: Path) -> None:
    """The fifth call raises: first, one warm-up, two counted calls came before; the file says it is partial."""
    run = command("time", f"{program}:fail", "--repeat", 7, "--warmup", 1, "--json", tmp_path / "x.json")
    assert 2 == run.returncode
    lines = run.stderr.splitlines()
    assert ["Traceback (most recent call last):", "in fail", "in inner"] == [
        lines[0],
        *(line.rpartition(", ")[2] for line in lines if line.startswith("  File ")),
    ]
    assert "llm-latency: error: call 3 of 7 raised ValueError: bad \\x1b[31m thing" == lines[-1]
    assert "PARTIAL: ValueError after 2 counted calls" in run.stdout
    partial = load(tmp_path / "x.json")
    assert (False, 2, 1) == (partial.complete, len(partial.traces), len(partial.warmup))


@pytest.mark.parametrize(
    ("name", "message"),
    [("later", "first call raised KeyError: 'k'"), ("leave", "first call raised SystemExit: done here")],
)
def test_a_program_that_ends_in_its_first_call(command: Run, program: Path, name: str, message: str) -> None:
    """A coroutine that raises, and sys.exit: neither passes for a result."""
    run = command("time", f"{program}:{name}")
    assert (2, "") == (run.returncode, run.stdout)
    assert f"llm-latency: error: {message}" == run.stderr.splitlines()[-1]
    assert "llm_latency" not in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends signals to a process")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_shows_and_writes_what_there_is(sent: signal.Signals, program: Path, tmp_path: Path) -> None:
    """Ctrl-C, or a job's time limit, after the fifth call of a run that would take minutes."""
    words = [sys.executable, "-Im", "llm_latency.cli", "time", f"{program}:count"]
    words += ["--repeat", "10000", "--warmup", "1", "--json", str(tmp_path / "x.json")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    calls = program.with_name("calls")
    deadline = time.monotonic() + 60
    while not (calls.exists() and len(calls.read_text()) > 5):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert 130 == process.returncode
    assert "PARTIAL: KeyboardInterrupt after" in out
    assert err.startswith("llm-latency: interrupted during call ")
    assert err.endswith(" of 10000; what was measured before is above\n")
    partial = load(tmp_path / "x.json")
    assert not partial.complete
    assert 3 <= len(partial.traces) < 10000
    assert {"calls", "program.py", "x.json"} == {name for name in os.listdir(tmp_path) if name != "__pycache__"}


def test_names_from_outside_cannot_act(command: Run, program: Path, tmp_path: Path) -> None:
    """Neither on the terminal nor in the page."""
    name = "<script>alert('x')</script>\x1b[31m\" \n"
    html, markdown = tmp_path / "x.html", tmp_path / "x.md"
    outputs = ("--html", html, "--markdown", markdown)
    run = command("time", f"{program}:work", "--repeat", 1, "--warmup", 0, "--name", name, *outputs)
    assert 0 == run.returncode
    assert "\x1b" not in run.stdout
    assert run.stdout.startswith("<script>alert('x')</script>\\x1b[31m\" \\n · call\n")
    assert "<script" not in html.read_text(encoding="utf-8")
    assert "<script" not in markdown.read_text(encoding="utf-8").replace("\\<script", "")


def test_a_missing_target_is_one_line(command: Run, tmp_path: Path) -> None:
    """With what was expected."""
    run = command("time", tmp_path / "\x1b[31mmissing.py:f")
    assert (2, "") == (run.returncode, run.stdout)
    assert (1, False) == (run.stderr.count("\n"), "\x1b" in run.stderr)
    assert "expected file.py:callable" in run.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stdout_is_exit_code_2(program: Path) -> None:
    """One line, where Python would print `Exception ignored` and exit with 120."""
    words = [sys.executable, "-Im", "llm_latency.cli", "time", f"{program}:work", "--repeat", "1", "--warmup", "0"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        run = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (2, "llm-latency: error: the table could not be printed (No space left on device)\n") == (
        run.returncode,
        run.stderr,
    )


def test_a_terminal_that_knows_no_unicode_gets_escapes(program: Path) -> None:
    """`·` would raise UnicodeEncodeError there."""
    # Without -I, which would leave PYTHONIOENCODING unread.
    words = [sys.executable, "-m", "llm_latency.cli", "time", str(program) + ":work", "--repeat", "1", "--warmup", "0"]
    variables = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = subprocess.run(words, cwd=program.parent, env=variables, capture_output=True, text=True, check=False)
    assert (0, "") == (run.returncode, run.stderr)
    assert run.stdout.startswith("program.py:work \\xb7 call\n")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("options", "shown"), [((), True), (("--quiet",), False)])
def test_progress_is_seen_on_a_terminal_and_leaves_no_trace(
    program: Path, options: tuple[str, ...], shown: bool
) -> None:
    """stderr is a terminal, stdout a pipe: the stages pass by on one line, which is blank at the end."""
    import pty

    parent, child = pty.openpty()
    words = [sys.executable, "-Im", "llm_latency.cli", "time", f"{program}:work", *options]
    words += ["--repeat", "2", "--warmup", "1"]
    variables: Mapping[str, str] = os.environ | {"COLUMNS": "100"}
    run = subprocess.run(words, stdout=subprocess.PIPE, stderr=child, env=variables, text=True, check=True)
    os.close(child)
    seen = b""
    try:
        while chunk := os.read(parent, 4096):
            seen += chunk
    except OSError:  # Linux: the other end is closed
        pass
    os.close(parent)
    assert run.stdout.startswith("program.py:work · call\n")
    if not shown:
        assert b"" == seen
        return
    stages = [part.strip() for part in seen.decode("utf-8").split("\r")]
    assert [f"building {program}:work …", "first call"] == stages[1:3]
    assert stages[3].startswith("warm-up 1 of 1 · ")
    assert stages[4].startswith("call 1 of 2 · ")
    assert ["", ""] == stages[-2:]
