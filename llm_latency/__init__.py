"""Time LLM code where it is written and guard it where it is merged: the public names, each imported when used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_latency.adapt.policy import load_policy, save_policy
    from llm_latency.adapt.tuner import tune
    from llm_latency.core.measurement import Measurement, load, save
    from llm_latency.notebook.live import live
    from llm_latency.predict.explain import explain
    from llm_latency.predict.fit import fit, load_fit, save_fit
    from llm_latency.predict.sweep import sweep
    from llm_latency.record.measure import measure, measure_async
    from llm_latency.record.observe.stream import stream, stream_async
    from llm_latency.record.timed import timed
    from llm_latency.report.contrast import compare
    from llm_latency.report.text import table
    from llm_latency.workloads.shapes import build as shape

__version__ = "0.1.0"

_HOMES = {
    "Measurement": "llm_latency.core.measurement:Measurement",
    "load": "llm_latency.core.measurement:load",
    "save": "llm_latency.core.measurement:save",
    "measure": "llm_latency.record.measure:measure",
    "measure_async": "llm_latency.record.measure:measure_async",
    "timed": "llm_latency.record.timed:timed",
    "stream": "llm_latency.record.observe.stream:stream",
    "stream_async": "llm_latency.record.observe.stream:stream_async",
    "table": "llm_latency.report.text:table",
    "compare": "llm_latency.report.contrast:compare",
    "live": "llm_latency.notebook.live:live",
    "shape": "llm_latency.workloads.shapes:build",
    "sweep": "llm_latency.predict.sweep:sweep",
    "fit": "llm_latency.predict.fit:fit",
    "load_fit": "llm_latency.predict.fit:load_fit",
    "save_fit": "llm_latency.predict.fit:save_fit",
    "tune": "llm_latency.adapt.tuner:tune",
    "load_policy": "llm_latency.adapt.policy:load_policy",
    "save_policy": "llm_latency.adapt.policy:save_policy",
    "explain": "llm_latency.predict.explain:explain",
}

# What these give shows itself in a notebook and becomes a frame or a plot: the report is put in when they are used.
_PRESENTED = {"Measurement", "compare", "load", "measure", "measure_async", "timed"}

__all__ = [
    "Measurement",
    "compare",
    "explain",
    "fit",
    "live",
    "load",
    "load_fit",
    "load_ipython_extension",
    "load_policy",
    "measure",
    "measure_async",
    "save",
    "save_fit",
    "save_policy",
    "shape",
    "stream",
    "stream_async",
    "sweep",
    "table",
    "timed",
    "tune",
    "unload_ipython_extension",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"llm_latency has no {name!r}; public names: {', '.join(__all__)}")
    if name in _PRESENTED:
        _install_presenter()
    if name == "sweep":
        from llm_latency.report.presenter import install_for_sweeps

        install_for_sweeps()
    module, _, attribute = home.partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _install_presenter() -> None:
    from llm_latency.report.presenter import install

    install()


def load_ipython_extension(shell: Any) -> None:
    """Add `%%llmtime` to an IPython shell: what `%load_ext llm_latency` calls."""
    from llm_latency.notebook.extension import load_into

    _install_presenter()
    load_into(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take `%%llmtime` out of the shell again: what `%unload_ext llm_latency` calls."""
    from llm_latency.notebook.extension import unload_from

    unload_from(shell)
