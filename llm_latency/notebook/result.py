"""A measurement as what a notebook shows and keeps: text, HTML and the JSON in the output's metadata."""

from __future__ import annotations

import json
import secrets
from typing import Any

from llm_latency.core.measurement import METADATA_KEY, Measurement, to_json
from llm_latency.notebook.promise import unrun_measurement
from llm_latency.report.escape import html as escaped
from llm_latency.report.escape import plain
from llm_latency.report.html import html
from llm_latency.report.text import table

# The data of an output by MIME type, and its metadata.
Bundle = tuple[dict[str, Any], dict[str, Any]]


def bundle(measurement: Measurement) -> Bundle:
    """The data and the metadata of an output; words instead of numbers where nothing has run."""
    metadata = {METADATA_KEY: json.loads(to_json(measurement))}
    if (words := unrun_measurement(measurement)) is not None:
        return sentence(f"{measurement.name}: no times, since {words}")[0], metadata
    return {"text/plain": table(measurement), "text/html": html(measurement)}, metadata


def sentence(words: str) -> Bundle:
    """An output that is one sentence."""
    return {"text/plain": plain(words), "text/html": f"<div>{escaped(words)}</div>"}, {}


def publish(shell: Any, output: Bundle, *, keep: bool = False, update: str | None = None) -> str | None:
    """Show an output below what the cell has shown, or in the place of the one that `update` names.

    With `keep` it gets a name by which it may be replaced, which is returned.
    """
    data, metadata = output
    name = secrets.token_hex(8) if keep else update
    transient = {} if name is None else {"transient": {"display_id": name}, "update": update is not None}
    shell.display_pub.publish(data=data, metadata=metadata, **transient)
    return name
