"""What else happened while a call ran."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm_latency.core.trace import Annotation
from llm_latency.record import disturbances
from llm_latency.record.clock import HostClock
from llm_latency.record.devices.device import Telemetry
from llm_latency.record.disturbances import Disturbances, collections, energy_between, grown_since, told_by
from llm_latency.testing import ManualClock


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose counters are files here, and which reports nothing yet."""
    monkeypatch.setattr(disturbances, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(disturbances, "_cpu_stat", lambda: tmp_path / "cpu.stat")
    monkeypatch.delitem(sys.modules, "torch._dynamo.callback", raising=False)
    return tmp_path


def test_a_long_collection_is_noted(quiet: Path) -> None:
    """From its start on, on the call's own clock; a short one is the ordinary price of objects."""
    clock = ManualClock()
    heard = Disturbances(clock)
    before = list(gc.callbacks)
    heard.begin()
    (callback,) = [found for found in gc.callbacks if found not in before]
    for took in ("100 µs", "99 µs"):
        clock.advance("1 ms")
        callback("start", {"generation": 2})
        clock.advance(took)
        callback("stop", {"generation": 2})
    heard.end(clock.now_ns())
    (note,) = heard.annotations
    assert ("gc", 1_000_000, 100_000) == (note.kind, note.at_ns, note.duration_ns)


def test_nothing_of_a_collection_runs_in_python(quiet: Path) -> None:
    """Where it did, a Ctrl-C that came during the collection would be raised there, and swallowed."""
    heard = Disturbances(HostClock())
    before = list(gc.callbacks)
    heard.begin()
    (callback,) = [found for found in gc.callbacks if found not in before]
    frames: list[object] = []
    sys.setprofile(lambda frame, event, _: frames.append(frame.f_code) if event == "call" else None)
    try:
        callback("start", {"generation": 0})
    finally:
        sys.setprofile(None)
    heard.end(0)
    assert [] == frames


def test_an_unfinished_collection_is_left_out() -> None:
    """Two instants at each start and two at each end; the first end may be that of one from before."""
    assert [] == collections((), completed=0) == collections((1, 2), completed=0)
    (note,) = collections((1, 2, 300_000, 300_001, 400_000, 400_001), completed=1)
    assert (1, 300_000) == (note.at_ns, note.duration_ns)
    (note,) = collections((1, 2, 300_000, 300_001, 600_000, 600_001), completed=2)
    assert (300_000, 300_001) == (note.at_ns, note.duration_ns)


def test_a_real_collection_is_heard(quiet: Path) -> None:
    """Of a million objects in cycles, on the host's clock; and afterwards nobody listens."""
    before = list(gc.callbacks)
    heard = Disturbances(HostClock())
    heard.begin()
    rings = [[] for _ in range(300_000)]
    for ring in rings:
        ring.append(ring)
    del rings, ring
    gc.collect()
    heard.end(0)
    assert any(note.kind == "gc" and note.duration_ns >= 100_000 for note in heard.annotations)
    assert before == gc.callbacks


def test_listening_ends_also_when_a_call_fails(quiet: Path) -> None:
    """Closing is enough, and twice is once."""
    before = list(gc.callbacks)
    heard = Disturbances(ManualClock())
    heard.begin()
    heard.close()
    heard.close()
    assert before == gc.callbacks


def test_a_compilation_is_noted_with_what_it_was_for(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch tells the start and the end of each; before 2.7 without saying what for."""
    starts: list[object] = []
    ends: list[object] = []
    handler = SimpleNamespace(
        register_start_callback=starts.append,
        register_end_callback=ends.append,
        remove_start_callback=starts.remove,
        remove_end_callback=ends.remove,
    )
    monkeypatch.setitem(sys.modules, "torch._dynamo.callback", SimpleNamespace(callback_handler=handler))
    monkeypatch.setitem(sys.modules, "torch._dynamo", SimpleNamespace())
    clock = ManualClock()
    heard = Disturbances(clock)
    heard.begin()
    told = SimpleNamespace(callback_trigger=SimpleNamespace(name="CUDAGRAPH_RECORDING"))
    for arguments in ((told,), ()):
        starts[0](*arguments)
        clock.advance("2 s")
        ends[0](*arguments)
    heard.end(clock.now_ns())
    assert [("compile", "cudagraph recording", 2 * 10**9), ("compile", "", 2 * 10**9)] == [
        (note.kind, note.detail, note.duration_ns) for note in heard.annotations
    ]
    assert ([], []) == (starts, ends)


def test_a_compiler_that_came_with_the_call_is_noted(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that calls torch.compile for the first time loads it after listening began."""
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", SimpleNamespace(counters={"stats": {"unique_graphs": 2}}))
    heard = Disturbances(ManualClock())
    heard.begin()
    monkeypatch.setitem(sys.modules, "torch._dynamo", SimpleNamespace())
    heard.end(5)
    assert ["torch.compile was loaded in this call and compiled 2 graphs"] == [n.detail for n in heard.annotations]


def test_stolen_and_throttled_time_are_noted(quiet: Path) -> None:
    """Three ticks of steal, and 2 ms in which the container had used up its quota."""
    (quiet / "stat").write_text("cpu  1 2 3 4 5 6 7 10 0 0\ncpu0 1\n")
    (quiet / "cpu.stat").write_text("usage_usec 5\nthrottled_usec 1000\n")
    heard = Disturbances(ManualClock())
    heard.begin()
    (quiet / "stat").write_text("cpu  1 2 3 4 5 6 7 13 0 0\ncpu0 1\n")
    (quiet / "cpu.stat").write_text("usage_usec 9\nthrottled_usec 3000\n")
    heard.end(77)
    assert [("steal", 77, 30_000_000), ("throttled", 77, 2_000_000)] == [
        (note.kind, note.at_ns, note.duration_ns) for note in heard.annotations
    ]


def test_the_first_version_of_cgroups_counts_in_nanoseconds(quiet: Path) -> None:
    """Where /proc is missing altogether, nothing is noted."""
    (quiet / "cpu.stat").write_text("nr_throttled 0\nthrottled_time 10\n")
    heard = Disturbances(ManualClock())
    heard.begin()
    (quiet / "cpu.stat").write_text("nr_throttled 1\nthrottled_time 5010\n")
    heard.end(0)
    assert [5000] == [note.duration_ns for note in heard.annotations]
    (quiet / "cpu.stat").write_text("broken")
    heard.begin()
    heard.end(0)
    assert 1 == len(heard.annotations)


@pytest.mark.parametrize(
    ("line", "folder"),
    [("0::/a/b", "a/b"), ("0::/gone", ""), ("4:cpu,cpuacct:/c", "cpu/c"), ("9:memory:/m\n0::/", "")],
)
def test_a_process_reads_its_own_group(line: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of cgroup version 2, or of version 1's cpu controller; the mount's root where the group is not there."""
    for made in ("", "a/b", "cpu/c"):
        (tmp_path / made).mkdir(parents=True, exist_ok=True)
        (tmp_path / made / "cpu.stat").touch()
    (tmp_path / "self").write_text(line + "\n")
    monkeypatch.setattr(disturbances, "_CGROUP", tmp_path / "self")
    monkeypatch.setattr(disturbances, "_CGROUP_ROOT", tmp_path)
    disturbances._cpu_stat.cache_clear()
    try:
        assert tmp_path / folder / "cpu.stat" == disturbances._cpu_stat()
    finally:
        disturbances._cpu_stat.cache_clear()


def test_a_device_that_was_held_back_is_noted_with_the_reason() -> None:
    """By a counter that grew, else by a reason that held before or after the call; and its other processes."""
    before = Telemetry(held_back_ns={"power": 5, "thermal": 7}, reasons=("power", "application clocks"))
    after = Telemetry(held_back_ns={"power": 1005, "thermal": 7}, neighbours=2)
    notes = told_by(before, after, at_ns=9)
    assert [
        ("held back", "power", 1000),
        ("held back", "application clocks", 0),
        ("neighbours", "2 other processes on it", 0),
    ] == [(note.kind, note.detail, note.duration_ns) for note in notes]
    assert [] == told_by(None, Telemetry(), at_ns=9) == told_by(before, None, at_ns=9)


@pytest.mark.parametrize(("seconds", "joules"), [(0.99, None), (1.0, 30.0), (60.0, 30.0)])
def test_energy_needs_a_window_of_ten_updates(seconds: float, joules: float | None) -> None:
    """A counter that moves every 100 ms says nothing about 990 ms."""
    before, after = Telemetry(energy_j=100.0), Telemetry(energy_j=130.0, energy_step_s=0.1)
    assert joules == energy_between(before, after, seconds=seconds)


def test_energy_that_is_not_known_is_none() -> None:
    """No counter, no second reading, no step, or a counter that began anew."""
    known = Telemetry(energy_j=100.0, energy_step_s=0.1)
    for before, after in (
        (None, known),
        (known, None),
        (Telemetry(), known),
        (known, Telemetry(energy_step_s=0.1)),
        (known, Telemetry(energy_j=130.0)),
        (known, Telemetry(energy_j=1.0, energy_step_s=0.1)),
    ):
        assert energy_between(before, after, seconds=60.0) is None


def test_only_what_grew_is_told() -> None:
    """A counter that is new, equal or smaller is not."""
    assert {"a": 2} == grown_since({"a": 1, "b": 2, "c": 5}, {"a": 3, "b": 2, "c": 4, "d": 9})


def test_what_was_heard_is_told_once_in_the_middle_of_a_call(quiet: Path) -> None:
    """A collection that has ended and is long, a note; not one that still runs, and nothing a second time."""
    clock = ManualClock()
    heard = Disturbances(clock)
    before = list(gc.callbacks)
    heard.begin()
    (callback,) = [found for found in gc.callbacks if found not in before]
    assert () == heard.heard()

    def collect(took: str, *, ends: bool = True) -> None:
        callback("start", {})
        clock.advance(took)
        if ends:
            callback("stop", {})

    collect("1 ms")
    collect("99 µs")
    heard.annotations.append(Annotation(kind="compile", at_ns=7))
    told = [heard.heard(), heard.heard()]
    collect("5 ms", ends=False)
    told.append(heard.heard())
    callback("stop", {})
    told.append(heard.heard())
    heard.end(clock.now_ns())
    assert [[("compile", 7), ("gc", 0)], [], [], [("gc", 1_099_000)]] == [
        [(note.kind, note.at_ns) for note in notes] for notes in told
    ]
    # Asking in between takes nothing away from what is noted at the end.
    assert [("compile", 7), ("gc", 0), ("gc", 1_099_000)] == [(note.kind, note.at_ns) for note in heard.annotations]
