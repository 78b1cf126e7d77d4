"""Made-up /proc and /sys: files by path below a folder."""

from __future__ import annotations

from pathlib import Path

HZ = 100

LINUX = {
    # Two cores, of which the second is busier: user nice system idle iowait irq softirq steal guest guest_nice.
    "proc/stat": (
        "cpu  700 10 300 8000 20 5 5 60 100 0\n"
        "cpu0 200 0 100 4500 10 0 0 10 100 0\n"
        "cpu1 500 10 200 3500 10 5 5 50 0 0\n"
        "intr 12345\n"
    ),
    "proc/self/cgroup": "0::/user.slice/job\n",
    "proc/self/schedstat": "123456 789 12\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Abacus\nflags\t\t: fpu sse2\n",
    "proc/meminfo": "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 total=1\nfull avg10=0.00 avg60=0.00 total=1\n",
    "proc/vmstat": "nr_free_pages 5\npswpin 7\npswpout 3\n",
    "proc/1/cgroup": "0::/init.scope\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
    "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n",
    "sys/fs/cgroup/user.slice/job/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 0\nthrottled_usec 0\n",
    "sys/devices/system/cpu/smt/active": "0\n",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0\n",
    "sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "1\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpufreq/boost": "0\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "0\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "0\n",
    "sys/devices/system/node/node0/cpulist": "0-1\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "1\n",
}


def made(root: Path, *trees: dict[str, str | None]) -> Path:
    """Write the files of several trees, later ones over earlier ones; None takes a file away."""
    for path, text in {path: text for tree in trees for path, text in tree.items()}.items():
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    return root
