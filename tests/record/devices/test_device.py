"""Finding the device by torch's names for where models are."""

from __future__ import annotations

import pytest

from llm_latency.errors import DeviceError
from llm_latency.record.devices import accelerator, cuda
from llm_latency.record.devices.cpu import Cpu
from llm_latency.record.devices.device import find


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What would be made, where there is no such device."""
    made: list[tuple[object, ...]] = []
    monkeypatch.setattr(cuda, "Cuda", lambda indices: made.append(("cuda", indices)))
    monkeypatch.setattr(accelerator, "Accelerator", lambda kind, indices: made.append((kind, indices)))
    return made


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cuda",), ("cuda", (None,))),
        (("cuda:1",), ("cuda", (1,))),
        (("cuda:1", "cuda:0"), ("cuda", (1, 0))),
        (("cpu", "cuda:12"), ("cuda", (12,))),
        (("mps",), ("mps", (None,))),
        (("mps:0", "cpu"), ("mps", (0,))),
        (("xpu:0", "xpu:1"), ("xpu", (0, 1))),
    ],
)
def test_names_of_one_kind_are_one_device(
    asked: list[tuple[object, ...]], names: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    """In the order in which they are named; the CPU beside it needs no waiting."""
    find(*names)
    assert [expected] == asked


@pytest.mark.parametrize("names", [(), ("cpu",), ("cpu", "cpu:0")])
def test_the_cpu_is_a_device(names: tuple[str, ...]) -> None:
    """Also where nothing is named."""
    assert isinstance(find(*names), Cpu)


@pytest.mark.parametrize("name", ["meta", "hpu:0", "", "cuda:x", "cuda:-1"])
def test_a_device_whose_waiting_we_do_not_know_is_an_error(name: str) -> None:
    """Never a silent pass: the message names the device, the known ones and what to do."""
    with pytest.raises(DeviceError, match=f"a model on '{name}' was called.*cpu, cuda, mps, xpu only.*Move the model"):
        find("cpu", name)


def test_two_kinds_in_one_call_are_an_error(asked: list[tuple[object, ...]]) -> None:
    """There is no clock for both."""
    with pytest.raises(DeviceError, match=r"models on cuda and xpu were called in one call.*Measure them apart"):
        find("xpu:0", "cuda:0")
    assert [] == asked
