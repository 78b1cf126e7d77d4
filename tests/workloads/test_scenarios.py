"""Scenarios: those that come with the package, one's own, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_latency.core.budget import parse_budget
from llm_latency.errors import TargetError, UsageError
from llm_latency.workloads.scenarios import OBJECTIVES, find_scenario, scenarios


@pytest.mark.parametrize("name", ["voice-assistant", "chat", "document-generation", "offline"])
def test_each_has_inputs_an_objective_and_limits_that_can_be_read(name: str) -> None:
    """The four that the documents name."""
    found = find_scenario(name)
    assert name in scenarios()
    assert found.objective in OBJECTIVES
    assert found.prompt_tokens == tuple(sorted(found.prompt_tokens))
    assert found.is_rate == (found.objective == "output_throughput")
    for limit in found.limits:
        parse_budget(limit)


def test_an_unknown_one_lists_the_known() -> None:
    """And the nearest."""
    with pytest.raises(UsageError, match=r"Did you mean 'chat'.*Known: voice-assistant, chat"):
        find_scenario("chatt")


OWN = """[mine]
objective = "ttft"
prompt_tokens = [10, 20]
new_tokens = 5
"""


def test_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    """By its name, which may be left out where there is one only."""
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    found = find_scenario(f"{file}:mine")
    assert found == find_scenario(str(file))
    assert ("mine", (10, 20), 5, (1,), 1000) == (
        found.name,
        found.prompt_tokens,
        found.new_tokens,
        found.batch,
        found.calls,
    )
    file.write_text(OWN + OWN.replace("mine", "other"))
    with pytest.raises(TargetError, match="has no scenario None; it has: mine, other"):
        find_scenario(str(file))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ttft", "beauty"), "objective 'beauty'; known: e2e"),
        (("[10, 20]", "[]"), "prompt_tokens is"),
        (("[10, 20]", "[0]"), "prompt_tokens is"),
        (("new_tokens = 5", "new_tokens = 0"), "new_tokens is"),
        (("new_tokens = 5", ""), "missing required field `new_tokens`"),
        (("new_tokens = 5", 'new_tokens = 5\nlimits = ["ttft < 5"]'), "budget 'ttft < 5'"),
        (("[10, 20]", "[10, 20"), "is no TOML"),
    ],
)
def test_what_is_no_scenario_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    """With the field."""
    file = tmp_path / "own.toml"
    file.write_text(OWN.replace(*change))
    with pytest.raises((TargetError, UsageError), match=words):
        find_scenario(str(file))


def test_a_missing_file_is_named() -> None:
    """As any file is."""
    with pytest.raises(TargetError, match="cannot be read"):
        find_scenario("nowhere.toml:mine")
