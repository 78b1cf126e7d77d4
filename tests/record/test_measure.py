"""measure() and measure_async() on a scripted model and a clock that is told: exact times, and what is said of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import pytest
from scripted import Awaited, Bench, Chunks, attached, returning

from llm_latency.core.measurement import from_json, to_json
from llm_latency.core.units import Quantity
from llm_latency.record.measure import measure
from llm_latency.record.observe.stream import stream
from llm_latency.record.sampling import Progress
from llm_latency.testing import FakeDevice, ScriptedModel

# --- exact times ---


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
