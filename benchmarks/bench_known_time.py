"""How far measured times are from known ones on the real clock, in four ways of being observed.

A stream and an asynchronous stream of `ScriptedModel`; a torch module whose forward lasts a known time, in a decoding
loop written by hand; and `generate` with a decoding loop that keeps to a schedule and asks the stopping criteria. The
claim: within 50 µs + 0.1 %. Where the machine took the core away the gap really was longer: the loop reads its own
run-queue delay (second field of /proc/thread-self/schedstat) between emissions, and such gaps are counted apart.
On a ManualClock the same is exact, which tests/record/test_measure.py shows.

python benchmarks/bench_known_time.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import llm_latency
from llm_latency.core.stats import quantile
from llm_latency.core.trace import Trace
from llm_latency.testing import ScriptedModel

PREFILL_NS, STEP_NS, STEPS = 20_000_000, 5_000_000, 20
# Less delay than this explains no error of 50 µs.
DELAYED_NS = 10_000


def allowed_ns(known_ns: int) -> float:
    """The claim: 50 µs + 0.1 %."""
    return 50_000 + 0.001 * known_ns


class RunQueue:
    """How long this thread has been ready to run without running, in nanoseconds; 0 where Linux does not say."""

    def __init__(self) -> None:
        """Open once: a read then costs about 1 µs."""
        try:
            self._file: int | None = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._file = None

    def delay_ns(self) -> int:
        """Read it."""
        return 0 if self._file is None else int(os.pread(self._file, 64, 0).split()[1])


class Schedule:
    """Instants to be kept, by turning in a loop, and the run-queue delay at each of them."""

    def __init__(self, queue: RunQueue) -> None:
        """Nothing is scheduled before `begin`."""
        self._queue = queue
        self.delays: list[int] = []
        self._due_ns = 0
        self._count = 0

    def begin(self) -> None:
        """The call starts now."""
        self.delays.append(self._queue.delay_ns())
        self._count = 0
        self._due_ns = time.perf_counter_ns()

    def keep(self) -> None:
        """Turn until the next instant. The delay is read before, since a read after it would make the stamp late."""
        self.delays.append(self._queue.delay_ns())
        self._due_ns += STEP_NS if self._count else PREFILL_NS
        self._count += 1
        while time.perf_counter_ns() < self._due_ns:
            pass


class Scripted(ScriptedModel):
    """The model for tests, on the host's clock, kept to instants, and with the run-queue delay at each token.

    By itself it waits for lengths of time, to which each step adds what Python does between two waits: 20 to 40 µs
    after a sleep.
    """

    def __init__(self, queue: RunQueue) -> None:
        """Keep to the schedule of this benchmark."""
        super().__init__(prefill=PREFILL_NS, steps=(STEP_NS,) * STEPS)
        self._queue = queue
        self._began, self._due_ns = False, 0
        self.delays: list[int] = []

    def _schedule(self) -> tuple[int, ...]:
        self.delays.append(self._queue.delay_ns())
        self._began, self._due_ns = False, time.perf_counter_ns()
        return super()._schedule()

    def _wait(self, duration_ns: int) -> None:
        self.delays.append(self._queue.delay_ns())
        # Not `duration_ns`, of which the asynchronous stream has slept a part already.
        self._due_ns += STEP_NS if self._began else PREFILL_NS
        self._began = True
        super()._wait(max(0, self._due_ns - time.perf_counter_ns()))


@dataclass(frozen=True)
class Error:
    """One measured time against the known one, in nanoseconds, and whether the thread waited for a core in it."""

    kind: str
    known_ns: int
    bias_ns: int
    delayed: bool

    @property
    def error_ns(self) -> int:
        """Without its sign."""
        return abs(self.bias_ns)

    @property
    def inside(self) -> bool:
        """Whether the claim holds."""
        return self.error_ns <= allowed_ns(self.known_ns)


def errors(traces: tuple[Trace, ...], delays: list[int]) -> Iterator[Error]:
    """Compare calls with the schedule; `delays` has a reading at each call's start and before each wait, and a last."""
    for call, trace in enumerate(traces):
        (request,) = trace.requests
        stamps = [request.start_ns, *(instant for instant, _ in request.emissions)]
        if len(stamps) != STEPS + 2:
            raise SystemExit(f"{len(stamps) - 1} emissions were seen; expected {STEPS + 1}")
        # One more than stamps: the next call's first, or the last of all.
        delay = delays[call * len(stamps) : (call + 1) * len(stamps) + 1]
        for index in range(1, len(stamps)):
            kind, known = ("itl", STEP_NS) if index > 1 else ("ttft", PREFILL_NS)
            # A delay also shifts the instant before, from which the gap is counted.
            grown = delay[index + 1] - delay[index - 1]
            yield Error(kind, known, stamps[index] - stamps[index - 1] - known, grown >= DELAYED_NS)


def ways(queue: RunQueue) -> dict[str, Callable[[], tuple[Callable[[], Any], list[int]]]]:
    """What is measured, by name: each gives a callable and the list in which its delays appear."""
    import torch

    torch.set_num_threads(1)
    cache = object()

    def stream() -> tuple[Callable[[], Iterator[int]], list[int]]:
        model = Scripted(queue)
        return model.stream, model.delays

    def stream_async() -> tuple[Callable[[], AsyncIterator[int]], list[int]]:
        model = Scripted(queue)
        return model.stream_async, model.delays

    def loop() -> tuple[Callable[[], None], list[int]]:
        schedule = Schedule(queue)

        class Spinning(torch.nn.Module):
            def forward(self, input_ids: Any, past_key_values: object = None) -> dict[str, object]:
                schedule.keep()
                return {"past_key_values": cache}

        model, prompt, token = Spinning(), torch.ones(1, 8, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)

        def decode() -> None:
            schedule.begin()
            output = model(prompt)
            for _ in range(STEPS):
                output = model(token, past_key_values=output["past_key_values"])

        return decode, schedule.delays

    return {
        "`ScriptedModel.stream`": stream,
        "`ScriptedModel.stream_async`": stream_async,
        "forwards in a loop by hand": loop,
        "`generate(custom_generate=…)`": lambda: generate(queue),
    }


def generate(queue: RunQueue) -> tuple[Callable[[], object], list[int]]:
    """`generate` of a small GPT-2 shape whose decoding loop is ours: it waits, adds a token, asks the criteria."""
    import torch
    import transformers

    schedule = Schedule(queue)
    config = transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=64, eos_token_id=None, bos_token_id=1)
    model, prompt = transformers.GPT2LMHeadModel(config).eval(), torch.ones(1, 8, dtype=torch.long)

    def decode(model: Any, input_ids: Any, *_: object, stopping_criteria: Any, **__: object) -> Any:
        done = False
        while not done:
            longer = torch.cat([input_ids, input_ids[:, -1:]], dim=-1)
            schedule.keep()
            input_ids = longer
            done = bool(stopping_criteria(input_ids, None).all())
        return input_ids

    def call() -> object:
        schedule.begin()
        return model.generate(prompt, max_new_tokens=STEPS + 1, pad_token_id=0, custom_generate=decode)

    return call, schedule.delays


def report(found: dict[str, list[Error]], calls: int) -> Iterator[str]:
    """The table, line by line."""
    yield f"A first token after {PREFILL_NS / 1e6:g} ms and {STEPS} more every {STEP_NS / 1e6:g} ms; {calls} calls each"
    yield "way, ways in random order, 1 thread. Errors in µs: median and p99 without their sign (n); inside are 50 µs +"
    yield "0.1 %; the bias is the median with its sign, where the core was not taken away.\n"
    yield "| | | all | inside | core not taken away | inside | bias |\n| --- | --- | --- | --- | --- | --- | --- |"
    for name, every in found.items():
        for kind in ("ttft", "itl"):
            of_kind = [error for error in every if error.kind == kind]
            undelayed = [error for error in of_kind if not error.delayed]
            bias = f"{median(error.bias_ns for error in undelayed) / 1e3:+.1f}" if undelayed else "–"
            yield f"| {name} | {kind} | {' | '.join((*summary(of_kind), *summary(undelayed), bias))} |"
    yield "\n*Core taken away*: the thread's run-queue delay grew by 10 µs or more in the gap or in the one before it."


def summary(some: list[Error]) -> tuple[str, str]:
    """Median, p99 where there are values enough to hold one, n; and the share inside the claim."""
    if not some:
        return "– (0)", "–"
    values = [error.error_ns / 1e3 for error in some]
    tail = f"{quantile(values, 0.99):.1f}" if len(values) >= 100 else f"max {max(values):.1f}"
    return f"{median(values):.1f}, {tail} ({len(values)})", f"{sum(e.inside for e in some) / len(some):.1%}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3, help="calls of one way in a round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    arguments = parser.parse_args()
    rounds = 4 if arguments.quick else arguments.rounds
    order, queue = random.Random(arguments.seed), RunQueue()
    built = ways(queue)
    found: dict[str, list[Error]] = {name: [] for name in built}
    for _ in range(rounds):
        for name in order.sample(list(built), len(built)):
            target, delays = built[name]()
            traces = llm_latency.measure(target, repeat=arguments.repeat, warmup=0).traces
            found[name] += errors(traces, [*delays, queue.delay_ns()])
    print("\n".join(report(found, rounds * arguments.repeat)))


if __name__ == "__main__":
    main()
