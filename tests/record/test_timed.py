"""timed(): one block, watched once."""

from __future__ import annotations

import pytest

from llm_latency.errors import ClockError, ObservationError, UsageError
from llm_latency.record.observe.stream import stream
from llm_latency.record.timed import timed
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel


@pytest.fixture
def clock() -> ManualClock:
    """A clock at 0."""
    return ManualClock()


@pytest.fixture
def model(clock: ManualClock) -> ScriptedModel:
    """200 ms to the first token, then 20 and 40 ms."""
    return ScriptedModel(clock, prefill="200 ms", steps=["20 ms", "40 ms"])


def watch(clock: ManualClock, **arguments: object) -> timed:
    """A watch on the test's clock."""
    return timed(**{"name": "chat", "clock": clock, "device": FakeDevice(clock)} | arguments)  # type: ignore[arg-type]


def test_a_block_is_timed_exactly(clock: ManualClock, model: ScriptedModel) -> None:
    """10 ms before the stream and 5 ms after it belong to the block and not to the request."""
    with watch(clock, workload={"k": 1}) as block:
        clock.advance("10 ms")
        assert [0, 1, 2] == list(stream(model.stream()))
        clock.advance("5 ms")
    measured = block.measurement
    assert ((0.2,), (0.02, 0.04), (0.26,), (0.275,)) == tuple(
        measured.reading(name).values for name in ("ttft", "itl", "e2e", "total")
    )
    assert ("chat", "one call", True, 1) == (
        measured.name,
        measured.stopped_because,
        measured.complete,
        measured.workload["k"],
    )


def test_a_block_without_a_model_has_a_total(clock: ManualClock) -> None:
    """It is one request of kind `call`."""
    with timed(clock=clock, device=FakeDevice(clock)) as block:
        clock.advance("30 ms")
    assert ("block", (0.03,), (0.03,)) == (
        block.measurement.name,
        block.measurement.total.values,
        block.measurement.e2e.values,
    )


def test_a_block_has_no_measurement_before_its_end(clock: ManualClock) -> None:
    """Nor before its beginning; the message says when."""
    block = watch(clock)
    with pytest.raises(ObservationError, match="'chat' has no times yet: read them after the `with` block has ended"):
        block.measurement  # noqa: B018  # reading it is what fails
    with block, pytest.raises(ObservationError, match="has no times yet"):
        block.measurement  # noqa: B018  # reading it is what fails
    assert (0.0,) == block.measurement.total.values


def test_a_block_inside_a_block_is_seen_by_both(clock: ManualClock, model: ScriptedModel) -> None:
    """The outer one holds both streams, the inner one its own."""
    with watch(clock, name="outer") as outer:
        list(stream(model.stream()))
        with watch(clock, name="inner") as inner:
            clock.advance("1 ms")
            list(stream(model.stream()))
        clock.advance("1 ms")
    assert ((0.2, 0.2), (0.522,)) == (outer.measurement.ttft.values, outer.measurement.total.values)
    assert ((0.2,), (0.261,)) == (inner.measurement.ttft.values, inner.measurement.total.values)
    assert ("outer", "inner") == (outer.measurement.name, inner.measurement.name)


def test_a_watch_that_is_used_again_tells_of_the_last_block(clock: ManualClock, model: ScriptedModel) -> None:
    """Also where the blocks did other work; while the second runs, there is nothing to read."""
    block = watch(clock)
    with block:
        list(stream(model.stream()))
    first = block.measurement
    with block:
        clock.advance("7 ms")
        with pytest.raises(ObservationError, match="has no times yet"):
            block.measurement  # noqa: B018  # reading it is what fails
    assert ((0.26,), (0.007,)) == (first.total.values, block.measurement.total.values)
    assert ((), "one call") == (block.measurement.ttft.values, block.measurement.stopped_because)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_blocks_exception_goes_on_with_its_measurement(
    kind: type[BaseException], clock: ManualClock, model: ScriptedModel
) -> None:
    """A stream that broke after the first token: its ttft is known, and the measurement says that it is not whole."""
    block, error = watch(clock), kind("bad")

    def broken() -> None:
        for _ in stream(model.stream()):
            raise error

    with pytest.raises(kind) as failure, block:
        broken()
    assert failure.value is error
    measured = block.measurement
    assert measured is error.llm_latency_measurement  # type: ignore[union-attr]
    assert ((0.2,), False) == (measured.ttft.values, measured.complete)
    assert f"{kind.__name__} after 1 counted calls" == measured.stopped_because


def test_a_block_is_judged_by_what_it_can_hold(clock: ManualClock, model: ScriptedModel) -> None:
    """One call decides a max, and has no interval for a percentile."""
    with watch(clock, budget=["e2e max < 1 s", "e2e max < 100 ms", "ttft p95 < 250 ms"]) as block:
        list(stream(model.stream()))
    assert ["pass", "fail", "undecided"] == [verdict.outcome for verdict in block.measurement.verdicts]
    assert ("one call has no interval; repeat the call",) == block.measurement.verdicts[2].reasons


def test_a_budget_that_cannot_be_read_is_refused_at_once(clock: ManualClock) -> None:
    """Before the block runs."""
    with pytest.raises(UsageError, match="points the wrong way"):
        watch(clock, budget="ttft > 1 s")


def test_a_clock_that_steps_back_is_an_error(clock: ManualClock) -> None:
    """There is then no measurement, and the watch can be used again."""
    block = watch(clock)
    with pytest.raises(ClockError, match="back to"), block:
        clock.step_back("1 s")
    with pytest.raises(ObservationError, match="has no times yet"):
        block.measurement  # noqa: B018  # reading it is what fails
    with block:
        clock.advance("3 ms")
    assert (0.003,) == block.measurement.total.values
