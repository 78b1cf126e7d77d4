"""The magic in a shell of this process: its forms, its options, its errors; models are in test_kernel."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement, from_json, to_json


def usage_error(shell: Any, capsys: pytest.CaptureFixture[str], cell: str) -> str:
    """Run a cell that is used wrongly; return the one line that is shown."""
    capsys.readouterr()
    assert not shell.run(cell).success
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    (line,) = shown.err.splitlines()
    return line


def test_a_cell_runs_exactly_once(shell: Any) -> None:
    """A cell that appends to a chat appends once."""
    shell.run("history = []")
    assert 1 == shell.value("%%llmtime\nhistory.append('hello')\nlen(history)")
    assert "one call has no interval" in shell.tables[0]


def test_repeating_runs_the_cell_again_in_the_users_namespace(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run sees the names that the last one left; what it prints stays, its value is shown once."""
    shell.run("n = 0")
    assert 6 == shell.value("%%llmtime -r 3 -w 2\nn += 1\nprint('run', n)\nn")
    out = capsys.readouterr().out
    assert [f"run {n}" for n in range(1, 7)] == [line for line in out.splitlines() if line.startswith("run")]
    assert 1 == out.count("Out[")
    assert "3 counted after 2 warm-up calls" in shell.tables[0]


def test_without_warmup_only_the_counted_calls_run(shell: Any) -> None:
    """`-w 0 -r 3` are three runs, the first of them counted."""
    shell.run("n = 0")
    assert 3 == shell.value("%%llmtime -r 3 -w 0\nn += 1\nn")


def test_a_time_budget_alone_repeats_until_it_is_used(shell: Any) -> None:
    """Sampling is that of measure: here it ends by the seconds."""
    shell.run("import time\nn = 0")
    runs = shell.value("%%llmtime --time-budget 0.2 -v m\nn += 1\ntime.sleep(0.02 * (1 + n % 3))\nn")
    assert 2 <= runs <= 12
    assert "time budget of 0.2 s used" in shell.names["m"].stopped_because


def test_the_output_holds_text_html_and_the_measurement(shell: Any) -> None:
    """One output a cell; its metadata reads back as the measurement in -v."""
    shell.run("%%llmtime -v m --name chat\n1;")
    (output,) = shell.outputs
    assert output["data"]["text/plain"].startswith("chat")
    assert "<table>" in output["data"]["text/html"]
    assert shell.names["m"] == from_json(to_json(shell.names["m"]))
    assert "chat" == output["metadata"]["llm_latency"]["name"]


def test_a_measurement_is_named_after_its_cell(shell: Any) -> None:
    """Or after the code of its line, in one line and cut."""
    shell.run("1")
    shell.run("%%llmtime -v m\n1;")
    assert "In [2]" == shell.names["m"].name
    shell.run("%llmtime -v m sum( range(3) )")
    assert "sum( range(3) )" == shell.names["m"].name
    shell.run(f"%llmtime -v m '{'x' * 100}'")
    assert 60 == len(shell.names["m"].name)


def test_quiet_shows_no_table(shell: Any) -> None:
    """The value stays."""
    assert 1 == shell.value("%%llmtime -q\n1")
    assert [] == shell.outputs


def test_output_returns_the_measurement(shell: Any) -> None:
    """As `%timeit -o`: in Out, with or without a value of the cell's own; it is its own table."""
    for cell in ("%%llmtime -o\nx = 1", "%%llmtime -o\n1", "%llmtime -o 1", "%%llmtime -o -q\n1"):
        assert isinstance(shell.value(cell), Measurement)
    assert [] == shell.outputs
    assert shell.value("%%llmtime -o\n1;") is None
    assert [] == shell.hidden


def test_last_shows_the_last_result_again(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The same output, also after the page has lost it; before anything was timed it says so."""
    assert "nothing has been timed yet" in usage_error(shell, capsys, "%llmtime --last")
    shell.run("%%llmtime -v m\n1;")
    assert shell.value("%llmtime --last") is None
    assert shell.outputs[0] == shell.outputs[1]
    assert shell.names["m"] is shell.value("%llmtime --last -o")
    shell.run("%llmtime --last -q -v again")
    assert shell.names["m"] is shell.names["again"]
    shell.run("%%llmtime --last")
    assert 3 == len(shell.outputs)


def test_budgets_are_judged_in_the_table(shell: Any) -> None:
    """Each limit has its verdict; one call cannot decide a median."""
    shell.run("%%llmtime --budget 'total max < 1 h' --budget 'total p50 < 1 h' -v m\n1;")
    assert ["pass", "undecided"] == [verdict.outcome for verdict in shell.names["m"].verdicts]
    assert "total max" in shell.tables[0]
    assert "total p50" in shell.tables[0]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%llmtime --frob\n1", "no option --frob; did you mean --force? Known: -r R"),
        ("%llmtime --frob 1", "no option --frob; did you mean --force? Known: -r R"),
        ("%%llmtime -r 0\nx = 1", "-r 0; expected"),
        ("%%llmtime --budget 'ttft < 5'\n1", "is not a number with a unit"),
        ("%%llmtime", "no code to time"),
        ("%%llmtime\n", "no code to time"),
        ("%%llmtime -r 2\n\n  \n", "no code to time"),
        ("%%llmtime\n# only a comment", "no code to time"),
        ("%llmtime", "no code to time"),
        ("%llmtime # only a comment", "no code to time"),
        ("%%llmtime x = 1\ny = 2", "'x = 1' stands behind the options"),
        ("%%llmtime --name two words\ny = 2", "'words' stands behind the options"),
        ("%%llmtime --last\ny = 2", "--last times nothing; write %llmtime --last on its own"),
        ("%%llmtime --history\ny = 2", "--history times nothing"),
        ("%%llmtime --baseline ../x\ny = 2", "--baseline '../x'; expected letters, digits"),
        ("%%llmtime --live frob\ny = 2", "live view 'frob'; expected one of auto, widget, text, off"),
        ("get_ipython().run_cell_magic('llmtime', '--frob', '1')", "no option --frob"),
        ("get_ipython().run_cell_magic('llmtime', '', '  ')", "no code to time"),
    ],
)
def test_wrong_use_is_one_line_and_runs_nothing(
    shell: Any, capsys: pytest.CaptureFixture[str], cell: str, words: str
) -> None:
    """No traceback, no table, no name; the message says what to write."""
    assert words in usage_error(shell, capsys, cell)
    assert not {"x", "y"} & set(shell.names)
    assert [] == shell.outputs
    assert [] == shell.hidden


@pytest.mark.parametrize("options", ["", "-r 2 -w 0"])
def test_an_exception_goes_on_after_the_partial_table(
    shell: Any, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    """Type, message and line are the user's; no frame of ours is shown; names before the error are there."""
    result = shell.run(f"%%llmtime {options}\nx = 1\ndef f():\n    return 1 / 0\n\nf()")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "Cell In[1], line 6" in shown
    assert "----> 6 f()" in shown
    assert "----> 4     return 1 / 0" in shown
    assert "llm_latency/" not in shown
    assert "PARTIAL: ZeroDivisionError in the first call" in shell.tables[0]
    assert 1 == shell.names["x"]
    assert [] == shell.hidden


def test_an_exception_in_a_later_call_keeps_the_earlier_ones(shell: Any) -> None:
    """Also in the variable, marked as incomplete."""
    shell.run("n = 0")
    shell.run("%%llmtime -r 9 -w 0 -v m\nn += 1\nassert n < 4")
    assert 3 == len(shell.names["m"].traces)
    assert "PARTIAL: AssertionError after 3 counted calls" in shell.tables[0]
    assert not shell.names["m"].complete


@pytest.mark.parametrize("error", ["KeyboardInterrupt()", "SystemExit(3)", "BaseException('x')"])
@pytest.mark.filterwarnings("ignore:To exit")
def test_what_is_no_exception_goes_on_too(shell: Any, error: str) -> None:
    """An interrupt or an exit ends the cell after the partial table."""
    result = shell.run(f"%%llmtime\nraise {error}")
    assert error.partition("(")[0] == type(result.error_in_exec).__name__
    assert "PARTIAL" in shell.tables[0]
    assert 3 == shell.value("%%llmtime\n3")


def test_the_line_form_is_an_expression(shell: Any) -> None:
    """Its value is shown, can be assigned, and `;` silences it."""
    assert 45 == shell.value("%llmtime sum(range(10))")
    assert 3 == shell.value("x = %llmtime -q 1 + 2\nx")
    assert shell.value("%llmtime 5;") is None
    assert 3 == len(shell.tables) + 1


def test_the_line_form_may_be_a_statement(shell: Any) -> None:
    """Names land in the namespace."""
    assert shell.value("%llmtime y = [1, 2]") is None
    assert [1, 2] == shell.names["y"]
    assert [] == shell.hidden


def test_the_line_form_sees_a_functions_own_names(shell: Any) -> None:
    """As `%time` does."""
    assert 5 == shell.value("def f():\n    a = 4\n    x = %llmtime -r 2 -q a + 1\n    return x\nf()")
    assert [] == shell.hidden


def test_the_line_form_repeats(shell: Any) -> None:
    """With the options of the cell."""
    shell.run("n = []")
    shell.run("%llmtime -r 2 -w 1 n.append(1)")
    assert 4 == len(shell.names["n"])
    assert "2 counted after 1 warm-up call" in shell.tables[0]


def test_an_exception_in_a_line_hides_our_frames(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The line and the error are shown, the magic in between is not."""
    shell.run("def f():\n    return 1 / 0")
    result = shell.run("%llmtime f()")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "llm_latency/" not in shown
    assert "return 1 / 0" in shown
    assert "PARTIAL" in shell.tables[0]


@pytest.mark.parametrize(
    "cell", ["%llmtime await work()", "get_ipython().run_cell_magic('llmtime', '', 'x = 1\\nawait work()')"]
)
def test_where_await_cannot_work_it_is_said(shell: Any, capsys: pytest.CaptureFixture[str], cell: str) -> None:
    """Nothing has run, and the message says what works."""
    shell.run("async def work(): return 1")
    assert "put %%llmtime on the first line" in usage_error(shell, capsys, cell)
    assert "x" not in shell.names
    assert 1 == shell.value("%%llmtime\nawait work()")


@pytest.mark.parametrize("options", ["", "-r 2 -w 0"])
def test_run_cell_magic_works_as_the_cell_does(shell: Any, options: str) -> None:
    """Exported notebooks call it: names land, the value is returned and shown, `;` silences, futures come first."""
    code = "from __future__ import annotations\nimport json\nx = !echo hi\ny = x[0] * 2\ny"
    assert "hihi" == shell.value(f"get_ipython().run_cell_magic('llmtime', {options!r}, {code!r})")
    assert "hihi" == shell.names["y"]
    assert shell.value(f"get_ipython().run_cell_magic('llmtime', {options!r}, 'z = 1\\nz;')") is None
    assert 7 == shell.value(f"get_ipython().run_cell_magic('llmtime', {options!r}, '%%time\\n7')")
    assert 3 == len(shell.tables)
    assert [] == shell.hidden


def test_run_cell_magic_has_the_lines_of_its_code(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An exported cell's error points into the code that was given."""
    shell.run("get_ipython().run_cell_magic('llmtime', '', 'x = 1\\n\\nx / 0')")
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "----> 3 x / 0" in shown
    assert "PARTIAL" in shell.tables[0]


def test_capture_takes_everything(shell: Any) -> None:
    """`%%capture` around the timed cell holds its prints, its value and its table."""
    shell.run("%%capture got\n%%llmtime\nprint('hello')\n5")
    assert [] == shell.outputs
    got = shell.names["got"]
    assert got.stdout.startswith("hello\n")
    assert ["llm_latency"] == list(got.outputs[0].metadata)


def test_capture_inside_keeps_the_table(shell: Any) -> None:
    """`%%capture` below `%%llmtime` is a part of what is timed."""
    shell.run("%%llmtime\n%%capture got\nprint('hello')")
    assert "hello\n" == shell.names["got"].stdout
    assert 1 == len(shell.tables)


@pytest.mark.parametrize("cell", ["%%time\n%%llmtime\nx = 2\nx + 1", "%%llmtime\n%%time\nx = 2\nx + 1"])
def test_time_nests_in_both_orders(shell: Any, capsys: pytest.CaptureFixture[str], cell: str) -> None:
    """Both results are shown, and the value."""
    assert 3 == shell.value(cell)
    assert "Wall time" in capsys.readouterr().out
    assert 1 == len(shell.tables)


@pytest.mark.parametrize("inner", ["get_ipython().run_cell_magic('llmtime', '', '1')", "%llmtime 1", "%%llmtime\n1"])
def test_a_timed_cell_inside_a_timed_cell_is_refused_in_words(
    shell: Any, capsys: pytest.CaptureFixture[str], inner: str
) -> None:
    """Its table would be shown in the outer one's time."""
    assert "runs inside 'In [1]', which is being timed" in usage_error(shell, capsys, f"%%llmtime\n{inner}")
    assert 1 == len(shell.tables)
    assert 1 == shell.value("%%llmtime\n1")


def test_a_timed_block_inside_a_timed_cell_works(shell: Any) -> None:
    """`with llm_latency.timed(...)` shows nothing, so it may stand inside."""
    value = shell.value("%%llmtime\nimport llm_latency\nwith llm_latency.timed('part') as t: pass\nt.measurement.name")
    assert "part" == value


@pytest.mark.parametrize("options", ["", "-r 4"])
def test_a_lazy_value_has_words_instead_of_microseconds(shell: Any, options: str) -> None:
    """The generator is shown as it is, unconsumed, made once; the table is a sentence."""
    shell.run("made = []\ndef stream():\n    made.append(1)\n    yield 'token'")
    value = shell.value(f"%%llmtime {options} -v m\ns = stream()\ns")
    assert [] == shell.names["made"]
    assert ["token"] == list(value)
    (text,) = shell.tables
    assert "no times, since the value is a generator, which has run nothing yet" in text
    assert "µs" not in text
    assert any("lazy" in warning for warning in shell.names["m"].warnings)


def test_a_coroutine_that_is_not_awaited_has_words_too(shell: Any) -> None:
    """Its creation is not its work."""
    value = shell.value("%%llmtime\nasync def f(): return 1\nf()")
    value.close()
    assert "write `await`" in shell.tables[0]


def test_autoreload_and_running_a_cell_twice(shell: Any) -> None:
    """Another extension that rewrites modules between cells is no trouble."""
    shell.run("%load_ext autoreload")
    shell.run("%autoreload 2")
    try:
        assert [3, 3] == [shell.value("%%llmtime -r 2\nimport json\n1 + 2") for _ in range(2)]
    finally:
        shell.run("%autoreload 0")
    assert 2 == len(shell.tables)


def test_a_reset_in_the_middle_is_survived(shell: Any) -> None:
    """`%reset -f` takes every name away, ours among them, while the cell runs."""
    assert 5 == shell.value("%%llmtime -r 2 -w 0\n%reset -f\n5")
    assert 1 == len(shell.tables)


def test_an_interrupted_leftover_does_no_harm(shell: Any) -> None:
    """A hidden name that an interrupt left is gone after the next cell."""
    shell.names["__llmtime_out__"] = lambda: "stale"
    shell.names["__llmtime_value__"] = "stale"
    assert shell.value("%%llmtime\nx = 1") is None
    assert [] == shell.hidden


def test_a_stale_measurement_does_not_stay_in_the_variable(shell: Any) -> None:
    """A cell whose times are in doubt raises, and `-v m` does not leave an older result behind."""
    shell.run("%%llmtime -q -v m\n1")
    code = (
        "from llm_latency.record.observe.attribution import current_chain\ncurrent_chain()[-1].refused.append('doubt')"
    )
    result = shell.run(f"%%llmtime -v m\n{code}")
    assert "ObservationError" == type(result.error_in_exec).__name__
    assert "m" not in shell.names
    assert ["llm-latency: no call finished"] == shell.tables


def test_help_documents_the_magic(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`%%llmtime?` and `%llmtime?` show every option."""
    for cell in ("%%llmtime?", "%llmtime?"):
        shell.run(cell)
        shown = capsys.readouterr().out
        for option in ("-r R", "-w W", "-v NAME", "-o", "-q", "--budget", "--name", "--time-budget", "--live"):
            assert option in shown
        for option in ("--baseline", "--strict", "--force", "--last", "--history", "--compare", "--export"):
            assert option in shown


MODEL = """
import torch
torch.manual_seed(0)
model, calls = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)).eval(), []
"""


@pytest.fixture
def torch_first() -> None:
    """Imported before the shell is made, which watches who imports it."""
    pytest.importorskip("torch")


@pytest.mark.filterwarnings("ignore")
def test_an_explanation_comes_from_one_more_call(torch_first: None, shell: Any) -> None:
    """Below the table; the measurement has the calls that were not profiled, and the value is the cell's."""
    shell.run(MODEL)
    assert 4 == shell.value("%%llmtime -r 2 -w 0 --explain -v m\ncalls.append(model(torch.ones(3, 8)))\nlen(calls) + 1")
    assert 3 == len(shell.names["calls"])
    assert 2 == len(shell.names["m"].traces)
    table, explanation = [output["data"]["text/plain"] for output in shell.outputs]
    assert "e2e" in table
    assert "layers: " in explanation
    assert "norm" in explanation
    assert "operators: " in explanation


@pytest.mark.filterwarnings("ignore")
def test_without_a_model_there_is_nothing_to_explain(
    torch_first: None, shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table stays, and one line says it."""
    assert "ran no forward of the model" in usage_error(shell, capsys, "%%llmtime --explain\n1 + 1")
    assert 1 == len(shell.outputs)
