"""A measurement as a notebook's output."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, from_json
from llm_latency.core.trace import Annotation, Request, Trace
from llm_latency.notebook.result import METADATA_KEY, bundle, publish, sentence
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


def test_a_sentence_is_escaped_and_has_no_metadata(shell: Any) -> None:
    """Words alone, in both forms; shown below the cell, it has no name by which to be replaced."""
    assert publish(shell.ip, sentence("<b>no</b> call\x1b")) is None
    (output,) = shell.outputs
    assert "<b>no</b> call\\x1b" == output["data"]["text/plain"]
    assert "<div>&lt;b&gt;no&lt;/b&gt; call\\x1b</div>" == output["data"]["text/html"]
    assert ({}, None) == (output["metadata"], output["transient"])


def test_an_output_that_is_kept_can_be_replaced(shell: Any) -> None:
    """Its name is made up anew each time; who replaces it hands the name on."""
    names = [publish(shell.ip, ({"text/plain": text}, {}), keep=True) for text in "ab"]
    assert names[0] == publish(shell.ip, ({"text/plain": "c"}, {}), update=names[0])
    assert ["a", "b", "c"] == shell.tables
    assert [{"display_id": names[i]} for i in (0, 1, 0)] == [output["transient"] for output in shell.outputs]
    assert [False, False, True] == [output["update"] for output in shell.outputs]
    assert names[0] != names[1]
