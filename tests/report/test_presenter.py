"""The report puts itself into measurements where a public name hands them out, and nowhere before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from llm_latency.core.contrast import Contrast
from llm_latency.core.measurement import Measurement
from llm_latency.report.contrast import compare, contrast_html, contrast_table
from llm_latency.report.html import html
from llm_latency.report.presenter import ContrastReport, MeasurementReport, install

Make = Callable[..., Measurement]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after importing the core alone."""
    monkeypatch.setattr(Measurement, "presenter", None)
    monkeypatch.setattr(Contrast, "presenter", None)


def test_installing_shows_measurements_and_contrasts(bare: None, measured: Make) -> None:
    """As the report writes them."""
    measurement, found = measured(), compare(measured(), measured())
    assert (None, None) == (measurement._repr_html_(), found._repr_html_())
    install()
    assert html(measurement) == measurement._repr_html_()
    assert (contrast_table(found), contrast_html(found)) == (str(found), found._repr_html_())
    pretty = pytest.importorskip("IPython.lib.pretty", reason="IPython is an extra: pip install -e '.[all,dev]'")
    assert contrast_table(found) == pretty.pretty(found)


def test_installing_twice_is_installing_once(bare: None) -> None:
    """And who has put in another keeps it."""
    install()
    presenters = (Measurement.presenter, Contrast.presenter)
    assert (MeasurementReport, ContrastReport) == tuple(map(type, presenters))
    install()
    assert presenters[0] is Measurement.presenter
    assert presenters[1] is Contrast.presenter


def test_frames_and_plots_are_made(bare: None, measured: Make) -> None:
    """By the files of this room."""
    pytest.importorskip("pandas", reason="frames are pandas': pip install -e '.[all,dev]'")
    figure = pytest.importorskip("matplotlib.figure", reason="plots are matplotlib's: pip install -e '.[all,dev]'")
    install()
    assert 9 == len(measured().to_frame())
    assert 36 + 9 == len(measured().to_frame("emissions"))
    ax = figure.Figure().add_subplot()
    assert measured().plot(ax=ax) is ax
    assert measured().plot("ecdf", other=measured(), ax=ax) is ax


def fresh(script: str) -> list[str]:
    """Run in an interpreter of its own; the lines that it prints."""
    run = subprocess.run([sys.executable, "-Ic", script], capture_output=True, text=True, check=False, timeout=120)
    assert 0 == run.returncode, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize("name", ["Measurement", "compare", "load", "measure", "measure_async", "timed"])
def test_a_name_that_gives_measurements_installs_the_report(name: str) -> None:
    """When it is used; nothing heavy comes along."""
    script = f"""
import sys, llm_latency
print("llm_latency.report" in sys.modules)
llm_latency.{name}
from llm_latency.core.measurement import Measurement
print(type(Measurement.presenter).__name__)
print(*(m for m in ("matplotlib", "pandas", "numpy", "torch", "IPython") if m in sys.modules))
"""
    assert ["False", "MeasurementReport", ""] == fresh(script)


@pytest.mark.parametrize("name", ["save", "table"])
def test_a_name_that_takes_measurements_does_not(name: str) -> None:
    """Whoever has one to hand in got it by another."""
    script = f"""
import llm_latency
llm_latency.{name}
from llm_latency.core.measurement import Measurement
print(Measurement.presenter)
"""
    assert ["None"] == fresh(script)


def test_a_measurement_of_the_public_names_shows_itself() -> None:
    """The whole way, with a shell's questions."""
    script = """
import llm_latency
m = llm_latency.measure(lambda: sum(range(1000)), repeat=4, warmup=0)
found = llm_latency.compare(m, m)
print(m._repr_html_()[:5], str(found).partition(":")[0], found._repr_html_()[:5], hasattr(m, "_repr_png_"))
"""
    assert ["<div> first <div> False"] == fresh(script)
