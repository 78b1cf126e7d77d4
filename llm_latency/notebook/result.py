"""A measurement as what a notebook shows and keeps: text, HTML and the JSON in the output's metadata."""

from __future__ import annotations

import json
from typing import Any

from llm_latency.core.measurement import Measurement, to_json
from llm_latency.notebook.promise import unrun_measurement
from llm_latency.report.escape import html as escaped
from llm_latency.report.escape import plain
from llm_latency.report.html import html
from llm_latency.report.text import table

METADATA_KEY = "llm_latency"


def bundle(measurement: Measurement) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data and the metadata of an output; words instead of numbers where nothing has run."""
    metadata = {METADATA_KEY: json.loads(to_json(measurement))}
    if (words := unrun_measurement(measurement)) is not None:
        return _sentence(f"{measurement.name}: no times, since {words}"), metadata
    return {"text/plain": table(measurement), "text/html": html(measurement)}, metadata


def publish(shell: Any, measurement: Measurement | None) -> None:
    """Show a measurement below what the cell has shown, or say that there is none."""
    data, metadata = (_sentence("llm-latency: no call finished"), {}) if measurement is None else bundle(measurement)
    shell.display_pub.publish(data=data, metadata=metadata)


def _sentence(words: str) -> dict[str, Any]:
    return {"text/plain": plain(words), "text/html": f"<div>{escaped(words)}</div>"}
