"""What the magic works with: variables, settings, and where results are put."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_latency.notebook.desk import Desk
from llm_latency.notebook.options import parse_options
from llm_latency.notebook.result import sentence
from tests.notebook.results import result


def test_a_desk_begins_empty(shell: Any) -> None:
    """Each shell has its own session."""
    one, other = Desk(shell.ip), Desk(shell.ip)
    one.session.add(result(), source="", inputs=0)
    assert (1, 0) == (len(one.session.entries), len(other.session.entries))


def test_a_variable_is_stored_or_taken_away(shell: Any) -> None:
    """An older measurement would pass for one that there is not; without -v no name is touched."""
    desk, options = Desk(shell.ip), parse_options("-v m")
    desk.store(options, None)
    assert "m" not in shell.names
    measurement = result()
    desk.store(options, measurement)
    assert measurement is shell.names["m"]
    desk.store(parse_options(""), None)
    assert measurement is shell.names["m"]
    desk.store(options, None)
    assert "m" not in shell.names


@pytest.mark.parametrize(("line", "shown"), [("", 1), ("-q", 0), ("-o", 0), ("-q -o", 0)])
def test_what_is_found_is_shown_unless_it_is_silenced_or_returned(shell: Any, line: str, shown: int) -> None:
    """Below the cell."""
    Desk(shell.ip).show(sentence("found"), parse_options(line))
    assert ["found"] * shown == shell.tables


@pytest.mark.parametrize(("setting", "expected"), [(".llm-latency", Path(".llm-latency")), ("~/b", Path.home() / "b")])
def test_baselines_lie_where_the_setting_says(shell: Any, setting: str, expected: Path) -> None:
    """A home is found."""
    desk = Desk(shell.ip)
    desk.settings.baselines = setting
    assert expected == desk.baselines


def test_inputs_are_as_ipython_transformed_them(shell: Any) -> None:
    """The running one last; there is always one before the first."""
    shell.run("x = !echo 1")
    assert ["", "x = get_ipython().getoutput('echo 1')"] == [text.strip() for text in Desk(shell.ip).inputs]
