"""Calls whose begin somebody else decides: what a pace is asked and told, and what is measured under it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from scripted import Bench, Onlooker, attached

from llm_latency.core.measurement import from_json, to_json
from llm_latency.core.trace import Trace
from llm_latency.record.observe.stream import stream
from llm_latency.record.sampling import Progress
from llm_latency.testing import ManualClock, ScriptedModel

STAGES = ("cold", "warmup", "warmup", "counted", "counted", "counted")


class Released(Exception):
    """What a pace raises that has no turn for this."""


class Turns:
    """Gives these stages in order, each after a second of waiting, and then no more; an exception it raises.

    `told` has the call that had ended each time that it was asked.
    """

    def __init__(self, clock: ManualClock, *stages: str | BaseException) -> None:
        self.told: list[Trace | None] = []
        self._clock = clock
        self._stages = list(stages)

    def next_call(self, last: Trace | None) -> str | None:
        """Wait, and say what comes."""
        self.told.append(last)
        self._clock.advance("1 s")
        stage = self._stages.pop(0) if self._stages else None
        if isinstance(stage, BaseException):
            raise stage
        return stage


def totals(traces: Sequence[Trace]) -> list[int]:
    """How long each call took, in ms."""
    return [trace.elapsed_ns(trace.start_ns, trace.stop_ns) // 1_000_000 for trace in traces]


# --- calls and stages ---


def test_calls_are_what_the_pace_calls_them(bench: Bench) -> None:
    """One cold, two warm-ups, three counted; the pace has said so, and no rule of sampling."""
    turns = Turns(bench.clock, *STAGES)
    measured = bench.measure(bench.model.generate, pace=turns)
    assert measured.cold is not None
    assert (2, 3, True) == (len(measured.warmup), len(measured.traces), measured.complete)
    assert "3 calls, in turn with another process" == measured.stopped_because
    assert [None, measured.cold, *measured.warmup, *measured.traces] == turns.told


def test_waiting_for_a_turn_is_no_part_of_a_call(bench: Bench) -> None:
    """A second before each; the calls take 280 ms as ever."""
    measured = bench.measure(bench.model.generate, pace=Turns(bench.clock, *STAGES))
    assert measured.cold is not None
    assert [280] * 6 == totals([measured.cold, *measured.warmup, *measured.traces])
    starts = [trace.start_ns for trace in (measured.cold, *measured.warmup, *measured.traces)]
    assert {1_280_000_000} == {after - before for before, after in pairwise(starts)}


@pytest.mark.parametrize(
    "arguments",
    [{"repeat": 1}, {"repeat": 50, "warmup": 9}, {"time_budget": 0.001}, {"precision": 0.9}, {"budget": "ttft < 1 h"}],
    ids=str,
)
def test_the_pace_takes_the_place_of_every_rule(bench: Bench, arguments: dict[str, object]) -> None:
    """Neither counts nor seconds, nor a budget that is decided, end it or go on."""
    measured = bench.measure(
        bench.model.stream, pace=Turns(bench.clock, *STAGES), **{"repeat": None, "warmup": None} | arguments
    )
    assert (2, 3) == (len(measured.warmup), len(measured.traces))
    if "budget" in arguments:
        assert [3] == [verdict.n for verdict in measured.verdicts]


def test_a_pace_that_begins_with_counted_calls_has_no_cold_one(bench: Bench) -> None:
    """It is the conductor's to say."""
    measured = bench.measure(bench.model.generate, pace=Turns(bench.clock, "counted", "counted"))
    assert (None, (), 2) == (measured.cold, measured.warmup, len(measured.traces))


def test_a_pace_without_a_turn_measures_nothing(bench: Bench) -> None:
    """The callable is not called, and what comes of it can be written and read."""
    calls: list[int] = []
    measured = bench.measure(lambda: calls.append(1), pace=Turns(bench.clock))
    assert ([], (), None) == (calls, measured.traces, measured.cold)
    assert "0 calls, in turn with another process" == measured.stopped_because
    assert measured == from_json(to_json(measured))


def test_a_cold_call_alone_is_kept(bench: Bench) -> None:
    """And nothing counted."""
    measured = bench.measure(bench.model.generate, pace=Turns(bench.clock, "cold"))
    assert (1, ()) == (len([measured.cold]), measured.traces)
    assert {"requests": 1, "kinds": ["call"]} == measured.workload["observed"]


@pytest.mark.asyncio
async def test_asynchronous_calls_keep_the_same_pace(bench: Bench) -> None:
    """On a running loop."""
    turns = Turns(bench.clock, *STAGES)
    measured = await bench.measure_async(bench.model.stream_async, pace=turns)
    assert (2, [280] * 3) == (len(measured.warmup), totals(measured.traces))
    assert [None, measured.cold, *measured.warmup, *measured.traces] == turns.told


# --- ends that nobody has asked for ---


def test_unequal_work_ends_it_without_another_turn(bench: Bench) -> None:
    """The third call makes two requests; the first call stays, and the pace hears no more."""
    calls: list[int] = []

    def target() -> None:
        calls.append(1)
        for _ in range(2 if len(calls) == 3 else 1):
            list(stream(bench.model.stream()))

    turns = Turns(bench.clock, *STAGES)
    measured = bench.measure(target, pace=turns)
    assert (3, 3) == (len(calls), len(turns.told))
    assert measured.stopped_because.startswith("unequal work: 1 requests in the first call and 2 in a later one")
    assert (None, (), 1) == (measured.cold, measured.warmup, len(measured.traces))
    assert measured.stopped_because in measured.warnings


@pytest.mark.parametrize(("at", "recorded"), [(1, 0), (2, 1), (5, 4)])
def test_a_call_that_raises_leaves_what_was_measured(bench: Bench, at: int, recorded: int) -> None:
    """In the cold call, a warm-up and a counted one; the pace is not asked for another turn."""
    calls: list[int] = []

    def target() -> None:
        calls.append(1)
        if len(calls) == at:
            raise ValueError("no")
        bench.model.generate()

    turns = Turns(bench.clock, *STAGES)
    with pytest.raises(ValueError, match="no") as raised:
        bench.measure(target, pace=turns)
    assert at == len(turns.told)
    if recorded:
        part = attached(raised.value)
        assert recorded == len([part.cold, *part.warmup, *part.traces])
        assert not part.complete
    else:
        assert not hasattr(raised.value, "llm_latency_measurement")


@pytest.mark.parametrize("error", [Released("nothing on the other side"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("after", [0, 1, 4])
def test_what_the_pace_raises_goes_on(bench: Bench, error: BaseException, after: int) -> None:
    """Before the first call, behind the cold one and among counted ones, which stay."""
    turns = Turns(bench.clock, *STAGES[:after], error)
    with pytest.raises(type(error)) as raised:
        bench.measure(bench.model.generate, pace=turns)
    assert error is raised.value
    assert after + 1 == len(turns.told)
    if after:
        part = attached(raised.value)
        assert after == len([part.cold, *part.warmup, *part.traces])
        assert f"{type(error).__name__} after {max(0, after - 3)} counted calls" == part.stopped_because
    else:
        assert not hasattr(raised.value, "llm_latency_measurement")


@pytest.mark.asyncio
async def test_what_the_pace_raises_goes_on_from_a_running_loop_too(bench: Bench) -> None:
    """With its part."""
    turns = Turns(bench.clock, "cold", "counted", Released())
    with pytest.raises(Released) as raised:
        await bench.measure_async(bench.model.stream_async, pace=turns)
    assert 1 == len(attached(raised.value).traces)


# --- who looks on ---


def test_progress_is_told_once_a_call(bench: Bench) -> None:
    """With the stage that comes, how many of it there were, and the call before it."""
    seen: list[Progress] = []
    turns = Turns(bench.clock, *STAGES)
    bench.measure(bench.model.generate, pace=turns, on_progress=seen.append, repeat=None, warmup=None)
    expected = [("cold", 0), ("warmup", 0), ("warmup", 1), ("counted", 0), ("counted", 1), ("counted", 2)]
    assert expected == [(one.stage, one.done) for one in seen]
    assert turns.told[:6] == [one.last for one in seen]


def test_counted_calls_are_not_looked_at(bench: Bench, view: Onlooker) -> None:
    """Both sides of a gate are left alone while they are counted; cold call and warm-ups are shown."""
    model = ScriptedModel(bench.clock, prefill="10 ms", steps=["10 ms"])
    turns = Turns(bench.clock, *STAGES)
    bench.measure(model.stream, pace=turns, view=view, repeat=None, warmup=None)
    assert [True] * 3 + [False] * 3 == [one.is_live for one in view.progress if one is not None]
    assert 1 == len(view.ended)
