"""Where a live view is seen: what a terminal, an output and a widget show, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher

from llm_latency.notebook import screen, widget
from llm_latency.notebook.result import Bundle
from llm_latency.notebook.screen import Line, Output, ResultOnly, Widget, leave_in, line
from llm_latency.notebook.wire import Message
from llm_latency.testing import ManualClock

RESULT: Bundle = ({"text/plain": "the table", "text/html": "<b>the table</b>"}, {"llm_latency": {"name": "chat"}})
END: Message = {"kind": "end", "run": "ab12cd"}


def call(**fields: Any) -> Message:
    """A call about to begin, of which nothing is known."""
    return {"kind": "call", "words": "call 3", "width": None, "aim": None, "last": None, "eta": None} | (
        {"budgets": []} | fields
    )


def tick(**fields: Any) -> Message:
    """A call that loads."""
    known = dict.fromkeys(("rate", "ttft", "memory", "others", "eta", "budgets"))
    return {"kind": "tick", "phase": "load", "n": 0} | known | fields


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (END, ""),
        (call(), "call 3"),
        (call(width=0.042), "call 3 · interval ±4.2%"),
        (call(width=0.042, aim=0.03), "call 3 · interval ±4.2% → ±3.0%"),
        (call(aim=0.03), "call 3"),
        (call(width=0.0, aim=0.03), "call 3 · interval ±0.0% → ±3.0%"),
        (call(last="total 30.0 ms", eta="600 ms"), "call 3 · total 30.0 ms · 600 ms left"),
        (call(last=""), "call 3"),
        (tick(), "load"),
        (tick(n=1), "load · 1 token"),
        (tick(n=12_345), "load · 12,345 tokens"),
        (tick(others="0%"), "load"),
        (
            tick(
                phase="decode",
                n=3,
                rate="28.6 tok/s",
                ttft="60.0 ms",
                memory="1.00 GiB",
                others="2%",
                eta="at most 210 ms",
            ),
            "decode · 3 tokens · 28.6 tok/s · ttft 60.0 ms · 1.00 GiB · other programs 2% · at most 210 ms left",
        ),
    ],
)
def test_a_message_is_a_line(message: Message, expected: str) -> None:
    """What is known of it, between dots; the end says nothing."""
    assert expected == line(message)


def test_only_a_budget_that_is_over_is_in_the_line() -> None:
    """In words, since a line has no colour."""
    budgets = [
        {"text": "ttft p50 < 1 s", "mark": "ok", "seen": "60.0 ms"},
        {"text": "e2e p50 < 100 ms", "mark": "over", "seen": "105 ms"},
        {"text": "tpot p50 < 1 s", "mark": "open", "seen": None},
    ]
    assert "load · e2e p50 < 100 ms: 105 ms, OVER" == line(tick(budgets=budgets))
    assert "call 3 · e2e p50 < 100 ms: 105 ms, OVER" == line(call(budgets=budgets))


@pytest.fixture
def left() -> list[Bundle]:
    """Results that were left below the cell."""
    return []


def test_a_result_alone_is_shown_at_the_end(left: list[Bundle]) -> None:
    """Messages are not; nothing is left where there is no result."""
    place = ResultOnly(left.append)
    place.show(tick())
    place.end(None)
    assert [] == left
    place.end(RESULT)
    assert [RESULT] == left
    assert place.period_ns > 10**18


def test_a_line_is_rewritten_and_gives_way_to_the_result(
    left: list[Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of the calls says nothing; the line is cleared before the result comes."""
    place = Line(left.append)
    for message in (call(), tick(), END):
        place.show(message)
    assert ([], "\rcall 3\rload  ") == (left, capsys.readouterr().err)
    place.end(RESULT)
    assert ([RESULT], "\r    \r") == (left, capsys.readouterr().err)
    assert 100_000_000 == place.period_ns


def test_a_line_without_a_result_is_cleared_all_the_same(
    left: list[Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    """As with -q, or -o, whose value is its own table; a line that was never written needs no clearing."""
    Line(left.append).end(None)
    assert "" == capsys.readouterr().err
    place = Line(left.append)
    place.show(call())
    place.end(None)
    assert ([], "\rcall 3\r      \r") == (left, capsys.readouterr().err)


class Place:
    """A shell whose outputs are kept."""

    def __init__(self) -> None:
        self.display_pub = CapturingDisplayPublisher()

    @property
    def outputs(self) -> list[tuple[str, str, bool]]:
        """Each output's text, the name by which it may be replaced, and whether it replaces one."""
        return [
            (output["data"]["text/plain"], (output["transient"] or {}).get("display_id", ""), bool(output["update"]))
            for output in self.display_pub.outputs
        ]


@pytest.fixture
def place() -> Place:
    """A cell's outputs."""
    return Place()


def test_an_output_is_replaced_twice_a_second_and_at_last_by_the_result(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One output from the beginning to the end, by its name; what comes too soon is not shown."""
    clock = ManualClock(1_000_000_000)
    monkeypatch.setattr(screen.time, "monotonic", lambda: clock.now_ns() / 1e9)
    output = Output(place)
    for number, wait in enumerate(("0 s", "499 ms", "1 ms", "499 ms", "1 ms")):
        clock.advance(wait)
        output.show(tick(n=number + 1))
    output.show(END)
    output.end(RESULT)
    shown = [text for text, _, _ in place.outputs]
    assert ["llm-latency: about to begin", "load · 1 token", "load · 3 tokens", "load · 5 tokens", "the table"] == shown
    assert 1 == len({name for _, name, _ in place.outputs})
    assert [False, True, True, True, True] == [replaces for _, _, replaces in place.outputs]
    assert RESULT == (place.display_pub.outputs[-1]["data"], place.display_pub.outputs[-1]["metadata"])


def test_an_output_without_a_result_becomes_empty(place: Place) -> None:
    """It cannot be taken away, but nothing is left to read."""
    Output(place).end(None)
    assert ["llm-latency: about to begin", ""] == [text for text, _, _ in place.outputs]


class FakeWidget:
    """A widget without a page; `broken` is what it fails in."""

    def __init__(self, setup: Message) -> None:
        self.setup = setup
        self.model_id = "a model"
        self.sent: list[Message] = []
        self.is_closed = False
        self.broken: set[str] = set()
        self.hears: Callable[[object, object, object], None] = lambda *_: None

    def on_msg(self, hears: Callable[[object, object, object], None]) -> None:
        """Remember who hears."""
        self.hears = hears

    def send(self, message: Message) -> None:
        """Keep it."""
        self._try("send")
        self.sent.append(message)

    def close(self) -> None:
        """Be gone."""
        self._try("close")
        self.is_closed = True

    def _try(self, what: str) -> None:
        if what in self.broken:
            raise RuntimeError("the comm is gone")


@pytest.fixture
def stops() -> list[str]:
    """How often a run was stopped."""
    return []


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeWidget]:
    """Widgets that were made."""
    widgets: list[FakeWidget] = []

    def make(setup: Message) -> FakeWidget:
        widgets.append(FakeWidget(setup))
        return widgets[-1]

    monkeypatch.setattr(widget, "make_widget", make)
    return widgets


def widget_in(place: Place, stops: list[str], *, name: str = "chat") -> Widget:
    """A widget of run ab12cd."""
    return Widget(place, {"run": "ab12cd", "name": name, "budgets": []}, stop=lambda: stops.append("stop"))


def test_a_widget_is_shown_sent_to_and_replaced(place: Place, made: list[FakeWidget], stops: list[str]) -> None:
    """In one output; where there are no widgets, words stand in its place."""
    live = widget_in(place, stops)
    live.show(tick())
    live.show(END)
    live.end(RESULT)
    (fake,) = made
    assert ({"run": "ab12cd", "name": "chat", "budgets": []}, [tick(), END]) == (fake.setup, fake.sent)
    assert fake.is_closed
    words = "llm-latency: chat runs; this place cannot show its live view"
    assert [words, "the table"] == [text for text, _, _ in place.outputs]
    assert 1 == len({name for _, name, _ in place.outputs})
    first = place.display_pub.outputs[0]["data"]["application/vnd.jupyter.widget-view+json"]
    assert {"version_major": 2, "version_minor": 1, "model_id": "a model"} == first
    assert 200_000_000 == live.period_ns


def test_a_widgets_message_is_waited_for_until_the_kernel_has_sent_it(
    place: Place, made: list[FakeWidget], stops: list[str]
) -> None:
    """Behind each message its thread is asked to say when it is done; one that never does is not waited for long."""
    asked: list[Callable[[], None]] = []
    place.kernel = SimpleNamespace(iopub_thread=SimpleNamespace(schedule=lambda say: (asked.append(say), say())))
    live = widget_in(place, stops)
    live.show(tick())
    assert 1 == len(asked)
    place.kernel = SimpleNamespace(iopub_thread=SimpleNamespace(schedule=asked.append))
    live.show(END)
    assert (2, 2) == (len(asked), len(made[0].sent))


def test_a_name_cannot_write_to_a_terminal(place: Place, made: list[FakeWidget], stops: list[str]) -> None:
    """In the words for places without widgets; the page itself escapes what it draws."""
    widget_in(place, stops, name="\x1b[31mred\n")
    assert "llm-latency: \\x1b[31mred\\n runs; this place cannot show its live view" == place.outputs[0][0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"stop": "ab12cd"}, 1),
        ({"stop": "other1"}, 0),
        ({"stop": None}, 0),
        ({"go": "ab12cd"}, 0),
        ({}, 0),
        ("ab12cd", 0),
        (None, 0),
        (["stop", "ab12cd"], 0),
    ],
)
def test_only_its_own_stop_stops_a_run(
    place: Place, made: list[FakeWidget], stops: list[str], content: object, expected: int
) -> None:
    """Whatever else a page may send."""
    widget_in(place, stops)
    made[0].hears(made[0], content, [])
    assert expected == len(stops)


def test_a_stop_that_comes_late_stops_nothing(place: Place, made: list[FakeWidget], stops: list[str]) -> None:
    """It would hit the next cell: from the end of the last call on, not only from the result on."""
    ended, replaced = widget_in(place, stops), widget_in(place, stops)
    ended.show(tick())
    ended.show(END)
    replaced.end(RESULT)
    for fake in made:
        fake.hears(fake, {"stop": "ab12cd"}, [])
    assert [] == stops


@pytest.mark.parametrize("broken", ["send", "close"])
def test_the_result_replaces_a_widget_whose_page_is_gone(
    place: Place, made: list[FakeWidget], stops: list[str], broken: str
) -> None:
    """Once, and without an error of its own."""
    live = widget_in(place, stops)
    made[0].broken.add(broken)
    live.end(RESULT)
    assert ["the table"] == [text for text, _, _ in place.outputs[1:]]
    assert (broken == "send") == made[0].is_closed


def test_a_widget_without_a_result_becomes_empty(place: Place, made: list[FakeWidget], stops: list[str]) -> None:
    """As with an output."""
    widget_in(place, stops).end(None)
    assert ["", True] == [place.outputs[-1][0], made[0].is_closed]


def test_a_result_is_left_where_it_is_read(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the cell, or on stdout where there is no shell."""
    leave_in(place)(RESULT)
    leave_in(None)(RESULT)
    assert [("the table", "", False)] == place.outputs
    assert ("the table\n", "") == capsys.readouterr()
    assert RESULT[1] == place.display_pub.outputs[0]["metadata"]


def test_a_real_widget_has_its_module_and_its_setup() -> None:
    """The text of the module, so that no file is watched; what is sent does not go into its state."""
    pytest.importorskip("anywidget", reason="the live view needs it: pip install -e '.[all,dev]'")
    setup = {"run": "ab12cd", "name": "chat", "budgets": []}
    made, other = widget.make_widget(setup), widget.make_widget(setup | {"name": "other"})
    assert (setup, "other") == (made.setup, other.setup["name"])
    assert widget.MODULE.read_text(encoding="utf-8") == made._esm
    assert widget._widget_class() is widget._widget_class()
    state = made.get_state()
    assert setup == state["setup"]
    made.close()
    other.close()


def test_without_anywidget_a_widget_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for one has looked before."""
    monkeypatch.setitem(screen.sys.modules, "anywidget", None)
    widget._widget_class.cache_clear()
    with pytest.raises(ImportError):
        widget.make_widget({})
