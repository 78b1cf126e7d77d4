"""Which machine a number belongs to."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from llm_latency.core.environment import Environment
from llm_latency.gate.stored.fingerprint import Machine, machine_differences, machine_of

GIB = 2**30
VM = Environment(
    device="cpu",
    processor="AMD EPYC 7763 64-Core Processor",
    cores=2,
    memory_bytes=int(7.75 * GIB),
    system="Linux 6.18.44",
    python="3.11.7",
    torch="2.13.0",
    threads=2,
)


def test_a_machine_has_a_name_for_the_eye_and_a_hash() -> None:
    """Eight digits of SHA-256 over the fields as JSON, keys in order."""
    fields = (
        '{"cores":2,"device":"cpu","driver":null,"memory_gib":8,"processor":"AMD EPYC 7763 64-Core Processor",'
        '"system":"Linux"}'
    )
    digest = hashlib.sha256(fields.encode()).hexdigest()[:8]
    assert f"amd-epyc-7763-2c-8g-{digest}" == machine_of(VM).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"python": "3.14.0", "torch": "3.0", "transformers": "6.0", "threads": 1, "openmp": "OMP_NUM_THREADS=1"},
        {"system": "Linux 7.0.1"},
        {"memory_bytes": int(7.6 * GIB)},  # what the kernel keeps
        {"attention": "sdpa", "dtype": "bfloat16", "compile": "torch.compile"},
        {"warnings": ("noisy",)},
    ],
)
def test_it_stays_when_software_changes(changes: dict[str, object]) -> None:
    """Releases are compared and listed, not told apart by."""
    assert machine_of(VM) == machine_of(replace(VM, **changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cores": 4}, "cores: 2 → 4"),
        ({"memory_bytes": 16 * GIB}, "memory_gib: 8 → 16"),
        ({"device": "NVIDIA H100 80GB HBM3"}, "device: cpu → NVIDIA H100 80GB HBM3"),
        ({"driver": "570.86.10"}, "driver: None → 570"),
        ({"processor": "Apple M4"}, "processor: AMD EPYC 7763 64-Core Processor → Apple M4"),
        ({"system": "Darwin 25.1"}, "system: Linux → Darwin"),
    ],
)
def test_it_changes_with_the_machine(changes: dict[str, object], expected: str) -> None:
    """And the difference is said."""
    first, second = machine_of(VM), machine_of(replace(VM, **changes))
    assert first.fingerprint != second.fingerprint
    assert (expected,) == machine_differences(first, second)


@pytest.mark.parametrize(
    ("gib", "expected"),
    [
        (0.5, 1),
        (1, 1),
        (1.5, 2),
        (2.4, 3),
        (3.7, 4),
        (4.1, 6),
        (7.8, 8),
        (11.7, 12),
        (23.5, 24),
        (62.7, 64),
        (1007, 1024),
    ],
)
def test_memory_is_what_was_bought(gib: float, expected: int) -> None:
    """A system reports less by what firmware and kernel keep."""
    assert expected == machine_of(replace(VM, memory_bytes=int(gib * GIB))).memory_gib


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (Machine(processor="Intel(R) Xeon(R) CPU @ 2.20GHz", cores=4), "intel-xeon-4c-"),
        (
            Machine(device="2 × NVIDIA H100 80GB HBM3", driver="570", cores=16, memory_gib=128),
            "2-nvidia-h100-80gb-hbm3-16c-128g-",
        ),
        (Machine(), "machine-"),
        (Machine(processor="π/../x"), "x-"),
        (Machine(processor="very " * 20), "very-very-very-very-very-ver-"),
    ],
)
def test_the_name_is_one_of_a_file(machine: Machine, name: str) -> None:
    """Whatever a system reports."""
    assert name == machine.fingerprint[:-8]
