"""measure() and measure_async() on a scripted model and a clock that is told: exact times, and what goes wrong."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement, from_json, to_json
from llm_latency.core.units import Quantity
from llm_latency.errors import ClockError, ObservationError, UsageError
from llm_latency.record.clock import HostClock
from llm_latency.record.measure import measure, measure_async
from llm_latency.record.observe.stream import stream
from llm_latency.record.sampling import Progress
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel


class Bench:
    """A clock, a device and a model that share the clock; 200 ms to the first token, then 20, 20 and 40 ms."""

    def __init__(self, **script: Any) -> None:
        self.clock = ManualClock()
        self.device = FakeDevice(self.clock)
        self.model = ScriptedModel(self.clock, **{"prefill": "200 ms", "steps": ["20 ms", "20 ms", "40 ms"]} | script)

    def measure(self, target: Callable[[], object], **arguments: Any) -> Measurement:
        """Measure with the bench's clock and device; one call, unless more are asked for."""
        defaults = {"clock": self.clock, "device": self.device, "repeat": 1, "warmup": 0}
        return measure(target, **defaults | arguments)

    async def measure_async(self, target: Callable[[], object], **arguments: Any) -> Measurement:
        """The same on the running loop."""
        defaults = {"clock": self.clock, "device": self.device, "repeat": 1, "warmup": 0}
        return await measure_async(target, **defaults | arguments)


@pytest.fixture
def bench() -> Bench:
    """A clock at 0 and a model that has not been called."""
    return Bench()


def attached(error: BaseException) -> Measurement:
    """The partial measurement that travels with an exception."""
    found = error.llm_latency_measurement  # type: ignore[attr-defined]
    assert isinstance(found, Measurement)
    return found


# --- exact times ---


class Awaited:
    """Something to await that is no coroutine."""

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model

    def __await__(self) -> Generator[Any, None, tuple[int, ...]]:
        return self.model.generate_async().__await__()


class Chunks:
    """An asynchronous stream that is no generator, as clients of servers return."""

    def __init__(self, model: ScriptedModel) -> None:
        self._tokens = model.stream_async()

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        return await anext(self._tokens)


def returning(function: Callable[[], object]) -> Callable[[], object]:
    """A callable that shows only by its result what the function is."""

    def call() -> object:
        return function()

    return call


async def _coroutine_of_stream(model: ScriptedModel) -> AsyncIterator[int]:
    return model.stream_async()


async def _coroutine_of_generator(model: ScriptedModel) -> Iterator[int]:
    return model.stream()


STREAMS: dict[str, Callable[[ScriptedModel], Callable[[], object]]] = {
    "generator function": lambda model: model.stream,
    "asynchronous generator function": lambda model: model.stream_async,
    "function that returns a generator": lambda model: returning(model.stream),
    "partial": lambda model: partial(ScriptedModel.stream, model),
    "asynchronous partial": lambda model: partial(ScriptedModel.stream_async, model),
    "asynchronous iterator": lambda model: lambda: Chunks(model),
    "coroutine of an asynchronous stream": lambda model: lambda: _coroutine_of_stream(model),
    "coroutine of a generator": lambda model: lambda: _coroutine_of_generator(model),
    "stream inside the callable": lambda model: lambda: list(stream(model.stream())),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_a_token_stream_is_timed_exactly(kind: str, bench: Bench) -> None:
    """Entry to first token 200 ms; gaps of 20, 20 and 40 ms; (280 - 200)/(4 - 1) ms a token; 4 tokens in 280 ms."""
    measured = bench.measure(STREAMS[kind](bench.model))
    expected = {
        "ttft": (0.2,),
        "itl": (0.02, 0.02, 0.04),
        "tpot": (0.08 / 3,),
        "ntpot": (0.07,),
        "e2e": (0.28,),
        "total": (0.28,),
        "output_throughput": (4 / 0.28,),
        "prefill": (0.2,),
        "decode": (0.08,),
    }
    assert expected == {name: pytest.approx(measured.reading(name).values, rel=1e-12) for name in expected}
    assert (0.2, (0.02, 0.02, 0.04)) == (float(measured.ttft.p50 or 0), measured.itl.values)
    request = measured.traces[0].requests[0]
    assert ("stream", 1, (4,)) == (request.kind, request.rows, request.row_tokens)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.asyncio
async def test_a_token_stream_is_timed_exactly_on_a_running_loop(kind: str, bench: Bench) -> None:
    """The same targets, awaited."""
    measured = await bench.measure_async(STREAMS[kind](bench.model))
    assert ((0.2,), (0.02, 0.02, 0.04), (0.28,)) == tuple(
        measured.reading(name).values for name in ("ttft", "itl", "total")
    )


CALLS: dict[str, Callable[[ScriptedModel], Callable[[], object]]] = {
    "plain call": lambda model: model.generate,
    "coroutine function": lambda model: model.generate_async,
    "function that returns a coroutine": lambda model: returning(model.generate_async),
    "awaitable": lambda model: lambda: Awaited(model),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_without_a_stream_is_timed_as_a_whole(kind: str, bench: Bench) -> None:
    """280 ms, awaited where it is only promised; no tokens were seen, so there is no ttft."""
    measured = bench.measure(CALLS[kind](bench.model))
    assert ((0.28,), (0.28,), ()) == tuple(measured.reading(name).values for name in ("total", "e2e", "ttft"))
    assert ["call"] == [request.kind for request in measured.traces[0].requests]
    assert measured.ttft.p50 is None


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.asyncio
async def test_a_call_is_timed_as_a_whole_on_a_running_loop(kind: str, bench: Bench) -> None:
    """The same targets, awaited."""
    measured = await bench.measure_async(CALLS[kind](bench.model))
    assert ((0.28,), ()) == (measured.total.values, measured.ttft.values)


def test_one_token_is_enough() -> None:
    """No gap, and no time per output token."""
    bench = Bench(steps=[])
    measured = bench.measure(bench.model.stream)
    assert ((0.2,), (), (), (0.2,)) == tuple(measured.reading(name).values for name in ("ttft", "itl", "tpot", "e2e"))


def test_an_empty_stream_has_an_end_and_no_token(bench: Bench) -> None:
    """A generator that yields nothing for 50 ms."""

    def nothing() -> Iterator[int]:
        bench.clock.advance("50 ms")
        yield from ()

    measured = bench.measure(nothing)
    assert ((), (0.05,), 0) == (measured.ttft.values, measured.e2e.values, measured.traces[0].new_tokens)


def test_several_streams_in_a_call_are_requests_of_their_own(bench: Bench) -> None:
    """One after the other, with 100 ms between them: the call's total holds all, each request its own."""

    def turn() -> None:
        list(stream(bench.model.stream()))
        bench.clock.advance("100 ms")
        list(stream(bench.model.stream()))

    measured = bench.measure(turn)
    assert ((0.2, 0.2), (0.28, 0.28)) == (measured.ttft.values, measured.e2e.values)
    assert (0.66,) == measured.total.values
    assert measured.output_throughput.values == pytest.approx((8 / 0.66,))


def test_the_cold_call_is_kept_apart() -> None:
    """It took half a second more; the counted calls are as scripted."""
    bench = Bench(cold="500 ms")
    measured = bench.measure(bench.model.stream, repeat=3, warmup=None)
    assert measured.cold is not None
    assert (700_000_000, (0.2, 0.2, 0.2)) == (measured.cold.requests[0].emissions[0][0], measured.ttft.values)
    # The cold call and the first of the warm-up, 280 ms after 780 ms, do not agree; the second does.
    assert (2, 6) == (len(measured.warmup), bench.model.calls)
    assert "3 calls, as asked" == measured.stopped_because


def test_work_that_a_device_still_does_belongs_to_the_call(bench: Bench) -> None:
    """The callable returns after 10 ms and leaves 300 ms of work on the device, which is waited for, outside of it."""
    waits = []

    def launch() -> None:
        waits.append(bench.device.synchronize_count)
        bench.device.give("300 ms")
        bench.clock.advance("10 ms")

    measured = bench.measure(launch, repeat=3)
    assert (0.3, 0.3, 0.3) == measured.total.values
    # Once for earlier work, three brackets, then the call; its end, three brackets.
    assert ([4, 12, 20], 24, 3) == (waits, bench.device.synchronize_count, bench.device.reset_count)


def test_a_devices_peak_memory_is_read_for_each_call(bench: Bench) -> None:
    """1, 3 and 2 GiB allocated."""
    peaks = [{"allocated": gib * 2**30, "reserved": 2**33} for gib in (1, 3, 2)]
    measured = bench.measure(bench.model.generate, repeat=3, device=FakeDevice(bench.clock, peaks=peaks))
    assert (1.0 * 2**30, 3.0 * 2**30, 2.0 * 2**30) == measured.peak_memory.values
    assert Quantity(3.0 * 2**30, "B") == measured.peak_memory.max


def test_the_host_clock_is_used_where_none_is_given() -> None:
    """Ten milliseconds really pass; the observer's cost is then measured too."""
    model = ScriptedModel(prefill="8 ms", steps=["1 ms", "1 ms"])
    measured = measure(model.stream, repeat=2, warmup=0)
    assert measured.ttft.min is not None
    assert measured.ttft.min >= "8 ms"
    assert min(measured.itl.values) >= 0.001
    assert measured.observer_ns is not None
    assert "cpu" == measured.environment.device


# --- what a measurement says ---


def test_a_measurement_says_what_ran_and_where(bench: Bench) -> None:
    """Name, the user's workload and what was observed of it, the device, and how sampling ended."""
    measured = bench.measure(bench.model.stream, workload={"prompt": "short"}, repeat=2)
    observed = {"requests": 1, "kinds": ["stream"], "rows": 1, "new_tokens": 4}
    assert ("stream", {"prompt": "short", "observed": observed}) == (measured.name, measured.workload)
    assert ("fake", True, None) == (measured.environment.device, measured.complete, measured.observer_ns)
    assert ("2 calls, as asked", None, ()) == (measured.stopped_because, measured.cold, measured.warmup)
    assert "each item of the stream counts as one token" == measured.warnings[-1]  # before it, this machine's
    assert measured.recorded_at is not None


def test_a_measurement_comes_back_from_its_json(bench: Bench) -> None:
    """What was recorded is what is read."""
    measured = bench.measure(bench.model.stream, repeat=6, budget="ttft p95 < 250 ms")
    assert measured == from_json(to_json(measured))


def test_the_users_workload_is_not_kept_by_reference(bench: Bench) -> None:
    """Nor changed."""
    workload = {"tokens": 4}

    def target() -> None:
        workload["tokens"] += 1

    measured = bench.measure(target, workload=workload)
    assert (4, {"tokens": 5}) == (measured.workload["tokens"], workload)


def test_a_measurement_judges_its_budgets(bench: Bench) -> None:
    """200 ms against 250 and against 150; a median that fails at 99 % a look needs seven calls."""
    measured = bench.measure(
        bench.model.stream, repeat=None, warmup=None, budget=["ttft p95 < 250 ms", "ttft < 150 ms", "e2e max < 1 s"]
    )
    assert ["pass", "fail", "pass"] == [verdict.outcome for verdict in measured.verdicts]
    assert "every budget decided after 9 calls" == measured.stopped_because
    assert 11 == bench.model.calls  # the cold one, one of warm-up, nine


def test_sampling_goes_on_until_the_interval_is_narrow(bench: Bench) -> None:
    """Equal calls need six."""
    measured = bench.measure(bench.model.stream, repeat=None, warmup=None)
    assert ("interval within ±3% after 6 calls", 6) == (measured.stopped_because, measured.ttft.n)


def test_the_time_budget_is_the_clocks() -> None:
    """Calls of 280 ms in 1 s: the cold one and one of warm-up, then counted ones until 1.12 s."""
    bench = Bench()
    measured = bench.measure(bench.model.stream, repeat=None, warmup=None, time_budget=1)
    assert ("time budget of 1 s used after 2 calls", 4) == (measured.stopped_because, bench.model.calls)


def test_a_prompt_that_grows_ends_the_measurement(bench: Bench) -> None:
    """The second call streams twice: unequal work, and the first call is what stays."""
    turns = iter(range(1, 9))

    def turn() -> None:
        for _ in range(next(turns)):
            list(stream(bench.model.stream()))

    measured = bench.measure(turn, repeat=6)
    assert "unequal work: 1 requests in the first call and 2 in a later one; the first call stays" == (
        measured.stopped_because
    )
    assert ((0.2,), True) == (measured.ttft.values, measured.complete)


def test_lengths_that_vary_are_a_warning(bench: Bench) -> None:
    """Three tokens, then five: e2e is not of equal output."""
    lengths = iter((3, 5))

    def some() -> Iterator[int]:
        for token in range(next(lengths)):
            bench.clock.advance("10 ms")
            yield token

    measured = bench.measure(some, repeat=2)
    expected = "new tokens a call vary from 3 to 5: compare tpot and itl, not e2e"
    assert [True] == [warning.startswith(expected) for warning in measured.warnings if "vary" in warning]


# --- progress ---


def test_progress_is_told_between_calls(bench: Bench) -> None:
    """Before each call: its kind, how many of its kind are done and will be, the time, and the call before it."""
    told: list[Progress] = []
    measured = bench.measure(bench.model.stream, repeat=2, warmup=None, on_progress=told.append)
    expected = [
        ("cold", 0, 1, 0.0, None),
        ("warmup", 0, None, 0.28, measured.cold),
        ("counted", 0, 2, 0.56, measured.warmup[0]),
        ("counted", 1, 2, 0.84, measured.traces[0]),
    ]
    assert expected == [(p.stage, p.done, p.of, pytest.approx(p.elapsed_s), p.last) for p in told]
    assert {10.0} == {p.time_budget_s for p in told}


def test_progress_has_a_width_from_six_calls(bench: Bench) -> None:
    """The relative half-width of total's interval: nothing before, 0 for equal calls."""
    told: list[Progress] = []
    bench.measure(bench.model.stream, repeat=8, warmup=2, on_progress=told.append)
    assert [None] * 9 + [0.0] * 2 == [p.half_width for p in told]
    assert [(0, 2), (1, 2)] == [(p.done, p.of) for p in told if p.stage == "warmup"]


def test_a_listener_that_fails_ends_the_measurement(bench: Bench) -> None:
    """Closing a live view raises there; the calls so far travel along."""

    def listen(progress: Progress) -> None:
        if progress.stage == "counted" and progress.done == 1:
            raise RuntimeError("the view is gone")

    with pytest.raises(RuntimeError, match="the view is gone") as failure:
        bench.measure(bench.model.stream, repeat=5, on_progress=listen)
    assert 1 == len(attached(failure.value).traces)


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
