"""Who looks on while calls run: what it is told and when, and that it costs nobody their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripted import Bench, Onlooker, attached, raising

from llm_latency.errors import ObservationError, UsageError
from llm_latency.record.observe.attribution import current_chain
from llm_latency.record.observe.stream import stream
from llm_latency.record.sampling import make_plan
from llm_latency.record.timed import timed
from llm_latency.record.view import Guard, Moment
from llm_latency.testing import FakeDevice

FAILED = "live view: it failed and was switched off: RuntimeError: the comm is gone"


@pytest.fixture
def view(bench: Bench) -> Onlooker:
    """A view that looks at each emission and takes 3 ms for it."""
    return Onlooker(bench.clock)


def gone() -> Callable[[], object]:
    """An error of the view's own."""
    return raising(RuntimeError("the comm is gone"))


def values(measured: Any) -> tuple[Any, ...]:
    """The bench's call as it is measured: time to first token, gaps, whole request, whole call."""
    return tuple(measured.reading(name).values for name in ("ttft", "itl", "e2e", "total"))


UNDISTURBED = ((0.2,), (0.02, 0.02, 0.04), (0.28,), (0.28,))


def test_a_single_call_is_told_from_its_beginning_to_its_end(bench: Bench, view: Onlooker) -> None:
    """Its four tokens, then that no call follows, then the result."""
    measured = bench.measure(bench.model.stream, name="chat", view=view)
    looks = ["look decode"] * 4
    assert ["begin chat", "follow counted", *looks, "follow over", "end NoneType"] == view.told
    assert [(measured, None)] == view.ended
    assert UNDISTURBED == values(measured)


def test_counted_calls_are_quiet_between_their_ends(bench: Bench, view: Onlooker) -> None:
    """The first call and the warm-up are live; of the three that are counted together none is looked at."""
    measured = bench.measure(bench.model.stream, name="chat", repeat=3, warmup=1, view=view)
    looks = ["look decode"] * 4
    expected = ["begin chat", "follow cold", *looks, "follow warmup", *looks, *["follow counted"] * 3]
    assert [*expected, "follow over", "end NoneType"] == view.told
    assert [True, True, False, False, False] == [told.is_live for told in view.progress if told is not None]
    assert (0.28,) * 3 == measured.total.values
    assert [1, 1, 0, 0, 0] == [
        sum(note.kind == "view" for note in trace.annotations)
        for trace in (measured.cold, *measured.warmup, *measured.traces)
    ]


@pytest.mark.parametrize("plan", [{"repeat": 2}, {"repeat": None, "time_budget": 1.0}])
def test_calls_that_are_counted_from_the_start_are_quiet_too(bench: Bench, view: Onlooker, plan: Any) -> None:
    """Whether they are as many as were asked for or as many as fit into the time."""
    bench.measure(bench.model.stream, warmup=0, view=view, **plan)
    assert (0, False) == (view.count("look"), any(told.is_live for told in view.progress if told is not None))


def test_opening_a_view_is_no_time_of_the_sampling(bench: Bench, view: Onlooker) -> None:
    """It takes 5 s to open: the second call begins 0.28 s into sampling, with the look at none of them."""
    view.does["begin"] = lambda: bench.clock.advance("5 s")
    bench.measure(bench.model.stream, repeat=2, view=view)
    assert [0.0, 0.28] == [told.elapsed_s for told in view.progress if told is not None]


@pytest.mark.asyncio
async def test_an_awaited_stream_is_looked_at_as_well(bench: Bench, view: Onlooker) -> None:
    """The same four looks, the same times."""
    assert UNDISTURBED == values(await bench.measure_async(bench.model.stream_async, view=view))
    assert (4, 1) == (view.count("look"), view.count("end"))


def test_a_block_is_told_with_its_result(bench: Bench, view: Onlooker) -> None:
    """One call; used again it is another run, told from its beginning."""
    block = timed("chat", clock=bench.clock, device=bench.device, view=view)
    for _ in range(2):
        with block:
            list(stream(bench.model.stream()))
        assert UNDISTURBED == values(block.measurement)
    run = ["begin chat", "follow counted", *["look decode"] * 4, "follow over", "end NoneType"]
    assert run * 2 == view.told
    assert block.measurement is view.ended[1][0]


@pytest.mark.parametrize("method", ["look", "follow", "end"])
def test_a_view_that_fails_costs_nobody_their_calls(bench: Bench, view: Onlooker, method: str) -> None:
    """All calls are there, with their times; it is asked no more but for its end, and the result says why."""
    view.does[method] = gone()
    measured = bench.measure(bench.model.stream, repeat=2, warmup=1, view=view)
    calls = [measured.cold, *measured.warmup, *measured.traces]
    assert [280_000_000] * 4 == [trace.elapsed_ns(trace.start_ns, trace.stop_ns) for trace in calls]
    assert 1 == sum(FAILED in warning for warning in measured.warnings)
    expected = {"look": (1, 1, 1), "follow": (0, 1, 1), "end": (8, 5, 1)}[method]
    assert expected == tuple(view.count(told) for told in ("look", "follow", "end"))


@pytest.mark.parametrize("method", ["look", "follow", "end"])
def test_a_view_that_fails_in_a_block_costs_it_nothing(bench: Bench, view: Onlooker, method: str) -> None:
    """The block's measurement is there and says it, also after an exception of the block's own."""
    view.does[method] = gone()
    block = timed("chat", clock=bench.clock, device=bench.device, view=view)
    with pytest.raises(KeyError) as caught, block:
        list(stream(bench.model.stream()))
        raise KeyError("k")
    assert UNDISTURBED == values(block.measurement)
    assert block.measurement is attached(caught.value)
    assert FAILED in block.measurement.warnings
    assert 1 == view.count("end")


def test_a_view_that_fails_at_its_end_leaves_the_partial_measurement(bench: Bench, view: Onlooker) -> None:
    """The third call breaks: its exception goes on, with the two before it."""
    view.does["end"] = gone()

    def call() -> None:
        list(bench.model.stream())
        if bench.model.calls == 3:
            raise KeyError("k")

    with pytest.raises(KeyError) as caught:
        bench.measure(call, repeat=3, view=view)
    assert (0.28, 0.28) == attached(caught.value).total.values
    assert isinstance(view.ended[0][1], KeyError)


def test_a_view_that_cannot_begin_is_an_error_before_anything_runs(bench: Bench, view: Onlooker) -> None:
    """A widget that was asked for and cannot be: said at once, and the end is told without a result."""
    refused = UsageError("no live widget")
    view.does["begin"] = raising(refused)
    with pytest.raises(UsageError, match="no live widget"):
        bench.measure(bench.model.stream, view=view)
    with pytest.raises(UsageError, match="no live widget"), timed("chat", clock=bench.clock, view=view):
        bench.model.generate()
    assert (0, [(None, refused)] * 2) == (bench.model.calls, view.ended)
    assert () == current_chain()


def test_an_interrupt_in_a_look_is_the_users_own(bench: Bench, view: Onlooker) -> None:
    """It goes on out of the call, which keeps its first token; nothing stays open or locked."""
    view.does["look"] = raising(KeyboardInterrupt())
    block = timed("chat", clock=bench.clock, device=bench.device, view=view)
    with pytest.raises(KeyboardInterrupt), block:
        list(stream(bench.model.stream()))
    assert ((0.2,), False) == (block.measurement.ttft.values, block.measurement.complete)
    assert ("KeyboardInterrupt after 1 counted calls", ()) == (block.measurement.stopped_because, current_chain())
    assert [] == [warning for warning in block.measurement.warnings if "live view" in warning]
    assert "end KeyboardInterrupt" == view.told[-1]


def test_a_caught_interrupt_leaves_the_view_looking(bench: Bench, view: Onlooker) -> None:
    """Code that goes on after it is looked at again: the first look has left no lock behind."""
    view.does["look"] = raising(KeyboardInterrupt())
    with timed("chat", clock=bench.clock, device=bench.device, view=view):
        with pytest.raises(KeyboardInterrupt):
            list(stream(bench.model.stream()))
        view.does.clear()
        list(stream(bench.model.stream()))
    assert 5 == view.count("look")


def test_the_end_is_told_of_a_block_without_times(bench: Bench, view: Onlooker) -> None:
    """A clock that steps back: no measurement, but the view comes to its end, and the block can be used again."""
    block = timed("chat", clock=bench.clock, device=bench.device, view=view)
    with pytest.raises(KeyError), block:
        bench.clock.step_back("1 s")
        raise KeyError("k")
    with pytest.raises(ObservationError, match="has no times yet"):
        block.measurement  # noqa: B018  # reading it is what fails
    with pytest.raises(Exception, match="back to"), block:
        bench.clock.step_back("1 s")
    with block:
        bench.clock.advance("3 ms")
    assert [None, None, block.measurement] == [measurement for measurement, _ in view.ended]
    assert ["KeyError", "ClockError", "NoneType"] == [type(error).__name__ for _, error in view.ended]
    assert 3 == view.count("begin")


def test_the_end_is_told_where_a_watch_cannot_open(bench: Bench, view: Onlooker) -> None:
    """A device that cannot be waited for: the block does not run, and its view does not stay open."""

    class Lost(FakeDevice):
        def synchronize(self) -> None:
            raise RuntimeError("lost")

    with (
        pytest.raises(RuntimeError, match="lost"),
        timed("chat", clock=bench.clock, device=Lost(bench.clock), view=view),
    ):
        bench.model.generate()
    assert (0, 1, "end RuntimeError") == (bench.model.calls, view.count("end"), view.told[-1])


def test_a_guard_asks_a_failed_view_only_for_its_end() -> None:
    """The first problem is the one that is said; a moment that cannot be made is one too."""
    view = Onlooker()
    guard = Guard(view)
    guard.look(lambda: {}["limit"])  # type: ignore[arg-type,return-value]
    assert "live view: it failed and was switched off: KeyError: 'limit'" == guard.problem
    view.does["end"] = gone()
    guard.follow(None)
    guard.look(lambda: pytest.fail("a failed view was asked"))
    guard.end(None, None)
    assert (["end NoneType"], True) == (view.told, "KeyError" in guard.problem)


@pytest.mark.parametrize("method", ["begin", "follow", "look", "end"])
def test_an_interrupt_passes_through_a_guard(method: str) -> None:
    """Wherever it comes."""
    view = Onlooker()
    view.does[method] = raising(KeyboardInterrupt())
    guard = Guard(view)
    acts: dict[str, Callable[[], None]] = {
        "begin": lambda: guard.begin("x", make_plan()),
        "follow": lambda: guard.follow(None),
        "look": lambda: guard.look(lambda: Moment(at_ns=0, phase="decode")),
        "end": lambda: guard.end(None, None),
    }
    with pytest.raises(KeyboardInterrupt):
        acts[method]()
    assert guard.problem is None
