"""Loading into a shell and leaving it without a trace."""

from __future__ import annotations

from typing import Any

import llm_latency
from llm_latency.core.measurement import Measurement
from llm_latency.notebook.extension import load_into, unload_from


def traces(ip: Any) -> tuple[object, ...]:
    """Everything of a shell that the extension touches."""
    return (
        list(ip.input_transformer_manager.line_transforms),
        list(ip.ast_transformers),
        sorted(ip.magics_manager.magics["line"]),
        sorted(ip.magics_manager.magics["cell"]),
        dict(ip.display_formatter.mimebundle_formatter.type_printers),
        [type(one).__name__ for one in ip.configurables],
        sorted(name for name in ip.user_ns if not name.startswith(("_i", "_o", "In", "Out"))),
    )


def test_unloading_leaves_no_trace(shell: Any) -> None:
    """After load, use and unload the shell is as it was."""
    unload_from(shell.ip)
    before = traces(shell.ip)
    load_into(shell.ip)
    assert before != traces(shell.ip)
    shell.run("%%llmtime -r 2\n1;")
    unload_from(shell.ip)
    assert before == traces(shell.ip)


def test_loading_twice_is_loading_once(shell: Any) -> None:
    """As with %reload_ext; and unloading what is not loaded does nothing."""
    before = traces(shell.ip)
    load_into(shell.ip)
    assert [len(part) for part in before] == [len(part) for part in traces(shell.ip)]
    unload_from(shell.ip)
    gone = traces(shell.ip)
    unload_from(shell.ip)
    assert gone == traces(shell.ip)


def test_ipythons_own_commands_load_and_unload(shell: Any) -> None:
    """`%load_ext llm_latency` and `%unload_ext llm_latency` are the way in and out."""
    unload_from(shell.ip)
    assert "llm_latency" == llm_latency.__name__
    shell.run("%load_ext llm_latency")
    assert 2 == shell.value("%%llmtime\n1 + 1")
    shell.run("%unload_ext llm_latency")
    assert not shell.run("%%llmtime\n1 + 1").success
    assert 1 == len(shell.outputs)


def test_a_cell_may_unload_the_extension_in_its_middle(shell: Any) -> None:
    """The cell ends as it would have: its value, its table, no name left."""
    shell.run("%load_ext llm_latency")
    assert 5 == shell.value("%%llmtime\n%unload_ext llm_latency\n5")
    assert 1 == len(shell.tables)
    assert [] == shell.hidden
    assert not shell.run("%%llmtime\n1").success


def test_a_magic_of_the_users_own_is_left_alone(shell: Any) -> None:
    """Who defines another %llmtime keeps it."""
    shell.ip.register_magic_function(lambda line: "mine", magic_name="llmtime")
    unload_from(shell.ip)
    assert "mine" == shell.value("%llmtime")


def test_a_measurement_shows_itself_as_its_table(shell: Any) -> None:
    """With the extension loaded, a variable that holds a measurement reads well at the end of a cell."""
    shell.run("%%llmtime -q -v m\n1")
    data, metadata = shell.ip.display_formatter.format(shell.names["m"])
    assert {"text/plain", "text/html"} == set(data)
    assert "one call" in data["text/plain"]
    assert {"llm_latency"} == set(metadata)
    assert isinstance(shell.names["m"], Measurement)
