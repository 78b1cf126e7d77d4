"""Which cores both sides get: those that others use least, of a /proc/stat that is written here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_latency.gate.pinning import Pinning


def stat(file: Path, busy: Sequence[int]) -> None:
    """Each core's busy ticks, half as user and half as interrupts, and 1,000 idle ones."""
    rows = [
        f"cpu{core} {half} 0 0 1000 5 {ticks - half} 0 0 0 0"
        for core, ticks in enumerate(busy)
        for half in (ticks // 2,)
    ]
    file.write_text("\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "intr 12345"]) + "\n")


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four cores, all of them this process's."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


@pytest.mark.parametrize(
    ("used", "threads", "expected"),
    [
        ([0, 0, 0, 0], 1, (3,)),
        ([0, 0, 0, 10], 1, (2,)),
        ([10, 3, 10, 10], 1, (1,)),
        ([0, 9, 0, 9], 2, (0, 2)),
        ([0, 9, 8, 9], 3, (0, 2, 3)),
        ([0, 0, 0, 0], 4, None),
        ([0, 0, 0, 0], 5, None),
        ([0, 0, 0, 0], 0, None),
    ],
)
@pytest.mark.usefixtures("four_cores")
def test_the_least_used_cores_and_of_equals_the_last(
    tmp_path: Path, used: list[int], threads: int, expected: tuple[int, ...] | None
) -> None:
    """As many as there are threads; no pinning where that would be every core."""
    file = tmp_path / "stat"
    before = [500, 9000, 20, 777]
    stat(file, before)
    pinning = Pinning(stat=file, wait=lambda: stat(file, [a + b for a, b in zip(before, used, strict=True)]))
    pinning.look()
    assert expected == pinning.cores_for(threads)


@pytest.mark.usefixtures("four_cores")
def test_where_the_system_does_not_count_it_is_the_last_core(tmp_path: Path) -> None:
    """Nothing is waited for either."""
    pinning = Pinning(stat=tmp_path / "missing", wait=lambda: pytest.fail("waited"))
    pinning.look()
    assert (3,) == pinning.cores_for(1)


def test_where_cores_cannot_be_chosen_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert None is Pinning().cores_for(1)
