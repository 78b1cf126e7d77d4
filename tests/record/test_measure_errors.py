"""measure() and measure_async(): what goes wrong in the callable, what cannot be timed rightly, and bad arguments."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from scripted import Awaited, Bench, Chunks, attached, returning

from llm_latency.core.measurement import Measurement, from_json, to_json
from llm_latency.errors import ClockError, ObservationError, UsageError
from llm_latency.record.clock import HostClock
from llm_latency.record.measure import measure, measure_async
from llm_latency.record.observe.stream import stream
from llm_latency.testing import ScriptedModel

# --- what goes wrong in the callable ---


class Flaky:
    """A model whose call number `fails_at`, from 1, raises."""

    def __init__(self, bench: Bench, fails_at: int, error: BaseException) -> None:
        self.bench, self.fails_at, self.error = bench, fails_at, error

    def call(self) -> tuple[int, ...]:
        """Generate, or raise after the tokens."""
        tokens = self.bench.model.generate()
        if self.bench.model.calls == self.fails_at:
            raise self.error
        return tokens

    def stream(self) -> Iterator[int]:
        """Stream, or raise after the first token."""
        for token in self.bench.model.stream():
            yield token
            if self.bench.model.calls == self.fails_at:
                raise self.error

    async def call_async(self) -> tuple[int, ...]:
        """Generate, or raise, awaited."""
        await asyncio.sleep(0)
        return self.call()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("how", ["call", "stream", "call_async"])
def test_what_the_callable_raises_goes_on_with_the_calls_so_far(
    how: str, kind: type[BaseException], bench: Bench
) -> None:
    """The cold call, one of warm-up and two counted ones are kept; the fifth raised."""
    error = kind("bad")
    with pytest.raises(kind) as failure:
        bench.measure(getattr(Flaky(bench, 5, error), how), repeat=9, warmup=1, name="chat", budget="total < 1 s")
    assert failure.value is error
    partial_measurement = attached(error)
    assert (False, 2, 1, True) == (
        partial_measurement.complete,
        len(partial_measurement.traces),
        len(partial_measurement.warmup),
        partial_measurement.cold is not None,
    )
    assert f"{kind.__name__} after 2 counted calls" == partial_measurement.stopped_because
    assert (0.28, 0.28) == partial_measurement.total.values
    assert 1 == len(partial_measurement.verdicts)
    note = "llm-latency: 4 calls of 'chat' were recorded before; see .llm_latency_measurement"
    assert note == error.__notes__[-1]
    told = [said for said in error.__notes__ if "memory ran out" in said]
    assert (kind is MemoryError) == bool(told)
    assert partial_measurement == from_json(to_json(partial_measurement))


def test_an_error_in_the_first_call_has_nothing_to_carry(bench: Bench) -> None:
    """And is left as it was."""
    error = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        bench.measure(Flaky(bench, 1, error).call)
    assert not hasattr(error, "llm_latency_measurement")
    assert not hasattr(error, "__notes__")


def test_the_measurement_works_again_after_an_error(bench: Bench) -> None:
    """Everything that was patched is restored."""
    with pytest.raises(ValueError, match="bad"):
        bench.measure(Flaky(bench, 2, ValueError("bad")).stream, repeat=3)
    assert (0.2,) == bench.measure(bench.model.stream).ttft.values


def test_an_interrupt_from_the_keyboard_keeps_the_calls(bench: Bench) -> None:
    """A real SIGINT in the third call."""

    def target() -> None:
        bench.model.generate()
        if bench.model.calls == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as interrupt:
        bench.measure(target, repeat=9)
    assert (0.28, 0.28) == attached(interrupt.value).total.values


@pytest.mark.asyncio
async def test_a_cancelled_measurement_keeps_the_calls(bench: Bench) -> None:
    """CancelledError goes on, as tasks need, with two calls."""

    async def target() -> None:
        await bench.model.generate_async()
        if bench.model.calls == 3:
            await asyncio.Event().wait()  # for ever

    task = asyncio.ensure_future(bench.measure_async(target, repeat=9))
    while bench.model.calls < 3 or bench.clock.now_ns() < 3 * 280_000_000:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert (0.28, 0.28) == attached(cancelled.value).total.values


# --- what cannot be timed rightly ---


def test_a_generator_that_has_started_is_refused(bench: Bench) -> None:
    """Its prefill lies before the call."""
    started = bench.model.stream()
    next(started)
    with pytest.raises(ObservationError, match="a generator that had already started; make a new one in each call"):
        bench.measure(lambda: started)


def test_the_same_generator_twice_is_refused(bench: Bench) -> None:
    """The second call would time an end; the first is kept."""
    tokens = bench.model.stream()
    with pytest.raises(ObservationError, match="already started") as refusal:
        bench.measure(lambda: tokens, repeat=2)
    assert (0.2,) == attached(refusal.value).ttft.values


@pytest.mark.parametrize(
    ("make", "name"), [(lambda: map(str, (1,)), "map"), (lambda: iter([1]), "list_iterator"), (zip, "zip")]
)
def test_a_lazy_result_is_refused(make: Callable[[], object], name: str, bench: Bench) -> None:
    """Nothing has run yet, and a microsecond would be no time; it is not consumed for the user."""
    with pytest.raises(ObservationError) as refusal:
        bench.measure(make)
    assert str(refusal.value).startswith(f"the call returned a {name}, which has run nothing yet")
    assert "`llm_latency.stream(...)`" in str(refusal.value)


@pytest.mark.asyncio
async def test_a_lazy_result_is_refused_when_awaited(bench: Bench) -> None:
    """On a running loop as well."""

    async def lazy() -> object:
        return map(str, (1,))

    with pytest.raises(ObservationError, match="the call returned a map"):
        await bench.measure_async(lazy)


@pytest.mark.parametrize("method", ["generate_async", "stream_async"])
@pytest.mark.asyncio
async def test_an_asynchronous_target_in_a_running_loop_is_told_what_to_write(method: str, bench: Bench) -> None:
    """Before it is called, since a loop cannot be entered twice."""
    with pytest.raises(UsageError) as refusal:
        bench.measure(getattr(bench.model, method))
    expected = (
        f"'{method}' is asynchronous and an event loop is already running here;"
        " write `await llm_latency.measure_async(...)` with the same arguments"
    )
    assert (expected, 0) == (str(refusal.value), bench.model.calls)


@pytest.mark.parametrize("kind", [Awaited, Chunks, ScriptedModel.generate_async, ScriptedModel.stream_async])
@pytest.mark.asyncio
async def test_a_promise_in_a_running_loop_is_told_what_to_write(
    kind: Callable[[ScriptedModel], object], bench: Bench
) -> None:
    """Where only the result shows it; a coroutine is closed, so that Python does not warn of it."""
    with pytest.raises(UsageError, match=r"'call' returned something to await and an event loop .* `await llm_lat"):
        bench.measure(returning(partial(kind, bench.model)))


@pytest.mark.asyncio
async def test_a_plain_target_is_measured_in_a_running_loop(bench: Bench) -> None:
    """As every notebook cell does, whose kernel runs a loop."""
    assert (0.2,) == bench.measure(bench.model.stream).ttft.values


def test_the_threads_event_loop_stays(bench: Bench) -> None:
    """Measuring a coroutine uses a loop of its own."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        for target in (bench.model.generate_async, bench.model.generate):
            bench.measure(target)
            assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_coroutines_in_two_threads_belong_to_their_own_measurement() -> None:
    """Both are under way at the same time, and neither is mistaken for the other's."""
    both = threading.Barrier(2)

    def run(prefill: str) -> Measurement:
        bench = Bench(prefill=prefill)

        async def target() -> list[int]:
            both.wait(timeout=30)
            tokens = [token async for token in bench.model.stream_async()]
            list(stream(bench.model.stream()))
            both.wait(timeout=30)
            return tokens

        return bench.measure(target, repeat=2)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(run, ("100 ms", "300 ms"))
    assert ((0.1, 0.1), (0.3, 0.3)) == (first.ttft.values, second.ttft.values)


def test_a_clock_that_steps_back_is_an_error(bench: Bench) -> None:
    """A negative time is no result; the call before is kept."""

    def target() -> Awaitable[None] | None:
        bench.model.generate()
        if bench.model.calls == 2:
            bench.clock.step_back("1 s")
        return None

    with pytest.raises(ClockError, match="the clock went from 280000000 ns back to") as failure:
        bench.measure(target, repeat=3)
    assert (0.28,) == attached(failure.value).total.values


def test_a_host_clock_that_stands_still_is_an_error(bench: Bench) -> None:
    """It passes no budget."""
    frozen = HostClock()
    frozen.now_ns = lambda: 5
    with pytest.raises(ClockError, match="time is frozen or was stepped"):
        bench.measure(bench.model.generate, clock=frozen, budget="total < 1 s")


def test_what_the_callable_raises_comes_before_a_doubt_about_the_clock(bench: Bench) -> None:
    """The doubt is a note on it."""

    def target() -> None:
        bench.clock.advance("1 ms")
        bench.clock.step_back("1 s")
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad") as failure:
        bench.measure(target)
    assert failure.value.__notes__[0].startswith("llm-latency: this call has no times: the clock went from 0 ns back")


# --- arguments ---


@pytest.mark.parametrize("target", [None, 3, "model.generate", [len]])
def test_what_is_not_callable_is_refused(target: object) -> None:
    """With an example of what is."""
    with pytest.raises(UsageError) as refusal:
        measure(target)  # type: ignore[arg-type]
    expected = (
        f"{type(target).__name__} is not callable; measure takes a function without arguments, such as"
        " `lambda: model.generate(**inputs)`"
    )
    assert expected == str(refusal.value)


def test_a_call_is_not_a_callable(bench: Bench) -> None:
    """`measure(model.stream())` hands over a generator, `measure(model.generate())` a result."""
    with pytest.raises(UsageError, match=r"^generator is not callable"):
        bench.measure(bench.model.stream())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^tuple is not callable"):
        bench.measure(bench.model.generate())  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_what_is_not_callable_is_refused_on_a_running_loop() -> None:
    """In the same words."""
    with pytest.raises(UsageError, match=r"^int is not callable"):
        await measure_async(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repeat": 0}, "repeat=0; expected a whole number of calls, at least 1"),
        ({"warmup": -1}, "warmup=-1; expected a whole number of calls, 0 for none"),
        ({"time_budget": "10 s"}, "time_budget='10 s'; expected seconds, more than 0"),
        ({"precision": 3}, "precision=3; expected a share of the median between 0 and 1"),
        ({"budget": "ttft p95 > 250 ms"}, "points the wrong way"),
        ({"budget": "tfft < 250 ms"}, "there is no metric 'tfft'"),
    ],
)
def test_arguments_are_checked_before_the_first_call(arguments: dict[str, Any], message: str, bench: Bench) -> None:
    """The value is shown with what was expected; nothing ran."""
    with pytest.raises(UsageError, match=message):
        bench.measure(bench.model.stream, **arguments)
    assert 0 == bench.model.calls


def test_arguments_are_named(bench: Bench) -> None:
    """Everything after the target by keyword."""
    with pytest.raises(TypeError, match="positional"):
        measure(bench.model.stream, "chat")  # type: ignore[misc]
