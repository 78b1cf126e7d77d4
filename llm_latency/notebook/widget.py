"""The live view's widget, made by anywidget of one static file; what it says is `wire`'s, what it draws the file's."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from llm_latency.notebook.wire import Message

MODULE = Path(__file__).with_name("static") / "widget.js"


def make_widget(setup: Message) -> Any:
    """Make a widget that knows its `setup`; raises ImportError where anywidget is missing."""
    return _widget_class()(setup=setup)


@functools.cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class LiveView(anywidget.AnyWidget):
        """Draws what it is sent."""

        # The text, not the path: anywidget would watch a path for changes.
        _esm = MODULE.read_text(encoding="utf-8")
        setup = traitlets.Dict().tag(sync=True)

    return LiveView
