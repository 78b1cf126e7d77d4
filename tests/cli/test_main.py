"""The console script."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

import pytest

from llm_latency.cli import env
from llm_latency.cli.main import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, returned and not raised."""
    assert 0 == main(["--version"])
    assert f"llm-latency {metadata.version('llm-latency')}\n" == capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["time", "--help"], ["env", "--help"], ["extract", "--help"]])
def test_every_command_in_a_help_text_exists(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """An example is the first thing that is tried."""
    assert 0 == main(arguments)
    text = capsys.readouterr().out
    examples = re.findall(r"^  llm-latency (\S+)", text, flags=re.MULTILINE)
    assert examples
    for name in set(examples):
        assert 0 == main([name, "--help"])


def test_options_in_the_examples_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """So do they."""
    main(["time", "--help"])
    usage, _, examples = capsys.readouterr().out.partition("examples:")
    options = set(re.findall(r"--[a-z-]+", examples))
    assert {"--budget", "--json"} <= options <= set(re.findall(r"--[a-z-]+", usage))


def test_misuse_is_returned_as_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A caller in the same process is not ended."""
    assert 2 == main([])
    assert 2 == main(["tmie"])
    assert 2 == capsys.readouterr().err.count("\n")


def test_an_interrupt_outside_any_call_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback."""

    def interrupt(device: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(env, "read_environment", interrupt)
    monkeypatch.setattr(env, "LIBRARIES", ())
    assert 130 == main(["env"])
    assert ("", "llm-latency: interrupted\n") == capsys.readouterr()


def test_help_loads_no_model_library() -> None:
    """A help text that takes seconds is not asked for twice."""
    heavy = ("torch", "transformers", "numpy", "rich", "IPython", "pytest", "ipywidgets")
    code = (
        "import sys; from llm_latency.cli.main import main; main(['time', '--help']);"
        f"sys.exit(','.join(name for name in {heavy!r} if name in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=False)
    assert "" == run.stderr.strip()


def test_the_module_runs_like_the_script(command: Run) -> None:
    """`python -m llm_latency.cli`."""
    run = command("--version")
    assert (0, f"llm-latency {metadata.version('llm-latency')}\n") == (run.returncode, run.stdout)
