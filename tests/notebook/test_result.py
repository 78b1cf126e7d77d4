"""A measurement as a notebook's output."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, from_json
from llm_latency.core.trace import Annotation, Request, Trace
from llm_latency.notebook.result import METADATA_KEY, bundle, publish
from llm_latency.report.html import html
from llm_latency.report.text import table

CALL = Trace(start_ns=0, stop_ns=5_000, requests=(Request(kind="call", start_ns=0, stop_ns=5_000),))
LAZY = msgspec.structs.replace(CALL, annotations=(Annotation(kind="lazy", at_ns=5, detail="it gave a <generator>"),))


def measured(trace: Trace, *, name: str = "cell") -> Measurement:
    """A measurement of one call."""
    return Measurement(name=name, workload={}, environment=Environment(), traces=(trace,), stopped_because="one call")


def test_the_output_is_the_report_and_its_metadata_the_measurement() -> None:
    """Text and HTML are report's own, and the JSON reads back as what was measured."""
    measurement = measured(CALL)
    data, metadata = bundle(measurement)
    assert {"text/plain": table(measurement), "text/html": html(measurement)} == data
    assert measurement == from_json(json.dumps(metadata[METADATA_KEY]))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31mred"])
@pytest.mark.parametrize("trace", [CALL, LAZY])
def test_a_name_cannot_bring_markup(name: str, trace: Trace) -> None:
    """Neither HTML nor a terminal's escapes get through, with numbers or with words."""
    data, _ = bundle(measured(trace, name=name))
    assert "<script" not in data["text/html"]
    assert "<img src=x" not in data["text/html"]
    assert "\x1b" not in data["text/html"] + data["text/plain"]


def test_words_stand_where_nothing_has_run() -> None:
    """No number is shown, in either form."""
    data, _ = bundle(measured(LAZY))
    assert "cell: no times, since it gave a <generator>" == data["text/plain"]
    assert "<div>cell: no times, since it gave a &lt;generator&gt;</div>" == data["text/html"]


def test_no_call_is_said_in_words(shell: Any) -> None:
    """An output without a measurement has no metadata of ours."""
    publish(shell.ip, None)
    assert ["llm-latency: no call finished"] == shell.tables
    assert {} == shell.outputs[0]["metadata"]
