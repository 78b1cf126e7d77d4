"""What can change a number, and the differences between two machines."""

from __future__ import annotations

import msgspec
import pytest

from llm_latency.core.environment import Environment, differences


def test_nothing_known_is_no_difference() -> None:
    """Two environments of which nothing is known do not differ."""
    assert () == differences(Environment(), Environment())


@pytest.mark.parametrize("field", sorted(set(Environment.__struct_fields__) - {"peaks", "warnings"}))
def test_every_fact_counts(field: str) -> None:
    """Each field that differs is named, with both values."""
    changed = msgspec.structs.replace(Environment(), **{field: "new"})
    assert (f"{field}: None → new",) == differences(Environment(), changed)
    assert (f"{field}: new → None",) == differences(changed, Environment())
    assert () == differences(changed, changed)


def test_differences_come_in_the_order_of_the_fields() -> None:
    """Device first, then libraries, then what the model uses."""
    first = Environment(torch="2.6.0", device="cpu", cores=2, dtype="float32")
    second = Environment(torch="2.13.0", device="cuda", cores=2, dtype="bfloat16")
    expected = ("device: cpu → cuda", "torch: 2.6.0 → 2.13.0", "dtype: float32 → bfloat16")
    assert expected == differences(first, second)


def test_warnings_are_about_a_run() -> None:
    """They are no difference between machines."""
    assert () == differences(Environment(warnings=("a tracer is active",)), Environment())


def test_unknown_facts_are_refused() -> None:
    """A fact that this version does not know may be the one that matters."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `moon_phase`"):
        msgspec.convert({"moon_phase": "full"}, Environment)
