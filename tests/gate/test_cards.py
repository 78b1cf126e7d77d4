"""Findings about NVIDIA's cards, through a stand-in for nvidia-ml-py with numbers of our own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.gate.doctor.cards import cards
from llm_latency.gate.doctor.finding import NOISY, OK, RISK, UNKNOWN, Finding
from tests.gate.machine_trees import made

NVML_SAYS_NOTHING = "not reported by this system (NVML does not say)"


class NVMLError(Exception):
    """What the stand-in refuses with."""


def refuse(*_: object) -> Any:
    """As a card that does not have it."""
    raise NVMLError("Not Supported")


def stand_in(**functions: Any) -> Any:
    """A module with one quiet card; `functions` replace its own."""
    module: dict[str, Any] = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: f"card {index}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"card {uuid}",
        "nvmlDeviceGetUUID": lambda card: b"GPU-0",
        "nvmlDeviceGetName": lambda card: b"Abacus 100",
        "nvmlDeviceGetComputeRunningProcesses": lambda card: [],
        "nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=0, memory=0),
        "nvmlDeviceGetClockInfo": lambda card, kind: 345,
        "nvmlDeviceGetMaxClockInfo": lambda card, kind: 1980,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda card: 0x1,
        "nvmlDeviceGetPersistenceMode": lambda card: 1,
        "nvmlDeviceGetEnforcedPowerLimit": lambda card: 700_000,
        "nvmlDeviceGetPowerManagementDefaultLimit": lambda card: 700_000,
        "nvmlDeviceGetTotalEccErrors": lambda card, kind, counter: 0,
    }
    return SimpleNamespace(**module | functions)


def found(tmp_path: Path, **functions: Any) -> dict[str, Finding]:
    """Findings by topic."""
    return {one.topic: one for one in cards(made(tmp_path, {"proc/stat": ""}), pynvml=stand_in(**functions))}


def test_a_quiet_card_is_ok_but_for_what_nobody_tells(tmp_path: Path) -> None:
    """Locked clocks are not told."""
    seen = found(tmp_path)
    assert {
        "GPU 0 name": (OK, "Abacus 100"),
        "GPU 0 company": (OK, "0 processes on it, busy 0 % of the time"),
        "GPU 0 clocks": (UNKNOWN, "345 MHz now, 1980 at most; whether they are locked is not told"),
        "GPU 0 limits": (OK, "nothing holds it back now"),
        "GPU 0 driver": (OK, "persistence mode is on"),
        "GPU 0 power": (OK, "capped at 700 W"),
        "GPU 0 memory": (OK, "no uncorrected errors since the start"),
    } == {topic: (one.word, one.seen) for topic, one in seen.items()}


@pytest.mark.parametrize(
    ("functions", "topic", "word", "seen"),
    [
        (
            {"nvmlDeviceGetComputeRunningProcesses": lambda card: [SimpleNamespace(pid=1)]},
            "company",
            RISK,
            "1 process on it, busy 0 % of the time",
        ),
        (
            {"nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=5, memory=0)},
            "company",
            NOISY,
            "0 processes on it, busy 5 % of the time",
        ),
        ({"nvmlDeviceGetUtilizationRates": refuse}, "company", OK, "0 processes on it"),
        ({"nvmlDeviceGetComputeRunningProcesses": refuse}, "company", OK, "busy 0 % of the time"),
        (
            {"nvmlDeviceGetCurrentClocksEventReasons": lambda card: 0x2},
            "clocks",
            OK,
            "345 MHz now, 1980 at most, set by a user",
        ),
        (
            {"nvmlDeviceGetClockInfo": refuse},
            "clocks",
            UNKNOWN,
            "not told; whether they are locked is not told",
        ),
        (
            {"nvmlDeviceGetCurrentClocksEventReasons": lambda card: 0x2 | 0x4 | 0x20},
            "limits",
            NOISY,
            "held back now by power cap, heat (software slowdown)",
        ),
        ({"nvmlDeviceGetCurrentClocksEventReasons": refuse}, "limits", UNKNOWN, NVML_SAYS_NOTHING),
        ({"nvmlDeviceGetPersistenceMode": lambda card: 0}, "driver", RISK, "persistence mode is off"),
        (
            {"nvmlDeviceGetEnforcedPowerLimit": lambda card: 450_500},
            "power",
            RISK,
            "capped at 450.5 W, 700 W is usual",
        ),
        ({"nvmlDeviceGetPowerManagementDefaultLimit": refuse}, "power", OK, "capped at 700 W"),
        (
            {"nvmlDeviceGetTotalEccErrors": lambda card, kind, counter: 2},
            "memory",
            RISK,
            "2 uncorrected errors since the start",
        ),
    ],
)
def test_what_disturbs_a_card_is_told(
    tmp_path: Path, functions: dict[str, Any], topic: str, word: str, seen: str
) -> None:
    """One thing at a time; what calls for something to be done says what."""
    one = found(tmp_path, **functions)[f"GPU 0 {topic}"]
    assert (word, seen) == (one.word, one.seen)
    assert word not in (NOISY, RISK) or one.remedy


def test_a_card_that_says_nothing_is_unknown_throughout(tmp_path: Path) -> None:
    """Every question refused."""
    questions = [name for name in vars(stand_in()) if name.startswith("nvmlDeviceGet")]
    known = {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}
    seen = found(tmp_path, **{name: refuse for name in questions if name not in known})
    assert (7, {UNKNOWN}) == (len(seen), {one.word for one in seen.values()})
    assert {NVML_SAYS_NOTHING, "not told; whether they are locked is not told"} == {one.seen for one in seen.values()}


def test_several_cards_are_told_apart(tmp_path: Path) -> None:
    """By NVML's index."""
    seen = found(tmp_path, nvmlDeviceGetCount=lambda: 2, nvmlDeviceGetPersistenceMode=lambda card: card == "card 0")
    assert (14, OK, RISK) == (len(seen), seen["GPU 0 driver"].word, seen["GPU 1 driver"].word)


@pytest.mark.parametrize(
    ("functions", "word", "seen"),
    [
        ({"nvmlDeviceGetCount": lambda: 0}, OK, "none"),
        ({"nvmlInit": refuse}, UNKNOWN, "NVML refused with 'Not Supported'"),
        ({"nvmlDeviceGetHandleByIndex": refuse}, UNKNOWN, "NVML refused with 'Not Supported'"),
    ],
)
def test_without_cards_there_is_one_finding(tmp_path: Path, functions: dict[str, Any], word: str, seen: str) -> None:
    """Never an error."""
    assert (word, seen) == (found(tmp_path, **functions)["GPU"].word, found(tmp_path, **functions)["GPU"].seen)


def test_without_a_driver_or_its_library_there_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, no driver, a driver and no nvidia-ml-py."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    trees = ({}, {"proc/stat": ""}, {"proc/driver/nvidia/version": "570"})
    seen = [cards(made(tmp_path / str(number), tree)) for number, tree in enumerate(trees)]
    (nothing,), (no_driver,), (no_library,) = seen
    assert (UNKNOWN, OK, UNKNOWN) == (nothing.word, no_driver.word, no_library.word)
    assert "pip install nvidia-ml-py" == no_library.remedy
