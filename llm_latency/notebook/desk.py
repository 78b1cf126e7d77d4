"""Desk: what the magic of one shell works with: what was timed, the settings, and where results are put."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.notebook.options import Options
from llm_latency.notebook.result import Bundle, publish
from llm_latency.notebook.session import Session
from llm_latency.notebook.settings import LLMTime


class Desk:
    """The shell, its session and its settings."""

    def __init__(self, shell: Any) -> None:
        """Nothing has been timed yet."""
        self.shell = shell
        self.session = Session()
        self.settings = LLMTime(parent=shell)

    @property
    def baselines(self) -> Path:
        """The folder that baselines lie in."""
        return Path(self.settings.baselines).expanduser()

    @property
    def inputs(self) -> list[str]:
        """The inputs of this session as IPython transformed them, the running one last."""
        return self.shell.history_manager.input_hist_parsed  # type: ignore[no-any-return]  # IPython's

    def store(self, options: Options, measurement: Measurement | None) -> None:
        """Put a measurement into the variable that `-v` names."""
        if options.variable is not None and measurement is None:
            self.shell.user_ns.pop(options.variable, None)  # an older measurement would pass for this one
        elif options.variable is not None:
            self.shell.user_ns[options.variable] = measurement

    def show(self, result: Bundle, options: Options) -> None:
        """Show what an action has found, unless it is silenced or returned."""
        if not options.quiet and not options.output:
            publish(self.shell, result)
