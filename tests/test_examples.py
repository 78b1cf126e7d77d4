"""The example project: its README's commands fit its files, and its tests are what the gate takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parents[1] / "examples" / "gated_project"
ACTION = EXAMPLE.parents[1] / "action.yml"


def commands() -> list[list[str]]:
    """The words of each line in the README's shell blocks."""
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_the_change_that_the_readme_makes_is_one() -> None:
    """Its sed finds what it looks for, once, and what comes out is Python."""
    sed = next(words for words in commands() if words[0] == "sed")
    before, after = sed[2].removeprefix("s/").removesuffix("/").split("/")
    source = (EXAMPLE / sed[3]).read_text(encoding="utf-8")
    assert 1 == source.count(before)
    compile(source.replace(before, after), sed[3], "exec")


def test_every_gate_in_the_readme_is_the_command_line_s() -> None:
    """Options that exist, and the base that the steps before have committed."""
    from llm_latency.cli.main import make_parser

    gates = [words for words in commands() if words[0] == "llm-latency"]
    assert 2 == len(gates)
    for words in gates:
        assert "HEAD" == make_parser().parse_args(words[1:]).base


def test_its_tests_can_be_collected(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ask for the fixture and carry limits that can be read."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "llm_latency", "--collect-only", "-q", f"--rootdir={EXAMPLE}", EXAMPLE)
    result.stdout.fnmatch_lines(["*test_first_token", "*test_whole_answer", "2 tests collected*"])


def test_the_action_hands_values_over_as_variables_only() -> None:
    """A branch may be called anything: no expression of the event stands in a script."""
    text = ACTION.read_text(encoding="utf-8")
    scripts = re.findall(r"^ +run: (\|\n(?: {8}.*\n?)+|.*)$", text, re.MULTILINE)
    assert 2 == len(scripts)
    assert not any("${{" in script for script in scripts)
    assert set(re.findall(r"\$\{{2} inputs\.([\w-]+) \}\}", text)) == set(
        re.findall(r"^  ([\w-]+):\n    desc", text, re.M)
    )
