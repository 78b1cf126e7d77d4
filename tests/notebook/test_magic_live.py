"""What a timed cell tells its screen, and how it ends: with its result once, and in an error where it is strict."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.notebook import live as living
from llm_latency.notebook.result import Bundle, bundle, sentence
from llm_latency.notebook.wire import Message, Wire
from llm_latency.record.observe.attribution import current_chain


class FakeScreen:
    """A screen that remembers, and looks at every emission; `fails` is where it fails."""

    period_ns = 0

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.shown: list[Message] = []
        self.ended: list[Bundle | None] = []
        self.fails = ""

    def show(self, message: Message) -> None:
        """Remember."""
        if self.fails == message["kind"]:
            raise RuntimeError("the comm is gone")
        self.shown.append(message)

    def end(self, result: Bundle | None) -> None:
        """Remember."""
        self.ended.append(result)

    @property
    def kinds(self) -> list[str]:
        """What was said, by its kind; calls by their words."""
        return [message["words"] if message["kind"] == "call" else message["kind"] for message in self.shown]


class Screens(list[FakeScreen]):
    """Screens that were opened; each new one fails where `fails` says."""

    fails = ""


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> Screens:
    """In the place of the real ones."""
    opened = Screens()

    def screen_for(shell: Any, mode: str, wire: Wire) -> FakeScreen:
        opened.append(FakeScreen(mode))
        opened[-1].fails = opened.fails
        return opened[-1]

    monkeypatch.setattr(living, "screen_for", screen_for)
    return opened


STREAM = "import llm_latency\nout = list(llm_latency.stream('abc'))"


def test_a_cell_is_told_while_it_runs(shell: Any, screens: Screens) -> None:
    """Its one call, its three tokens, that no call follows; then the result takes the screen's place."""
    shell.run(f"%%llmtime --name chat -v m\n{STREAM}")
    (screen,) = screens
    assert ["call 1 of 1", "tick", "tick", "tick", "end"] == screen.kinds
    assert [["a"], ["a", "b"], ["a", "b", "c"]] == [message["text"] for message in screen.shown[1:-1]]
    assert [bundle(shell.names["m"])] == screen.ended
    assert [] == shell.outputs


def test_a_repeated_cell_is_quiet_while_it_counts(shell: Any, screens: Screens) -> None:
    """The first call and the warm-up are live; what the looks took is said in the table."""
    shell.run(f"%%llmtime -r 7 -w 1 -v m\n{STREAM}")
    (screen,) = screens
    assert ["first call", "tick", "tick", "tick", "warm-up 1 of 1", "tick", "tick", "tick"] == screen.kinds[:8]
    assert ["call 1 of 7", "end"] == [screen.kinds[8], screen.kinds[-1]]
    assert "tick" not in screen.kinds[8:]
    assert re.search(r"live view .* in 6 updates, excluded", screen.ended[0][0]["text/plain"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "mode"), [("", "auto"), ("--live text", "text"), ("--live off", "off"), ("-q --live text", "off")]
)
def test_the_mode_is_the_cells(shell: Any, screens: Screens, options: str, mode: str) -> None:
    """With -q nothing is shown while it runs, whatever else was asked for."""
    shell.run(f"%%llmtime {options}\n1;")
    assert [mode] == [screen.mode for screen in screens]


def test_the_lines_form_is_told_too(shell: Any, screens: Screens) -> None:
    """And run_cell_magic."""
    shell.run("import llm_latency")
    shell.run("%llmtime list(llm_latency.stream('ab'))")
    shell.run("get_ipython().run_cell_magic('llmtime', '', \"list(llm_latency.stream('ab'))\")")
    assert [["call 1 of 1", "tick", "tick", "end"]] * 2 == [screen.kinds for screen in screens]


@pytest.mark.parametrize("options", ["-q", "-o", "-o -q"])
def test_a_silenced_result_leaves_nothing(shell: Any, screens: Screens, options: str) -> None:
    """The screen is taken away all the same; with -o the value is its own table."""
    shell.run(f"%%llmtime {options}\n1;")
    assert [None] == screens[0].ended


@pytest.mark.parametrize(("options", "stays"), [("", True), ("-o", True), ("-q", False)])
def test_a_cell_that_breaks_leaves_its_partial_result(shell: Any, screens: Screens, options: str, stays: bool) -> None:
    """With -o too, since no value is returned."""
    shell.run(f"%%llmtime {options} -v m\n1 / 0")
    (result,) = screens[0].ended
    assert ((bundle(shell.names["m"]) if stays else None), False) == (result, shell.names["m"].complete)


def test_a_cell_without_a_result_says_so(shell: Any, screens: Screens) -> None:
    """Its times are in doubt: none are shown."""
    code = "from llm_latency.record.observe.attribution import current_chain"
    shell.run(f"%%llmtime\n{code}\ncurrent_chain()[-1].refused.append('doubt')")
    assert [sentence("llm-latency: no call finished")] == screens[0].ended


@pytest.mark.parametrize("fails", ["call", "tick", "end"])
def test_a_screen_that_fails_costs_nobody_the_cell(shell: Any, screens: Screens, fails: str) -> None:
    """Its value and its table are there, and the table says what failed."""
    screens.fails = fails
    assert 3 == shell.value(f"%%llmtime -v m\n{STREAM}\nlen(out)")
    (result,) = screens[0].ended
    failed = "live view: it failed and was switched off: RuntimeError: the comm is gone"
    assert failed in shell.names["m"].warnings
    assert result is not None and "the comm is gone" in result[0]["text/plain"]


def test_a_refused_widget_is_one_line_and_runs_nothing(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no notebook here."""
    capsys.readouterr()
    assert not shell.run("%%llmtime --live widget\nx = 1").success
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert "UsageError: no live widget: there is no notebook here. Take --live text, or leave it to auto" == line
    assert ("x" in shell.names, (), []) == (False, current_chain(), shell.hidden)


def strict(shell: Any, capsys: pytest.CaptureFixture[str], cell: str) -> Any:
    """Run a cell that is strict; return its error after what was shown of it is checked: one line, no frames."""
    capsys.readouterr()
    error = shell.run(cell).error_in_exec
    shown = capsys.readouterr()
    if error is not None:
        assert f"AssertionError: {error}" == shown.out.strip()
    return error


@pytest.mark.parametrize(
    "form",
    [
        "%%llmtime {}\nx = 1\n5",
        "%llmtime {} 5",
        "get_ipython().run_cell_magic('llmtime', {!r}, '5')",
        "%%llmtime -r 6 -w 0 {}\n5",
        "%%llmtime {}\n5;",
    ],
)
def test_strict_raises_after_the_table(shell: Any, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """In the words of the table, below it; the variable has the result, and no name of ours is left."""
    options = "--strict --budget 'total max < 1 ns' -v m"
    error = strict(shell, capsys, form.format(options))
    assert re.match(r"total max < 1 ns TOO SLOW: max of \d is ", str(error))
    assert "TOO SLOW" in shell.tables[0]
    assert (1, [], True) == (len(shell.tables), shell.hidden, isinstance(shell.names["m"], Measurement))
    assert 7 == shell.value("%%llmtime --strict --budget 'total max < 1 h'\n7")


@pytest.mark.parametrize("form", ["%%llmtime {}\n5", "%llmtime {} 5"])
@pytest.mark.parametrize("options", ["-o", "-q", "-o -q"])
def test_strict_raises_also_where_nothing_is_shown(
    shell: Any, capsys: pytest.CaptureFixture[str], form: str, options: str
) -> None:
    """Instead of returning the measurement, which the variable has all the same."""
    error = strict(shell, capsys, form.format(f"--strict --budget 'total max < 1 ns' -v m {options}"))
    assert "TOO SLOW" in str(error)
    assert ([], [], "fail") == (shell.outputs, shell.hidden, shell.names["m"].verdicts[0].outcome)


def test_strict_is_about_every_budget_that_is_not_kept(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that is undecided; those that are kept are not in the message."""
    budgets = "--budget 'total max < 1 ns' --budget 'total max < 1 h' --budget 'total p50 < 1 h'"
    error = strict(shell, capsys, f"%%llmtime --strict {budgets}\n5")
    assert re.fullmatch(r"total max < 1 ns TOO SLOW: .*; total p50 < 3,600 s UNDECIDED: .*", str(error))
    assert "total max < 3,600 s" not in str(error)


def test_strict_without_budgets_or_with_kept_ones_raises_nothing(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing that could be broken."""
    assert strict(shell, capsys, "%%llmtime --strict\n5") is None
    assert strict(shell, capsys, "%%llmtime --strict --budget 'total max < 1 h' -o\n5") is None


def test_strict_may_be_a_setting(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With budgets for every cell."""
    shell.run("%config LLMTime.strict = True")
    shell.run("%config LLMTime.budgets = ['total max < 1 ns']")
    assert "TOO SLOW" in str(strict(shell, capsys, "%%llmtime\n5"))


def test_a_cells_own_exception_comes_before_a_broken_budget(shell: Any) -> None:
    """It is what went wrong."""
    result = shell.run("%%llmtime --strict --budget 'total max < 1 ns'\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)


def test_a_strict_cell_is_kept_as_a_baseline_first(shell: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared later is what was measured, kept budget or not."""
    monkeypatch.chdir(tmp_path)
    shell.run("%%llmtime --strict --budget 'total max < 1 ns' --baseline main\n5")
    assert (tmp_path / ".llm-latency" / "main.json").is_file()
    assert shell.tables[1].startswith("kept as baseline main")
