"""What becomes of a run: a further row, the only row, or none."""

from __future__ import annotations

import pytest

from llm_latency.core.metrics import METRICS
from llm_latency.gate.stored.baseline import MOST_ROWS, Acceptance, Baseline, Change
from llm_latency.gate.stored.fingerprint import Machine
from llm_latency.gate.stored.promotion import CREATE, UPDATE, Promotion, Refusal, promote
from llm_latency.gate.stored.row import Row, Stored
from llm_latency.gate.stored.standing import Standing, stand

MACHINE = Machine(cores=2)
MODES = (CREATE, UPDATE)


def row(value: float, run: str = "r", *, tokens: str = "8") -> Row:
    """A row of one metric."""
    return Row(
        test="test_a",
        name="test_a",
        when="2026-11-25T08:00:00+00:00",
        run=run,
        metrics={"total@1": Stored(n=6, wall=value)},
        work={"new tokens": tokens},
    )


def standing(value: float, rows: list[float], *, tokens: str = "8") -> Standing:
    """A run against rows."""
    return stand(METRICS["total"], row(value, tokens=tokens), [row(v) for v in rows], limit=0.05)


def promoted(
    value: float,
    rows: list[float],
    *,
    mode: str,
    accept: str | None = None,
    count: int | None = None,
    tokens: str = "8",
) -> Promotion | Refusal:
    """What becomes of a run of a value after rows of values."""
    return promote(
        row(value, "new", tokens=tokens),
        [standing(value, rows, tokens=tokens)],
        module="tests/test_a.py",
        machine=MACHINE,
        rows=len(rows) if count is None else count,
        mode=mode,
        accept=accept,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [[], [0.01], [0.01] * 3, [0.0097, 0.01, 0.0103]])
def test_a_run_like_its_rows_becomes_one(mode: str, rows: list[float]) -> None:
    """The first, and further ones; a reason that nobody needs is not kept."""
    for accept in (None, "whatever"):
        found = promoted(0.01, rows, mode=mode, accept=accept)
        assert isinstance(found, Promotion)
        assert found.acceptance is None
        assert [0.01] == [
            one.metrics["total@1"].wall for one in found.applied_to(Baseline(module="", machine=MACHINE)).rows
        ]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_only_looks_slower_becomes_a_row(mode: str) -> None:
    """4 % more with 3 % noise; without such runs the noise would be cut off at its upper side."""
    assert isinstance(promoted(0.0104, [0.0097, 0.01, 0.0103], mode=mode), Promotion)


@pytest.mark.parametrize("mode", MODES)
def test_a_regressed_run_is_refused(mode: str) -> None:
    """With what it was and is."""
    assert Refusal(reason="total +20.0 % (10.0 ms → 12.0 ms, 3 rows)", is_regressed=True) == (
        promoted(0.012, [0.01] * 3, mode=mode)
    )
    gross = promoted(0.02, [0.01], mode=mode)
    assert Refusal(reason="total +100.0 % (10.0 ms → 20.0 ms, 1 rows)", is_regressed=True) == gross


def test_a_reason_lets_it_in_and_is_kept_with_the_numbers() -> None:
    """The old rows hold no longer."""
    found = promoted(0.012, [0.01, 0.01, 0.01], mode=UPDATE, accept="a safer sampler")
    assert isinstance(found, Promotion)
    assert found.acceptance == Acceptance(
        id="new",
        test="test_a",
        name="test_a",
        when="2026-11-25T08:00:00+00:00",
        reason="a safer sampler",
        metrics={"total@1": Change(old=0.01, new=0.012, rows=3)},
    )
    before = Baseline(module="tests/test_a.py", machine=MACHINE, rows=tuple(row(0.01, run) for run in "abc"))
    after = found.applied_to(before)
    assert ["new"] == [one.run for one in after.rows_of("test_a", "test_a")]
    assert (found.acceptance,) == after.accepted


def test_a_faster_run_takes_the_place_of_its_rows_by_update_alone() -> None:
    """Beside them it would be noise; no reason is needed."""
    found = promoted(0.008, [0.01] * 3, mode=UPDATE)
    assert isinstance(found, Promotion)
    assert found.acceptance is not None
    assert "shown to be faster" == found.acceptance.reason
    refused = promoted(0.008, [0.01] * 3, mode=CREATE)
    assert Refusal(reason="it is faster than its rows; --latency-baseline=update puts it in their place") == refused


def test_create_stops_at_the_most_rows_and_update_goes_on() -> None:
    """Update drops the oldest."""
    rows = [0.01] * 3
    refused = promoted(0.01, rows, mode=CREATE, count=MOST_ROWS)
    assert isinstance(refused, Refusal) and not refused.is_regressed
    assert "it has 20 rows" in refused.reason
    assert isinstance(promoted(0.01, rows, mode=UPDATE, count=MOST_ROWS), Promotion)


@pytest.mark.parametrize("mode", MODES)
def test_other_work_needs_a_reason(mode: str) -> None:
    """No slowdown can be told, and none can be excluded."""
    words = "total: left out: 3 of 3 rows, of unequal work (new tokens: 8 → 16)"
    assert Refusal(reason=words, is_regressed=True) == promoted(0.01, [0.01] * 3, mode=mode, tokens="16")


def test_accepted_other_work_has_no_old_number() -> None:
    """The numbers of other work are none of this one's."""
    found = promoted(0.01, [0.01] * 3, mode=UPDATE, accept="longer answers", tokens="16")
    assert isinstance(found, Promotion) and found.acceptance is not None
    assert ("longer answers", {}) == (found.acceptance.reason, found.acceptance.metrics)


def test_one_regressed_metric_of_several_refuses() -> None:
    """A faster one does not make up for it."""
    both = [standing(0.02, [0.01] * 3), standing(0.005, [0.01] * 3)]
    found = promote(row(0.02), both, module="m", machine=MACHINE, rows=3, mode=UPDATE, accept=None)
    assert isinstance(found, Refusal) and found.is_regressed
