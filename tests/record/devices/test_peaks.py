"""Peaks: what a probe finds on a real CPU, and what the cache keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from llm_latency.core.environment import Environment, differences
from llm_latency.core.peaks import Peaks
from llm_latency.errors import UsageError
from llm_latency.record.devices import peaks as room
from llm_latency.record.devices.peaks import cache_folder, keep_peaks, known_peaks, peaks_here, probe
from llm_latency.record.machine import ModelFacts, read_environment

GIVEN = Peaks(flops=1e11, bandwidth=2e10, launch_s=1e-6, source="described")
WHERE: dict[str, Any] = {"device": "cpu", "dtype": "float32", "threads": 1, "torch": "2.13.0"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("LLM_LATENCY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_known_for_the_same_setting_only() -> None:
    """Threads, number type, torch and device tell it apart; a device other than the CPU has no threads."""
    assert known_peaks(**WHERE) is None
    keep_peaks(GIVEN, **WHERE)
    assert GIVEN == known_peaks(**WHERE)
    for other in ({"threads": 2}, {"dtype": "bfloat16"}, {"torch": "2.12.0"}, {"device": "x"}):
        assert known_peaks(**(WHERE | other)) is None
    card = WHERE | {"device": "NVIDIA H100"}
    keep_peaks(GIVEN, **card)
    assert GIVEN == known_peaks(**(card | {"threads": 8}))
    assert GIVEN == known_peaks(**WHERE)


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 9, "peaks": {}}', b'{"peaks": {"a": 1}}'])
def test_a_broken_cache_is_an_empty_one(cache: Path, content: bytes) -> None:
    """And is written anew."""
    cache.mkdir()
    (cache / "peaks.json").write_bytes(content)
    assert known_peaks(**WHERE) is None
    keep_peaks(GIVEN, **WHERE)
    assert GIVEN == known_peaks(**WHERE)


@pytest.mark.parametrize("flops", [0.0, -1.0, float("nan"), float("inf")])
def test_a_peak_is_a_finite_number(flops: float) -> None:
    """Or mfu would be none."""
    with pytest.raises(UsageError, match="a peak's flops is"):
        keep_peaks(Peaks(flops=flops, bandwidth=1.0), **WHERE)


@pytest.mark.parametrize(
    ("system", "variable", "folder"),
    [("linux", "XDG_CACHE_HOME", "llm-latency"), ("win32", "LOCALAPPDATA", "llm-latency")],
)
def test_the_cache_lies_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, variable: str, folder: str
) -> None:
    """Below the folder that its variable names."""
    monkeypatch.delenv("LLM_LATENCY_CACHE")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setenv(variable, str(tmp_path))
    assert tmp_path / folder == cache_folder()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / "Library" / "Caches" / folder == cache_folder()


def test_a_probe_finds_what_this_cpu_can_do() -> None:
    """A product of matrices at more than a GFLOP/s, a read at more than 100 MB/s, an operator in less than 1 ms."""
    pytest.importorskip("torch")
    found = probe(seconds=0.1)
    assert 1e9 < found.flops < 1e14
    assert 1e8 < found.bandwidth < 1e13
    assert found.launch_s is not None
    assert 0 < found.launch_s < 1e-3
    assert found.source.startswith("probed on 2")


def test_a_machine_is_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cache holds is taken; `again` asks the machine."""
    pytest.importorskip("torch")
    asked: list[str] = []

    def probed(*, device: str, dtype: str) -> Peaks:
        asked.append(f"{device} {dtype}")
        return GIVEN

    monkeypatch.setattr(room, "probe", probed)
    assert [GIVEN] * 3 == [peaks_here(), peaks_here(), peaks_here(again=True)]
    assert ["cpu float32"] * 2 == asked


def test_the_environment_has_the_peaks_of_its_models_numbers() -> None:
    """And two environments do not differ by them."""
    torch = pytest.importorskip("torch")
    where = WHERE | {"threads": torch.get_num_threads(), "torch": str(torch.__version__)}
    keep_peaks(GIVEN, **where)
    facts = ModelFacts(attention=None, dtype="float32", quantization=None, cache=None, compile=None)
    assert GIVEN == read_environment([facts]).peaks
    assert read_environment().peaks is None
    assert () == differences(Environment(), Environment(peaks=GIVEN))
    assert "100.0 GFLOP/s, 20.0 GB/s, 1 µs an operator (described)" == str(GIVEN)
