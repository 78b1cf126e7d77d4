"""Findings about limits, memory, power and what lies below, out of made-up folders and exact numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from llm_latency.gate.doctor import host
from llm_latency.gate.doctor.finding import MISSING, NOISY, OK, RISK, UNKNOWN, UNREPORTED
from tests.gate.machine_trees import LINUX, made

GROUP = "sys/fs/cgroup"
Tree = dict[str, str | None]


@pytest.mark.parametrize(
    ("tree", "word", "seen"),
    [
        ({}, OK, "none"),
        ({f"{GROUP}/user.slice/job/cpu.max": "150000 100000"}, RISK, "1.5 cores' time of 2"),
        ({f"{GROUP}/user.slice/job/cpu.max": "200000 100000"}, OK, "2 cores' time of 2"),
        # A limit on a group around it holds too.
        ({f"{GROUP}/user.slice/cpu.max": "50000 100000"}, RISK, "0.5 cores' time of 2"),
        (
            {f"{GROUP}/user.slice/job/cpu.max": "150000 100000", f"{GROUP}/user.slice/cpu.max": "100000 100000"},
            RISK,
            "1 cores' time of 2",
        ),
    ],
)
def test_the_narrowest_quota_counts(tmp_path: Path, tree: Tree, word: str, seen: str) -> None:
    """Version 2: quota and period in one file, "max" for none."""
    found = host.quota(made(tmp_path, LINUX, tree), cores=2)
    assert (word, seen) == (found.word, found.seen)


@pytest.mark.parametrize(
    ("quota", "word", "seen"), [("-1", OK, "none"), ("50000", RISK, "0.5 cores' time of 2"), ("400000", OK, None)]
)
def test_the_quota_of_version_1_has_files_of_its_own(tmp_path: Path, quota: str, word: str, seen: str | None) -> None:
    """Where the group's own path is not there, as in a container, the mount is its folder."""
    tree = {
        "proc/self/cgroup": "3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n0::/\n",
        f"{GROUP}/cpu/cpu.cfs_quota_us": quota,
        f"{GROUP}/cpu/cpu.cfs_period_us": "100000",
        f"{GROUP}/cpu/cpu.stat": "nr_periods 5\nnr_throttled 3\nthrottled_time 9\n",
    }
    root = made(tmp_path, tree)
    found = host.quota(root, cores=2)
    assert word == found.word
    assert seen in (None, found.seen)
    assert 3 == host.throttles(root)


def test_the_innermost_group_counts_what_was_stopped(tmp_path: Path) -> None:
    """Its own, not that of the group around it."""
    tree = {f"{GROUP}/user.slice/cpu.stat": "nr_throttled 99\n", f"{GROUP}/user.slice/job/cpu.stat": "nr_throttled 4\n"}
    assert 4 == host.throttles(made(tmp_path, LINUX, tree))


@pytest.mark.parametrize(
    ("before", "after", "word", "seen"),
    [
        (0, 0, OK, "never stopped for a quota"),
        (3, 3, RISK, "stopped 3 times before"),
        (3, 5, NOISY, "stopped 2 times for its quota while this ran"),
        (None, None, UNKNOWN, UNREPORTED),
    ],
)
def test_stops_count_while_looking(before: int | None, after: int | None, word: str, seen: str) -> None:
    """What was before is a hint."""
    found = host.throttled(before, after)
    assert (word, seen) == (found.word, found.seen)


@pytest.mark.parametrize(
    ("tree", "word", "seen"),
    [
        ({}, OK, "40 % available, some task waited for it 0.0 % of the last 10 s"),
        (
            {"proc/pressure/memory": "some avg10=1.50 avg60=0.00 total=1\nfull avg10=9.00\n"},
            NOISY,
            "40 % available, some task waited for it 1.5 % of the last 10 s",
        ),
        ({"proc/pressure/memory": None}, OK, "40 % available, pressure not reported"),
        (
            {"proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 99 kB\n"},
            RISK,
            "10 % available, some task waited for it 0.0 % of the last 10 s",
        ),
        ({"proc/meminfo": "MemTotal: 1000 kB\n"}, UNKNOWN, UNREPORTED),
        ({"proc/meminfo": None}, UNKNOWN, UNREPORTED),
    ],
)
def test_memory_is_scarce_or_waited_for(tmp_path: Path, tree: Tree, word: str, seen: str) -> None:
    """400 of 1,000 kB; the first avg10 is that of "some"."""
    found = host.memory(made(tmp_path, LINUX, tree))
    assert (word, seen) == (found.word, found.seen)


def test_pages_that_moved_are_counted(tmp_path: Path) -> None:
    """In and out; None where a kernel has no swap."""
    assert 10 == host.swapped_pages(made(tmp_path, LINUX))
    assert host.swapped_pages(made(tmp_path, {"proc/vmstat": "nr_free_pages 5\n"})) is None
    words = [host.swapping(*pages).word for pages in ((5, 5), (5, 6), (None, 5), (5, None))]
    assert [OK, NOISY, UNKNOWN, UNKNOWN] == words


@pytest.mark.parametrize(
    ("tree", "word", "seen"),
    [
        ({"sys/class/power_supply/AC/type": "Mains", "sys/class/power_supply/AC/online": "1"}, OK, "no battery"),
        (
            {
                "sys/class/power_supply/AC/type": "Mains",
                "sys/class/power_supply/AC/online": "1",
                "sys/class/power_supply/BAT0/type": "Battery",
                "sys/class/power_supply/BAT0/status": "Charging",
            },
            OK,
            "plugged in",
        ),
        (
            {
                "sys/class/power_supply/AC/type": "Mains",
                "sys/class/power_supply/AC/online": "0",
                "sys/class/power_supply/BAT0/type": "Battery",
                "sys/class/power_supply/BAT0/status": "Discharging",
            },
            NOISY,
            "on battery: the system saves power and slows down",
        ),
        # A mouse's battery drains while the machine is plugged in.
        (
            {
                "sys/class/power_supply/AC/type": "Mains",
                "sys/class/power_supply/AC/online": "1",
                "sys/class/power_supply/hid/type": "Battery",
                "sys/class/power_supply/hid/status": "Discharging",
            },
            OK,
            "plugged in",
        ),
        ({}, UNKNOWN, UNREPORTED),
    ],
)
def test_a_battery_that_drains_is_noise(tmp_path: Path, tree: Tree, word: str, seen: str) -> None:
    """Unless the mains are there."""
    found = host.power(made(tmp_path, tree))
    assert (word, seen) == (found.word, found.seen)


@pytest.mark.parametrize(
    ("tree", "word", "seen"),
    [
        ({}, OK, "none seen"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor sse\n"}, RISK, "a virtual machine"),
        ({".dockerenv": ""}, RISK, "a container"),
        ({"run/.containerenv": ""}, RISK, "a container"),
        ({"proc/1/cgroup": "0::/kubepods.slice/pod1\n"}, RISK, "a container"),
        ({"proc/cpuinfo": "flags: hypervisor\n", ".dockerenv": ""}, RISK, "a container in a virtual machine"),
        # An Arm processor has features, and says nothing of a hypervisor.
        ({"proc/cpuinfo": "Features\t: fp asimd\n"}, OK, "none seen"),
        ({"proc/cpuinfo": None}, UNKNOWN, UNREPORTED),
    ],
)
def test_layers_below_are_told_by_their_marks(tmp_path: Path, tree: Tree, word: str, seen: str) -> None:
    """The hypervisor's flag, a container's files, the first process's group."""
    found = host.layers(made(tmp_path, LINUX, tree))
    assert (word, seen) == (found.word, found.seen)


@pytest.mark.parametrize(("schedstat", "word"), [("5 0 1", OK), ("0 0 0", RISK), ("odd", RISK), (None, RISK)])
def test_own_time_is_known_where_the_kernel_counts(tmp_path: Path, schedstat: str | None, word: str) -> None:
    """A kernel without the counters has zeros, another system no file."""
    assert word == host.own_time(made(tmp_path, {"proc/self/schedstat": schedstat})).word


def test_a_system_that_cannot_fork_cannot_gate() -> None:
    """Windows."""
    assert (MISSING, OK) == (host.forking(can_fork=False).word, host.forking(can_fork=True).word)


def test_git_is_asked_about_this_folder(tmp_path: Path) -> None:
    """No repository, a whole one, a shallow one, and no git at all."""
    assert UNKNOWN == host.git(tmp_path).word
    whole, shallow = tmp_path / "whole", tmp_path / "shallow"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(whole)], check=True)
    for number in range(2):
        words = [*identity, "commit", "-q", "--allow-empty", "-m", str(number)]
        subprocess.run(["git", "-C", str(whole), *words], check=True)
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{whole}", str(shallow)], check=True)
    found = host.git(shallow)
    assert (OK, RISK) == (host.git(whole).word, found.word)
    assert "git fetch --unshallow" in found.remedy
    assert (MISSING, "install git") == (
        host.git(tmp_path, program="no-such-git").word,
        host.git(tmp_path, program="no-such-git").remedy,
    )


def test_where_there_is_nothing_nothing_is_known(tmp_path: Path) -> None:
    """As on macOS and Windows: words, never an error."""
    found = (
        host.quota(tmp_path, cores=2),
        host.throttled(host.throttles(tmp_path), None),
        host.memory(tmp_path),
        host.swapping(host.swapped_pages(tmp_path), None),
        host.power(tmp_path),
        host.layers(tmp_path),
    )
    assert {UNKNOWN} == {one.word for one in found}
    assert {UNREPORTED} == {one.seen for one in found}
    assert host.is_guest(tmp_path) is None
