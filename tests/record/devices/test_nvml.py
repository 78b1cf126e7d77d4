"""NVML's counters, read through a stand-in for nvidia-ml-py with numbers of our own."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.record.devices.nvml import ENERGY_STEP_S, Nvml
from llm_latency.record.devices.telemetry import Telemetry


class NVMLError(Exception):
    """What the stand-in refuses with."""


def refuse(*_: object) -> Any:
    """As a card that does not have it."""
    raise NVMLError("Not Supported")


def stand_in(**functions: object) -> Any:
    """A module with two cards, GPU-a and GPU-b, and a slice MIG-c of GPU-a; `functions` replace its own."""
    handles = {"GPU-a": "card a", "GPU-b": "card b", "MIG-c": "slice c"}

    def by_uuid(uuid: str) -> str:
        return handles[uuid] if uuid in handles else refuse()

    def violation(card: str, policy: int) -> SimpleNamespace:
        return SimpleNamespace(referenceTime=5, violationTime={"card a": 1_000, "card b": 20_000}[card] + policy)

    module: dict[str, object] = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": {"slice c": "card a"}.__getitem__,
        "nvmlSystemGetDriverVersion": lambda: "570.86.15",
        "nvmlDeviceGetMaxClockInfo": lambda card, clock: {("card a", 1): 1980, ("card b", 1): 1410}[card, clock],
        "nvmlDeviceGetEnforcedPowerLimit": {"card a": 700_000, "card b": 400_500}.__getitem__,
        "nvmlDeviceGetTotalEnergyConsumption": {"card a": 1_500, "card b": 250}.__getitem__,
        "nvmlDeviceGetCurrentClocksEventReasons": {"card a": 0x1 | 0x4, "card b": 0x4 | 0x20}.__getitem__,
        "nvmlDeviceGetViolationStatus": violation,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=os.getpid())],
    }
    return SimpleNamespace(**{name: function for name, function in (module | functions).items() if function})


def test_the_facts_of_a_card_are_in_the_environments_units() -> None:
    """MHz as they come, milliwatts as watts."""
    nvml = Nvml(["a"], pynvml=stand_in())
    assert {"driver": "570.86.15", "clocks_mhz": 1980, "power_cap_w": 700.0} == nvml.facts()
    assert nvml.reason is None


def test_of_several_cards_the_slowest_is_told() -> None:
    """Every card works at the pace of the slowest."""
    nvml = Nvml(["a", "b"], pynvml=stand_in(nvmlSystemGetDriverVersion=lambda: b"570.86.15"))
    assert {"driver": "570.86.15", "clocks_mhz": 1410, "power_cap_w": 400.5} == nvml.facts()


def test_the_counters_of_a_card_are_read() -> None:
    """1500 mJ are 1.5 J; idleness is no reason; times in nanoseconds, the policies 0, 1, 2, 3 and 5."""
    expected = Telemetry(
        energy_j=1.5,
        energy_step_s=ENERGY_STEP_S,
        held_back_ns={"power": 1000, "heat": 1001, "sync boost": 1002, "board limit": 1003, "reliability": 1005},
        reasons=("power cap",),
        neighbours=0,
    )
    assert expected == Nvml(["a"], pynvml=stand_in()).telemetry()


def test_the_counters_of_several_cards_are_added() -> None:
    """Sums grow as the parts do, so differences between two readings stay true; reasons are named once."""
    telemetry = Nvml(["a", "b"], pynvml=stand_in()).telemetry()
    assert telemetry is not None
    assert 1.75 == telemetry.energy_j
    assert 21_000 == telemetry.held_back_ns["power"]
    assert ("power cap", "heat (software slowdown)") == telemetry.reasons
    assert 0 == telemetry.neighbours


def test_a_slice_of_a_card_has_no_energy_of_its_own() -> None:
    """NVML counts the whole card's, which others heat too; clocks and limits are the whole card's as well."""
    asked: list[str] = []
    module = stand_in(nvmlDeviceGetComputeRunningProcesses=lambda card: asked.append(card) or [])
    nvml = Nvml(["c"], pynvml=module)
    telemetry = nvml.telemetry()
    assert telemetry is not None
    assert (None, None) == (telemetry.energy_j, telemetry.energy_step_s)
    assert ("power cap",) == telemetry.reasons
    assert ["slice c"] == asked
    assert 700.0 == nvml.facts()["power_cap_w"]
    assert nvml.reason is not None and "a slice of one (MIG)" in nvml.reason


@pytest.mark.parametrize("uuid", ["a", "GPU-a"])
def test_a_card_is_found_with_or_without_the_prefix(uuid: str) -> None:
    """Torch's UUIDs have none, and NVML wants one."""
    assert Nvml([uuid], pynvml=stand_in()).reason is None


@pytest.mark.parametrize(
    ("pids", "expected"),
    [
        ([], None),  # a container that is shown nobody
        ([4_000_001, 4_000_002], None),  # a container that is shown the host's numbers
        ([os.getpid()], 0),
        ([os.getpid(), 4_000_001, 4_000_001, 4_000_002], 2),
    ],
)
def test_neighbours_are_counted_only_where_this_process_finds_itself(pids: list[int], expected: int | None) -> None:
    """Else the one that is seen may be this one."""
    module = stand_in(nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=pid) for pid in pids])
    telemetry = Nvml(["a"], pynvml=module).telemetry()
    assert telemetry is not None
    assert expected == telemetry.neighbours


@pytest.mark.parametrize("newer", [None, refuse])
def test_reasons_are_read_by_their_older_name_too(newer: Callable[..., object] | None) -> None:
    """Where the binding, or the driver under it, does not know the newer one."""
    module = stand_in(
        nvmlDeviceGetCurrentClocksEventReasons=newer, nvmlDeviceGetCurrentClocksThrottleReasons=lambda _: 0x40
    )
    telemetry = Nvml(["a"], pynvml=module).telemetry()
    assert telemetry is not None
    assert ("heat (hardware slowdown)",) == telemetry.reasons


def test_what_a_card_does_not_support_is_not_known() -> None:
    """None or empty each, and the rest stays."""
    names = [name for name in vars(stand_in()) if name.startswith(("nvmlDeviceGet", "nvmlSystem"))]
    without = {name: refuse for name in names if "Handle" not in name}
    nvml = Nvml(["a"], pynvml=stand_in(**without))
    assert {} == nvml.facts()
    assert Telemetry() == nvml.telemetry()
    nvml = Nvml(["a"], pynvml=stand_in(nvmlDeviceGetTotalEnergyConsumption=refuse))
    telemetry = nvml.telemetry()
    assert telemetry is not None
    assert (None, 0) == (telemetry.energy_j, telemetry.neighbours)


@pytest.mark.parametrize("refusal", [{"nvmlInit": refuse}, {"nvmlDeviceGetHandleByUUID": refuse}])
def test_an_nvml_that_refuses_is_a_reason(refusal: dict[str, object]) -> None:
    """No error: a driver that is not loaded, a card that it does not know."""
    nvml = Nvml(["a"], pynvml=stand_in(**refusal))
    assert nvml.reason == "energy, clocks and throttling are not known: NVML refused with 'Not Supported'"
    assert ({}, None) == (nvml.facts(), nvml.telemetry())


def test_a_missing_binding_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    nvml = Nvml(["a"])
    assert nvml.reason is not None and nvml.reason.endswith("pip install nvidia-ml-py")
    assert ({}, None) == (nvml.facts(), nvml.telemetry())
