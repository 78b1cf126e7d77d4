"""Which devices a call uses: where its models lie, and what the process has used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from llm_latency.errors import DeviceError
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.device import Device
from llm_latency.record.devices.used import Used, places, shared
from llm_latency.record.timed import timed
from llm_latency.testing import FakeDevice, ManualClock


@pytest.fixture(autouse=True)
def _devices_of_its_own() -> Iterator[None]:
    """A test that fakes `find` leaves no device behind."""
    shared.cache_clear()
    yield
    shared.cache_clear()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, ()),
        (SimpleNamespace(device="cuda:1"), ("cuda:1",)),
        (SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device="mps:0")])), ("mps:0",)),
        (SimpleNamespace(parameters=lambda: iter([])), ()),
        (SimpleNamespace(device="cpu", hf_device_map={"a": 1, "b": 0, "c": "cpu"}), ("cuda:0", "cuda:1")),
        (SimpleNamespace(device="cpu", hf_device_map={"a": "disk", "b": "cpu"}), ("cpu",)),
        (SimpleNamespace(device="cpu", hf_device_map={}), ("cpu",)),
    ],
)
def test_a_model_says_where_it_lies(model: object, expected: tuple[str, ...]) -> None:
    """On one device, on several by accelerate's map, or nowhere."""
    assert expected == places(model)


def test_a_given_device_stands_for_all() -> None:
    """Whatever the models say."""
    device = FakeDevice(ManualClock())
    used = Used(device)
    used.expect((SimpleNamespace(device="cuda:0"),))
    assert (device, (device,)) == (used.of(SimpleNamespace(device="cuda:0")), used.all)


def test_a_device_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pool of events is filled once for a recording; the CPU is always there."""
    used = Used()
    made: list[tuple[str, ...]] = []

    def find(*names: str) -> Device:
        made.append(names)
        return FakeDevice(ManualClock(), device="+".join(names))

    monkeypatch.setattr("llm_latency.record.devices.used.find", find)
    one = used.of(SimpleNamespace(device="cuda:0"))
    used.expect((SimpleNamespace(device="cuda:0"), SimpleNamespace(device="cuda:1"), object()))
    assert one is used.of(SimpleNamespace(device="cuda:0"))
    assert ([("cuda:0",), ("cuda:1",)], 3) == (made, len(used.all))
    assert (True, used.all[-1]) == (isinstance(used.all[0], Cpu), used.of(None))


def test_an_accelerator_that_the_process_has_used_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell may call torch without any model; one that is not there is no error before it is called."""
    cuda = SimpleNamespace(is_initialized=lambda: True, current_device=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, xpu=None))
    used = Used()
    made: list[tuple[str, ...]] = []

    def find(*names: str) -> Device:
        made.append(names)
        raise DeviceError("not here")

    monkeypatch.setattr("llm_latency.record.devices.used.find", find)
    used.expect(())
    assert ([("cuda:2",)], 1) == (made, len(used.all))


def test_an_accelerator_that_came_into_use_in_the_call_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By code in which no model was seen: its 300 ms of work are the call's."""
    clock = ManualClock()
    device = FakeDevice(clock)
    in_use: list[str] = []
    monkeypatch.setattr("llm_latency.record.devices.used._in_use", lambda: iter(in_use))
    with timed("block", clock=clock) as t:
        monkeypatch.setattr("llm_latency.record.devices.used.find", lambda *_: device)
        in_use.append("cuda:0")
        device.give("300 ms")
    assert (0.3,) == t.measurement.total.values
