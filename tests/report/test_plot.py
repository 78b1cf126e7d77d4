"""What matplotlib is told to draw, and that nothing else of it is touched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.errors import UsageError
from llm_latency.report.plot import plot
from llm_latency.report.ratios import RATIO_COLOURS
from llm_latency.report.svg import COLOURS, TEXT_COLOUR

matplotlib = pytest.importorskip("matplotlib", reason="plots are matplotlib's: pip install -e '.[all,dev]'")

Call = Callable[..., Trace]
Make = Callable[..., Measurement]
KINDS = ("timeline", "ecdf", "comparison")


@pytest.fixture
def pyplot() -> Iterator[Any]:
    """Without a screen; what was drawn is closed."""
    before = matplotlib.get_backend(auto_select=False)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")
    if before is not None:
        matplotlib.use(before)


@pytest.fixture
def slow(measured: Make, call: Call) -> Measurement:
    """Nine calls with a ttft of 120 … 128 ms and gaps of 30 ms."""
    return measured(name="slow", traces=tuple(call(ttft_ms=120 + index, gap_ms=30) for index in range(9)))


def drawn(measurement: Measurement, kind: str, slow: Measurement, **more: Any) -> Any:
    """A plot of this kind."""
    return plot(measurement, kind, other=slow if kind == "comparison" else None, **more)


def labels(axis: Any) -> list[str]:
    """What stands at its marks."""
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax: Any) -> list[str]:
    """What stands in the legend."""
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("kind", KINDS)
def test_with_axes_pyplot_is_left_alone(measured: Make, slow: Measurement, kind: str) -> None:
    """Not even a figure of its own is looked at."""
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.add_subplot()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.pyplot", None)
        assert drawn(measured(), kind, slow, ax=ax) is ax
    figure.savefig("/dev/null", format="png")


@pytest.mark.parametrize("kind", KINDS)
def test_without_axes_there_is_one_new_figure(measured: Make, slow: Measurement, pyplot: Any, kind: str) -> None:
    """Which pyplot shows; its text and lines have the middle tone."""
    before = set(pyplot.get_fignums())
    ax = drawn(measured(), kind, slow)
    assert 1 == len(set(pyplot.get_fignums()) - before)
    assert 0.0 == ax.patch.get_alpha()
    ax.figure.canvas.draw()
    shown = [ax.xaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels(), *ax.texts]
    assert {TEXT_COLOUR} == {text.get_color() for text in shown}
    assert ax.get_xlabel()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_clipped(measured: Make, slow: Measurement, pyplot: Any, kind: str) -> None:
    """Legend, labels and words lie inside the figure, also with long names."""
    long, other = measured(name="n" * 80), msgspec.structs.replace(slow, name="o" * 80)
    ax = plot(long, kind, other=None if kind == "timeline" else other)
    ax.figure.canvas.draw()
    box, figure = ax.get_tightbbox(), ax.figure.bbox
    assert box.x0 >= figure.x0 - 1
    assert box.y0 >= figure.y0 - 1
    assert box.x1 <= figure.x1 + 1
    assert box.y1 <= figure.y1 + 1


def test_a_timeline_is_the_one_of_the_report(measured: Make, pyplot: Any) -> None:
    """Bars of prefill and decode, a tick an emission, marks with their unit."""
    ax = plot(measured())
    assert ["0 s", "50 ms", "100 ms", "150 ms", "200 ms"] == labels(ax.xaxis)
    assert "middle call, 204 ms" == ax.get_legend().get_title().get_text()
    assert ["prefill 104 ms", "decode 80.0 ms"] == legend(ax)
    bars, ticks = ax.collections[:2], ax.collections[2]
    assert [COLOURS["prefill"], COLOURS["decode"]] == [matplotlib.colors.to_hex(bar.get_facecolor()[0]) for bar in bars]
    assert [10 / 204, 114 / 204] == pytest.approx([bar.get_datalim(ax.transData).x0 for bar in bars])
    assert 5 == len(ticks.get_segments())
    assert "time since the call began" == ax.get_xlabel()


def test_a_timeline_needs_a_call_and_no_other(measured: Make) -> None:
    """Said before anything is drawn."""
    with pytest.raises(UsageError, match="there is no call to draw"):
        plot(measured(traces=(), cold=None))
    with pytest.raises(UsageError, match="a timeline is of one measurement; other= goes with 'ecdf' and 'comparison'"):
        plot(measured(), other=measured())


def test_an_ecdf_marks_the_median_and_p95(measured: Make, slow: Measurement, pyplot: Any) -> None:
    """36 gaps each, of 20 and of 30 ms."""
    ax = plot(measured(), "ecdf", other=slow)
    assert [
        "itl of chat: n = 36, p50 20.0 ms, p95 20.0 ms",
        "itl of slow: n = 36, p50 30.0 ms, p95 30.0 ms",
    ] == legend(ax)
    first, marks, second, _ = ax.lines
    assert [COLOURS["decode"], COLOURS["decode"], COLOURS["prefill"]] == [
        line.get_color() for line in (first, marks, second)
    ]
    assert ([20.0, 20.0], [0.5, 0.95]) == (list(marks.get_xdata()), list(marks.get_ydata()))
    assert [20.0] * 37 == list(first.get_xdata())
    assert (0.0, 1.0) == (first.get_ydata()[0], first.get_ydata()[-1])
    assert ("gap between neighbouring emissions, itl (ms)", "share of the gaps") == (ax.get_xlabel(), ax.get_ylabel())


def test_an_ecdf_of_few_gaps_marks_the_longest(measured: Make, call: Call, pyplot: Any) -> None:
    """Four gaps hold no p95; a step is where the gap is."""
    trace = call()
    (request,) = trace.requests
    at = request.emissions[0][0]
    stamps = tuple((at + moment * 1_000_000, 1) for moment in (0, 10, 30, 70, 150))  # gaps of 10, 20, 40 and 80 ms
    trace = msgspec.structs.replace(trace, requests=(msgspec.structs.replace(request, emissions=stamps),))
    ax = plot(measured(traces=(trace,)), "ecdf")
    assert ["itl of chat: n = 4, p50 30.0 ms, max 80.0 ms"] == legend(ax)
    steps, marks = ax.lines
    assert [10, 10, 20, 40, 80] == pytest.approx(list(steps.get_xdata()))
    assert [0.0, 0.25, 0.5, 0.75, 1.0] == list(steps.get_ydata())
    assert [30, 80] == pytest.approx(list(marks.get_xdata()))
    assert [0.5, 1.0] == list(marks.get_ydata())


def test_an_ecdf_without_gaps_says_whose(measured: Make, call: Call) -> None:
    """One token has none."""
    short = measured(name="short", traces=(call(tokens=1),))
    with pytest.raises(UsageError, match="'short' has no gap between emissions"):
        plot(measured(), "ecdf", other=short)


def test_a_comparison_shows_the_ratios(measured: Make, slow: Measurement, pyplot: Any) -> None:
    """A log axis with its line at one, a word for each metric; hollow without an interval."""
    ax = plot(measured(), "comparison", other=slow)
    names = ["ttft", "tpot", "itl", "e2e", "total", "output_throughput", "peak_memory"]
    assert names == labels(ax.yaxis)
    assert [*["slower"] * 6, "not distinguishable"] == [text.get_text() for text in ax.texts]
    assert ("log", "slow / chat, with intervals") == (ax.get_xscale(), ax.get_xlabel())
    assert [1.0, 1.0] == list(ax.lines[0].get_xdata())
    interval, dot = ax.lines[1:3]
    assert [124 / 104] == pytest.approx(list(dot.get_xdata()))
    assert (RATIO_COLOURS["worse"], "full") == (dot.get_color(), dot.get_fillstyle())
    assert interval.get_xdata()[0] < 124 / 104 < interval.get_xdata()[1]
    top, bottom = ax.get_ylim()
    assert top > bottom  # the first metric is above
    assert "1" in labels(ax.xaxis)
    single = measured(traces=measured().traces[:1])
    few = plot(measured(), "comparison", other=single)
    assert {"none"} == {line.get_fillstyle() for line in few.lines[1:]}


def test_a_comparison_needs_another_with_a_common_metric(measured: Make) -> None:
    """Said in words."""
    with pytest.raises(UsageError, match=r"needs a second measurement: plot\('comparison', other=...\)"):
        plot(measured(), "comparison")
    with pytest.raises(UsageError, match="no metric in common whose ratio could be drawn"):
        plot(measured(), "comparison", other=measured(traces=()))
    with pytest.raises(UsageError, match="other='slow' is no measurement"):
        plot(measured(), "comparison", other="slow")  # type: ignore[arg-type]  # what is refused


def test_names_are_no_formulas(measured: Make, slow: Measurement, pyplot: Any) -> None:
    """Nor do they hide: matplotlib leaves out labels that begin with an underscore."""
    odd = measured(name="_cost $x_{$ and $y\x1b")
    ax = plot(odd, "ecdf", other=slow)
    assert [r"itl of _cost \$x_{\$ and \$y\x1b: n = 36, p50 20.0 ms, p95 20.0 ms"] == legend(ax)[:1]
    ax.figure.canvas.draw()
    plot(odd, "comparison", other=odd).figure.canvas.draw()


def test_an_unknown_kind_is_refused_with_the_known_ones(measured: Make) -> None:
    """Before matplotlib is asked for."""
    with pytest.raises(UsageError, match="there is no plot 'bar'; known: timeline, ecdf, comparison"):
        plot(measured(), "bar")


@pytest.mark.parametrize("kind", KINDS)
def test_without_matplotlib_it_says_what_to_do(
    measured: Make, slow: Measurement, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Nothing else needs it."""
    for module in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"plot\(\) needs matplotlib, .*: pip install matplotlib\. "):
        drawn(measured(), kind, slow)
