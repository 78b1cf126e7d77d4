"""One device while one call runs: its marks on the host's clock, and which of its memory's high-water marks counts."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.record.devices.device import Device
from llm_latency.record.devices.session import Session, main_peak
from llm_latency.testing import ManualClock


class Drifting:
    """A device whose clock runs `rate` as fast as the host's and began at another instant; each wait takes 10 µs."""

    def __init__(self, clock: ManualClock, rate: float) -> None:
        self.clock, self.rate = clock, rate

    def synchronize(self) -> None:
        """Take 10 µs."""
        self.clock.advance("10 µs")

    def mark(self) -> int:
        """The instant on the device's own clock; it is 5 µs until the mark is passed."""
        return round((self.clock.now_ns() + 5_000) * self.rate) + 123_456

    def elapsed(self, marks: Any) -> tuple[int, ...]:
        """From the first."""
        return tuple(mark - marks[0] for mark in marks)

    def reset_peak(self) -> None:
        """Nothing to reset."""

    def peak_bytes(self) -> None:
        """Nothing is known."""

    def telemetry(self) -> None:
        """The same."""

    def describe(self) -> dict[str, object]:
        """Its name."""
        return {"device": "drifting"}


def test_a_devices_clock_that_runs_apart_is_fixed_at_both_ends() -> None:
    """One part in ten thousand over ten seconds would be 1 ms at the end."""
    clock = ManualClock(7)
    device: Device = Drifting(clock, 1.0001)
    session = Session(device, clock)
    session.begin()
    marks = []
    for _ in range(10):
        clock.advance("1 s")
        marks.append((device.mark(), clock.now_ns() + 5_000))
    session.end()
    found = session.instants([mark for mark, _ in marks])
    assert found is not None
    assert [expected for _, expected in marks] == pytest.approx(list(found), abs=2)


def test_a_device_that_a_call_came_upon_is_fixed_at_its_end() -> None:
    """It had no beginning: instants count back from the last anchor."""
    clock = ManualClock()
    session = Session(Drifting(clock, 1.0), clock)
    mark = session.device.mark()
    clock.advance("1 s")
    session.end()
    assert (5_000,) == session.instants([mark])
    assert session.instants([]) is None
    assert session.instants([None]) is None


@pytest.mark.parametrize(
    ("peaks", "main"),
    [(None, None), ({}, None), ({"rss": 5}, 5), ({"allocated": 3, "reserved": 9}, 3), ({"reserved": 9}, None)],
)
def test_what_was_allocated_stands_for_memory(peaks: dict[str, int] | None, main: int | None) -> None:
    """Else resident memory."""
    assert main == main_peak(peaks)
