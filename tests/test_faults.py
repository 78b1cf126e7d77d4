"""What goes wrong from outside: kills while a result is written, two writers at once, systems that report nothing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llm_latency.core.measurement import load, save
from llm_latency.core.metrics import METRICS
from llm_latency.errors import ClockError
from llm_latency.record import contention, disturbances, machine
from llm_latency.record.devices import cpu
from llm_latency.record.measure import measure
from llm_latency.record.observe.attribution import current_chain
from llm_latency.record.observe.stream import stream
from llm_latency.record.timed import timed
from llm_latency.testing import FakeDevice, ManualClock, ScriptedModel

KILLS = 120
# Forks writers of two results in turn, kills each after a random while, and reads what is left.
DRIVER = """
import os, random, signal, sys, time
from llm_latency.core.measurement import load, save
from llm_latency.record.measure import measure
from llm_latency.testing import ManualClock, ScriptedModel

path, kills, chance = sys.argv[1], int(sys.argv[2]), random.Random(7)
def made(steps, repeat):
    clock = ManualClock()
    model = ScriptedModel(clock, steps=["1 ms"] * steps)
    return measure(model.stream, name=f"{steps}", repeat=repeat, warmup=0, clock=clock)
results = [made(9, 3), made(40, 60)]  # 6 and 150 kB of JSON
whole = {result.name: result for result in results}
begin = time.perf_counter()
for result in reversed(results):
    save(result, path)
longest = 1.5 * (time.perf_counter() - begin)
seen = {name: 0 for name in whole}
for _ in range(kills):
    child = os.fork()
    if child == 0:
        turn = 0
        while True:
            turn += 1
            save(results[turn % 2], path)
    time.sleep(chance.uniform(0.0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = load(path)
    assert left == whole[left.name], "half a result"
    seen[left.name] += 1
print(*seen.values())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its writers")
@pytest.mark.slow
def test_a_kill_while_a_result_is_written_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    """120 kills at random instants of writers that do nothing else; both kinds of result are found afterwards."""
    words = [sys.executable, "-Ic", DRIVER, str(tmp_path / "result.json"), str(KILLS)]
    run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert (0, "") == (run.returncode, run.stderr)
    seen = [int(word) for word in run.stdout.split()]
    assert KILLS == sum(seen)
    assert all(seen)


def test_two_writers_at_once_leave_one_whole_result(tmp_path: Path) -> None:
    """Threads that save different results under one name, forty times each."""
    clock = ManualClock()
    results = [
        measure(ScriptedModel(clock, steps=["1 ms"] * steps).stream, repeat=2, warmup=0, clock=clock, name=str(steps))
        for steps in (2, 300)
    ]
    path = tmp_path / "result.json"

    def write(index: int) -> None:
        for _ in range(40):
            save(results[index], path)

    writers = [threading.Thread(target=write, args=(index,)) for index in (0, 1)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert load(path) in results
    for writer in writers:
        writer.join()
    assert ["result.json"] == os.listdir(tmp_path)


def test_a_system_that_reports_nothing_still_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc: no delay, no memory, no steal, no processor's name, and every clock metric has its value."""
    for module, name in (
        (contention, "_TASKS"),
        (disturbances, "_STAT"),
        (disturbances, "_CGROUP"),
        (cpu, "_STATUS"),
        (cpu, "_CLEAR"),
    ):
        monkeypatch.setattr(module, name, tmp_path / "missing" / name)
    monkeypatch.setattr(disturbances, "_CGROUP_ROOT", tmp_path / "missing")
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "missing" / "cpuinfo")
    disturbances._cpu_stat.cache_clear()
    try:
        model = ScriptedModel(prefill="3 ms", steps=["2 ms"] * 3)
        measured = measure(model.stream, repeat=6, warmup=0, device=cpu.Cpu())
    finally:
        disturbances._cpu_stat.cache_clear()
    assert [()] * 6 == [trace.contention.readings for trace in measured.traces if trace.contention]
    for name in ("peak_memory", "ttft_own", "tpot_own", "e2e_own", "energy"):
        assert not measured.reading(name)
    for name in ("ttft", "tpot", "itl", "e2e", "total", "output_throughput"):
        assert measured.reading(name).n >= 6
    assert {"peak_memory", "ttft_own"} <= set(METRICS)


@pytest.mark.parametrize("when", ["in a request", "after it"])
def test_a_clock_that_steps_back_is_an_error_with_the_calls_before(when: str) -> None:
    """Two calls are kept; the third saw its clock go back."""
    clock = ManualClock(10**9)
    model = ScriptedModel(clock, steps=["5 ms"])

    def call() -> None:
        for token in stream(model.stream()):
            if model.calls == 3 and token == 1 and when == "in a request":
                clock.step_back("900 ms")
        if model.calls == 3 and when == "after it":
            clock.step_back("900 ms")

    with pytest.raises(ClockError, match="must not step") as caught:
        measure(call, repeat=5, warmup=0, clock=clock)
    assert 2 == len(caught.value.llm_latency_measurement.traces)


def test_a_collection_in_the_middle_is_noted_in_its_call() -> None:
    """400,000 rings are collected between two tokens: the gap is long, and the trace says why."""

    def call() -> None:
        for token in stream(iter(range(4))):
            if token == 1:
                rings: list[list[object]] = [[] for _ in range(400_000)]
                for ring in rings:
                    ring.append(ring)
                del rings, ring
                gc.collect()

    measured = measure(call, repeat=1, warmup=0)
    (trace,) = measured.traces
    collections = [note for note in trace.annotations if note.kind == "gc"]
    (_, _), (before, _), (after, _), _ = trace.requests[0].emissions
    assert any(before <= note.at_ns and note.at_ns + note.duration_ns <= after for note in collections)
    assert any(warning.startswith("garbage collection (gc.freeze()") for warning in measured.warnings)


def test_a_watch_that_cannot_begin_leaves_nothing_behind() -> None:
    """The device fails before the clock starts: nobody listens afterwards, and the next watch is clean."""
    clock = ManualClock()
    before = list(gc.callbacks)

    class Broken(FakeDevice):
        def reset_peak(self) -> None:
            raise RuntimeError("driver gone")

    with pytest.raises(RuntimeError, match="driver gone"), timed("block", clock=clock, device=Broken(clock)):
        pass
    assert before == gc.callbacks
    with timed("block", clock=clock, device=FakeDevice(clock)) as t:
        clock.advance("1 ms")
    assert (0.001,) == t.measurement.total.values


class Shy(RuntimeError):
    """An exception that will not be read."""

    def __str__(self) -> str:
        raise ValueError("do not ask")


class Rigid(Exception):
    """An exception that takes no attributes and no notes."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("__"):  # contextlib itself sets __traceback__
            raise AttributeError(name)
        super().__setattr__(name, value)

    def add_note(self, note: str) -> None:
        """Refuse."""
        raise TypeError(note)


@pytest.mark.parametrize("kind", [Shy, Rigid])
@pytest.mark.parametrize("how", ["measure", "timed"])
def test_an_exception_of_the_users_goes_on_whatever_it_is_like(kind: type[Exception], how: str) -> None:
    """Nothing of ours takes its place, and nothing stays behind."""
    before = list(gc.callbacks)
    error = kind("mine")

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        if how == "measure":
            measure(fail, repeat=2, warmup=0)
        else:
            with timed("block"):
                fail()
    assert caught.value is error
    assert before == gc.callbacks
    assert () == current_chain()


def test_a_device_that_fails_inside_a_call_leaves_the_users_error() -> None:
    """Its memory cannot be read any more; the call's own exception goes on, and the next watch sees everything."""
    clock = ManualClock()

    class Broken(FakeDevice):
        broken = False

        def peak_bytes(self) -> None:
            if self.broken:
                raise RuntimeError("driver gone")

    device = Broken(clock)

    def call() -> None:
        for _ in stream(iter(range(3))):
            device.broken = True
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), timed("block", clock=clock, device=device):
        call()
    device.broken = False
    with timed("block", clock=clock, device=device) as t:
        list(stream(iter(range(3))))
    assert 3 == t.measurement.traces[0].new_tokens


def test_abandoned_streams_that_the_collector_ends_do_no_harm() -> None:
    """In cycles, so that only the collector finds them, as often as it can be made to look."""
    thresholds = gc.get_threshold()
    gc.set_threshold(5, 5, 5)
    try:
        with timed("block") as t:
            for _ in range(300):
                items = stream(iter(range(9)))
                next(items)
                ring: list[object] = [items]
                ring.append(ring)
                del items, ring
    finally:
        gc.set_threshold(*thresholds)
    assert 300 == len(t.measurement.traces[0].requests)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_descriptors_do_not_grow() -> None:
    """With measurements that are kept, and streams that outlive their watch."""
    kept: list[object] = []
    with timed("first"):
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with timed("block") as t:
            items = stream(iter(range(9)))
            next(items)
        kept += [t, items]
    for item in kept[1::2]:
        item.close()  # type: ignore[attr-defined]  # a generator
    assert before == len(os.listdir("/proc/self/fd"))
