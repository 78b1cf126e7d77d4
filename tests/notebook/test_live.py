"""The live view: what it tells its screen, which screen it takes, and how tokens become text."""

from __future__ import annotations

import _thread
import io
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher

import llm_latency
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.errors import UsageError
from llm_latency.notebook import live as living
from llm_latency.notebook.live import LiveView, checked_mode, current_shell, result_of, screen_for
from llm_latency.notebook.result import Bundle, bundle, sentence
from llm_latency.notebook.screen import Line, Output, ResultOnly
from llm_latency.notebook.wire import Message, Wire
from llm_latency.record.observe.stream import stream
from llm_latency.record.sampling import Progress, make_plan
from llm_latency.record.timed import timed
from llm_latency.record.view import Moment
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel

MS = 1_000_000
PLAN = make_plan(repeat=1, warmup=0)
FIRST = Progress(
    stage="counted", done=0, of=1, elapsed_s=0.0, time_budget_s=10.0, half_width=None, last=None, is_live=True
)
MEASURED = Measurement(
    name="chat",
    workload={},
    environment=Environment(),
    traces=(Trace(start_ns=0, stop_ns=5 * MS),),
    stopped_because="one call",
)


class FakeScreen:
    """A screen that remembers; `fails` is what it fails in."""

    period_ns = 7

    def __init__(self) -> None:
        self.shown: list[Message] = []
        self.ended: list[Bundle | None] = []
        self.fails = False

    def show(self, message: Message) -> None:
        """Remember."""
        self.shown.append(message)

    def end(self, result: Bundle | None) -> None:
        """Remember, or fail."""
        if self.fails:
            raise OSError("the terminal is gone")
        self.ended.append(result)


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> list[FakeScreen]:
    """Screens that were opened, each in the place of a real one."""
    opened: list[FakeScreen] = []

    def screen_for(shell: Any, mode: str, wire: Wire) -> FakeScreen:
        opened.append(FakeScreen())
        return opened[-1]

    monkeypatch.setattr(living, "screen_for", screen_for)
    return opened


def view_of(shows: Callable[..., Bundle | None] = result_of, *, shell: Any = None, **names: object) -> LiveView:
    """A view without a shell, unless one is given."""
    return LiveView("auto", shell=shell, names=names, shows=shows)


def test_a_screen_is_told_calls_looks_the_last_call_and_the_result(screens: list[FakeScreen]) -> None:
    """In this order; the period is the screen's once it is open."""
    view = view_of()
    assert view.period_ns > 10**18
    view.begin("chat", PLAN)
    view.follow(FIRST)
    view.look(Moment(at_ns=MS, phase="load"))
    view.follow(None)
    view.end(MEASURED, None)
    (screen,) = screens
    assert 7 == view.period_ns
    assert ["call", "tick", "end"] == [message["kind"] for message in screen.shown]
    assert [bundle(MEASURED)] == screen.ended


def test_a_message_that_is_not_due_is_not_shown(screens: list[FakeScreen]) -> None:
    """As the wire has it: the next call follows at once."""
    view = view_of()
    view.begin("chat", PLAN)
    view.follow(FIRST)
    view.follow(FIRST)
    assert 1 == len(screens[0].shown)


def test_each_run_has_a_screen_and_a_name_of_its_own(screens: list[FakeScreen]) -> None:
    """A Stop that is meant for one does not hit the next; between them nothing is shown."""
    view = view_of()
    for _ in range(2):
        view.begin("chat", PLAN)
        view.follow(FIRST)
        view.end(MEASURED, None)
        view.follow(FIRST)
        view.follow(None)
        view.look(Moment(at_ns=0, phase="load"))
    runs = [message["run"] for screen in screens for message in screen.shown]
    assert (2, 2, {6}) == (len(runs), len(set(runs)), set(map(len, runs)))
    assert [[bundle(MEASURED)]] * 2 == [screen.ended for screen in screens]


def test_an_end_without_a_beginning_shows_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a widget was refused, or a watch could not open."""
    view = view_of()
    view.look(Moment(at_ns=0, phase="load"))
    view.follow(FIRST)
    view.end(None, KeyError("k"))
    assert "llm-latency: no call finished\n" == capsys.readouterr().out


def test_a_result_that_the_screen_cannot_show_is_left_below(
    screens: list[FakeScreen], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its comm or its stream is gone; where there is no result, nothing is."""
    for shows in (result_of, lambda *_: None):
        view = view_of(shows)
        view.begin("chat", PLAN)
        screens[-1].fails = True
        view.end(MEASURED, None)
        expected = f"{llm_latency.table(MEASURED)}\n" if shows is result_of else ""
        assert expected == capsys.readouterr().out


def test_what_stays_may_depend_on_what_ended_the_calls(screens: list[FakeScreen]) -> None:
    """With -o the value is its own table, unless an exception takes its place."""
    told: list[tuple[Measurement | None, BaseException | None]] = []

    def shows(*given: Any) -> Bundle | None:
        told.append(given)
        return sentence("it broke") if given[1] else None

    error = KeyError("k")
    for ending in (None, error):
        view = view_of(shows)
        view.begin("chat", PLAN)
        view.end(MEASURED, ending)
    assert [(MEASURED, None), (MEASURED, error)] == told
    assert [[None], [sentence("it broke")]] == [screen.ended for screen in screens]


def test_what_stays_is_the_result_or_that_there_is_none() -> None:
    """In the words of the table."""
    assert bundle(MEASURED) == result_of(MEASURED)
    assert sentence("llm-latency: no call finished") == result_of(None, KeyError())


class Place:
    """A place to show something in: a kernel, asked by `user`, with or without `%%capture`, or a shell alone."""

    def __init__(self, *, user: str | None = None, kernel: bool = True, captured: bool = False) -> None:
        self.display_pub = CapturingDisplayPublisher() if captured else SimpleNamespace(publish=lambda **_: None)
        if kernel:
            self.kernel = object()
            header = {} if user is None else {"username": user}
            self.get_parent = lambda: {"header": header}


class Stderr(io.StringIO):
    """A stream that is a terminal or is not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """As it was told."""
        return self._terminal


class FakeWidget:
    """Stands for the widget in choosing; `fails` is why it cannot be made."""

    fails: Exception | None = None

    def __init__(self, shell: Any, setup: Message, *, stop: Callable[[], None]) -> None:
        self.setup, self.stop = setup, stop
        if FakeWidget.fails is not None:
            raise FakeWidget.fails


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Choose a screen, with or without anywidget and a terminal."""
    monkeypatch.setattr(living, "Widget", FakeWidget)
    monkeypatch.setattr(FakeWidget, "fails", None)

    def choose(place: Any, mode: str = "auto", *, anywidget: bool = True, stderr: Any = None) -> Any:
        found = object() if anywidget else None
        monkeypatch.setattr(living.importlib.util, "find_spec", lambda name: found if name == "anywidget" else 1 / 0)
        monkeypatch.setattr(sys, "stderr", stderr or Stderr(terminal=False))
        return screen_for(place, mode, Wire("ab12cd", name="chat", plan=PLAN))

    return choose


BROWSER, NBCLIENT = Place(user=""), Place(user="root")


@pytest.mark.parametrize(
    ("place", "mode", "expected"),
    [
        (BROWSER, "auto", FakeWidget),
        (Place(), "auto", FakeWidget),
        (NBCLIENT, "auto", Output),
        (NBCLIENT, "widget", FakeWidget),
        (BROWSER, "text", Output),
        (BROWSER, "off", ResultOnly),
        (Place(captured=True), "auto", ResultOnly),
        (Place(captured=True), "text", ResultOnly),
        (Place(captured=True), "widget", FakeWidget),
        (Place(kernel=False), "auto", ResultOnly),
        (Place(kernel=False), "text", Line),
        (Place(kernel=False, captured=True), "text", ResultOnly),
        (None, "auto", ResultOnly),
        (None, "text", Line),
        (None, "off", ResultOnly),
    ],
)
def test_the_screen_is_the_best_that_a_place_can_show(
    choose: Callable[..., Any], place: Any, mode: str, expected: type
) -> None:
    """A page names no user, clients in Python do; under %%capture each update would be kept."""
    assert type(choose(place, mode)) is expected


@pytest.mark.parametrize(("place", "expected"), [(BROWSER, Output), (Place(kernel=False), ResultOnly)])
def test_without_anywidget_there_is_text(choose: Callable[..., Any], place: Any, expected: type) -> None:
    """In the cell's output."""
    assert type(choose(place, anywidget=False)) is expected


@pytest.mark.parametrize("place", [Place(kernel=False), None])
def test_in_a_terminal_there_is_a_line(choose: Callable[..., Any], place: Any) -> None:
    """Of IPython or of a script."""
    assert type(choose(place, stderr=Stderr(terminal=True))) is Line
    assert type(choose(place, "off", stderr=Stderr(terminal=True))) is ResultOnly


def test_a_stream_that_is_none_or_closed_is_no_terminal(choose: Callable[..., Any]) -> None:
    """pythonw has no stderr at all, and a daemon may have closed it."""
    closed = io.StringIO()
    closed.close()
    assert [ResultOnly] * 2 == [type(choose(None, stderr=stream)) for stream in (closed, SimpleNamespace())]


@pytest.mark.parametrize(
    "parent", [lambda: None, dict, lambda: {"header": None}, lambda: 1 / 0], ids=["none", "empty", "no", "error"]
)
def test_a_kernel_of_another_make_shows_text(choose: Callable[..., Any], parent: Callable[[], object]) -> None:
    """Who asked cannot be told there."""
    place = Place()
    place.get_parent = parent  # type: ignore[assignment]
    assert type(choose(place)) is Output


def test_a_widget_knows_its_run_and_how_to_stop_it(choose: Callable[..., Any]) -> None:
    """By an interrupt of the main thread, as Ctrl-C is."""
    widget = choose(BROWSER)
    assert ("ab12cd", "chat", _thread.interrupt_main) == (widget.setup["run"], widget.setup["name"], widget.stop)


@pytest.mark.parametrize(
    ("place", "anywidget", "why"),
    [
        (Place(kernel=False), True, "there is no notebook here"),
        (None, True, "there is no notebook here"),
        (None, False, "there is no notebook here"),
        (BROWSER, False, "anywidget is not installed: pip install anywidget"),
    ],
)
def test_a_widget_that_cannot_be_is_refused_in_words(
    choose: Callable[..., Any], place: Any, anywidget: bool, why: str
) -> None:
    """It was asked for by name; the message says what to write instead."""
    with pytest.raises(UsageError) as refused:
        choose(place, "widget", anywidget=anywidget)
    assert f"no live widget: {why}. Take --live text, or leave it to auto" == str(refused.value)


def test_a_widget_that_fails_gives_way_to_text(choose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """ipywidgets of a version that does not fit, a comm that does not open: the cell is timed all the same."""
    monkeypatch.setattr(FakeWidget, "fails", ImportError("cannot import name 'x'"))
    assert type(choose(BROWSER)) is Output
    with pytest.raises(UsageError, match=r"no live widget: it failed, ImportError: cannot import name 'x'\. Take"):
        choose(BROWSER, "widget")


@pytest.mark.parametrize("mode", ["auto", "widget", "text", "off"])
def test_modes_are_known(mode: str) -> None:
    """Four of them."""
    assert mode == checked_mode(mode)


@pytest.mark.parametrize("mode", ["", "Auto", "on", "none", None, 1])
def test_an_unknown_mode_lists_the_known_ones(mode: Any) -> None:
    """At once, before anything runs."""
    with pytest.raises(UsageError, match="expected one of auto, widget, text, off"):
        llm_latency.live(mode)


def test_the_running_shell_is_found(shell: Any) -> None:
    """And its names, where a tokenizer may be."""
    assert shell.ip is current_shell()
    assert shell.ip.user_ns is llm_latency.live()._names


def test_without_ipython_there_is_no_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not imported to find that out; imported and not running, there is none either."""
    core = sys.modules["IPython.core.interactiveshell"]
    monkeypatch.setattr(core.InteractiveShell, "initialized", lambda: False)
    assert current_shell() is None
    monkeypatch.delitem(sys.modules, "IPython.core.interactiveshell")
    assert current_shell() is None
    assert {} == llm_latency.live()._names


def block_of(view: LiveView) -> Measurement:
    """A stream of five tokens, 200 ms and four times 20."""
    clock = ManualClock()
    with timed("chat", clock=clock, device=FakeDevice(clock), view=view) as block:
        list(stream(ScriptedModel(clock).stream()))
    return block.measurement


def test_a_script_shows_its_table_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal nothing else; with one the line before it, and no trace of the line."""
    monkeypatch.setattr(living, "current_shell", lambda: None)
    measured = block_of(llm_latency.live())
    assert (f"{llm_latency.table(measured)}\n", "") == capsys.readouterr()
    measured = block_of(llm_latency.live("text"))
    shown = capsys.readouterr()
    assert f"{llm_latency.table(measured)}\n" == shown.out
    assert shown.err.startswith("\rcall 1 of 1\rdecode · 1 token · 5.00 tok/s · ttft 200 ms")
    assert shown.err.endswith(" \r")
    assert "live view" in shown.out


def test_a_broken_stdout_costs_nobody_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is closed: the result is there, and says that it could not be shown."""
    monkeypatch.setattr(living, "current_shell", lambda: None)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    measured = block_of(llm_latency.live("off"))
    assert (0.28,) == measured.total.values
    assert any(warning.startswith("live view: it failed") for warning in measured.warnings)


def test_a_live_view_keeps_no_measurement() -> None:
    """It may live as long as the notebook, and a result of many calls is large."""
    view = view_of(lambda *_: None)
    view.begin("chat", PLAN)
    view.end(msgspec.structs.replace(MEASURED), None)
    assert not any(isinstance(value, Measurement) for value in vars(view).values())
