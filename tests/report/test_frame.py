"""A measurement as a DataFrame: rows, numbers, units, and what is said without pandas."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import msgspec
import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.metrics import METRICS
from llm_latency.core.trace import Request, Trace
from llm_latency.errors import UsageError
from llm_latency.report.frame import to_frame

pandas = pytest.importorskip("pandas", reason="frames are pandas': pip install -e '.[all,dev]'")

MS = 1_000_000
Call = Callable[..., Trace]
Make = Callable[..., Measurement]


def request(start_ms: int, *emissions: tuple[int, int]) -> Request:
    """A stream that ends with its last emission."""
    stamps = tuple((at * MS, positions) for at, positions in emissions)
    tokens = sum(positions for _, positions in emissions)
    return Request(kind="stream", start_ns=start_ms * MS, stop_ns=stamps[-1][0], emissions=stamps, row_tokens=(tokens,))


# Two requests: ttft 50 and 10 ms; gaps 20, 10 and, 10 of it paused, 30 ms. Then a call without a request.
TWO = Trace(
    start_ns=0,
    stop_ns=200 * MS,
    requests=(request(10, (60, 2), (80, 1), (90, 3)), request(100, (110, 1), (150, 1))),
    pauses=((120 * MS, 130 * MS),),
    energy_j=3.0,
)
IDLE = Trace(start_ns=0, stop_ns=20 * MS, energy_j=1.0)


def test_a_row_a_call_with_its_metrics(measured: Make, call: Call) -> None:
    """Counted calls alone; their place in `traces` is the index."""
    frame = to_frame(measured())
    assert ("call", [0, 1, 2, 3, 4, 5, 6, 7, 8]) == (frame.index.name, list(frame.index))
    assert [0.1, 0.101, 0.102] == list(frame["ttft"])[:3]
    assert [0.02] * 9 == list(frame["itl"])
    assert [512.0 * 2**20] * 9 == list(frame["peak_memory"])
    assert [0.2, 0.204, 0.208] == list(frame["total"])[::4]
    assert [name for name in METRICS if measured().reading(name)] == list(frame.columns)
    assert {name: METRICS[name].unit for name in frame.columns} == frame.attrs["units"]
    assert ("s", "tok/s", "B") == tuple(frame.attrs["units"][n] for n in ("ttft", "output_throughput", "peak_memory"))


def test_several_values_of_a_call_are_their_median_and_none_is_nan(measured: Make) -> None:
    """ttft of two requests, gaps, and a call in which no model ran."""
    frame = to_frame(measured(traces=(TWO, IDLE)))
    assert 0.03 == pytest.approx(frame["ttft"][0])
    assert 0.02 == frame["itl"][0]
    assert math.isnan(frame["ttft"][1])
    assert [3.0, 1.0] == list(frame["energy"])
    assert [0.19, 0.02] == list(frame["total"])
    assert {"float64"} == {str(kind) for kind in frame.dtypes}


def test_a_row_an_emission_with_pauses_taken_out(measured: Make) -> None:
    """Gaps are those of itl; the first of a request has none."""
    frame = to_frame(measured(traces=(IDLE, TWO)), "emissions")
    assert ["call", "request", "emission", "at_s", "gap_s", "tokens"] == list(frame.columns)
    assert [1] * 5 == list(frame["call"])
    assert [0, 0, 0, 1, 1] == list(frame["request"])
    assert [0, 1, 2, 0, 1] == list(frame["emission"])
    assert [0.06, 0.08, 0.09, 0.11, 0.14] == list(frame["at_s"])
    assert [None, 0.02, 0.01, None, 0.03] == [None if math.isnan(gap) else gap for gap in frame["gap_s"]]
    assert [2, 1, 3, 1, 1] == list(frame["tokens"])
    assert {"at_s": "s", "gap_s": "s", "tokens": "tok"} == frame.attrs["units"]
    assert list(frame["gap_s"].dropna()) == list(measured(traces=(IDLE, TWO)).itl.values)


def test_an_emission_is_where_host_and_device_had_come(measured: Make) -> None:
    """As every metric reads it."""
    (first, _) = TWO.requests
    late = msgspec.structs.replace(first, device_ns=(65 * MS, 79 * MS, 95 * MS, 95 * MS))
    frame = to_frame(measured(traces=(Trace(start_ns=0, stop_ns=100 * MS, requests=(late,)),)), "emissions")
    assert [0.065, 0.08, 0.095] == list(frame["at_s"])


def test_a_row_a_metric_as_in_the_json(measured: Make) -> None:
    """Every metric, those without a value too."""
    measurement = measured()
    frame = to_frame(measurement, "metrics")
    assert ("metric", list(METRICS)) == (frame.index.name, list(frame.index))
    row = frame.loc["ttft"]
    assert ("s", "lower", "ttft@1", 9) == (row["unit"], row["better"], row["definition"], row["n"])
    assert (0.104, 0.101, 0.107, 0.108) == (row["p50"], row["low"], row["high"], row["max"])
    assert measurement.derived()["ttft"].confidence == row["confidence"]
    assert ("", "no value") == (row["warnings"], frame.loc["energy"]["warnings"])
    assert math.isnan(frame.loc["energy"]["p50"])
    assert {"float64"} == {str(frame[name].dtype) for name in ("p50", "low", "high", "confidence", "max")}
    assert METRICS["energy"].unit == frame.attrs["units"]["energy"]


@pytest.mark.parametrize(("rows", "length"), [("calls", 0), ("emissions", 0), ("metrics", len(METRICS))])
def test_without_counted_calls_a_frame_is_empty(measured: Make, rows: str, length: int) -> None:
    """Its columns are of the same kinds."""
    frame, full = to_frame(measured(traces=()), rows), to_frame(measured(), rows)
    assert length == len(frame)
    if rows == "emissions":
        assert list(full.dtypes) == list(frame.dtypes)
    assert "units" in frame.attrs


def test_unknown_rows_are_refused_with_the_known_ones(measured: Make) -> None:
    """Before pandas is asked for."""
    with pytest.raises(UsageError, match="there are no rows 'tokens'; known: calls, emissions, metrics"):
        to_frame(measured(), "tokens")


def test_without_pandas_it_says_what_to_do(measured: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else needs it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"to_frame\(\) needs pandas, .*: pip install pandas\. .*`\.traces`.*save\(\)"):
        to_frame(measured())
