"""A measurement shows itself by a presenter from above, and is the same data with and without."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import msgspec
import pytest
from measured import FULL

from llm_latency.core.measurement import Measurement, from_json, to_json
from llm_latency.errors import UsageError


class Presenting:
    """Gives back what it was asked."""

    def html(self, measurement: Measurement) -> str:
        """Its name."""
        return measurement.name

    def frame(self, measurement: Measurement, rows: str) -> Any:
        """Its name and rows."""
        return measurement.name, rows

    def plot(self, measurement: Measurement, kind: str, *, other: Measurement | None, ax: Any) -> Any:
        """All that was given."""
        return measurement.name, kind, other, ax


def test_without_a_presenter_it_says_what_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that looks for HTML gets none."""
    monkeypatch.setattr(Measurement, "presenter", None)
    assert FULL._repr_html_() is None
    for name, ask in (("to_frame", FULL.to_frame), ("plot", FULL.plot)):
        with pytest.raises(UsageError) as caught:
            ask()
        expected = f"{name}() needs the report, which is not loaded; `from llm_latency import Measurement` loads it"
        assert expected == str(caught.value)


def test_a_presenter_is_handed_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was asked for."""
    monkeypatch.setattr(Measurement, "presenter", Presenting())
    assert FULL.name == FULL._repr_html_()
    assert (FULL.name, "calls") == FULL.to_frame()
    assert (FULL.name, "metrics") == FULL.to_frame("metrics")
    assert (FULL.name, "timeline", None, None) == FULL.plot()
    assert (FULL.name, "ecdf", FULL, "ax") == FULL.plot("ecdf", other=FULL, ax="ax")


def test_a_presenter_changes_nothing_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields, JSON, equality, copies and pickles are as without one; metrics are still read by name."""
    before = (Measurement.__struct_fields__, to_json(FULL), msgspec.json.encode(FULL), repr(FULL))
    monkeypatch.setattr(Measurement, "presenter", Presenting())
    assert before == (Measurement.__struct_fields__, to_json(FULL), msgspec.json.encode(FULL), repr(FULL))
    assert "presenter" not in Measurement.__struct_fields__
    same = (from_json(to_json(FULL)), pickle.loads(pickle.dumps(FULL)), copy.copy(FULL), copy.deepcopy(FULL))
    assert [FULL] * 4 == list(same)
    assert FULL.ttft.p50 == "200 ms"
    with pytest.raises(AttributeError, match="a measurement has no '_repr_png_'"):
        FULL._repr_png_  # noqa: B018 # the access itself is tested
