"""A sweep as a table, records, CSV, frame and plots, with times that were written by a formula."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.sweep import Point, Sweep
from llm_latency.report.presenter import install_for_sweeps
from llm_latency.report.sweep import records, sweep_csv, sweep_frame, sweep_table, units
from llm_latency.report.sweep_plot import frontier, picture, sweep_plot
from tests.predict.synthetic import synthetic

TINY = "shape:gpt2-tiny"


@pytest.fixture(scope="module")
def found() -> Sweep:
    """Two lengths by two batches, 100 ms a thousand positions and 10 ms a step; and a cell without memory."""
    cells = [
        Cell(model=TINY, prompt_tokens=length, new_tokens=5, batch=rows) for length in (100, 200) for rows in (1, 4)
    ]
    measured = synthetic(
        cells, prefill=lambda cost: 0.1 + cost.mixing_flops / 1e9, step=lambda cost: 0.010 + cost.cache_bytes / 1e10
    )
    lost = Point(
        cell=Cell(model="shape:gpt2-xl", prompt_tokens=100, new_tokens=5),
        measurement=None,
        problem="out of memory",
        words="weights and cache need 6 GiB",
    )
    return Sweep(points=(*measured.points, lost))


def test_the_table_has_a_line_a_cell_and_what_is_missing(found: Sweep) -> None:
    """Settings that do not vary have no column; a cell without numbers says why."""
    lines = sweep_table(found, width=120).splitlines()
    assert "sweep · 5 cells · 4 measured" == lines[0]
    assert ["model", "prompt", "new", "batch", "calls", "ttft", "tpot", "e2e", "output", "rate"] == lines[2].split()
    assert [TINY, "100", "5", "1", "2"] == lines[3].split()[:5]
    assert 4 == sum(line.startswith(TINY) for line in lines)
    assert "out of memory: shape:gpt2-xl 100+5 ×1: weights and cache need 6 GiB" == lines[-1]
    assert all(len(line) <= 120 for line in lines)


def test_records_have_every_number_in_base_units(found: Sweep) -> None:
    """None where there is none; two calls have no interval."""
    first, *_, lost = records(found)
    assert (TINY, 100, 5, 1, 2, None) == tuple(
        first[name] for name in ("model", "prompt_tokens", "new_tokens", "batch", "calls", "problem")
    )
    assert first["e2e_p50"] == pytest.approx(first["ttft_p50"] + 4 * first["tpot_p50"], rel=1e-6)
    assert first["output_throughput_p50"] == pytest.approx(5 / first["e2e_p50"], rel=1e-6)
    assert first["ttft_low"] is None
    assert ("out of memory", 0, None) == (lost["problem"], lost["calls"], lost["ttft_p50"])
    assert "s" == units()["ttft_p50"]
    assert set(units()) < set(first)


def test_the_csv_has_the_records(found: Sweep) -> None:
    """Empty where a number is not known."""
    lines = list(csv.DictReader(io.StringIO(sweep_csv(found).decode())))
    assert [list(line) for line in lines] == [list(record) for record in records(found)]
    assert float(lines[0]["ttft_p50"]) == records(found)[0]["ttft_p50"]
    assert "" == lines[-1]["ttft_p50"]
    assert sweep_csv(Sweep(points=())).startswith(b"model,prompt_tokens")


def test_a_frame_has_them_with_units(found: Sweep) -> None:
    """By the presenter, as a user asks for it."""
    pytest.importorskip("pandas")
    install_for_sweeps()
    frame = found.to_frame()
    assert (5, "s") == (len(frame), frame.attrs["units"]["tpot_p50"])
    assert list(sweep_frame(found).columns) == list(frame.columns)
    assert str(found).startswith("sweep · 5 cells")


def test_no_other_point_beats_the_frontier_in_both() -> None:
    """Rising in latency and in throughput; of equal latencies the better."""
    points = [(2.0, 20.0), (1.0, 10.0), (3.0, 15.0), (1.0, 8.0), (4.0, 30.0)]
    assert [(1.0, 10.0), (2.0, 20.0), (4.0, 30.0)] == frontier(points)
    assert [] == frontier([])


def test_times_are_drawn_against_length(found: Sweep) -> None:
    """A line a batch, at the lengths that were measured, in one unit."""
    pytest.importorskip("matplotlib")
    figure = sweep_plot(found)
    first, second = figure.axes
    assert [2, 2] == [len(ax.containers) for ax in (first, second)]
    drawn = first.containers[0].lines[0]
    assert [100, 200] == list(drawn.get_xdata())
    assert drawn.get_ydata()[0] == pytest.approx(1e3 * records(found)[0]["ttft_p50"], rel=1e-3)
    assert "ttft (ms)" == first.get_ylabel()
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows and keeps
    assert ["gpt2-tiny, batch 1", "gpt2-tiny, batch 4"] == [text.get_text() for text in figure.legends[0].get_texts()]


def test_throughput_is_drawn_against_batch_with_its_frontier(found: Sweep) -> None:
    """A line a length, and a dashed one through what nothing beats."""
    pytest.importorskip("matplotlib")
    first, second = sweep_plot(found, "frontier").axes
    assert [[1, 4], [1, 4]] == [list(line.get_xdata()) for line in first.get_lines()]
    dashed = second.get_lines()[-1]
    assert "--" == dashed.get_linestyle()
    assert list(dashed.get_ydata()) == sorted(dashed.get_ydata())


@pytest.mark.parametrize("kind", ["length", "frontier"])
def test_pictures_are_svg(found: Sweep, kind: str) -> None:
    """Whole, without a screen."""
    pytest.importorskip("matplotlib")
    assert b"</svg>" in picture(found, kind)


def test_nothing_is_drawn_of_nothing(found: Sweep) -> None:
    """Nor of another kind."""
    with pytest.raises(UsageError, match="no plot 'pie' of a sweep; known: length, frontier"):
        sweep_plot(found, "pie")
    with pytest.raises(UsageError, match="nothing to draw"):
        sweep_plot(Sweep(points=found.points[-1:]))


def test_without_the_report_a_sweep_says_where_it_is(found: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room that measures knows no frame."""
    monkeypatch.setattr(Sweep, "presenter", None)
    calls: list[Any] = [found.to_frame, found.plot]
    for call in calls:
        with pytest.raises(UsageError, match="from llm_latency import sweep"):
            call()
