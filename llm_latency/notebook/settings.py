"""What `%config LLMTime` and ipython_config.py set: the defaults of `%%llmtime`'s options; not the options."""

from __future__ import annotations

from traitlets import Bool, Enum, Float, Int, List, Unicode
from traitlets.config import Configurable

from llm_latency.notebook.live import MODES
from llm_latency.notebook.options import Defaults


class LLMTime(Configurable):
    """Defaults of %%llmtime; what a cell's own options say comes first."""

    live = Enum(MODES, "auto", help="How calls are shown while they run: auto, widget, text or off.").tag(config=True)
    repeat = Int(None, allow_none=True, min=1, help="Counted calls of a cell, as -r; None runs it once.").tag(
        config=True
    )
    warmup = Int(None, allow_none=True, min=0, help="Warm-up calls of a cell that repeats, as -w.").tag(config=True)
    time_budget = Float(None, allow_none=True, help="Seconds that a cell may repeat, as --time-budget.").tag(
        config=True
    )
    budgets = List(Unicode(), help='Limits for every cell, such as ["ttft p95 < 250 ms"].').tag(config=True)
    strict = Bool(False, help="Raise where a budget is not kept, as --strict.").tag(config=True)
    baselines = Unicode(".llm-latency", help="The folder that --baseline keeps its measurements in.").tag(config=True)
    headroom = Float(0.5, min=0.0, help="What --export adds to the measured times, as a share of them.").tag(
        config=True
    )

    def defaults(self) -> Defaults:
        """The settings as they are now, for the options of one cell."""
        return Defaults(
            live=self.live,
            repeat=self.repeat,
            warmup=self.warmup,
            time_budget=self.time_budget,
            budgets=tuple(self.budgets),
            strict=self.strict,
        )
