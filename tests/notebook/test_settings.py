"""Defaults that %config and ipython_config.py set."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from llm_latency.notebook.extension import load_into, unload_from
from llm_latency.notebook.options import Defaults, parse_options
from llm_latency.notebook.settings import LLMTime


def test_without_settings_the_defaults_are_those_of_the_options() -> None:
    """A bare cell runs once, shown as fits the place."""
    assert Defaults() == LLMTime().defaults()
    assert (".llm-latency", 0.5) == (LLMTime().baselines, LLMTime().headroom)


def test_settings_become_defaults_of_the_options() -> None:
    """As they are when a cell is run."""
    settings = LLMTime(live="text", repeat=5, warmup=2, time_budget=3.0, budgets=["ttft < 1 s"], strict=True)
    expected = Defaults(live="text", repeat=5, warmup=2, time_budget=3.0, budgets=("ttft < 1 s",), strict=True)
    assert expected == settings.defaults()
    settings.repeat = None
    settings.budgets = "total < 2 s"  # one of them needs no list
    assert (None, ("total < 2 s",)) == (settings.defaults().repeat, settings.defaults().budgets)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("live", "frob"),
        ("live", None),
        ("repeat", 0),
        ("repeat", "5"),
        ("repeat", 1.5),
        ("warmup", -1),
        ("time_budget", "1 s"),
        ("budgets", [1]),
        ("budgets", 1),
        ("strict", "yes"),
        ("baselines", 3),
        ("headroom", -0.1),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(name: str, value: object) -> None:
    """When it is set, and it stays what it was."""
    settings = LLMTime()
    before = getattr(settings, name)
    with pytest.raises(TraitError, match=name):
        setattr(settings, name, value)
    assert before == getattr(settings, name)


def test_every_setting_says_what_it_is() -> None:
    """`%config LLMTime` shows it."""
    for name, trait in LLMTime.class_own_traits(config=True).items():
        assert trait.help.endswith("."), name


def test_config_sets_what_the_next_cell_does(shell: Any) -> None:
    """Its own options come first; taken back, it runs once again."""
    shell.run("n = 0")
    shell.run("%config LLMTime.repeat = 2")
    shell.run("%config LLMTime.warmup = 0")
    assert 2 == shell.value("%%llmtime\nn += 1\nn")
    assert 3 == shell.value("%%llmtime -r 1 -w 0\nn += 1\nn")
    shell.run("%config LLMTime.repeat = None")
    assert 4 == shell.value("%%llmtime\nn += 1\nn")


def test_a_wrong_config_is_said_and_changes_nothing(shell: Any, caplog: pytest.LogCaptureFixture) -> None:
    """IPython logs what a setting refuses."""
    with caplog.at_level(logging.ERROR):
        shell.run("%config LLMTime.live = 'frob'")
        shell.run("%config LLMTime.repeat = 0")
    assert 2 == len(caplog.records)
    settings = shell.ip.find_line_magic("llmtime").__self__.desk.settings
    assert ("auto", None) == (settings.live, settings.repeat)


def test_a_setting_that_only_the_options_can_judge_is_refused_there(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget that cannot be read, before the cell runs."""
    shell.run("%config LLMTime.budgets = ['frob < 1 s']")
    capsys.readouterr()
    assert not shell.run("%%llmtime\nx = 1").success
    assert capsys.readouterr().err.startswith("UsageError: budget 'frob < 1 s'")
    assert ("x" in shell.names, shell.outputs) == (False, [])


def test_config_shows_the_settings(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With their help and their values."""
    shell.run("%config LLMTime")
    shown = capsys.readouterr().out
    for name in LLMTime.class_own_traits(config=True):
        assert f"LLMTime.{name}=" in shown


def test_a_configuration_file_is_heard(shell: Any) -> None:
    """`c.LLMTime.live = "off"` in ipython_config.py, which is there before the extension is loaded."""
    unload_from(shell.ip)
    shell.ip.config = Config({"LLMTime": {"live": "off", "budgets": ["total max < 1 h"]}})
    load_into(shell.ip)
    shell.run("%%llmtime -v m\n1;")
    assert ["pass"] == [verdict.outcome for verdict in shell.names["m"].verdicts]
    assert "off" == shell.ip.find_line_magic("llmtime").__self__.desk.settings.live


def test_unloading_takes_the_settings_away(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`%config` does not list them any more; loading twice leaves one of them."""
    load_into(shell.ip)
    load_into(shell.ip)
    assert 1 == sum(isinstance(one, LLMTime) for one in shell.ip.configurables)
    shell.run("%config")
    assert "LLMTime" in capsys.readouterr().out
    unload_from(shell.ip)
    assert 0 == sum(isinstance(one, LLMTime) for one in shell.ip.configurables)
    shell.run("%config")
    assert "LLMTime" not in capsys.readouterr().out


def test_the_options_take_every_default() -> None:
    """None is forgotten between the two."""
    names = {"live", "repeat", "warmup", "time_budget", "budgets", "strict"}
    assert names == set(Defaults.__struct_fields__) == names & set(LLMTime.class_own_traits(config=True))
    options = parse_options("", LLMTime(live="off", strict=True, repeat=3).defaults())
    assert ("off", True, 3) == (options.live, options.strict, options.plan.repeat)
