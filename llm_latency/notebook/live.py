"""LiveView: a view that tells a screen, and the choice of the screen that a place can show; not what is said."""

from __future__ import annotations

import _thread
import importlib.util
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.errors import UsageError
from llm_latency.notebook.result import Bundle, bundle, sentence
from llm_latency.notebook.screen import Line, Output, ResultOnly, Screen, Widget, leave_in
from llm_latency.notebook.wire import Wire
from llm_latency.record.sampling import Plan, Progress
from llm_latency.record.view import NEVER_NS, Moment

MODES = ("auto", "widget", "text", "off")


class LiveView:
    """Tells a screen of the calls of one run after another.

    `shows` turns a run's end into what stays, None for nothing; `names` are where a tokenizer may be found.
    """

    def __init__(
        self,
        mode: str,
        *,
        shell: Any,
        names: Mapping[str, object],
        shows: Callable[[Measurement | None, BaseException | None], Bundle | None],
    ) -> None:
        """Show nothing until a run begins."""
        self.period_ns = NEVER_NS
        self._mode = mode
        self._shell = shell
        self._names = names
        self._shows = shows
        self._wire: Wire | None = None
        self._screen: Screen = ResultOnly(leave_in(shell))

    def begin(self, name: str, plan: Plan) -> None:
        """Open the screen."""
        wire = self._wire = Wire(secrets.token_hex(3), name=name, plan=plan, decode=decoder(self._names))
        self._screen = screen_for(self._shell, self._mode, wire)
        self.period_ns = self._screen.period_ns

    def follow(self, progress: Progress | None) -> None:
        """Say which call comes next, or that none does: a Stop would hit the next cell."""
        if self._wire is None:
            return
        message = self._wire.end() if progress is None else self._wire.call(progress)
        if message is not None:
            self._screen.show(message)

    def look(self, moment: Moment) -> None:
        """Say how the call stands."""
        if self._wire is not None:
            self._screen.show(self._wire.tick(moment))

    def end(self, measurement: Measurement | None, error: BaseException | None) -> None:
        """Leave what stays; where the screen has failed, below the cell."""
        result = self._shows(measurement, error)
        screen, self._screen, self._wire = self._screen, ResultOnly(leave_in(self._shell)), None
        try:
            screen.end(result)
        except Exception:  # a comm that is gone, a closed stderr
            if result is not None:
                leave_in(self._shell)(result)


def result_of(measurement: Measurement | None, _: BaseException | None = None) -> Bundle:
    """What stays of a run: its result, or that there is none."""
    return sentence("llm-latency: no call finished") if measurement is None else bundle(measurement)


def live(mode: str = "auto") -> LiveView:
    """A view for `timed`, `measure` and `measure_async`: it shows calls while they run and their result after them.

    `with llm_latency.timed("chat", view=llm_latency.live()): ...`. In a notebook it is a widget or a line of text in
    the cell's output, in a terminal a line on stderr, elsewhere only the table, on stdout. `mode` is auto, widget,
    text or off. Raises UsageError for another one; a widget where there can be none is refused when the calls begin.
    """
    shell = current_shell()
    names: Mapping[str, object] = {} if shell is None else shell.user_ns
    return LiveView(checked_mode(mode), shell=shell, names=names, shows=result_of)


def checked_mode(mode: str) -> str:
    """The mode, if it is one; raises UsageError with those that are."""
    if mode not in MODES:
        raise UsageError(f"live view {mode!r}; expected one of {', '.join(MODES)}")
    return mode


def screen_for(shell: Any, mode: str, wire: Wire) -> Screen:
    """The best screen that a place can show; raises UsageError where a widget was asked for and there can be none."""
    leave = leave_in(shell)
    if mode == "off" or (mode != "widget" and shell is not None and _is_captured(shell)):
        return ResultOnly(leave)
    in_kernel = getattr(shell, "kernel", None) is not None
    has_widgets = importlib.util.find_spec("anywidget") is not None
    if mode == "widget" and not (in_kernel and has_widgets):
        why = "anywidget is not installed: pip install anywidget" if in_kernel else "there is no notebook here"
        raise UsageError(f"no live widget: {why}. Take --live text, or leave it to auto")
    if in_kernel and (mode == "widget" or (mode == "auto" and has_widgets and _is_asked_by_a_browser(shell))):
        try:
            return Widget(shell, wire.setup(), stop=_thread.interrupt_main)
        except Exception as error:  # widgets of a version that does not fit, a comm that does not open
            if mode == "widget":
                why = f"it failed, {type(error).__name__}: {error}"
                raise UsageError(f"no live widget: {why}. Take --live text, or leave it to auto") from error
    if in_kernel:
        return Output(shell)
    return Line(leave) if mode == "text" or _is_a_terminal(sys.stderr) else ResultOnly(leave)


def _is_a_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none at all, as under pythonw, or closed
        return False


def _is_captured(shell: Any) -> bool:
    """Whether `%%capture` keeps what is displayed: it would keep each update."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(shell.display_pub, CapturingDisplayPublisher)


def _is_asked_by_a_browser(shell: Any) -> bool:
    """Whether the running cell came from a page that may have widgets.

    Pages of JupyterLab, Notebook and their kin name no user (@jupyterlab/services, kernel/messages.ts); clients
    written in Python do (jupyter_client, session.py), and nobody watches a widget in nbclient, papermill or a console.
    """
    try:
        return not shell.get_parent()["header"].get("username")
    except Exception:  # a kernel of another make, or none of its messages: a line of text is seen everywhere
        return False


def current_shell() -> Any:
    """The running IPython shell, or None; IPython is not imported for it."""
    core = sys.modules.get("IPython.core.interactiveshell")
    return core.InteractiveShell.instance() if core is not None and core.InteractiveShell.initialized() else None


def decoder(names: Mapping[str, object]) -> Callable[[Sequence[int]], str]:
    """Text of a token's ids by a tokenizer among `names`, looked for when the first is asked for."""
    found: list[Any] = []

    def decode(ids: Sequence[int]) -> str:
        if not found:
            base = getattr(sys.modules.get("transformers.tokenization_utils_base"), "PreTrainedTokenizerBase", ())
            found.extend(value for value in tuple(names.values()) if isinstance(value, base))
        # Not `decode`, which is watched as a phase of the call.
        tokens = found[0].convert_ids_to_tokens(list(ids))
        text = str(found[0].convert_tokens_to_string(tokens))
        # SentencePiece's decoders drop the blank that a first word begins with.
        return f" {text}" if tokens and tokens[0].startswith("▁") and not text.startswith(" ") else text

    return decode
