"""Findings about cores, out of made-up folders and exact numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_latency.gate.doctor import cores
from llm_latency.gate.doctor.cores import Ticks
from llm_latency.gate.doctor.finding import NOISY, OK, RISK, UNKNOWN, UNREPORTED
from tests.gate.machine_trees import LINUX, made

CPU = "sys/devices/system/cpu"
QUIET = Ticks(busy=0.0, stolen=0.0, total=0.0)


@pytest.fixture(autouse=True)
def _hundred_ticks_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on nearly every Linux."""
    monkeypatch.setattr(cores, "_TICK_S", 0.01)


def test_ticks_are_those_of_the_cores_that_may_be_used(tmp_path: Path) -> None:
    """Core 1: busy 500 + 10 + 200 + 5 + 5, stolen 50, in all 4280 hundredths; guests are in user already."""
    root = made(tmp_path, LINUX)
    one, both = cores.ticks(root, (1,)), cores.ticks(root, (0, 1))
    assert one is not None and both is not None
    assert (7.2, 0.5, 42.8) == pytest.approx((one.busy, one.stolen, one.total))
    assert (10.2, 0.6, 91.0) == pytest.approx((both.busy, both.stolen, both.total))


@pytest.mark.parametrize("stat", [None, "", "cpu 1 2 3 4 5 6 7 8\n", "cpu0 0 0 0 0 0 0 0 0\n", "cpu0 1 2\n"])
def test_a_system_without_ticks_has_none(tmp_path: Path, stat: str | None) -> None:
    """No file, no line of a core, all at zero as in some sandboxes, fields missing."""
    assert cores.ticks(made(tmp_path, {"proc/stat": stat}), (0, 1)) is None


def test_processes_are_read_with_any_name(tmp_path: Path) -> None:
    """A name may hold spaces and brackets (proc(5)): user and system time are the 14th and 15th field."""
    fields = "S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0"
    tree = {"proc/12/stat": f"12 (a) b (c)) {fields}", "proc/13/stat": "13 (short) S 1", "proc/self/stat": "x"}
    assert {12: ("a) b (c)", 3.0)} == cores.processes(made(tmp_path, tree))


@pytest.mark.parametrize(
    ("busy", "own_s", "word", "seen"),
    [
        (0.0, 0.0, OK, "others used 0.00 of 2 cores for 2.0 s"),
        (0.09, 0.0, OK, "others used 0.04 of 2 cores for 2.0 s"),
        (0.2, 0.0, RISK, "others used 0.10 of 2 cores for 2.0 s"),
        (0.2, 0.15, OK, "others used 0.03 of 2 cores for 2.0 s"),
        (0.5, 0.0, NOISY, "others used 0.25 of 2 cores for 2.0 s"),
        (4.0, 0.0, NOISY, "others used 2.00 of 2 cores for 2.0 s"),
        (0.1, 0.3, OK, "others used 0.00 of 2 cores for 2.0 s"),
    ],
)
def test_neighbours_are_what_others_ran_in_the_span(busy: float, own_s: float, word: str, seen: str) -> None:
    """Two cores for two seconds are four core-seconds; what this process used is taken off, never below nothing."""
    found = cores.neighbours(QUIET, Ticks(busy=busy, stolen=0.0, total=4.0), cores=2, own_s=own_s)
    assert (word, seen, word != OK) == (found.word, found.seen, bool(found.remedy))


def test_the_busiest_are_named_but_not_this_process() -> None:
    """Three at most, from a twentieth of a core on; one that came in between counts from nothing."""
    before = {1: ("init", 5.0), 7: ("own", 1.0), 8: ("python", 1.0), 9: ("idle", 3.0)}
    after = {
        1: ("init", 5.01),
        7: ("own", 9.0),
        8: ("python", 2.0),
        9: ("idle", 3.0),
        10: ("cc", 0.5),
        11: ("ld", 0.3),
        12: ("as", 0.2),
    }
    found = cores.neighbours(
        QUIET, Ticks(busy=2.0, stolen=0.0, total=2.0), cores=2, own_s=0.0, seen=(before, after), own=7
    )
    assert "others used 2.00 of 2 cores for 1.0 s: python (8) 1.00, cc (10) 0.50, ld (11) 0.30" == found.seen
    assert {"cores": 2.0, "of": 2} == found.facts


def test_neighbours_out_of_sight_are_said_to_be_so() -> None:
    """As in a container, whose /proc/stat is the host's."""
    found = cores.neighbours(QUIET, Ticks(busy=1.0, stolen=0.0, total=2.0), cores=2, seen=({}, {1: ("init", 0.0)}))
    assert "others used 1.00 of 2 cores for 1.0 s, none of them visible from here" == found.seen


@pytest.mark.parametrize(("before", "after"), [(None, QUIET), (QUIET, None), (QUIET, QUIET)])
def test_without_two_readings_neighbours_are_not_known(before: Ticks | None, after: Ticks | None) -> None:
    """Also where the clock of the readings stood still."""
    for found in (
        cores.neighbours(before, after, cores=2),
        cores.stolen(before, after, is_guest=True),
    ):
        assert (UNKNOWN, UNREPORTED) == (found.word, found.seen)


@pytest.mark.parametrize(
    ("stolen", "is_guest", "word", "seen"),
    [
        (0.5, True, NOISY, "5.0 % of the cores' time was given to other guests"),
        (0.1, True, NOISY, "1.0 % of the cores' time was given to other guests"),
        (0.05, True, OK, "0.5 % of the cores' time was given to other guests"),
        (0.0, True, UNKNOWN, "none since the start, and a host need not report it"),
        (0.0, False, OK, "0.0 % of the cores' time was given to other guests"),
    ],
)
def test_stolen_time_is_a_share_of_the_span(stolen: float, is_guest: bool, word: str, seen: str) -> None:
    """Ten core-seconds."""
    found = cores.stolen(QUIET, Ticks(busy=1.0, stolen=stolen, total=10.0), is_guest=is_guest)
    assert (word, seen) == (found.word, found.seen)


@pytest.mark.parametrize(
    ("tree", "word", "seen"),
    [
        ({}, OK, "off: no core shares its units with another"),
        ({f"{CPU}/smt/active": None}, OK, "off: no core shares its units with another"),
        (
            {
                f"{CPU}/smt/active": "1",
                f"{CPU}/cpu0/topology/thread_siblings_list": "0,2",
                f"{CPU}/cpu1/topology/thread_siblings_list": "1,3",
            },
            RISK,
            "on, threads share a core: 0,2, 1,3",
        ),
        ({f"{CPU}/smt/active": "1"}, RISK, "on, threads share a core"),
        ({f"{CPU}/smt/active": None, f"{CPU}/cpu0/topology/thread_siblings_list": "0-1"}, RISK, None),
    ],
)
def test_threads_of_one_core_are_seen(tmp_path: Path, tree: dict[str, str | None], word: str, seen: str | None) -> None:
    """By the kernel's switch, or by who is whose sibling."""
    found = cores.siblings(made(tmp_path, LINUX, tree), (0, 1))
    assert word == found.word
    assert seen in (None, found.seen)


@pytest.mark.parametrize(
    ("first", "second", "word", "seen"),
    [
        ("performance", "performance", OK, "governor performance"),
        ("performance", "powersave", RISK, "governor performance, powersave: cores speed up while they work"),
        (None, "schedutil", RISK, "governor schedutil: cores speed up while they work"),
    ],
)
def test_the_governor_of_every_core_counts(
    tmp_path: Path, first: str | None, second: str, word: str, seen: str
) -> None:
    """One that saves power is enough."""
    tree = {f"{CPU}/cpu{core}/cpufreq/scaling_governor": name for core, name in enumerate((first, second))}
    found = cores.governor(made(tmp_path, tree), (0, 1))
    assert (word, seen) == (found.word, found.seen)


@pytest.mark.parametrize(
    ("tree", "word", "remedy"),
    [
        ({f"{CPU}/cpufreq/boost": "0"}, OK, ""),
        ({f"{CPU}/cpufreq/boost": "1"}, RISK, f"echo 0 > /{CPU}/cpufreq/boost, while the gate runs"),
        ({f"{CPU}/intel_pstate/no_turbo": "1"}, OK, ""),
        ({f"{CPU}/intel_pstate/no_turbo": "0"}, RISK, f"echo 1 > /{CPU}/intel_pstate/no_turbo, while the gate runs"),
        ({f"{CPU}/intel_pstate/no_turbo": "1", f"{CPU}/cpufreq/boost": "1"}, OK, ""),
    ],
)
def test_turbo_is_switched_by_one_file_or_the_other(
    tmp_path: Path, tree: dict[str, str | None], word: str, remedy: str
) -> None:
    """Intel's says when it is off, the others' when it is on."""
    found = cores.turbo(made(tmp_path, tree))
    assert (word, remedy) == (found.word, found.remedy)


@pytest.mark.parametrize(
    ("before", "after", "word", "seen"),
    [
        (0, 0, OK, "never slowed down for it"),
        (4, 4, RISK, "slowed down 4 times since the start"),
        (4, 9, NOISY, "cores were slowed down 5 times while this ran"),
        (None, 0, UNKNOWN, UNREPORTED),
    ],
)
def test_heat_counts_while_looking(before: int | None, after: int | None, word: str, seen: str) -> None:
    """What was before is a hint."""
    found = cores.heat(before, after)
    assert (word, seen) == (found.word, found.seen)


def test_heat_events_are_those_of_cores_and_packages(tmp_path: Path) -> None:
    """Of the cores that may be used; None where nobody counts."""
    tree = {
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
        f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "4",
        f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "50",
        f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "odd",
    }
    root = made(tmp_path, tree)
    assert (7, 57, None) == tuple(cores.heat_events(root, which) for which in ((0,), (0, 1), (2,)))


def test_memory_nodes_are_counted(tmp_path: Path) -> None:
    """Two are a risk, one is none."""
    node = "sys/devices/system/node"
    one = cores.nodes(made(tmp_path / "one", {f"{node}/node0/cpulist": "0"}))
    two = cores.nodes(made(tmp_path / "two", {f"{node}/node0/cpulist": "0", f"{node}/node1/cpulist": "1"}))
    assert ((OK, 1), (RISK, 2)) == ((one.word, one.facts["nodes"]), (two.word, two.facts["nodes"]))


@pytest.mark.parametrize(("name", "word"), [("tsc", OK), ("kvm-clock", OK), ("hpet", RISK), ("acpi_pm", RISK)])
def test_a_clock_that_is_slow_to_read_is_a_risk(tmp_path: Path, name: str, word: str) -> None:
    """By the names that are known to be."""
    file = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    assert word == cores.clock(made(tmp_path, {file: name})).word


def test_one_core_is_a_risk() -> None:
    """The conductor has to run somewhere."""
    assert ((RISK, "1 of 8"), (OK, "2 of 8"), (OK, "2")) == tuple(
        (found.word, found.seen) for found in (cores.count((3,), 8), cores.count((0, 1), 8), cores.count((0, 1), 2))
    )


def test_where_there_is_nothing_nothing_is_known(tmp_path: Path) -> None:
    """As on macOS and Windows: words, never an error."""
    found = (
        cores.siblings(tmp_path, (0,)),
        cores.governor(tmp_path, (0,)),
        cores.turbo(tmp_path),
        cores.nodes(tmp_path),
        cores.clock(tmp_path),
        cores.neighbours(cores.ticks(tmp_path, (0,)), None, cores=1),
        cores.heat(cores.heat_events(tmp_path, (0,)), None),
    )
    assert {UNKNOWN} == {one.word for one in found}
    assert all(one.seen.startswith(UNREPORTED) for one in found)
    assert {} == cores.processes(tmp_path)
