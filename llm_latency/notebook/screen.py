"""Screens: where a live view is seen and its result stays: a widget, a line of text in place, or only the result."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from llm_latency.notebook.result import Bundle, publish
from llm_latency.notebook.wire import Message
from llm_latency.record.view import NEVER_NS
from llm_latency.report.escape import plain
from llm_latency.report.status import StatusLine

_WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_LONGEST_WAIT_S = 0.05
_NOTHING: Bundle = ({"text/plain": ""}, {})


class Screen(Protocol):
    """Shows messages while calls run, and in their place the result."""

    period_ns: int

    def show(self, message: Message) -> None:
        """Show a message."""
        ...

    def end(self, result: Bundle | None) -> None:
        """Take the live view away and leave the result, or nothing."""
        ...


class ResultOnly:
    """Shows nothing until the end."""

    period_ns = NEVER_NS

    def __init__(self, leave: Callable[[Bundle], None]) -> None:
        """`leave` shows the result."""
        self._leave = leave

    def show(self, message: Message) -> None:
        """Show nothing."""

    def end(self, result: Bundle | None) -> None:
        """Leave the result."""
        if result is not None:
            self._leave(result)


class Line:
    """One line of a terminal, on stderr, rewritten in place; the result follows it."""

    period_ns = 100_000_000

    def __init__(self, leave: Callable[[Bundle], None]) -> None:
        """`leave` shows the result."""
        self._leave = leave
        self._line = StatusLine(sys.stderr, shown=True)

    def show(self, message: Message) -> None:
        """Rewrite the line."""
        if words := line(message):
            self._line.write(words)

    def end(self, result: Bundle | None) -> None:
        """Clear the line and leave the result."""
        self._line.clear()
        if result is not None:
            self._leave(result)


class Output:
    """An output of a notebook's cell that is text while calls run and becomes the result."""

    period_ns = 500_000_000  # the page lays out the whole output anew each time

    def __init__(self, shell: Any) -> None:
        """Open the output."""
        self._shell = shell
        self._id = publish(shell, ({"text/plain": "llm-latency: about to begin"}, {}), keep=True)
        self._at_s = 0.0

    def show(self, message: Message) -> None:
        """Replace the text, twice a second at most."""
        now_s = time.monotonic()
        if (words := line(message)) and now_s - self._at_s >= self.period_ns / 1e9:
            self._at_s = now_s
            publish(self._shell, ({"text/plain": words}, {}), update=self._id)

    def end(self, result: Bundle | None) -> None:
        """Replace the text by the result."""
        publish(self._shell, result or _NOTHING, update=self._id)


class Widget:
    """An output that is a live widget while calls run and becomes the result, which needs no kernel and no widget.

    Of five ways that were tried, only this one is live and is there again after saving, without a kernel and in
    nbconvert, with widget state or without.
    """

    # Each update costs the step behind it some 0.3 ms, which no clock can leave out: five a second are seen as live.
    period_ns = 200_000_000

    def __init__(self, shell: Any, setup: Message, *, stop: Callable[[], None]) -> None:
        """Make the widget and show it; `stop` is called when its Stop asks the kernel for this run's end."""
        from llm_latency.notebook.widget import make_widget

        self._shell = shell
        self._widget = make_widget(setup)
        self._run, self._stop = setup["run"], stop
        self._is_over = False
        self._widget.on_msg(self._received)
        words = f"llm-latency: {plain(setup['name'])} runs; this place cannot show its live view"
        view = {"version_major": 2, "version_minor": 1, "model_id": self._widget.model_id}
        self._id = publish(shell, ({_WIDGET_MIME: view, "text/plain": words}, {}), keep=True)

    def show(self, message: Message) -> None:
        """Send it; the browser draws."""
        self._is_over = message["kind"] == "end"
        self._widget.send(message)
        self._wait_until_sent()

    def _wait_until_sent(self) -> None:
        """Let the kernel's own thread do its part now: it would take Python's lock from the step to come."""
        schedule = getattr(getattr(getattr(self._shell, "kernel", None), "iopub_thread", None), "schedule", None)
        if schedule is not None:
            sent = threading.Event()
            schedule(sent.set)
            sent.wait(_LONGEST_WAIT_S)

    def end(self, result: Bundle | None) -> None:
        """Replace the widget by the result, also where the browser is gone."""
        self._is_over = True
        publish(self._shell, result or _NOTHING, update=self._id)
        with suppress(Exception):  # its comm is gone, and nothing is left to close
            self._widget.close()

    def _received(self, _: object, content: object, __: object) -> None:
        """Stop this run; a click that comes after its end belongs to none."""
        if not self._is_over and isinstance(content, dict) and content.get("stop") == self._run:
            self._stop()


def line(message: Message) -> str:
    """A message as one line of text; empty where it says nothing."""
    if message["kind"] == "call":
        width = None if message["width"] is None else f"interval ±{message['width']:.1%}"
        aim = f" → ±{message['aim']:.1%}" if width and message["aim"] is not None else ""
        words = [message["words"], *_over(message), width and f"{width}{aim}", message["last"], _left(message)]
    elif message["kind"] == "tick":
        tokens = f"{message['n']:,} token{'' if message['n'] == 1 else 's'}" if message["n"] else None
        others = f"other programs {message['others']}" if message["others"] not in (None, "0%") else None
        ttft = message["ttft"] and f"ttft {message['ttft']}"
        words = [message["phase"], tokens, *_over(message), message["rate"], ttft, message["memory"], others]
        words.append(_left(message))
    else:
        return ""
    return " · ".join(word for word in words if word)


def _over(message: Message) -> list[str]:
    return [f"{said['text']}: {said['seen']}, OVER" for said in message["budgets"] or () if said["mark"] == "over"]


def _left(message: Message) -> str | None:
    return None if message["eta"] is None else f"{message['eta']} left"


def leave_in(shell: Any) -> Callable[[Bundle], None]:
    """What shows a result below the cell, or on stdout where there is no shell."""

    def leave(result: Bundle) -> None:
        if shell is None:
            print(result[0]["text/plain"])  # noqa: T201 - a script's user asked to see it
        else:
            publish(shell, result)

    return leave
